"""Flow files: what they mean, and what is said about those that are wrong."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.errors import FlowError
from appliance.expression import parse
from appliance.load import load, load_file, load_module
from appliance.plan.ends import FRAME_DEFAULTS
from appliance.plan.logical import (
    EventTime,
    Format,
    Frame,
    PythonFunction,
    PythonStep,
    Running,
    Settings,
    Spool,
    Window,
)
from appliance.schema import FieldType
from appliance.units import duration_text, size_text
from unit.flows import SINK, SOURCE, bare, fault, faults, read, shown

MONITOR = """\
version = 1
name = "line-monitor"

[settings]
commit_every = "2s"
worker = "own"

[source.readings]
tcp = { listen = "127.0.0.1:9000" }
time = { field = "ts", unit = "ms", late = "2s" }
schema = { device = "str", ts = "int", temp = "float", status = "str", note = "str?" }

[step.hot]
where = 'status == "ok" and temp > 15'
set = { temp_f = "temp * 1.8 + 32" }

[step.avg]
key_by = "device"
window = { tumbling = "10s" }
aggregate = { n = "count()", mean = "mean(temp)" }
having = "n > 3"

[step.score]
python = "score.py:Score"

[sink.cloud]
where = "score > 0.9"
tcp = { connect = "127.0.0.1:9100" }
spool = { max_bytes = "1MiB", resend_rate = "1000/s" }

[sink.bad]
from = "errors"
file = { path = "bad.jsonl" }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "score.py").write_text(
        "class Score:\n    def on_event(self, event): return event\n"
        "def score(event): return event\n"
        "def words(event): yield 1\n"
        "def total(state, event): return state\n"
        "async def later(event): return event\n"
        "class State: pass\n"
    )
    return tmp_path


def step(text: str) -> str:
    """A flow with one step of this text."""
    return f"{SOURCE}[step.one]\n{text}\n{SINK}"


# ---- what a flow file means ----


def test_the_example_of_the_documents_is_read_whole(folder: Path) -> None:
    plan = read(folder, MONITOR)
    assert plan.name == "line-monitor"
    assert plan.base == str(folder.resolve())
    assert plan.settings == Settings(commit_every_us=2_000_000, worker="own")
    source = plan.sources["readings"]
    assert source.time == EventTime("ts", "ms", 2_000_000)
    assert source.schema["note"] == FieldType("str", True)
    hot, avg, score = plan.steps.values()
    assert (hot.inputs, avg.inputs, score.inputs) == (("readings",), ("hot",), ("avg",))
    assert hot.where == parse('status == "ok" and temp > 15')
    assert avg.key_names == ("device",)
    assert isinstance(avg.operation, Window)
    assert avg.operation.size_us == 10_000_000
    assert list(avg.operation.aggregates) == ["n", "mean"]
    assert isinstance(score.operation, PythonStep)
    assert score.operation.mode == "class"
    cloud, bad = plan.sinks.values()
    assert cloud.inputs == ("score",) and bad.inputs == ("errors",)
    assert cloud.spool == Spool(max_bytes=1 << 20, resend_rate=1000.0)
    assert (cloud.delivery, bad.delivery) == ("immediate", "exactly_once")


def test_the_name_is_the_files_unless_it_is_said(folder: Path) -> None:
    assert read(folder, SOURCE + SINK).name == "flow"


