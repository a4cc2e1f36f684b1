"""Python steps: random ones against the oracle, and the rules one by one (S3, S11)."""

from __future__ import annotations

import csv
import io
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.plan.logical import Plan
from appliance.testing import LaneRun, run_flow
from semantics import strategies
from semantics.compare import assert_agree, lines, plan_of
from semantics.functions import STEPS, Silence, function
from semantics.strategies import examples

OPERATIONS = st.one_of(st.sampled_from(STEPS), st.sampled_from(STEPS), strategies.window_tables())


@examples(100)
@given(st.data())
def test_python_steps_do_what_the_oracle_does(data: Any) -> None:
    made = data.draw(strategies.flows(OPERATIONS, steps_max=3))
    assert_agree(made.plan, data.draw(strategies.inputs(made.sources)))


# ---- rules ----


def step_plan(target: Any, **step: Any) -> Plan:
    table = {"python": function(target), **step}
    if isinstance(table.get("state"), type):
        table["state"] = function(table["state"])
    source = {"time": {"field": "ts", "unit": "s", "idle": "never"}}
    return plan_of({"a": source}, {"p": table}, {"out": {}, "bad": {"from": "errors"}})


def given_back(target: Any, *records: Any, **step: Any) -> list[Any]:
    """What comes out for these records: as the oracle says, too."""
    full = [{"ts": number, **one} for number, one in enumerate(records)]
    outcome = assert_agree(step_plan(target, **step), [("a", "", lines(*full))])
    return [json.loads(line) for line in outcome.sinks["out"]]


class Point(NamedTuple):
    x: int
    y: Any


@dataclass
class Place:
    name: str
    points: list[Point] = field(default_factory=list)


class Struct(msgspec.Struct):
    a: int
    b: str | None = None


def generated() -> Iterator[Any]:
    yield {"a": 1}
    yield None
    yield 2


@pytest.mark.parametrize(
    ("returned", "records"),
    [
        (None, []),
        ([], []),
        ([None, {"a": 1}], [{"a": 1}]),
        (generated, [{"a": 1}, {"value": 2}]),
        (3.5, [{"value": 3.5}]),
        ("text", [{"value": "text"}]),
        (True, [{"value": True}]),
        (b"\x00\xff", [{"value": "AP8="}]),
        ((1, "b"), [{"value": [1, "b"]}]),
        (Point(1, None), [{"x": 1, "y": None}]),
        (Place("p", [Point(1, 2)]), [{"name": "p", "points": [{"x": 1, "y": 2}]}]),
        (Struct(1), [{"a": 1, "b": None}]),
        (datetime(1970, 1, 2, tzinfo=UTC), [{"value": 86400}]),
        (datetime(1970, 1, 2, 1, tzinfo=timezone(timedelta(hours=1))), [{"value": 86400}]),
        (datetime(1970, 1, 2), [{"value": 86400}]),
        ({"a": {"b": [1, (2, None)]}}, [{"a": {"b": [1, [2, None]]}}]),
    ],
)
def test_s11_what_is_returned_is_emitted(returned: Any, records: list[Any]) -> None:
    def give(event: Any) -> Any:
        return returned() if returned is generated else returned

    assert given_back(give, {}) == records


@pytest.mark.parametrize(
    "returned", [{1, 2}, object(), {"a": 2**63}, {1: 2}, {"a": object()}, 2**70, {"a": {1: 2}}]
)
def test_s3_what_cannot_be_a_record_is_that_records_error(returned: Any) -> None:
    def give(event: Any) -> Any:
        return returned if event.ts == 0 else {"fine": 1}

    outcome = assert_agree(step_plan(give), [("a", "", lines({"ts": 0}, {"ts": 1}))])
    assert outcome.output("out") == b'{"fine":1}\n'
    assert outcome.errors["p", "a", "python"] == 1


def test_s3_what_was_emitted_before_an_error_stays() -> None:
    def halves(event: Any) -> Iterator[Any]:
        yield {"n": 1}
        yield {"n": 1 / event.v}

    assert given_back(halves, {"v": 0}, {"v": 4}) == [{"n": 1}, {"n": 1}, {"n": 0.25}]


