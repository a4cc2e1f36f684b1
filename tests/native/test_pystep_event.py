"""What a user's function sees of its event."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from appliance.worker.python_steps import Event
from native.step_trial import Trial


@pytest.mark.parametrize("fields", [None, ["a", "b c"], ["b c", "zz", "a"]])
def test_fields_by_attribute_item_and_as_a_mapping(fields: list[str] | None) -> None:
    seen: list[Any] = []

    def look(event: Any) -> None:
        seen.append(
            (
                event.a,
                event["b c"],
                event.get("zz"),
                event.get("zz", 7),
                "a" in event,
                "zz" in event,
            )
        )
        seen.append((sorted(event.keys()), len(event), sorted(event), sorted(event.items())))
        seen.append((dict(event), {**event, "x": 1}, event.as_dict(), list(event.values())))
        seen.append((event == dict(event), event != {"a": 1}, isinstance(event, Mapping)))

    with Trial(look, fields) as trial:
        assert trial.run({"a": 1, "b c": "two"}) == []
        assert trial.faults() == []
    both = {"a": 1, "b c": "two"}
    assert seen[0] == (1, "two", None, 7, True, False)
    assert seen[1] == (["a", "b c"], 2, ["a", "b c"], [("a", 1), ("b c", "two")])
    assert seen[2][:3] == (both, {**both, "x": 1}, both) and set(seen[2][3]) == {1, "two"}
    assert seen[3] == (True, True, True)


@pytest.mark.parametrize("fields", [None, ["n", "b", "i", "f", "s", "y", "l", "m"]])
def test_values_of_every_type(fields: list[str] | None) -> None:
    record = {
        "n": None,
        "b": True,
        "i": -(2**63),
        "f": 1.5,
        "s": "größe",
        "y": b"\x00\xff",
        "l": [1, [2.5, "x"], {}],
        "m": {"a": {"b": [None, False]}},
    }
    seen: list[Any] = []
    with Trial(lambda event: seen.append(dict(event)), fields) as trial:
        trial.run(record)
        assert trial.faults() == []
    assert seen == [record]
    assert [type(value) for value in seen[0].values()] == [type(v) for v in record.values()]


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("us", 1_500_000),
        ("ms", 1500),
        ("s", 1),
        ("ns", 1_500_000_000),
        ("rfc3339", "1970-01-01T00:00:01.500000Z"),
    ],
)
def test_times_come_in_the_sources_unit(unit: str, expected: int | str) -> None:
    seen: list[Any] = []
    with Trial(lambda event: seen.append(event.t), ["t"], unit=unit) as trial:
        trial.run({"t": datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)})
    assert seen == [expected]


def test_a_time_before_1970_is_rounded_down() -> None:
    seen: list[Any] = []
    with Trial(lambda event: seen.append(event.t), ["t"], unit="s") as trial:
        trial.run({"t": datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC)})
    assert seen == [-1]


def test_a_missing_field_names_those_there_are() -> None:
    with Trial(lambda event: event.temperatur, ["temperature", "device"]) as trial:
        trial.run({"temperature": 1.0, "device": "a"})
        _, message, _ = trial.fault()
    assert message == (
        "AttributeError: the event has no field 'temperatur' (it has: temperature, device)"
    )


def test_a_missing_item_is_a_key_error() -> None:
    with Trial(lambda event: event["x"], ["a"]) as trial:
        trial.run({"a": 1})
        assert trial.fault()[1].startswith("KeyError: \"the event has no field 'x' (it has: a)")


@pytest.mark.parametrize("fields", [None, ["items", "get", "keys", "__class__"]])
def test_a_field_wins_over_a_method_but_dict_goes_on_working(fields: list[str] | None) -> None:
    record = {"items": 3, "get": 4, "keys": 5, "__class__": 6}
    seen: list[Any] = []

    def look(event: Any) -> None:
        seen.append((event.items, event.get, event["keys"], event["__class__"], dict(event)))
        seen.append((callable(event.keys), event.__class__ is Event))

    with Trial(look, fields) as trial:
        trial.run(record)
        assert trial.faults() == []
    assert seen == [(3, 4, 5, 6, record), (True, True)]


def test_events_cannot_be_changed() -> None:
    def assign(event: Any) -> None:
        event.a = 2

    def assign_item(event: Any) -> None:
        event["a"] = 2

    def delete(event: Any) -> None:
        del event.a

    for function in (assign, assign_item, delete):
        with Trial(function, ["a"]) as trial:
            trial.run({"a": 1})
            assert "return {**event, 'a': ...} instead" in trial.fault()[1]


def test_events_are_not_hashable() -> None:
    with Trial(hash, ["a"]) as trial:
        trial.run({"a": 1})
        assert trial.fault()[1].startswith("TypeError: unhashable type")


@pytest.mark.parametrize("hidden", [[], ["b"]])
def test_entries_and_hidden_names_stand_before_the_rest(hidden: list[str]) -> None:
    """A field that was set takes the place it had in the record; a dropped one is gone."""
    seen: list[Any] = []
    with Trial(lambda event: seen.append(event.as_dict()), None, key=["c"], hidden=hidden) as trial:
        trial.run({"a": 1, "b": 2, "c": 3, "d": 4})
    names = [name for name in "abcd" if name not in hidden]
    assert seen == [{name: 1 + "abcd".index(name) for name in names}]
    assert list(seen[0]) == names


def test_a_record_of_thousands_of_fields() -> None:
    record = {f"f{index}": index for index in range(3000)}
    seen: list[Any] = []
    with Trial(lambda event: seen.append((event.f2999, len(event), event.get("x")))) as trial:
        trial.run(record)
    assert seen == [(2999, 3000, None)]


@pytest.mark.parametrize("fields", [None, [f"f{index}" for index in range(60)]])
def test_names_that_are_made_at_run_time(fields: list[str] | None) -> None:
    """The cache of names holds on to them, so no new name can take an old one's address."""
    wrong: list[int] = []

    def look(event: Any) -> None:
        for index in range(60):
            if event["f" + str(index)] != index or event.get("g" + str(index)) is not None:
                wrong.append(index)

    with Trial(look, fields) as trial:
        for _ in range(3):
            trial.run({f"f{index}": index for index in range(60)})
        assert trial.faults() == []
    assert wrong == []