def test_every_default_of_the_documents_is_the_dataclasses_own() -> None:
    text = Path(__file__).parents[2].joinpath("config/defaults.toml").read_text()
    document = tomllib.loads(text.replace('time = "arrival"', ""))
    one = Settings()
    assert document["settings"] == {
        "commit_every": duration_text(one.commit_every_us),
        "on_error": one.on_error,
        "memory": size_text(one.memory_bytes),
        "worker": one.worker,
        "step_timeout": duration_text(one.step_timeout_us),
        "clock": one.clock,
        "on_damage": one.on_damage,
    }
    assert one.write_budget_bytes is None  # which TOML cannot say
    assert len(document["settings"]) == len(asdict(one)) - 1
    time = EventTime()
    assert document["source"]["time"] == {
        "late": duration_text(time.late_us),
        "idle": duration_text(time.idle_us or 0),
        "max_ahead": duration_text(time.max_ahead_us).replace("1d", "24h"),
        "when_idle": time.when_idle,
    }
    assert document["source"]["format"] == document["sink"]["format"] == Format().kind
    assert document["source"]["frame_max"] == size_text(Frame().max_bytes)
    frames = document["source"]["frame"]
    assert frames == {kind: FRAME_DEFAULTS.get(kind, "u32") for kind in frames}
    assert document["step"]["window"]["late_policy"] == Window("tumbling").late_policy
    assert document["step"]["window"]["offset"] == duration_text(Window("tumbling").offset_us)
    spool = Spool()
    assert document["sink"]["spool"] == {
        "max_bytes": size_text(spool.max_bytes),
        "max_age": duration_text(spool.max_age_us),
        "when_full": spool.when_full,
    }


def test_defaults_written_out_change_nothing(folder: Path) -> None:
    """config/defaults.toml, written out in a flow, gives the flow that says nothing."""
    text = Path(__file__).parents[2].joinpath("config/defaults.toml").read_text()
    document = tomllib.loads(text.replace('time = "arrival"', ""))
    settings_text = "".join(f'{key} = "{value}"\n' for key, value in document["settings"].items())
    time = ", ".join(f'{key} = "{value}"' for key, value in document["source"]["time"].items())
    spool = ", ".join(f'{key} = "{value}"' for key, value in document["sink"]["spool"].items())
    explicit = f"""\
version = 1
[settings]
{settings_text}
[source.readings]
tcp = {{ listen = "127.0.0.1:9000" }}
format = "json"
frame = "lines"
frame_max = "1MiB"
time = {{ {time} }}
[sink.out]
from = "readings"
stdout = {{}}
format = "json"
delivery = "{document["sink"]["delivery"]["stdout"]}"
spool = {{ {spool} }}
"""
    assert bare(read(folder, explicit)) == bare(read(folder, SOURCE + SINK))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('format = "json"', (Format("json"), "lines")),
        ('format = "text"', (Format("text"), "lines")),
        ('format = "raw"', (Format("raw"), "u32")),
        ('format = "msgpack"', (Format("msgpack"), "u32")),
        ('format = "msgpack"\nframe = "lines"', (Format("msgpack"), "lines")),
        (
            'format = "csv"',
            (Format("csv", {"header": True, "columns": [], "delimiter": ","}), "lines"),
        ),
        (
            'format = { csv = { columns = ["a", "b"], delimiter = ";" } }',
            (Format("csv", {"header": False, "columns": ["a", "b"], "delimiter": ";"}), "lines"),
        ),
        (
            'format = { binary = { fields = { letter = "s1", votes = "u32" } } }',
            (
                Format("binary", {"order": "big", "fields": {"letter": "s1", "votes": "u32"}}),
                "u32",
            ),
        ),
    ],
)
def test_formats_and_their_frames(folder: Path, text: str, expected: tuple[Format, str]) -> None:
    source = read(folder, SOURCE + text + "\n[sink.out]\nblackhole = {}\n").sources["readings"]
    assert (source.format, source.frame.kind) == expected


def test_a_delimiter_and_a_limit(folder: Path) -> None:
    text = SOURCE + 'frame = { delimiter = "\\u0000" }\nframe_max = "64KiB"\n' + SINK
    assert read(folder, text).sources["readings"].frame == Frame("delimiter", b"\0", 65_536)


def test_datagrams_are_messages_already(folder: Path) -> None:
    text = 'version = 1\n[source.a]\nudp = { listen = "9000" }\n' + SINK
    assert read(folder, text).sources["a"].frame.kind == "none"


