"""Python steps: what user code raises (S3), loading, and that nothing is left behind."""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from appliance.limits import LANE_STACK_BYTES
from appliance.native import lib
from appliance.worker.state_codec import StateCodec
from native.step_trial import (
    PYTHON,
    Point,
    Slotted,
    Struct,
    Total,
    Trial,
    add,
    returning,
    stateful,
    stored_time,
)

# ---- exceptions (S3) ----


def test_a_traceback_is_formatted_once_for_a_line() -> None:
    def step(event: Any) -> None:
        if event.a:
            raise ValueError("one\ntwo")
        raise KeyError("three")

    with Trial(step, ["a"]) as trial:
        for a in (1, 1, 0, 1, 0):
            trial.run({"a": a})
        faults = trial.faults()
    assert [bool(text) for _, _, text in faults] == [True, False, True, False, False]
    assert faults[0][1] == "ValueError: one two"
    assert {reason for reason, _, _ in faults} == {PYTHON}


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (GeneratorExit(), "GeneratorExit"),
        (BaseException("base"), "BaseException: base"),
        (Mute(), "Mute"),
        (ValueError("\ud800"), "ValueError"),
        (ValueError("ü" * 500), "ValueError: " + "ü" * 119),
    ],
)
def test_what_user_code_may_raise(error: BaseException, message: str) -> None:
    def step(event: Any) -> None:
        raise error

    with Trial(step, ["a"]) as trial:
        trial.run({"a": 1})
        assert trial.fault()[:2] == (PYTHON, message)
        assert not lib.step_trial_interrupted(trial.step)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_must_stop_the_worker_is_told(error: type[BaseException]) -> None:
    def step(event: Any) -> None:
        raise error

    with Trial(step, ["a"]) as trial:
        trial.run({"a": 1})
        assert trial.fault()[1] == error.__name__
        assert lib.step_trial_interrupted(trial.step)


class Endless:
    def __getattr__(self, name: str) -> Any:
        return getattr(self, name + "x")

    def __repr__(self) -> str:
        return repr([self])


def test_recursion_without_end_is_that_records_fault() -> None:
    """On a lane's stack, through Python calls alone and through C in between."""

    def plain(event: Any) -> Any:
        return plain(event)

    def sorting(event: Any) -> Any:
        return sorted([1, 2], key=lambda _: sorting(event))

    def attribute(event: Any) -> Any:
        return Endless().missing

    def shown(event: Any) -> Any:
        return repr(Endless())

    messages: list[str] = []

    def lane() -> None:
        for step in (plain, sorting, attribute, shown):
            with Trial(step, ["a"]) as trial:
                trial.run({"a": 1})
                messages.append(trial.fault()[1])

    before = threading.stack_size(LANE_STACK_BYTES)
    try:
        thread = threading.Thread(target=lane)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert len(messages) == 4
    assert all(message.startswith("RecursionError") for message in messages)


# ---- loading, and what is left behind ----


@pytest.mark.parametrize(
    ("entry", "mode", "message"),
    [
        ({"call": 5}, "map", 'needs "call" and "arity"'),
        ({"arity": "x"}, "map", 'needs "call" and "arity"'),
        ({"arity": 2}, "map", "takes 1 to 1 arguments, not 2"),
        ({"arity": 2}, "stateful", 'needs "state" and "encode"'),
        ({}, "other", "no known mode"),
    ],
)
def test_a_wrong_registration_is_refused(entry: dict[str, Any], mode: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Trial(returning(None), ["a"], mode=mode, entry=entry)


def test_nothing_is_left_behind() -> None:
    """Reference counts and memory after many events of every kind."""
    marker = object()

    def step(event: Any) -> Any:
        if event.n == 0:
            return None
        if event.n == 1:
            return {"x": event.l, "y": event.s, "m": marker}
        if event.n == 2:
            raise ValueError(event.s)
        if event.n == 3:
            return (part for part in (event, dict(event), 1, event.missing))
        return [event, Slotted(1, event.m), Struct(1), Point(1, 2), event.t]

    events = [
        msgpack.packb({"n": n, "s": "größe", "l": [1, [2]], "m": {"a": 1}, "t": stored_time(5)})
        for n in range(5)
    ]
    for fields in (None, ["n", "s", "l", "m", "t"]):
        with Trial(step, fields) as trial:

            def some(trial: Trial = trial) -> None:
                for packed in events * 20:
                    lib.step_trial_run(trial.step, packed, len(packed), 0)
                trial.emitted()
                trial.faults()

            some()
            gc.collect()
            references = sys.getrefcount(marker), sys.getrefcount(None), sys.getrefcount(Slotted)
            tracemalloc.start()
            # The interpreter's own free lists fill for a while; what leaks never comes to rest.
            assert any(grown_bytes(some) < 800 * 16 for _ in range(8))
            tracemalloc.stop()
            now = sys.getrefcount(marker), sys.getrefcount(None), sys.getrefcount(Slotted)
            assert all(abs(a - b) < 50 for a, b in zip(now, references, strict=True))


def grown_bytes(some: Callable[[], None]) -> int:
    """What forty times a hundred events leave behind: 800 of each kind."""
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(40):
        some()
    gc.collect()
    return tracemalloc.get_traced_memory()[0] - before


def test_a_hundred_thousand_events_leave_nothing_behind() -> None:
    entry = stateful(Total)
    packed = msgpack.packb({"k": "a", "x": 1})
    with Trial(add, ["x"], mode="stateful", key=["k"], entry=entry) as trial:
        lib.step_trial_repeat(trial.step, packed, len(packed), 1000)
        before = sys.getrefcount(None)
        tracemalloc.start()
        assert lib.step_trial_repeat(trial.step, packed, len(packed), 100_000) == 100_000
        assert tracemalloc.get_traced_memory()[0] < 4096
        tracemalloc.stop()
        assert abs(sys.getrefcount(None) - before) < 50
        assert trial.run({"k": "a", "x": 0}) == [{"n": 101_000}]


def test_a_step_lets_go_of_all_it_held() -> None:
    made: list[int] = []

    class State:
        def __init__(self) -> None:
            self.n = 0

        def __del__(self) -> None:
            made.append(-1)

    def step(state: State, event: Any) -> Any:
        state.n += 1
        return None

    codec = StateCodec(State)
    entry = {"state": State, "encode": codec.encode}
    gc.collect()
    made.clear()
    before = sys.getrefcount(step)
    with Trial(step, ["x"], mode="stateful", key=["k"], entry=entry) as trial:
        for key in range(5):
            trial.run({"k": key, "x": 1})
        trial.freeze()
        trial.run({"k": 0, "x": 1})
        assert made == []
    assert made == [-1] * 5
    del trial
    gc.collect()
    assert sys.getrefcount(step) == before
