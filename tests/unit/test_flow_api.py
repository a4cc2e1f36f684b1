"""The Python API: the same words, and the same plan as the flow file's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import appliance
from appliance import (
    Flow,
    Stream,
    binary,
    blackhole,
    changed,
    col,
    connector,
    count,
    csv,
    ema,
    file,
    generate,
    global_window,
    hopping,
    itself,
    json,
    lag,
    lines,
    max_by,
    mean,
    msgpack,
    raw,
    stdin,
    stdout,
    tcp,
    text,
    tumbling,
    udp,
    when,
)
from appliance.errors import FlowError
from appliance.expression import parse
from appliance.load import load_file, load_module
from appliance.plan.explain import explain
from appliance.plan.logical import Plan, PythonStep, Step, Window
from unit.flows import bare

APP = """\
from dataclasses import dataclass

from appliance import *
from appliance import count as how_many

def words(event):
    yield from event.line.split()

@dataclass
class Total:
    n: int = 0

def count(state, event):
    state.n += 1
    return {"word": event.value, "count": state.n}

class Alarm:
    def on_event(self, event):
        return event

"""


def words(event: Any) -> list[str]:
    return list(event.line.split())


def keep(event: Any) -> bool:
    return bool(event)


def total(state: Any, event: Any) -> Any:
    return state


class Alarm:
    def on_event(self, event: Any) -> Any:
        return event


async def later(event: Any) -> Any:
    return event


def steps(build: Callable[[Stream], Stream]) -> dict[str, Step]:
    """The steps of a chain between one source and one sink."""
    flow = Flow("test")
    build(flow.source(stdin(), name="in")).sink(blackhole(), name="out")
    return dict(flow.plan().steps)


def faults(flow: Flow) -> list[str]:
    with pytest.raises(FlowError) as caught:
        flow.plan()
    return [fault.message for fault in caught.value.faults]


def both_forms(folder: Path, chain: str, toml: str) -> tuple[Plan, Plan]:
    """The same flow as a module and as a file."""
    (folder / "app.py").write_text(APP + chain)
    path = folder / "same.toml"
    path.write_text("version = 1\n" + toml)
    (plan,) = load_module(folder / "app.py")
    return plan, load_file(path, {})


# ---- one plan ----


@pytest.mark.parametrize(
    ("chain", "toml"),
    [
        (
            """
flow = Flow("same")
(
    flow.source(tcp.listen(7010), lines())
    .flat_map(words)
    .key_by(itself)
    .stateful(count, Total)
    .sink(tcp.connect("127.0.0.1:7002"), text("{word} => {count}"))
)
""",
            """
[source.tcp]
tcp = { listen = "127.0.0.1:7010" }
format = "text"
[step.words]
python = { flat_map = "app.py:words" }
[step.count]
key_by = "value"
python = "app.py:count"
state = "app.py:Total"
[sink.tcp]
tcp = { connect = "127.0.0.1:7002" }
format = { text = "{word} => {count}" }
""",
        ),
        (
            """
flow = Flow("same", commit_every="2s", worker="own")
readings = flow.source(
    file(glob="*.jsonl"), json(), name="readings",
    time=event_time("ts", "ms", late="2s", idle="never"),
    schema={"device": "str", "ts": "int", "temp": "float", "status": "str", "tags": "list"},
)
hot = readings.step("hot").where(col.status == "ok").where("temp > 15").set(
    temp_f=col.temp * 1.8 + 32, one=1).drop("status")
averages = (
    hot.step("avg").each("tags").key_by(col.device, "tags")
    .window(hopping("10s", "1s", late_policy="output"))
    .aggregate(n=how_many(), mean=mean(col.temp, where=col.temp_f > 60), first="first(temp)")
    .having(col.n > 3)
)
averages.step("alarm").stateful(Alarm).sink(stdout(), name="alarms", where="n > 5")
averages.late.sink(file("late.jsonl"), name="late")
readings.late.merge(flow.errors).sink(
    file("bad.jsonl"), csv(columns=["time"]), name="bad", delivery="at_least_once",
    spool={"max_age": "1d"})
""",
            """
