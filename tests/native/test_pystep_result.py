"""What a user's function returns becomes records (S11)."""

from __future__ import annotations

import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.native import lib
from appliance.worker.python_steps import Event
from native.step_trial import (
    LIMIT,
    PYTHON,
    SCHEMA,
    Point,
    Renamed,
    Slotted,
    Struct,
    Trial,
    returning,
    stored_time,
)

RESULTS: list[tuple[Any, list[Any]]] = [
    (None, []),
    ({}, [{}]),
    ({"x": 1, "y": None}, [{"x": 1, "y": None}]),
    (OrderedDict(x=1), [{"x": 1}]),
    (types.MappingProxyType({"x": 1}), [{"x": 1}]),
    (Slotted(1, 2.5), [{"x": 1, "y": 2.5}]),
    (Struct(1, "t"), [{"x": 1, "y": "t"}]),
    (Renamed(1), [{"ownX": 1}]),
    (Point(1, 2), [{"x": 1, "y": 2}]),
    (5, [{"value": 5}]),
    (0, [{"value": 0}]),
    (False, [{"value": False}]),
    (2.5, [{"value": 2.5}]),
    ("text", [{"value": "text"}]),
    ("", [{"value": ""}]),
    (b"\xff", [{"value": b"\xff"}]),
    ((1, 2), [{"value": [1, 2]}]),
    ((), [{"value": []}]),
    ([], []),
    ([1, None, {"x": 1}, (2, 3), [4]], [{"value": 1}, {"x": 1}, {"value": [2, 3]}, {"value": [4]}]),
    (Event(x=1), [{"x": 1}]),
    ({"x": Event(y=1), "z": [Point(1, 2), Slotted(3), {"a": {}}]},
     [{"x": {"y": 1}, "z": [{"x": 1, "y": 2}, {"x": 3, "y": None}, {"a": {}}]}]),
    (datetime(1970, 1, 1, 0, 0, 1), [{"value": stored_time(1_000_000)}]),
    (datetime(1970, 1, 1, 2, 0, 1, 5, tzinfo=timezone(timedelta(hours=2))),
     [{"value": stored_time(1_000_005)}]),
    (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), [{"value": stored_time(-1)}]),
]  # fmt: skip


@pytest.mark.parametrize(("result", "expected"), RESULTS, ids=lambda value: repr(value)[:40])
def test_what_is_returned_becomes_records(result: Any, expected: list[Any]) -> None:
    with Trial(returning(result), ["a"]) as trial:
        assert trial.run({"a": 1}) == expected
        assert trial.run({"a": 1}) == expected
        assert trial.faults() == []


@pytest.mark.parametrize(("result", "expected"), RESULTS, ids=lambda value: repr(value)[:40])
def test_wanted_fields_go_to_their_slots(result: Any, expected: list[Any]) -> None:
    names = ["y", "value", "x", "ownX", "z"]
    out = [[name, 20 + index, lib.TAG_MISSING, False] for index, name in enumerate(names)]
    with Trial(returning(result), ["a"], out=out) as trial:
        assert trial.run({"a": 1}) == expected
        assert trial.faults() == []


def test_fields_that_nobody_wants_are_left_out_but_checked() -> None:
    out = [["x", 20, lib.TAG_MISSING, False]]
    with Trial(returning({"w": 1, "x": 2, "z": [3]}), ["a"], out=out) as trial:
        assert trial.run({"a": 1}) == [{"x": 2}]
    with Trial(returning({"x": 2, "z": {3}}), ["a"], out=out) as trial:
        assert trial.run({"a": 1}) == []
        assert "field 'z' cannot be a set" in trial.fault()[1]


@pytest.mark.parametrize("fields", [None, ["a", "b"]])
@pytest.mark.parametrize("out", [None, [["b", 20, 0, False], ["q", 21, 0, False]]])
def test_the_event_itself_goes_on_unchanged(fields: list[str] | None, out: Any) -> None:
    record = {"a": [1, {"x": 2}], "b": "text"}
    with Trial(lambda event: event, fields, out=out) as trial:
        assert trial.run(record) == [record if out is None else {"b": "text"}]
        assert trial.run(record) == [record if out is None else {"b": "text"}]