def test_s3_a_change_of_state_before_an_error_stays() -> None:
    @dataclass
    class Total:
        n: int = 0

    def count(state: Any, event: Any) -> Any:
        state.n += 1
        return {"n": state.n, "half": 1 / event.v}

    found = given_back(count, {"v": 1}, {"v": 0}, {"v": 1}, state=Total)
    assert [one["n"] for one in found] == [1, 3]


def test_s11_each_key_has_a_state_of_its_own() -> None:
    def remember(state: Any, event: Any) -> Any:
        state.append(event.v)
        return {"k": event.k, "all": state}

    records = [{"k": k, "v": v} for v, k in enumerate(["a", "b", "a", 1, 1.0, "1"])]
    found = given_back(remember, *records, key_by="k", state=list)
    assert [one["all"] for one in found] == [[0], [1], [0, 2], [3], [3, 4], [5]]


def test_s11_a_generator_runs_to_its_end_before_the_next_event() -> None:
    order: list[Any] = []

    def traced(event: Any) -> Iterator[Any]:
        order.append(("begin", event.v))
        yield {"v": event.v}
        order.append(("end", event.v))

    plan = step_plan(traced)
    with LaneRun(plan) as run:
        run.feed("a", lines({"ts": 0, "v": 1}, {"ts": 1, "v": 2}))
    assert order == [("begin", 1), ("end", 1), ("begin", 2), ("end", 2)]


def test_s11_a_class_is_the_state_one_instance_a_key() -> None:
    class Running:
        def __init__(self) -> None:
            self.total = 0

        def on_event(self, event: Any) -> Any:
            self.total += event.v
            return self.total

    records = [{"k": "a", "v": 1}, {"k": "b", "v": 10}, {"k": "a", "v": 2}]
    found = given_back(Running, *records, key_by="k")
    assert [one["value"] for one in found] == [1, 10, 3]


def test_s11_the_context_tells_key_and_time() -> None:
    def tell(state: Any, event: Any, context: Any) -> Any:
        return {"key": context.key, "time": context.time}

    found = given_back(tell, {"k": 1.0}, {"k": "x"}, key_by="k", state=dict)
    assert found == [{"key": 1, "time": 0}, {"key": "x", "time": 1}]
    found = given_back(tell, {"k": 1, "v": "b"}, key_by=["k", "v"], state=dict)
    assert found == [{"key": [1, "b"], "time": 0}]


def test_s11_a_timer_fires_in_event_time_with_its_own_time_and_key() -> None:
    found = given_back(Silence, {"k": "a"}, {"k": "b", "v": 1}, {"k": "a", "ts": 9}, key_by="k")
    assert found == [
        {"ts": 0, "k": "a"},
        {"ts": 1, "k": "b", "v": 1},
        {"k": "b", "v": 1, "w": 2, "n": 0},
        {"k": "a", "v": 2, "w": 12, "n": 0},
    ]


class Overdue:
    """Says so when a key has been silent for as long as its record asked."""

    def on_event(self, event: Any, context: Any) -> None:
        context.timer(after=event.wait)

    def on_timer(self, context: Any) -> Any:
        return {"k": context.key, "at": context.time}


def test_s11_a_timer_takes_the_durations_of_the_flow_file() -> None:
    records = [{"k": "a", "wait": "5s"}, {"k": "b", "wait": "2000ms"}, {"k": "c", "wait": "soon"}]
    found = given_back(Overdue, *records, {"k": "d", "ts": 4, "wait": "1.5m"}, key_by="k")
    assert found == [{"k": "b", "at": 3}, {"k": "a", "at": 5}, {"k": "d", "at": 94}]


def test_s11_a_timer_of_arrival_time_fires_with_the_clock() -> None:
    plan = plan_of({"a": {}}, {"p": {"key_by": "k", "python": function(Silence)}}, {"out": {}})
    with LaneRun(plan, live=True) as run:
        run.feed("a", lines({"k": "a", "v": 5_000_000}))
        run.advance(4_999_999)
        assert run.output("out").count(b"\n") == 1
        run.advance(1)
        assert json.loads(run.output("out").splitlines()[1])["v"] == 1