def test_a_text_template_is_a_sinks_format(folder: Path) -> None:
    text = SOURCE + SINK + 'format = { text = "{word} => {count}" }\n'
    assert read(folder, text).sinks["out"].format == Format(
        "text", {"template": "{word} => {count}"}
    )
    found = fault(folder, SOURCE + 'format = { text = "{word}" }\n' + SINK)
    assert "for sinks" in found.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{ tumbling = "10s" }', Window("tumbling", 10_000_000)),
        ('{ tumbling = "1m", offset = "-5s" }', Window("tumbling", 60_000_000, 0, -5_000_000)),
        ('{ hopping = "10s", every = "1s" }', Window("hopping", 10_000_000, 1_000_000)),
        ("{ global = true }", Window("global")),
        (
            '{ global = true, every = "10s", late_policy = "drop" }',
            Window("global", 0, 10_000_000, 0, "drop"),
        ),
    ],
)
def test_windows(folder: Path, text: str, expected: Window) -> None:
    plan = read(folder, step(f'window = {text}\naggregate = {{ n = "count()" }}'))
    window = plan.steps["one"].operation
    assert isinstance(window, Window)
    found = (window.kind, window.size_us, window.every_us, window.offset_us, window.late_policy)
    wanted = expected
    assert found == (
        wanted.kind, wanted.size_us, wanted.every_us, wanted.offset_us, wanted.late_policy,
    )  # fmt: skip


def test_running_takes_the_aggregates_of_s12(folder: Path) -> None:
    plan = read(folder, step('running = { s = "ema(temp, 0.1)", p = "lag(temp, 2)" }'))
    running = plan.steps["one"].operation
    assert isinstance(running, Running)
    assert running.aggregates["s"].alpha == 0.1
    assert running.aggregates["p"].n == 2


@pytest.mark.parametrize(
    ("text", "mode", "name"),
    [
        ('python = "score.py:score"', "map", "score"),
        ('python = "score.py:Score"', "class", "Score"),
        ('python = { flat_map = "score.py:words" }', "flat_map", "words"),
        ('python = { filter = "score.py:score" }', "filter", "score"),
        ('python = "score.py:total"\nstate = "score.py:State"', "stateful", "total"),
    ],
)
def test_python_steps_and_their_modes(folder: Path, text: str, mode: str, name: str) -> None:
    operation = read(folder, step(text)).steps["one"].operation
    assert isinstance(operation, PythonStep)
    assert (operation.mode, operation.function.reference) == (mode, f"score.py:{name}")
    if mode == "stateful":
        assert isinstance(operation.state, PythonFunction)


def test_no_python_file_is_run_by_reading_a_flow_file(folder: Path) -> None:
    (folder / "loud.py").write_text("raise SystemExit('run')\ndef f(event): return event\n")
    assert read(folder, step('python = "loud.py:f"')).steps["one"].operation is not None


def test_select_as_a_list_keeps_fields_and_a_table_computes_them(folder: Path) -> None:
    kept = read(folder, step('select = ["a b", "c"]')).steps["one"].select
    assert list(kept or ()) == ["a b", "c"]
    computed = read(folder, step('select = { c = "a + 1" }')).steps["one"].select
    assert computed == {"c": parse("a + 1")}


def test_a_key_keeps_its_fields_name_or_is_named_by_its_text(folder: Path) -> None:
    plan = read(folder, step('key_by = ["device", "lower(  kind )"]\nnull_key = true'))
    assert plan.steps["one"].key_names == ("device", "lower(kind)")
    assert plan.steps["one"].null_key


# ---- `from` ----


def test_from_may_be_left_out_where_there_is_one_choice(folder: Path) -> None:
    plan = read(folder, SOURCE + '[step.a]\nwhere = "x > 1"\n[step.b]\nwhere = "x > 2"\n' + SINK)
    assert plan.steps["a"].inputs == ("readings",)
    assert plan.steps["b"].inputs == ("a",)
    assert plan.sinks["out"].inputs == ("b",)
    assert read(folder, SOURCE + SINK).sinks["out"].inputs == ("readings",)