def test_an_earlier_event_may_be_returned_later() -> None:
    kept: list[Any] = []

    def last(event: Any) -> Any:
        kept.append(event)
        return kept[-2:][0]

    with Trial(last, ["n"]) as trial:
        assert [trial.run({"n": index}) for index in range(4)] == [
            [{"n": 0}], [{"n": 0}], [{"n": 1}], [{"n": 2}],
        ]  # fmt: skip


def test_generators_run_to_their_end_and_see_their_event_throughout() -> None:
    def each(event: Any) -> Iterator[Any]:
        for part in event.text.split():
            yield {"word": part, "of": event.n}

    with Trial(each, ["text", "n"]) as trial:
        assert trial.run({"text": "a b", "n": 1}) == [
            {"word": "a", "of": 1},
            {"word": "b", "of": 1},
        ]
        assert trial.run({"text": "c", "n": 2}) == [{"word": "c", "of": 2}]


def test_an_exception_midway_keeps_what_was_emitted() -> None:
    """S3: items already emitted stay emitted."""

    def each(event: Any) -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("three")

    with Trial(each, ["a"]) as trial:
        assert trial.run({"a": 1}) == [{"value": 1}, {"value": 2}]
        reason, message, text = trial.fault()
    assert (reason, message) == (PYTHON, "ValueError: three")
    assert text is not None and 'raise ValueError("three")' in text


def test_a_bad_item_ends_its_list_and_closes_the_generator() -> None:
    closed: list[bool] = []

    def each(event: Any) -> Iterator[Any]:
        try:
            yield 1
            yield {1}
            yield 2
        finally:
            closed.append(True)

    with Trial(each, ["a"]) as trial:
        assert trial.run({"a": 1}) == [{"value": 1}]
        assert "field 'value' cannot be a set: make it a list" in trial.fault()[1]
    assert closed == [True]


class Hostile:
    """A mapping whose reading raises."""

    def keys(self) -> list[str]:
        return ["a"]

    def __getitem__(self, name: str) -> object:
        raise LookupError("no " + name)


BAD: list[tuple[Any, int, str]] = [
    ({"x": 2**63}, PYTHON, "field 'x' is an int beyond 64 bits"),
    ({"x": [-(2**63) - 1]}, PYTHON, "field 'x' is an int beyond 64 bits"),
    ({"x": {1, 2}}, PYTHON, "field 'x' cannot be a set: make it a list with list(…)"),
    ({"x": iter([1])}, PYTHON, "field 'x' cannot be a list_iterator: make it a list"),
    ({"x": Decimal("1.5")}, PYTHON, "field 'x' cannot be a decimal.Decimal: make it a float"),
    ({"x": object()}, PYTHON, "field 'x' cannot be a object: return None, bool"),
    ({1: 2}, PYTHON, "a field's name must be a str, not a int"),
    ({"x": {1: 2}}, PYTHON, "a field's name must be a str, not a int"),
    ({"x": "\ud800"}, PYTHON, "UnicodeEncodeError: "),
    ({"\ud800": 1}, PYTHON, "UnicodeEncodeError: "),
    ({"x": "y" * (2 << 20)}, LIMIT, "does not fit the memory of one event"),
    ({"x": ["y" * (2 << 20)]}, LIMIT, "does not fit the memory of one event"),
    (Hostile(), PYTHON, "LookupError: no a"),
]


@pytest.mark.parametrize("out", [None, [["x", 20, 0, False]], []])
@pytest.mark.parametrize(("result", "reason", "message"), BAD, ids=lambda value: repr(value)[:30])
def test_what_cannot_be_a_field_is_that_records_fault(
    result: Any, reason: int, message: str, out: Any
) -> None:
    if out == [] and reason == LIMIT:
        pytest.skip("what nobody wants takes no memory")
    with Trial(returning(result), ["a"], out=out) as trial:
        assert trial.run({"a": 1}) == []
        fault = trial.fault()
        assert fault[0] == reason and message in fault[1]
        assert trial.run({"a": 1}) == [] and trial.fault()[1] == fault[1]


