"""Functions with state, their timers and their rows in a cut (S11)."""

from __future__ import annotations

import re
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.native import ffi, lib, read_packed
from appliance.units import parse_duration
from appliance.worker.state_codec import StateCodec
from native.step_trial import END_OF_INPUT, PAGE, Alarm, Total, Trial, add, alarm, stateful


def test_each_key_has_a_state_of_its_own() -> None:
    with Trial(add, ["x"], mode="stateful", key=["k"], entry=stateful(Total)) as trial:
        events = [("a", 1), ("b", 10), ("a", 2), (1, 5), ("1", 7), (1.0, 1), ("b", 1)]
        results = [trial.run({"k": key, "x": x})[0]["n"] for key, x in events]
        assert results == [1, 10, 3, 5, 7, 6, 11]
        assert lib.step_trial_keys(trial.step) == 4
        assert lib.step_trial_bytes(trial.step) > 4 * sys.getsizeof(Total())


def test_the_change_stays_when_the_function_then_raises() -> None:
    """S3."""

    def step(state: Total, event: Any) -> int:
        state.n += 1
        if event.x:
            raise ValueError
        return state.n

    with Trial(step, ["x"], mode="stateful", key=["k"], entry=stateful(Total)) as trial:
        assert trial.run({"k": 1, "x": 1}) == []
        assert trial.run({"k": 1, "x": 0}) == [{"value": 2}]


def test_a_factory_that_fails_is_asked_again() -> None:
    made: list[int] = []

    def factory() -> Total:
        made.append(1)
        if len(made) == 1:
            raise OSError("not yet")
        return Total()

    entry = {"state": factory, "encode": StateCodec(Total).encode}
    with Trial(add, ["x"], mode="stateful", key=["k"], entry=entry) as trial:
        assert trial.run({"k": 1, "x": 1}) == []
        assert trial.fault()[1] == "OSError: not yet"
        assert trial.freeze() == 0 and lib.step_trial_keys(trial.step) == 0
        assert trial.run({"k": 1, "x": 1}) == [{"n": 1}]


def test_the_context_tells_key_and_time() -> None:
    seen: list[Any] = []
    kept: list[Any] = []

    def step(state: Total, event: Any, context: Any) -> None:
        seen.append((context.key, context.time))
        kept.append(context)

    entry = stateful(Total, arity=3)
    with Trial(step, ["x"], mode="stateful", key=["k"], entry=entry, unit="ms") as trial:
        trial.run({"k": "a", "x": 1}, 5_000)
        trial.run({"k": 7, "x": 1}, 7_999)
    with Trial(step, ["x"], mode="stateful", key=["k", "x"], entry=entry) as trial:
        trial.run({"k": "a", "x": 1}, 5)
    assert seen == [("a", 5), (7, 7), (("a", 1), 5)]
    with pytest.raises(RuntimeError, match="during its call only"):
        _ = kept[0].key
    assert len({id(context) for context in kept}) == 3


def test_timers_fire_by_time_then_by_order_of_setting() -> None:
    with alarm() as trial:
        assert trial.due() is None
        for key, at in (("a", 30), ("b", 10), ("c", 30), ("d", 20), ("e", 99)):
            trial.run({"k": key, "x": "at", "at": at})
        assert trial.due() == 10
        assert trial.advance(9) == []
        fired = trial.advance(30)
        assert [record["key"] for _, record in fired] == ["b", "d", "a", "c"]
        assert [time for time, _ in fired] == [10, 20, 30, 30]
        assert all(record["time"] == time for time, record in fired)
        assert trial.due() == 99


def test_a_key_has_one_timer_that_can_be_moved_and_cancelled() -> None:
    with alarm() as trial:
        trial.run({"k": "a", "x": "after", "at": 10}, 100)
        trial.run({"k": "b", "x": "after", "at": 10}, 100)
        assert trial.due() == 110
        trial.run({"k": "a", "x": "after", "at": 10}, 150)
        assert [record for _, record in trial.advance(155)] == [{"key": "b", "n": 1, "time": 110}]
        assert trial.due() == 160
        assert trial.run({"k": "a", "x": "cancel", "at": 0}) == [{"value": True}]
        assert trial.run({"k": "a", "x": "cancel", "at": 0}) == [{"value": False}]
        assert trial.due() is None


def test_timers_are_in_the_sources_unit() -> None:
    with alarm(unit="s") as trial:
        trial.run({"k": "a", "x": "after", "at": 2.5}, 1_000_000)
        assert trial.due() == 3_500_000
        trial.run({"k": "a", "x": "at", "at": 7}, 1_000_000)
        assert trial.due() == 7_000_000
        assert trial.advance(7_000_000) == [[7_000_000, {"key": "a", "n": 2, "time": 7}]]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "rfc3339"])