def test_a_list_in_from_merges(folder: Path) -> None:
    text = SOURCE + "[source.b]\nstdin = {}\n"
    plan = read(folder, text + '[sink.out]\nfrom = ["readings", "b"]\nstdout = {}\n')
    assert plan.sinks["out"].inputs == ("readings", "b")


def test_from_lists_the_choices_where_there_are_several(folder: Path) -> None:
    found = fault(folder, SOURCE + "[source.b]\nstdin = {}\n" + SINK)
    assert "readings, b" in found.message and 'from = "readings"' in found.remedy


# ---- variables of the environment ----


def test_variables_are_replaced_inside_text(folder: Path) -> None:
    text = SOURCE.replace("9000", "${PORT}") + '[sink.out]\nfile = { path = "${D:-out}/x" }\n'
    plan = read(folder, text, {"PORT": "7000"})
    assert plan.sources["readings"].options == {"listen": "127.0.0.1:7000"}
    assert plan.sinks["out"].options == {"path": "out/x"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${PORT}", "PORT is not set"),
        ("${PORT:?ask the foreman}", "ask the foreman"),
        ("${PORT", "not closed"),
        ("${1X}", "no name"),
    ],
)
def test_what_is_wrong_with_a_variable_is_said_once(folder: Path, text: str, message: str) -> None:
    found = fault(folder, SOURCE.replace("127.0.0.1:9000", text) + SINK)
    assert message in found.message
    assert shown(found).startswith('"${')


def test_an_empty_variable_counts_as_not_set_where_there_is_a_default(folder: Path) -> None:
    text = SOURCE.replace("9000", "${PORT:-9001}") + SINK
    assert read(folder, text, {"PORT": ""}).sources["readings"].options["listen"].endswith(":9001")


# ---- what is no flow file at all ----


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("version = ", 1, 11),
        ("a = 1\nname = oops\n", 2, 8),
        ("[a\n", 1, 3),
        ("a = 1\na = 2\n", 2, 6),
    ],
)
def test_what_is_not_toml_has_its_place(folder: Path, text: str, line: int, column: int) -> None:
    found = fault(folder, text)
    assert found.message.startswith("not TOML: ")
    assert (found.place.line, found.place.column) == (line, column)


def test_a_text_without_quotes_is_the_usual_mistake(folder: Path) -> None:
    assert fault(folder, "name = monitor\n").remedy == 'a text stands in quotes: "monitor"'


@pytest.mark.parametrize("data", [b"\xff\xfe", b'a = 1\nb = "\xc3"\n'])
def test_what_is_not_utf8_has_its_place(folder: Path, data: bytes) -> None:
    (folder / "x.toml").write_bytes(data)
    with pytest.raises(FlowError, match="not UTF-8"):
        load_file(folder / "x.toml")


def test_brackets_without_end_are_one_message(folder: Path) -> None:
    assert "nested too deeply" in fault(folder, "a = " + "[" * 100_000).message


def test_a_missing_file_is_one_message(folder: Path) -> None:
    with pytest.raises(FlowError, match="there is no such file"):
        load_file(folder / "none.toml")


def test_a_huge_file_is_refused_without_reading_it_all(folder: Path) -> None:
    (folder / "x.toml").write_bytes(b"#" * (2 << 20))
    with pytest.raises(FlowError, match="this is not a flow file"):
        load_file(folder / "x.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sink.out]\nstdout = {}\n[source.a]\nstdin = {}\n", "'version' is missing"),
        ("version = 2\n" + SOURCE.partition("\n")[2] + SINK, "version 2 of the flow file"),
        (SOURCE, "the flow has no sink"),
        ("version = 1\nsource = 3\n" + SINK, "a table was expected"),
        ('version = 1\nname = "a/b"\n' + SOURCE.partition("\n")[2] + SINK, "not a name for a flow"),
    ],
)
def test_faults_of_the_whole_file(folder: Path, text: str, message: str) -> None:
    assert any(message in one.message for one in faults(folder, text))