@pytest.mark.parametrize("make", [lambda x: [x], lambda x: {"a": x}, lambda x: (x,)])
def test_nesting_has_a_limit(make: Callable[[Any], Any]) -> None:
    value: Any = 1
    for _ in range(62):
        value = make(value)
    seen: list[int] = []
    with Trial(lambda event: {"x": value if event.a else make(make(value))}, ["a"]) as trial:
        assert len(trial.run({"a": 1})) == 1
        seen.append(len(trial.run({"a": 0})))
        assert "field 'x' is nested deeper than" in trial.fault()[1]
    assert seen == [0]


def test_a_list_that_holds_itself_is_a_fault() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with Trial(returning({"x": endless}), ["a"]) as trial:
        assert trial.run({"a": 1}) == []
        assert "nested deeper" in trial.fault()[1]


def test_a_coroutine_is_a_fault_that_says_why() -> None:
    async def step(event: Any) -> None:
        return None

    with Trial(step, ["a"]) as trial:
        assert trial.run({"a": 1}) == []
        assert "the function is async: make it a plain function" in trial.fault()[1]


def test_declared_types_are_checked() -> None:
    out = [["x", 20, lib.TAG_FLOAT, True]]
    with Trial(lambda event: {"x": event.a}, ["a"], out=out) as trial:
        assert trial.run({"a": 1}) == [{"x": 1.0}]
        assert trial.run({"a": "t"}) == []
        assert trial.fault()[0] == SCHEMA


class Meddler:
    """A mapping whose reading changes the dict that holds it."""

    def __init__(self, victim: dict[str, Any], grow: bool) -> None:
        self.victim, self.grow = victim, grow

    def keys(self) -> list[str]:
        if self.grow:
            self.victim.update({f"n{i}": i for i in range(100)})
        else:
            self.victim.clear()
        return []

    def __getitem__(self, name: str) -> Any:
        raise KeyError(name)


@pytest.mark.parametrize("grow", [True, False])
@pytest.mark.parametrize("out", [None, [["z", 20, 0, False]]])
def test_a_dict_that_changes_while_it_is_read_is_a_fault(grow: bool, out: Any) -> None:
    def step(event: Any) -> dict[str, Any]:
        result: dict[str, Any] = {}
        result["x"] = Meddler(result, grow)
        result["z"] = "text " + str(event.a)
        return result

    with Trial(step, ["a"], out=out) as trial:
        assert trial.run({"a": 1}) == []
        assert "changed while it was read" in trial.fault()[1]


def test_flat_map_wants_many() -> None:
    for result in ([1, 2], (1, 2), iter([1, 2]), range(1, 3), {1: 0, 2: 0}.keys(), deque([1, 2])):
        with Trial(returning(result), ["a"], mode="flat_map") as trial:
            assert trial.run({"a": 1}) == [{"value": 1}, {"value": 2}]
    for result in (1, "ab", b"ab", {"x": 1}, Point(1, 2), Event(x=1)):
        with Trial(returning(result), ["a"], mode="flat_map") as trial:
            assert trial.run({"a": 1}) == []
            assert "return [result]" in trial.fault()[1]
    with Trial(returning(None), ["a"], mode="flat_map") as trial:
        assert trial.run({"a": 1}) == [] and trial.faults() == []


class Unsure:
    def __bool__(self) -> bool:
        raise ValueError("neither")


def test_filter_lets_the_record_go_on_when_the_result_is_true() -> None:
    for result, kept in ((True, 1), ("x", 1), ([0], 1), (0, 0), (None, 0), ("", 0)):
        with Trial(returning(result), ["a"], mode="filter") as trial:
            assert trial.run({"a": 1}) == [{"a": 1}] * kept
    with Trial(returning(Unsure()), ["a"], mode="filter") as trial:
        assert trial.run({"a": 1}) == []
        assert trial.fault()[1] == "ValueError: neither"


nested = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=6), nested, max_size=8
    ),
    st.sampled_from(["event", "dict", "kept"]),
)
def test_any_record_comes_back_as_it_was(record: dict[str, Any], how: str) -> None:
    kept: list[Any] = []

    def step(event: Any) -> Any:
        kept.append(event if how == "kept" else None)
        return event if how == "event" else dict(event)

    with Trial(step) as trial:
        assert trial.run(record) == [record]
        assert trial.run(record) == [record]
        assert trial.faults() == []
    assert how != "kept" or dict(kept[0]) == record