[settings]
commit_every = "2s"
worker = "own"
[source.readings]
file = { glob = "*.jsonl" }
time = { field = "ts", unit = "ms", late = "2s", idle = "never" }
schema = { device = "str", ts = "int", temp = "float", status = "str", tags = "list" }
[step.hot]
where = 'status == "ok" and temp > 15'
set = { temp_f = "temp * 1.8 + 32", one = 1 }
drop = ["status"]
[step.avg]
each = "tags"
key_by = ["device", "tags"]
window = { hopping = "10s", every = "1s" }
aggregate = { n = "count()", mean = "mean(temp, where = temp_f > 60)", first = "first(temp)" }
having = "n > 3"
[step.alarm]
python = "app.py:Alarm"
[sink.alarms]
from = "alarm"
where = "n > 5"
stdout = {}
[sink.late]
from = "avg.late"
file = { path = "late.jsonl" }
[sink.bad]
from = ["readings.late", "errors"]
file = { path = "bad.jsonl" }
format = { csv = { columns = ["time"] } }
delivery = "at_least_once"
spool = { max_age = "1d" }
""",
        ),
    ],
)
def test_both_forms_of_a_flow_are_one_plan_and_one_text(
    tmp_path: Path, chain: str, toml: str
) -> None:
    from_python, from_file = both_forms(tmp_path, chain, toml)
    assert bare(from_python) == bare(from_file)
    assert explain(from_python) == explain(from_file)


# ---- words ----


@pytest.mark.parametrize(
    ("made", "name", "options"),
    [
        (tcp.listen(7010), "tcp", {"listen": "127.0.0.1:7010"}),
        (tcp.connect("plc:9"), "tcp", {"connect": "plc:9"}),
        (udp.listen("0.0.0.0:1"), "udp", {"listen": "0.0.0.0:1"}),
        (udp.connect(5), "udp", {"connect": "127.0.0.1:5"}),
        (file(Path("a/b")), "file", {"path": "a/b"}),
        (file("x", follow=True), "file", {"path": "x", "follow": True}),
        (stdin(), "stdin", {}),
        (stdout(), "stdout", {}),
        (blackhole(), "blackhole", {}),
        (generate({"a": "counter()"}, rate="2/s"), "generate",
         {"fields": {"a": "counter()"}, "rate": "2/s"}),
        (connector("modbus.py:Modbus", host="h"), "connector",
         {"path": "modbus.py:Modbus", "host": "h"}),
    ],
)  # fmt: skip
def test_connectors(made: Any, name: str, options: dict[str, object]) -> None:
    assert (made.name, made.options) == (name, options)


@pytest.mark.parametrize(
    ("wire", "kind", "frame"),
    [
        (json(), "json", "lines"),
        (lines(), "text", "lines"),
        (csv(columns=["a"]), "csv", "lines"),
        (msgpack(), "msgpack", "u32"),
        (raw(), "raw", "u32"),
        (binary({"v": "u32"}, order="little"), "binary", "u32"),
    ],
)
def test_formats(wire: Any, kind: str, frame: str) -> None:
    flow = Flow("test")
    flow.source(stdin(), wire).sink(blackhole())
    source = flow.plan().sources["stdin"]
    assert (source.format.kind, source.frame.kind) == (kind, frame)


def test_windows_take_texts_and_timedeltas() -> None:
    made = steps(
        lambda s: s.window(hopping(timedelta(minutes=1), "10s", offset="-1s")).aggregate(n=count())
    )
    window = made["window"].operation
    assert isinstance(window, Window)
    assert (window.size_us, window.every_us, window.offset_us) == (
        60_000_000,
        10_000_000,
        -1_000_000,
    )
    made = steps(lambda s: s.window(global_window()).aggregate(n=count()))
    assert made["window"].operation == bare_window("global", made)


def bare_window(kind: str, made: dict[str, Step]) -> Window:
    operation = made["window"].operation
    assert isinstance(operation, Window)
    return Window(kind, aggregates=operation.aggregates, place=operation.place)


def test_aggregates_are_what_their_text_is() -> None:
    made = steps(
        lambda s: s.running(
            a=ema(col.x, 0.5), b=lag("x", 3), c=changed(col.x), d=max_by(col.x, col.y, where="z")
        )
    )
    same = steps(
        lambda s: s.running(
            a="ema(x, 0.5)", b="lag(x, 3)", c="changed(x)", d="max_by(x, y, where = z)"
        )
    )
    assert bare(made["running"].operation) == bare(same["running"].operation)


def test_a_value_alone_is_the_field_value() -> None:
    assert steps(lambda s: s.key_by(itself).running(n=count()))["running"].key_names == ("value",)


def test_functions_and_conditions_of_columns() -> None:
    made = steps(lambda s: s.set(a=when(col.x > 1, appliance.functions.round(col.x), 0)))
    assert made["step"].set == {"a": parse("round(x) if x > 1 else 0")}


@pytest.mark.parametrize(
    ("build", "mode"),
    [
        (lambda s: s.map(words), "map"),
        (lambda s: s.flat_map(words), "flat_map"),
        (lambda s: s.filter(words), "filter"),
        (lambda s: s.stateful(total, dict), "stateful"),
        (lambda s: s.stateful(Alarm), "class"),
    ],
)
def test_python_steps_carry_the_function_itself(
    build: Callable[[Stream], Stream], mode: str
) -> None:
    (step,) = steps(build).values()
    assert isinstance(step.operation, PythonStep)
    assert step.operation.mode == mode
    assert step.operation.function.target in (words, total, Alarm)
    assert step.name == step.operation.function.reference.rpartition(":")[2].lower()


# ---- what is wrong, and where ----


def test_all_faults_are_told_at_once_with_file_and_line() -> None:
    flow = Flow("test")
    stream = flow.source(stdin(), schema={"a": "nothing"})
    stream.where("b >").sink(stdout())
    stream.step("errors").where("a > 1").sink(stdout(), name="stdout")
    with pytest.raises(FlowError) as caught:
        flow.plan()
    found = caught.value.faults
    assert len(found) == 4
    assert all(fault.place.file.endswith("test_flow_api.py") for fault in found)
    assert "flow.source(stdin(), schema" in found[0].place.text
    assert [fault.place.line for fault in found] == sorted(fault.place.line for fault in found)


def test_a_lambda_is_refused_where_an_id_is_needed() -> None:
    flow = Flow("test")
    flow.source(stdin()).map(lambda event: event).sink(stdout())
    (message,) = faults(flow)
    assert "lambda" in message
    assert list(steps(lambda s: s.step("same").map(lambda event: event))) == ["same"]


def test_a_window_without_aggregates_is_a_fault() -> None:
    flow = Flow("test")
    stream = flow.source(stdin())
    stream.sink(stdout())
    stream.window(tumbling("1s"))
    assert faults(flow) == ["a window without aggregates has no result"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda s: s.map(Alarm).stateful(total), "cannot be called as total(event)"),
        (lambda s: s.map(later), "is async"),
        (lambda s: s.stateful(words, dict), "cannot be called as words(state, event)"),
        (lambda s: s.stateful(total, words), "cannot be called as words()"),
        (lambda s: s.stateful(dict), "no method on_event"),
        (lambda s: s.window(tumbling("1s")).aggregate(n=ema("x", 0.1)), "ema() follows"),
        (lambda s: s.window({"session": "1s"}).aggregate(n=count()), "not available"),
        (lambda s: s.where("a > 1").late.map(words), "has no late records"),
        (lambda s: s.having("n > 1"), "nothing in this step"),
        (lambda s: s.step("No").where("a > 1"), "is not a name"),
        (lambda s: s.step("in").where("a > 1"), "a second step or source named 'in'"),
        (lambda s: s.select("a").where(col.b > 1), "there is no field 'b' here"),
    ],
)
def test_faults_of_chains(build: Callable[[Stream], Stream], message: str) -> None:
    with pytest.raises(FlowError) as caught:
        steps(build)
    assert any(message in fault.message for fault in caught.value.faults)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda: Flow("x").source("tcp"), TypeError),  # type: ignore[arg-type]
        (lambda: Flow("x").source(stdin()).map(3), TypeError),  # type: ignore[arg-type]
        (lambda: Flow("x").source(stdin()).merge(Flow("y").source(stdin())), ValueError),
        (lambda: Flow("x", comit_every="1s"), TypeError),  # type: ignore[call-arg]
        (lambda: mean("x +"), FlowError),
        (lambda: ema(col.x, 2.0), FlowError),
        (lambda: appliance.nothing, AttributeError),
    ],
)
def test_calls_that_can_never_be_right_raise_at_once(
    wrong: Callable[[], object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        wrong()


def test_every_exported_name_is_there() -> None:
    assert {name for name in appliance.__all__ if getattr(appliance, name) is None} == set()
    assert set(appliance.__all__) <= set(dir(appliance))


def test_a_star_import_leaves_the_built_ins_alone() -> None:
    import builtins

    assert not set(appliance.__all__) & set(dir(builtins))
    assert appliance.max is not max and appliance.max(col.x).kind == "max"


def test_the_version_is_the_projects() -> None:
    text = Path(__file__).parents[2].joinpath("pyproject.toml").read_text()
    assert f'version = "{appliance.__version__}"' in text


def test_a_text_template_and_every_option_of_a_sink() -> None:
    flow = Flow("test")
    flow.source(stdin()).sink(tcp.connect(1), text("{a}"), frame={"delimiter": ";"}, where=col.a)
    sink = flow.plan().sinks["tcp"]
    assert sink.format.options == {"template": "{a}"}
    assert (sink.frame.kind, sink.frame.delimiter) == ("delimiter", b";")
    assert sink.where == parse("a")