def test_s3_an_error_of_a_timer_is_no_records() -> None:
    class Bad:
        def on_event(self, event: Any, context: Any) -> None:
            context.timer(after=1)

        def on_timer(self, context: Any) -> Any:
            return 1 / 0

    outcome = assert_agree(step_plan(Bad), [("a", "", lines({"ts": 0}, {"ts": 5}))])
    assert outcome.errors["p", "", "python"] == 1
    assert b"raw" not in outcome.output("bad") and b"position" not in outcome.output("bad")


def test_events_cannot_be_changed_and_say_what_is_missing() -> None:
    def change(event: Any) -> Any:
        event.v = 2

    def miss(event: Any) -> Any:
        return event.nothing

    def get(event: Any) -> Any:
        return {"v": event.get("nothing", 5), "in": "v" in event, "keys": list(event.keys())}

    assert given_back(change, {"v": 1}) == []
    assert given_back(miss, {"v": 1}) == []
    assert given_back(get, {"v": 1}) == [{"v": 5, "in": True, "keys": ["ts", "v"]}]


def test_s4_functions_see_times_in_the_sources_unit() -> None:
    plan = plan_of(
        {"a": {"time": {"field": "ts", "unit": "ms"}}},
        {
            "w": {"window": {"tumbling": "10s"}, "aggregate": {"n": "count()"}},
            "p": {"python": function(seen_window)},
        },
        {"out": {}},
    )
    outcome = assert_agree(plan, [("a", "", lines({"ts": 12_345}))])
    assert outcome.output("out") == b'{"size":10000,"start":10000}\n'


def seen_window(event: Any) -> Any:
    return {"size": event.window_end - event.window_start, "start": event.window_start}


def test_s11_a_timer_for_a_time_that_has_passed_fires_at_once() -> None:
    """The step is at the clock's time by one source; the other's record sets a timer far behind."""
    plan = plan_of(
        {"now": {}, "then": {"time": {"field": "ts", "unit": "us", "idle": "never"}}},
        {"p": {"from": ["now", "then"], "key_by": "k", "python": function(Silence)}},
        {"out": {}},
    )
    pieces = [("then", "", lines({"k": "a", "ts": 5}, {"k": "b", "ts": 6}))]
    outcome = assert_agree(plan, pieces)
    assert [json.loads(line).get("w") for line in outcome.sinks["out"]] == [None, 8, None, 9]


@pytest.mark.parametrize(
    "returned",
    [
        {"b": 1, "c": [1, {"x": "y"}], "a": 2.5},
        {"c": 1},
        {"a": None, "b": True},
        {"a": 1, "b": 2, "c": object()},  # what nobody writes must be good all the same
        Struct(4, "four"),
        Place("p", [Point(1, 2)]),
        [{"a": 1}, {"b": 2}, 7],
        3.5,
    ],
)
@pytest.mark.parametrize("step", [{}, {"drop": ["c"]}, {"set": {"a": "coalesce(b, 9)"}}])
def test_a_format_that_names_its_fields_writes_these_of_what_is_returned(
    returned: Any, step: dict[str, Any]
) -> None:
    def give(event: Any) -> Any:
        return returned

    table = {"given": {"python": function(give)}, "after": {"from": "given", **step}}
    sinks = {
        "rows": {"from": "after", "format": {"csv": {"columns": ["b", "value", "a"]}}},
        "frames": {"from": "after", "format": {"binary": {"fields": {"a": "f32"}}}},
        "bad": {"from": "errors"},
    }
    inputs = {"x": [lines({"n": 1}, {"n": 2})]}
    got = run_flow(plan_of({"x": {}}, table, sinks), inputs)
    beside = run_flow(plan_of({"x": {}}, table, {**sinks, "all": {"from": "after"}}), inputs)
    records = [json.loads(line) for line in beside["all"].splitlines()]
    rows = list(csv.reader(io.StringIO(got["rows"].decode())))[1:]
    assert rows == [[cell(one.get(name)) for name in ("b", "value", "a")] for one in records]
    numbers = [one["a"] for one in records if type(one.get("a")) in (int, float)]
    assert got["frames"] == b"".join(b"\0\0\0\4" + struct.pack(">f", one) for one in numbers)
    assert got["bad"].count(b"\n") == beside["bad"].count(b"\n")


def cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)
