"""Flow files that are wrong: each fault at its place, with its cause and its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.plan.read_step import LATER_OPERATIONS
from unit.flows import SINK, SOURCE, fault, faults, shown


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "score.py").write_text(
        "class Score:\n    def on_event(self, event): return event\n"
        "def score(event): return event\n"
        "def words(event): yield 1\n"
        "def total(state, event): return state\n"
        "async def later(event): return event\n"
        "class State: pass\n"
        "class Plain:\n    def __init__(self, a): self.a = a\n"
        "@dataclass\nclass Made:\n    n: int = 0\n"
        "    def open(self, positions): pass\n    def read(self, limit): pass\n"
    )
    return tmp_path


def step(text: str) -> str:
    """A flow with one step of this text."""
    return f"{SOURCE}[step.one]\n{text}\n{SINK}"


@pytest.mark.parametrize(
    ("text", "word", "message", "remedy"),
    [
        ('whre = "a > 1"', "whre", "unknown key 'whre'", "did you mean 'where'?"),
        ('where = "a = 1"', "=", "sets nothing", "write =="),
        ("where = 'a >'", "", "no expression", ""),
        ("where = 12.5", "12.5", "an expression", ""),
        ('where = "temp"\nset = ["a"]', "[", "a table was expected", "write set"),
        ('drop = "a b"\nselect = "c"', '"c"', "a list or a table", 'select = ["c"]'),
        ('key_by = ["a", "b", "a"]', '"a"]', "twice", ""),
        ("key_by = []", "[]", "the list is empty", ""),
        ('window = { tumbling = "10s" }', "window", "has no result", "count()"),
        ('aggregate = { n = "count()" }', "aggregate", "no window", ""),
        ('having = "n > 1"', "having", "nothing in this step", "`where`"),
        ('running = { n = "cuont()" }', "cuont()", "no aggregate cuont", "count()"),
        ('null_key = "yes"', '"yes"', "true or false", ""),
        ('state = "score.py:State"', "state", "no python function", ""),
    ],
)
def test_a_fault_of_a_step_stands_at_its_place(
    folder: Path, text: str, word: str, message: str, remedy: str
) -> None:
    found = fault(folder, step(text))
    assert message in found.message
    assert remedy in found.remedy
    assert shown(found).startswith(word)


@pytest.mark.parametrize(
    ("connector", "delivery", "message"),
    [
        ('tcp = { connect = "h:1" }', "exactly_once", "the other side keeps no numbers"),
        ('upstream = { to = "127.0.0.1:1" }', "immediate", "needs the numbers that results get"),
    ],
)
def test_a_delivery_that_cannot_be_is_a_fault(
    folder: Path, connector: str, delivery: str, message: str
) -> None:
    found = fault(folder, f'{SOURCE}[sink.out]\n{connector}\ndelivery = "{delivery}"\n')
    assert message in found.message
    assert shown(found).startswith(f'"{delivery}"')


def window(text: str) -> str:
    return step(f'window = {{ {text} }}\naggregate = {{ n = "count()" }}')


@pytest.mark.parametrize(
    ("text", "word", "message"),
    [
        ("tumbling = 10", "10", "a duration such as"),
        ('tumbling = "10 sec"', '"10', "is not a duration"),
        ('tumbling = "0s"', '"0s"', "too short"),
        ('hopping = "10s"', "window", "hopping needs 'every'"),
        ('tumbling = "10s", every = "1s"', "every", "not for tumbling"),
        ('hopping = "30d", every = "1s"', '"1s"', "2592000 windows"),
        ('tumbling = "1s", hopping = "2s", every = "1s"', "hopping", "either"),
        ("global = false", "false", "only true"),
        ('global = true, offset = "1s"', "offset", "no start to move"),
        ('tumblin = "10s"', "window", "kind is missing"),
        ('tumbling = "10s", late_policy = "keep"', '"keep"', "is not one of"),
    ],
)
def test_a_fault_of_a_window_stands_at_its_place(
    folder: Path, text: str, word: str, message: str
) -> None:
    found = faults(folder, window(text))
    assert any(message in one.message and shown(one).startswith(word) for one in found)


@pytest.mark.parametrize("key", LATER_OPERATIONS)
def test_steps_of_later_versions_are_named_plainly(folder: Path, key: str) -> None:
    found = fault(folder, step(f'{key} = {{ on = "id" }}'))
    assert found.message == f"{key!r} steps are not available in this version"
    assert shown(found) == key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('session = "30s", max = "1h"', "'session' windows are not available in this version"),
        ("count = 100, every = 100", "'count' windows are not available in this version"),
        ('trailing = "10s"', "'trailing' windows are not available in this version"),
        ("when = 'a == 1'", "'when' windows are not available in this version"),
        ('tumbling = "1s", early = "1s"', "'early' is not available in this version"),
        ('tumbling = "1s", late_policy = "refire"', "'refire' is not available in this version"),
    ],
)
def test_windows_of_later_versions_are_named_plainly(folder: Path, text: str, message: str) -> None:
    assert message in [one.message for one in faults(folder, window(text))]


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("[source.x]\nmqtt = { url = 'x' }", "'mqtt' connector is not available"),
        ("[source.x]\nstdout = { }", "'stdout' can only be a sink"),
        ("[source.x]\ntpc = { listen = '1' }", "unknown key 'tpc'"),
        ("[source.x]", "has nothing to connect to"),
        ("[source.x]\nstdin = { }\ntcp = { listen = '1' }", "exactly one connector"),
        ("[source.x]\nstdin = true", "a table was expected"),
        ("[source.x]\ntcp = { listen = 9000 }", "listen: "),
        ("[source.x]\ntcp = { lisen = '9000' }", "unknown key 'lisen'"),
        ("[source.x]\nfile = { }", "path"),
        ("[source.x]\nstdin = { }\nformat = 'jsn'", "unknown format"),
        ("[source.x]\nstdin = { }\nformat = 'binary'", "binary needs its fields"),
        ("[source.x]\nstdin = { }\nformat = { python = 'a.py:f' }", "'python' formats are not"),
        ("[source.x]\nstdin = { }\nframe = 'u16'", "is not a frame"),
        ("[source.x]\nstdin = { }\ntime = 'ts'", "not a way to tell the time"),
        ("[source.x]\nstdin = { }\ntime = { field = 'ts' }", "'unit' is missing"),
        ("[source.x]\nstdin = { }\ntime = { unit = 'ms' }", "a unit without a field"),
        ("[source.x]\nstdin = { }\nschema = { a = 'number' }", "is not a type"),
        ("[source.x]\nconnector = { host = 'x' }", "'path' is missing"),
        ("[source.x]\nconnector = { path = 'none.py:X' }", "cannot be read"),
        ("[source.x]\nconnector = { path = 'score.py:score' }", "a connector is a class"),
        ("[source.x]\nconnector = { path = 'score.py:Made', a = 1 }", "has no field 'a'"),
        ("[source.x]\nconnector = { path = 'score.py:Made' }", "Made has no close()"),
        ("[source.x]\nconnector = { path = 'score.py:Plain' }", "Plain is a plain class, no conn"),
        ("[source.Xa]\nstdin = { }", "is not a name"),
        ("[source.errors]\nstdin = { }", "is reserved"),
        ("[source.x]\nstdin = { }\n[step.x]\nfrom = 'x'", "the name of a source too"),
        (
            "[source.x]\nstdin = { }\n[sink.y]\nfrom='x'\nstdout={}\ndelivery='exactly_once'",
            "exact",
        ),
    ],
)
def test_faults_of_sources_and_sinks(folder: Path, end: str, message: str) -> None:
    found = faults(folder, SOURCE + '[sink.out]\nfrom = "readings"\nstdout = { }\n' + end + "\n")
    assert any(message in one.message for one in found), [one.message for one in found]
    assert all(one.place.line > 0 and one.place.column > 0 for one in found)


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ('python = "scor.py:f"', "scor.py cannot be read: No such file", ""),
        ('python = "score.py:scorre"', "has no 'scorre'", "did you mean 'score'?"),
        ('python = "score.py"', "is not FILE.py:NAME", ""),
        ('python = "score.py:State"', "no method on_event", ""),
        ('python = "score.py:later"', "is async", ""),
        ('python = "score.py:total"', "cannot be called as total(event)", ""),
        ('python = "score.py:score"\nstate = "score.py:State"', "score(state, event)", ""),
        ('python = "score.py:total"\nstate = "score.py:score"', "cannot be called as score()", ""),
        ('python = { mpa = "score.py:score" }', "unknown mode 'mpa'", "did you mean 'map'?"),
        ("python = 3", "a text such as", ""),
    ],
)
def test_python_files_are_looked_at(folder: Path, text: str, message: str, remedy: str) -> None:
    found = fault(folder, step(text))
    assert message in found.message and remedy in found.remedy


def test_a_syntax_error_is_said_at_its_line_in_the_python_file(folder: Path) -> None:
    (folder / "broken.py").write_text("x = 1\ndef f(event)\n    return event\n")
    found = fault(folder, step('python = "broken.py:f"'))
    assert found.place.file.endswith("broken.py") and found.place.line == 2
    assert "not Python" in found.message


def test_all_faults_come_at_once_and_by_line(folder: Path) -> None:
    text = SOURCE + '[step.a]\nwhere = "x +"\nfoo = 1\n[step.b]\nfrom = "c"\n[sink.out]\nx = 1\n'
    found = faults(folder, text)
    lines = [one.place.line for one in found]
    assert len(found) == 4 and lines == sorted(lines)


def test_a_caret_points_into_an_expression(folder: Path) -> None:
    found = fault(folder, step("where = 'temp > 15 and staus(x)'"))
    assert shown(found).startswith("staus")
    assert found.render().splitlines()[2].index("^") == found.place.column + 3


@pytest.mark.parametrize(
    ("source", "word", "message"),
    [
        ("tcp = { listen = '1:70000' }", "'1:70000'", "tcp: listen: '1:70000' is not an address"),
        ("udp = { listen = 'here' }", "'here'", "udp: listen: 'here' is not an address"),
        ("generate = { fields = { a = 'counter()', b = 'cuonter()' } }", "'cuonter()'", "b: there"),
        ("generate = { fields = { a = 'counter()' }, count = -1 }", "generate", "count is -1"),
    ],
)
def test_a_wrong_option_of_a_connector_is_pointed_at(
    folder: Path, source: str, word: str, message: str
) -> None:
    found = fault(folder, f"version = 1\n[source.a]\n{source}\n{SINK}")
    assert message in found.message
    assert shown(found).lstrip().startswith(word)


@pytest.mark.parametrize("before", [0, 3, 40, 400])
@pytest.mark.parametrize("after", [0, 40, 400])
def test_of_a_long_line_the_part_around_the_caret_is_shown(
    folder: Path, before: int, after: int
) -> None:
    good = ", ".join(f'a{n} = "{n}"' for n in range(before))
    more = "".join(f', b{n} = "{n}"' for n in range(after))
    found = fault(folder, step(f'set = {{\t{good}{", " * bool(good)}x = "staus(y)"{more} }}'))
    _, line, caret, *_ = found.render().splitlines()
    assert len(line) <= 4 + 1 + 120 + 1
    assert line[caret.index("^") :].startswith("staus(y)"[: len(line) - caret.index("^")])
    assert ("…" in line[4:5]) == (before > 3)
    assert line.endswith("…") == (after > 0)


def test_an_expression_over_several_lines_is_quoted(folder: Path) -> None:
    found = fault(folder, step('where = """\nx > 1 and\ny ! 2"""'))
    assert "y ! 2" in found.message
    assert found.place.line == 5


def test_an_id_is_a_field_that_there_is(folder: Path) -> None:
    declared = 'schema = { number = "int" }\nid = "numbr"'
    found = fault(folder, SOURCE + declared + "\n" + SINK)
    assert found.message == "id: 'readings' has no field 'numbr'"
    assert "number" in found.remedy


def test_how_long_an_id_is_known_needs_an_id(folder: Path) -> None:
    found = fault(folder, SOURCE + 'id_within = "1h"\n' + SINK)
    assert found.message == "id_within: there is no id"


def test_a_flow_has_a_least_memory(folder: Path) -> None:
    found = fault(folder, SOURCE + '[settings]\nmemory = "64KiB"\n' + SINK)
    assert found.message == 'memory: "64KiB" is too small; at least 1MiB'