@pytest.mark.parametrize("text", ["200ms", "10s", "5m", "24h", "7d", "1.5 h", "0s", "36500d"])
def test_a_timer_may_be_set_after_a_duration_in_words(text: str, unit: str) -> None:
    with alarm(unit=unit) as trial:
        trial.run({"k": "a", "x": "after", "at": text}, 1_000_000)
        assert trial.due() == 1_000_000 + parse_duration(text)


@given(
    st.from_regex(r"-?[0-9]{1,19}(\.[0-9]{0,10})? {0,2}(us|ms|s|m|h|d|w|S|ns)?", fullmatch=True)
    | st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,6})? ?(us|ms|s|m|h|d)", fullmatch=True)
    | st.text(max_size=6)
)
def test_durations_are_those_of_the_flow_file(text: str) -> None:
    data, us = text.encode(), ffi.new("int64_t *")
    fault = lib.duration_read(data, len(data), us)
    try:
        expected = parse_duration(text)
    except ValueError as error:
        assert fault != ffi.NULL
        assert ffi.string(fault).decode() in str(error)
    else:
        assert fault == ffi.NULL and us[0] == expected


def test_arrival_time_timers_follow_the_other_clock() -> None:
    with alarm(arrival=True) as trial:
        trial.run({"k": "a", "x": "after", "at": 5}, 100)
        assert trial.due() is None and trial.due(arrival=True) == 105
        assert trial.advance(1000) == []
        assert len(trial.advance(1000, arrival=True)) == 1


class Beat(Alarm):
    def on_timer(self, context: Any) -> Any:
        self.n += 1
        if context.key == "wrong":
            context.timer(at=context.time)
        context.timer(after=10)
        return self.n


def test_a_timer_may_set_itself_again() -> None:
    with alarm(Beat) as trial:
        trial.run({"k": "a", "x": "at", "at": 10})
        assert [time for time, _ in trial.advance(35)] == [10, 20, 30]
        assert trial.due() == 40


def test_the_end_of_the_input_fires_each_timer_once() -> None:
    with alarm(Beat) as trial:
        for key in ("a", "b"):
            trial.run({"k": key, "x": "at", "at": 10})
        assert [time for time, _ in trial.advance(END_OF_INPUT)] == [10, 10]
        assert trial.due() == 20


def test_a_timer_that_would_not_let_time_move_is_a_fault_and_the_others_fire() -> None:
    with alarm(Beat) as trial:
        for key in ("wrong", "a"):
            trial.run({"k": key, "x": "at", "at": 10})
        assert [record for _, record in trial.advance(15)] == [{"value": 2}]
        assert "must lie after context.time" in trial.fault()[1]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, "at= (a time) or after="),
        ({"at": 1, "after": 1}, "at= (a time) or after="),
        ({"at": "soon"}, "not a str"),
        ({"at": True}, "not a bool"),
        ({"after": -1}, "must not be negative"),
        ({"after": "-1s"}, "after='-1s' is negative"),
        ({"after": "soon"}, "after='soon' is not a duration; write one like"),
        ({"after": "0.1us"}, "is finer than the smallest unit, us"),
        ({"after": "36501d"}, "the longest duration is 36500d"),
        ({"after": "\ud800"}, "surrogates not allowed"),
        ({"after": float("nan")}, "cannot be NaN"),
    ],
)
def test_wrong_timers_are_faults(arguments: dict[str, Any], error: str) -> None:
    class Wrong(Alarm):
        def on_event(self, event: Any, context: Any) -> Any:
            context.timer(**arguments)

    with alarm(Wrong) as trial:
        trial.run({"k": 1, "x": 0, "at": 0})
        assert error in trial.fault()[1]


def test_far_times_are_kept_in_range() -> None:
    with alarm() as trial:
        trial.run({"k": 1, "x": "at", "at": 1e300})
        assert trial.due() == END_OF_INPUT - 1
        trial.run({"k": 1, "x": "at", "at": -1e300})
        assert trial.due() == -(2**63)


def test_timers_need_a_class() -> None:
    def step(state: Total, event: Any, context: Any) -> None:
        context.timer(after=1)

    entry = stateful(Total, arity=3)
    with Trial(step, ["x"], mode="stateful", key=["k"], entry=entry) as trial:
        trial.run({"k": 1, "x": 1})
        assert "timers need a class with on_event and on_timer" in trial.fault()[1]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 7), st.sampled_from(["at", "cancel", "advance"]), st.integers(0, 40)
        ),
        max_size=60,
    )
)
def test_timers_against_a_plain_list(acts: list[tuple[int, str, int]]) -> None:
    pending: dict[int, tuple[int, int]] = {}
    now = 0
    with alarm() as trial:
        for order, (key, act, number) in enumerate(acts):
            if act == "advance":
                now = max(now, number)
                due = sorted((at, n, k) for k, (at, n) in pending.items() if at <= now)
                fired = trial.advance(now)
                assert [(time, record["key"]) for time, record in fired] == [
                    (at, k) for at, _, k in due
                ]
                for _, _, k in due:
                    del pending[k]
                continue
            trial.run({"k": key, "x": act, "at": number})
            if act == "at":
                pending[key] = (number, order)
            else:
                pending.pop(key, None)
            assert trial.due() == min((at for at, _ in pending.values()), default=None)


