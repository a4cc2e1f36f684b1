"""Flows under test: a list in, a run, bytes out, on a clock of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.load import load_file
from appliance.plan.logical import Plan
from appliance.testing import LaneRun, run_flow

FLOW = """
version = 1
[source.left]
stdin = {}
time = { field = "ts", unit = "ms", idle = "10s" }
[source.right]
tcp = { listen = "127.0.0.1:0" }
time = { field = "ts", unit = "ms", idle = "10s" }
[step.all]
from = ["left", "right"]
window = { tumbling = "10s" }
aggregate = { n = "count()" }
[sink.out]
file = { path = "never-opened.json" }
[sink.bad]
from = "errors"
stdout = {}
format = { text = "{source} {position}" }
"""

WINDOW = b'{"window_start":%d,"window_end":%d,"n":%d}\n'


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "flow.toml").write_text(FLOW)
    return load_file(tmp_path / "flow.toml")


def test_what_goes_in_comes_out_wherever_it_is_cut(plan: Plan, tmp_path: Path) -> None:
    """S9: chunk boundaries change nothing."""
    left = b'{"ts":1000}\n{"ts":12000}\n'
    expected = WINDOW % (0, 10000, 1) + WINDOW % (10000, 20000, 1)
    for cut in range(len(left)):
        found = run_flow(plan, {"left": [left[:cut], left[cut:]]})
        assert found == {"out": expected, "bad": b""}
    assert not (tmp_path / "never-opened.json").exists()


def test_sources_take_turns_and_partitions_have_names(plan: Plan) -> None:
    found = run_flow(
        plan,
        {"left": [b'{"ts":1000}\n'], "right": [("a", b'{"ts":2000}\n'), ("b", b'{"ts":3000}\n')]},
    )
    assert found["out"] == WINDOW % (0, 10000, 3)


def test_errors_reach_their_sink(plan: Plan) -> None:
    assert run_flow(plan, {"left": [b"nonsense\n"]})["bad"] == b"left 0\n"


def test_the_clock_is_the_tests(plan: Plan) -> None:
    """S7: an input asked for ten seconds without an answer is left out, and the other goes on."""
    with LaneRun(plan) as run:
        run.feed("left", b'{"ts":1000}\n{"ts":12000}\n')
        assert run.output("out") == b""
        run.advance(9_000_000)
        assert run.output("out") == b""
        run.advance(60_000_000)
        run.advance(60_000_000)
        assert run.finish()["out"].startswith(WINDOW % (0, 10000, 1))


def test_an_unknown_source_is_the_tests_mistake(plan: Plan) -> None:
    with pytest.raises(ValueError, match="has no source middle"):
        run_flow(plan, {"middle": []})