def test_an_empty_file_is_told_what_it_needs(folder: Path) -> None:
    messages = [one.message for one in faults(folder, "")]
    assert messages == ["'version' is missing", "the flow has no source", "the flow has no sink"]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_damage_to_a_flow_file_ends_in_a_traceback(folder: Path, data: st.DataObject) -> None:
    """Cut, doubled or replaced pieces: a plan or a FlowError, and every fault can be shown."""
    start = data.draw(st.integers(0, len(MONITOR) - 1))
    end = data.draw(st.integers(start, min(len(MONITOR), start + 30)))
    pieces = ["", "1", '"', "'", "[]", "{}", "{ a = 1 }", "true", "\n", "é", MONITOR[start:end] * 2]
    text = MONITOR[:start] + data.draw(st.sampled_from(pieces)) + MONITOR[end:]
    try:
        read(folder, text)
    except FlowError as error:
        assert error.faults and all(fault.render() for fault in error.faults)


# ---- several files, folders, modules ----


def test_a_folder_gives_its_flows_by_name(folder: Path) -> None:
    for name, port in (("b", "9000"), ("a", "9001")):
        (folder / f"{name}.toml").write_text(SOURCE.replace("9000", port) + SINK)
    assert [plan.name for plan in load([folder])] == ["a", "b"]


def test_faults_of_several_files_come_together(folder: Path) -> None:
    (folder / "a.toml").write_text("version = 3\n")
    (folder / "b.toml").write_text("x")
    with pytest.raises(FlowError) as caught:
        load([folder / "a.toml", folder / "b.toml", folder / "c.toml", folder / "d.txt"])
    files = [Path(fault.place.file).name for fault in caught.value.faults]
    assert set(files) == {"a.toml", "b.toml", "c.toml", "d.txt"}


def test_two_flows_of_one_name_are_refused(folder: Path) -> None:
    (folder / "a.toml").write_text('name = "x"\n' + SOURCE + SINK)
    (folder / "b.toml").write_text('name = "x"\n' + SOURCE + SINK)
    with pytest.raises(FlowError, match="a second flow named 'x'"):
        load([folder])


def test_a_module_gives_its_flows_in_order(folder: Path) -> None:
    (folder / "app.py").write_text(
        "from appliance import Flow, stdin, stdout\n"
        "two, one = Flow('two'), Flow('one')\n"
        "for flow in (one, two): flow.source(stdin()).sink(stdout())\n"
    )
    assert [plan.name for plan in load_module(folder / "app.py")] == ["two", "one"]
    assert not any(name == "app" for name in sys.modules)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("x = 1\n", 0, "there is no Flow"),
        ("x = 1\nraise ValueError('no')\n", 2, "ValueError: no"),
        ("import sys\n\nsys.exit(3)\n", 3, "SystemExit: 3"),
        ("def f(:\n", 1, "not Python"),
        ("import nothing_of_this_name\n", 1, "No module named"),
    ],
)
def test_what_a_module_raises_is_a_fault_at_its_line(
    folder: Path, text: str, line: int, message: str
) -> None:
    path = folder / "app.py"
    path.write_text(text)
    with pytest.raises(FlowError) as caught:
        load_module(path)
    (found,) = caught.value.faults
    assert message in found.message and found.place.line == line


def test_loading_stays_cheap() -> None:
    """Start-up has a budget: a flow file brings in no face, no event loop, no Python API."""
    code = (
        "import sys, appliance, appliance.load\n"
        "bad = {'click', 'rich', 'asyncio', 'aiohttp', 'appliance.flow'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(bad)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