# ---- cuts ----


def by_key(rows: list[Any]) -> dict[Any, Any]:
    return {msgpack.unpackb(key): (state, timer) for _, key, state, timer in rows}


def test_a_cut_holds_the_keys_that_changed_sorted_by_shard() -> None:
    codec = StateCodec(Total)
    with Trial(add, ["x"], mode="stateful", key=["k"], entry=stateful(Total)) as trial:
        for key in range(300):
            trial.run({"k": key, "x": key})
        assert trial.freeze() == 300
        assert not trial.encode(100) and not trial.encode(199) and trial.encode(1)
        rows = trial.rows()
        assert [row[0] for row in rows] == sorted(row[0] for row in rows)
        states = {key: codec.decode(state) for key, (state, _) in by_key(rows).items()}
        assert states == {key: Total(key) for key in range(300)}
        trial.run({"k": 7, "x": 1})
        assert trial.freeze() == 1 and trial.encode()
        assert list(by_key(trial.rows())) == [7]
        assert trial.freeze() == 0 and trial.encode() and trial.rows() == []


def test_a_cut_shows_the_states_as_they_were_at_the_freeze() -> None:
    codec = StateCodec(Total)
    with Trial(add, ["x"], mode="stateful", key=["k"], entry=stateful(Total)) as trial:
        for key in "abc":
            trial.run({"k": key, "x": 1})
        assert trial.freeze() == 3
        assert not trial.encode(1)
        for key in "abcd":
            trial.run({"k": key, "x": 5})
        rows = ffi.new("uint64_t *")
        assert not lib.step_trial_freeze(trial.step, rows)
        assert trial.encode()
        first = by_key(trial.rows())
        assert {key: codec.decode(state).n for key, (state, _) in first.items()} == dict.fromkeys(
            "abc", 1
        )
        assert trial.freeze() == 4 and trial.encode()
        second = by_key(trial.rows())
        assert {key: codec.decode(state).n for key, (state, _) in second.items()} == {
            "a": 6, "b": 6, "c": 6, "d": 5,
        }  # fmt: skip


def test_timers_are_part_of_the_cut() -> None:
    with alarm() as trial:
        trial.run({"k": "a", "x": "at", "at": 30})
        trial.run({"k": "b", "x": "at", "at": 20})
        trial.run({"k": "b", "x": "cancel", "at": 0})
        trial.freeze()
        trial.advance(50)
        trial.encode()
        assert {key: timer for key, (_, timer) in by_key(trial.rows()).items()} == {
            "a": [30, 1], "b": None,
        }  # fmt: skip
        assert trial.freeze() == 1 and trial.encode()
        assert {key: timer for key, (_, timer) in by_key(trial.rows()).items()} == {"a": None}


def test_a_state_that_cannot_be_encoded_is_told_and_tried_again() -> None:
    def step(state: dict[str, Any], event: Any) -> None:
        state["x"] = object() if event.x else 1

    with Trial(step, ["x"], mode="stateful", key=["k"], entry=stateful(dict)) as trial:
        trial.run({"k": 1, "x": 1})
        trial.run({"k": 2, "x": 0})
        assert trial.freeze() == 2 and trial.encode()
        assert list(by_key(trial.rows())) == [2]
        count, message = trial.unsaved()
        assert count == 1 and "object has no form in msgpack" in message
        assert trial.freeze() == 1
        trial.run({"k": 1, "x": 0})
        assert trial.encode() and trial.rows() == [] and trial.unsaved()[0] == 2
        assert trial.freeze() == 1 and trial.encode()
        assert list(by_key(trial.rows())) == [1] and trial.unsaved()[0] == 2


@dataclass
class Page:
    """As it stands in docs/formats/python-state.md."""

    n: int = 0
    mean: float = 0.0
    last: deque[int] = field(default_factory=lambda: deque(maxlen=3))

    def on_event(self, event: Any, context: Any) -> None:
        self.n, self.mean = 2, 1.5
        self.last.extend([7, 8])
        context.timer(at=event.at)

    def on_timer(self, context: Any) -> None: ...


def test_the_pages_row_is_what_is_written() -> None:
    blocks = re.findall(r"```hex\n(.*?)```", PAGE.read_text(), re.DOTALL)
    with alarm(Page) as trial:
        trial.run({"k": "a", "x": 0, "at": 60_000_000})
        trial.freeze()
        trial.encode()
        packed = read_packed(lambda out, size: int(lib.step_trial_take_rows(trial.step, out, size)))
    assert packed == bytes.fromhex(re.sub(r"#.*", "", blocks[1]))
