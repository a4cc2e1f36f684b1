"""What is decidable on a plan alone: cycles, inputs, fields, conditions, keys; and the notes."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.plan.check import check, notes
from appliance.plan.check_fields import template_fields
from appliance.plan.logical import Format, Plan, Settings, Sink, Source, Step
from appliance.plan.shape import Shapes, in_order
from unit.flows import SINK, SOURCE, fault, faults, read, shown

CLOSED = SOURCE + 'schema = { device = "str", temp = "float", ok = "bool", tags = "list" }\n'


def step(text: str, source: str = CLOSED, sink: str = SINK) -> str:
    return f"{source}[step.one]\n{text}\n{sink}"


# ---- graph ----


def test_a_cycle_is_told_once_in_the_direction_of_the_flow(tmp_path: Path) -> None:
    text = SOURCE + '[step.a]\nfrom = ["c", "readings"]\n[step.b]\n[step.c]\n' + SINK
    found = fault(tmp_path, text)
    assert found.message == "the flow goes round: a → b → c → a"
    assert shown(found) == "a]"


def test_a_step_that_reads_itself_is_a_cycle(tmp_path: Path) -> None:
    found = fault(tmp_path, SOURCE + '[step.a]\nfrom = ["readings", "a"]\n' + SINK)
    assert found.message == "the flow goes round: a → a"


def test_late_records_can_close_a_cycle_too(tmp_path: Path) -> None:
    text = step('from = ["readings", "one.late"]\nwindow = { tumbling = "1s" }\n'
                'aggregate = { n = "count()" }', SOURCE)  # fmt: skip
    assert "goes round" in fault(tmp_path, text).message


@pytest.mark.parametrize(
    ("name", "message", "remedy"),
    [
        ("reading", "no source or step named 'reading'", "did you mean 'readings'?"),
        ("nowhere", "no source or step named", "known here: readings, one, errors"),
        ("one.late", "has no late records", ""),
        ("one.early", "has no output 'early'", 'write "one"'),
        ("out", "is a sink", ""),
    ],
)
def test_an_input_that_cannot_be(tmp_path: Path, name: str, message: str, remedy: str) -> None:
    sink = f'[sink.out]\nfrom = "{name}"\nstdout = {{}}\n'
    found = fault(tmp_path, step('where = "ok"', sink=sink))
    assert message in found.message and remedy in found.remedy
    assert shown(found) == f'{name}"'


def test_an_input_in_a_list_has_its_own_place(tmp_path: Path) -> None:
    text = SOURCE + '[sink.out]\nfrom = [\n  "readings",\n  "reedings",\n]\nstdout = {}\n'
    found = fault(tmp_path, text)
    assert (found.place.line, found.place.column) == (7, 4)


def test_late_records_that_are_dropped_cannot_be_read(tmp_path: Path) -> None:
    text = step('window = { tumbling = "1s", late_policy = "drop" }\naggregate = { n = "count()" }',
                sink='[sink.out]\nfrom = "one.late"\nstdout = {}\n')  # fmt: skip
    assert "drops its late records" in fault(tmp_path, text).message


def test_steps_are_put_behind_what_they_read(tmp_path: Path) -> None:
    text = SOURCE + '[step.b]\nfrom = "a"\n[step.a]\nfrom = "readings"\n[sink.out]\nfrom = "b"\n'
    assert in_order(read(tmp_path, text + "stdout = {}\n")) == ["a", "b"]


# ---- fields ----


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('where = "tmp > 15"', "tmp"),
        ('set = { a = "temp + tmp" }', "tmp"),
        ('select = ["device", "tmp"]', 'tmp"]'),
        ('select = { a = "tmp" }', "tmp"),
        ('drop = ["tmp"]', 'tmp"]'),
        ('each = "tmp"', "tmp"),
        ('key_by = ["device", "lower(tmp)"]', "lower(tmp)"),
        ('running = { m = "mean(tmp)" }', "tmp"),
        ('window = { tumbling = "1s" }\naggregate = { m = "mean(temp, where = tmp)" }', "tmp"),
    ],
)
def test_a_field_that_a_closed_record_has_not(tmp_path: Path, text: str, word: str) -> None:
    found = fault(tmp_path, step(text))
    assert found.message == "there is no field 'tmp' here"
    assert found.remedy == "did you mean 'temp'?"
    assert found.place.text[found.place.column - 1 :].startswith(("tmp", word))


def test_an_open_record_may_have_any_field(tmp_path: Path) -> None:
    assert read(tmp_path, step('where = "anything > 1"\nkey_by = "other"', SOURCE))


def test_a_dropped_field_is_gone_and_it_is_said_who_dropped_it(tmp_path: Path) -> None:
    text = SOURCE + '[step.a]\ndrop = ["x"]\n[step.b]\nwhere = "x > 1"\n' + SINK
    assert fault(tmp_path, text).message == "the field 'x' is gone: step 'a' dropped it"


def test_a_dropped_field_can_be_set_again(tmp_path: Path) -> None:
    text = SOURCE + '[step.a]\ndrop = ["x"]\n[step.b]\nset = { x = "1" }\n'
    assert read(tmp_path, text + '[step.c]\nwhere = "x > 1"\n' + SINK)


def test_a_field_is_missing_for_sure_only_if_every_input_lacks_it(tmp_path: Path) -> None:
    text = SOURCE + '[step.a]\nselect = ["x"]\n[step.b]\nfrom = "readings"\nselect = ["y"]\n'
    merged = '[step.c]\nfrom = ["a", "b"]\nwhere = "x > y"\n'
    assert read(tmp_path, text + merged + SINK)
    found = fault(tmp_path, text + merged.replace("x > y", "x > z") + SINK)
    assert found.message == "there is no field 'z' here"


def test_a_windows_result_is_its_key_its_times_and_its_aggregates(tmp_path: Path) -> None:
    text = ('key_by = ["device", "lower(device)"]\nwindow = { tumbling = "1s" }\n'
            'aggregate = { n = "count()" }')  # fmt: skip
    plan = read(tmp_path, step(text))
    fields = Shapes(plan).output("one").fields
    assert fields == ("device", "lower(device)", "window_start", "window_end", "n")
    assert (
        "there is no field 'temp' here"
        in fault(tmp_path, step(text + '\nhaving = "temp > 1"')).message
    )


def test_running_keeps_the_record_and_adds_to_it(tmp_path: Path) -> None:
    plan = read(tmp_path, step('running = { n = "count()" }\nhaving = "n > 1 and temp > 1"'))
    assert Shapes(plan).output("one").fields == ("device", "temp", "ok", "tags", "n")


def test_select_and_set_together_give_both(tmp_path: Path) -> None:
    plan = read(tmp_path, step('select = ["device", "f"]\nset = { f = "temp * 2", g = "1" }'))
    assert Shapes(plan).output("one").fields == ("device", "f", "g")


def test_what_a_python_function_returns_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text("def f(event): return event\n")
    assert read(tmp_path, step('python = "f.py:f"\nhaving = "anything > 1"'))
    kept = step('python = { filter = "f.py:f" }\nhaving = "anything > 1"')
    assert "there is no field 'anything' here" in fault(tmp_path, kept).message


def test_metadata_is_there_until_a_window(tmp_path: Path) -> None:
    assert read(tmp_path, step('set = { from_where = "_source" }'))
    text = ('window = { tumbling = "1s" }\naggregate = { n = "count()" }\n'
            'having = "_source == 1"')  # fmt: skip
    assert "'_source'" in fault(tmp_path, step(text)).message


def test_the_fields_of_the_error_output_are_known(tmp_path: Path) -> None:
    sink = '[sink.out]\nfrom = "errors"\nwhere = "reasn == \'decode\'"\nstdout = {}\n'
    assert fault(tmp_path, SOURCE + sink).remedy == "did you mean 'reason'?"


def test_a_removed_key_field_ends_the_key(tmp_path: Path) -> None:
    """S10: after it, a window is one for all."""
    text = SOURCE + '[step.a]\nkey_by = "device"\n[step.b]\n{}\n[step.c]\n' + (
        'window = { tumbling = "1s" }\naggregate = { n = "count()" }\n') + SINK  # fmt: skip
    kept = read(tmp_path, text.replace("{}", 'drop = ["other"]', 1))
    assert Shapes(kept).output("c").fields[0] == "device"
    gone = read(tmp_path, text.replace("{}", 'drop = ["device"]', 1))
    assert Shapes(gone).output("c").fields == ("window_start", "window_end", "n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('format = { text = "{device} {tmp}" }', "no field 'tmp'"),
        ("format = 'text'", "no field 'line'"),
        ("format = 'raw'", "no field 'data'"),
        ("format = { csv = { columns = ['tmp'] } }", "no field 'tmp'"),
        ("format = { binary = { fields = { tmp = 'f64' } } }", "no field 'tmp'"),
        ("where = 'tmp > 1'", "no field 'tmp'"),
    ],
)
def test_a_sink_writes_only_what_there_is(tmp_path: Path, text: str, message: str) -> None:
    assert message in fault(tmp_path, CLOSED + SINK + text + "\n").message


def test_csv_needs_its_columns_to_be_known(tmp_path: Path) -> None:
    assert read(tmp_path, CLOSED + SINK + 'format = "csv"\n')
    found = fault(tmp_path, SOURCE + SINK + 'format = "csv"\n')
    assert "which columns" in found.message


def test_the_fields_of_a_template() -> None:
    assert template_fields("{a} {{b}} {c d}{a}") == ("a", "c d")


# ---- times ----


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time = { field = 'tss', unit = 'ms' }\nschema = { ts = 'int' }", "has no field 'tss'"),
        ("time = { field = 'ts', unit = 'ms' }\nschema = { ts = 'str' }", "is declared str"),
        ("time = { field = 'ts', unit = 'rfc3339' }\nschema = { ts = 'int' }", "needs str"),
        (
            "time = { field = 'b', unit = 's' }\nformat = { csv = { columns = ['a'] } }",
            "csv format",
        ),
        (
            "time = { field = 'a', unit = 's' }\nformat = { binary = { fields = { a = 's4' } } }",
            "str",
        ),
        ("schema = { b = 'int' }\nformat = { csv = { columns = ['a'] } }", "no field 'b'"),
    ],
)
def test_a_time_field_fits_what_is_declared(tmp_path: Path, text: str, message: str) -> None:
    found = faults(tmp_path, SOURCE + text + "\n[sink.out]\nblackhole = {}\n")
    assert len(found) == 1 and message in found[0].message


# ---- conditions and keys ----


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("temp", "'temp' is a float"),
        ("temp + 1", "this is a number"),
        ("'yes'", "this is a text"),
        ("ok and device", "'device' is a text"),
        ("not len(device)", "this is an int"),
        ("ok if temp > 1 else 5", "this is an int"),
        ("lower(device)", "this is a text"),
        ("[ok]", "this is a list"),
    ],
)
def test_what_can_never_be_a_condition(tmp_path: Path, condition: str, said: str) -> None:
    found = fault(tmp_path, step(f'where = "{condition}"'))
    assert said in found.message


@pytest.mark.parametrize(
    "condition", ["ok", "null_or(ok)", "temp > 1", "coalesce(ok, False)", "None", "True", "tags[0]"]
)
def test_what_may_be_a_condition_is_let_through(tmp_path: Path, condition: str) -> None:
    if condition.startswith("null_or"):
        condition = "is_null(ok) or ok"
    assert read(tmp_path, step(f'where = "{condition}"'))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('key_by = "1"', "a constant is no key"),
        ('key_by = "tags"', "a list cannot be a key"),
        ("null_key = true", "beside the key_by"),
        ('each = "temp"', "needs a list"),
        ('key_by = "device"\nrunning = { device = "count()" }', "is a key field"),
        ('key_by = "device"\nwindow = { tumbling = "1s" }\naggregate = { device = "count()" }',
         "the key has a field 'device' already"),
        ('window = { tumbling = "1s" }\naggregate = { window_end = "count()" }',
         "the window has a field"),
        ('set = { window_start = "1" }\nkey_by = "window_start"\nwindow = { tumbling = "1s" }\n'
         'aggregate = { n = "count()" }', "has the name of one of the window's"),
    ],
)  # fmt: skip
def test_faults_of_keys_and_names(tmp_path: Path, text: str, message: str) -> None:
    assert message in fault(tmp_path, step(text)).message


def test_nothing_is_concluded_from_a_broken_step(tmp_path: Path) -> None:
    text = CLOSED + '[step.a]\nselect = { x = "temp +" }\n[step.b]\nwhere = "temp > 1"\n'
    found = faults(tmp_path, text + '[sink.out]\nfrom = ["b", "a.late"]\nstdout = {}\n')
    assert len(found) == 1


# ---- plans that were not written in a file ----


def test_a_plan_without_places_is_checked_too() -> None:
    source = Source("s", "stdin", {})
    plan = Plan("p", Settings(), {"s": source}, {"a": Step("a", ("b",))}, {})
    assert {fault.message for fault in check(plan)} == {
        "the flow has no sink",
        "there is no source or step named 'b'",
    }
    sink = Sink("out", ("a",), "stdout", {}, format=Format("json"))
    fine = Plan("p", Settings(), {"s": source}, {"a": Step("a", ("s",))}, {"out": sink})
    assert check(fine) == []


# ---- notes ----


def test_a_window_over_arrival_time_is_worth_saying(tmp_path: Path) -> None:
    text = 'window = { tumbling = "1s" }\naggregate = { n = "count()" }'
    said = notes(read(tmp_path, step(text)))
    assert said == [
        "step one: the window goes by the time of arrival, because source readings declares no "
        "time field"
    ]
    timed = SOURCE + 'time = { field = "ts", unit = "ms" }\n'
    assert notes(read(tmp_path, step(text, timed))) == []


@pytest.mark.parametrize(
    ("source", "text", "sensitive"),
    [
        ('tcp = { listen = "1" }', 'running = { n = "count()" }', True),
        ('tcp = { connect = "1" }', 'running = { n = "count()" }', False),
        ("stdin = {}", 'running = { n = "count()" }', False),
        ('file = { glob = "*" }', 'running = { n = "count()" }', True),
        ('tcp = { listen = "1" }', 'set = { a = "1" }', False),
        (
            'tcp = { listen = "1" }',
            'window = { global = true }\naggregate = { n = "count()" }',
            True,
        ),
    ],
)
def test_s9_order_sensitive_steps_behind_several_partitions(
    tmp_path: Path, source: str, text: str, sensitive: bool
) -> None:
    plan = read(tmp_path, step(text, f"version = 1\n[source.s]\n{source}\n"))
    assert any("order of records" in line for line in notes(plan)) == sensitive


def test_two_sources_before_an_order_sensitive_step(tmp_path: Path) -> None:
    source = "version = 1\n[source.a]\nstdin = {}\n[source.b]\nfile = { path = 'x' }\n"
    text = step('from = ["a", "b"]\nrunning = { n = "count()" }', source)
    assert "sources a and b may bring" in notes(read(tmp_path, text))[0]


def test_what_nobody_reads_is_worth_saying(tmp_path: Path) -> None:
    text = SOURCE + '[source.b]\nstdin = {}\n[step.x]\nfrom = "readings"\n[sink.out]\n'
    said = notes(read(tmp_path, text + 'from = "readings"\nstdout = {}\n'))
    assert said == ["source b: nothing reads from it", "step x: nothing reads from it"]


def test_sources_with_different_units_are_worth_saying(tmp_path: Path) -> None:
    source = SOURCE + 'time = { field = "ts", unit = "ms" }\n[source.b]\nstdin = {}\n'
    source += 'time = { field = "ts", unit = "s" }\n'
    text = 'from = ["readings", "b"]\nwindow = { tumbling = "1s" }\naggregate = { n = "count()" }'
    assert "different units" in notes(read(tmp_path, step(text, source)))[0]
