"""Streams that come together (S7, S10, S19): random ones against the oracle, and by hand."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import FlowError
from semantics import strategies
from semantics.compare import assert_agree, by_lane, lines, plan_of
from semantics.strategies import Made, examples


@st.composite
def merging_flows(draw: strategies.Draw) -> Made:
    """Two or three sources of different shapes, and every step reads from several streams."""
    sources: dict[str, Any] = {name: draw(strategies.source_tables()) for name in "ab"}
    steps: dict[str, Any] = {}
    for number in range(draw(st.integers(1, 4))):
        found = strategies.ports(sources, steps)
        table = draw(strategies.step_tables(found, strategies.operations()))
        most = min(3, len(found))
        table["from"] = draw(
            st.lists(st.sampled_from(found), min_size=2, max_size=most, unique=True)
        )
        if strategies.is_fine(sources, {**steps, f"s{number}": table}):
            steps[f"s{number}"] = table
    return Made(sources, steps, draw(strategies.sink_tables(sources, steps)))


@examples(100)
@given(st.data())
def test_merged_streams_are_what_the_oracle_says(data: Any) -> None:
    made = data.draw(merging_flows())
    assert_agree(made.plan, data.draw(strategies.inputs(made.sources)))


# ---- rules ----


def test_s19_records_interleave_as_they_come_and_fields_may_differ() -> None:
    plan = plan_of(
        {"a": {}, "b": {"format": "text"}},
        {"m": {"from": ["a", "b"], "set": {"both": "coalesce(v, line)"}}},
        {"out": {}},
    )
    pieces = [("a", "", lines({"v": 1})), ("b", "", b"x\ny\n"), ("a", "", lines({"w": 2}))]
    outputs, _ = by_lane(plan, pieces)
    assert outputs["out"] == (
        b'{"v":1,"both":1}\n{"line":"x","both":"x"}\n{"line":"y","both":"y"}\n{"w":2,"both":null}\n'
    )


def test_s10_streams_with_the_same_key_stay_keyed_and_others_do_not() -> None:
    steps = {
        "p": {"from": ["a"], "key_by": "k"},
        "q": {"from": ["b"], "key_by": "k"},
        "other": {"from": ["b"], "key_by": "v"},
        "same": {"from": ["p", "q"], "running": {"n": "count()"}},
        "mixed": {"from": ["p", "other"], "running": {"n": "count()"}},
    }
    text = {"format": {"text": "{k}{n}"}}
    sinks = {"same": {"from": "same", **text}, "mixed": {"from": "mixed", **text}}
    plan = plan_of({"a": {}, "b": {}}, steps, sinks)
    pieces = [
        ("a", "", lines({"k": "x"}, {"k": "y"})),
        ("b", "", lines({"k": "x", "v": 1}, {"k": "x", "v": 2})),
    ]
    outputs, _ = by_lane(plan, pieces)
    assert outputs["same"].split() == [b"x1", b"y1", b"x2", b"x3"]
    assert outputs["mixed"].split() == [b"x1", b"y2", b"x3", b"x4"]


def test_s7_the_watermark_of_a_step_is_the_smallest_of_its_inputs() -> None:
    time = {"time": {"field": "ts", "unit": "s"}}
    plan = plan_of(
        {"a": time, "b": time},
        {"w": {"from": ["a", "b"], "window": {"tumbling": "10s"}, "aggregate": {"n": "count()"}}},
        {"w": {"from": "w", "format": {"text": "{window_start} {n}"}}, "late": {"from": "w.late"}},
    )
    pieces = [
        ("a", "", lines({"ts": 1})),
        ("b", "", lines({"ts": 1})),
        ("a", "", lines({"ts": 99})),
        ("b", "", lines({"ts": 9})),
    ]
    outcome = assert_agree(plan, pieces)
    assert outcome.output("w") == b"0 3\n90 1\n"
    assert outcome.output("late") == b""


def test_s9_the_same_windows_whichever_of_two_sources_is_ahead() -> None:
    """Not which, only when: the content of windows does not depend on how inputs interleave."""
    time = {"time": {"field": "ts", "unit": "s", "late": "3s"}}
    plan = plan_of(
        {"a": time, "b": time},
        {"w": {"from": ["a", "b"], "key_by": "k", "window": {"hopping": "10s", "every": "5s"},
               "aggregate": {"n": "count()", "s": "sum(v)"}}},
        {"w": {"from": "w"}},
    )  # fmt: skip
    first = ("a", "", lines({"k": 1, "v": 1, "ts": 0})), ("b", "", lines({"k": 1, "v": 2, "ts": 0}))
    a = ("a", "", lines(*({"k": n % 3, "v": 0.1 * n, "ts": n} for n in range(40))))
    b = ("b", "", lines(*({"k": n % 2, "v": 1e9 / (n + 1), "ts": n * 2} for n in range(30))))
    one = sorted(by_lane(plan, [*first, a, b])[0]["w"].splitlines())
    other = sorted(by_lane(plan, [*first, b, a])[0]["w"].splitlines())
    assert one == other and len(one) > 20


def test_a_step_cannot_read_from_itself() -> None:
    try:
        plan_of({"a": {}}, {"s": {"from": ["a", "s"]}}, {"out": {}})
    except FlowError as error:
        assert "goes round" in str(error)
    else:
        raise AssertionError("a cycle went through")