def test_events_that_are_kept_keep_their_own_values() -> None:
    """Nobody sees a later record through an earlier event."""
    kept: list[Any] = []
    with Trial(kept.append, ["n", "s", "l"]) as trial:
        for index in range(50):
            trial.run({"n": index, "s": "x" * index, "l": [index]})
    assert [dict(event) for event in kept] == [
        {"n": index, "s": "x" * index, "l": [index]} for index in range(50)
    ]
    assert len({id(event) for event in kept}) == 50


def test_one_event_serves_all_calls_that_do_not_keep_it() -> None:
    seen: list[int] = []
    with Trial(lambda event: seen.append(id(event)), ["n"]) as trial:
        for index in range(10):
            trial.run({"n": index})
    assert len(set(seen)) == 1


def test_an_event_kept_in_a_traceback_or_closure_or_thread() -> None:
    kept: list[Callable[[], Any]] = []
    errors: list[BaseException] = []

    def fail(event: Any) -> None:
        kept.append(lambda: event.n)
        try:
            raise ValueError
        except ValueError as error:
            errors.append(error)

    with Trial(fail, ["n"]) as trial:
        for index in range(3):
            trial.run({"n": index})
    assert [call() for call in kept] == [0, 1, 2]


def test_a_kept_event_in_a_cycle_is_collected() -> None:
    def cycle(event: Any) -> None:
        event.l.append(event)

    with Trial(cycle, ["l"]) as trial:
        trial.run({"l": []})
        gc.collect()
        before = sum(type(thing) is Event for thing in gc.get_objects())
        for _ in range(10):
            trial.run({"l": []})
        gc.collect()
        assert sum(type(thing) is Event for thing in gc.get_objects()) == before


def test_live_events_and_those_of_scalars_are_no_work_for_the_collector() -> None:
    seen: list[Any] = []
    with Trial(lambda event: seen.append((gc.is_tracked(event), event)), ["a"]) as trial:
        trial.run({"a": 1})
    assert seen[0][0] is False and not gc.is_tracked(seen[0][1])


def test_events_made_by_hand() -> None:
    event = Event({"a": 1}, b=[2])
    assert (event.a, event["b"], event) == (1, [2], {"a": 1, "b": [2]})
    assert repr(event) == "Event({'a': 1, 'b': [2]})"
    assert copy.deepcopy(event) == event and copy.copy(event) == event
    match event:
        case {"a": a, **rest}:
            assert (a, rest) == (1, {"b": [2]})
    with pytest.raises(AttributeError, match="it has: a, b"):
        _ = event.c
