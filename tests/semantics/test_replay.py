"""Random flows, captured while they run and done again: the same bytes, the same state."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import BettongError
from appliance.plan.logical import Plan
from appliance.testing.captured import CapturedRun
from appliance.worker import capture_form as form
from appliance.worker.replay import Outcome, Place, Replay
from semantics import strategies
from semantics.compare import lines, plan_of
from semantics.strategies import examples


def replayed(plan: Plan, capture: bytes, **options: Any) -> Outcome:
    entries = form.read_entries(BytesIO(capture))
    kind, head = next(entries)
    assert kind == form.HEAD
    with Replay(plan, form.Head.unpack(head), **options) as replay:
        return replay.run(entries)


def keeper(into: dict[str, bytes]) -> Callable[[str, bytes], None]:
    def keep(sink: str, data: bytes) -> None:
        into[sink] += data

    return keep


def assert_happens_again(plan: Plan, capture: bytes, wanted: dict[str, bytes]) -> None:
    got = dict.fromkeys(plan.sinks, b"")
    outcome = replayed(plan, capture, results=keeper(got))
    assert (outcome.differs, outcome.whole, outcome.compared_state) == ("", True, True)
    assert got == wanted


@examples(50)
@given(st.data())
def test_what_was_captured_happens_again(data: Any) -> None:
    """Begun and ended anywhere, with pauses that make cuts, timers due and partitions idle."""
    made = data.draw(strategies.flows())
    idle = data.draw(st.sampled_from(["never", "500ms", "3s"]))
    plan = with_idle(made, idle)
    pieces = data.draw(strategies.inputs(made.sources, partitions_max=3))
    pause_us = data.draw(st.sampled_from([0, 100_000, 1_000_000, 40_000_000]))
    begin = data.draw(st.integers(0, len(pieces)))
    end = data.draw(st.integers(begin, len(pieces)))
    ends = data.draw(st.integers(0, 2 * len(pieces)))  # there the first of two sources ends
    capture, before, after = b"", {}, {}
    with CapturedRun(plan, live=data.draw(st.booleans())) as run:
        for number, (source, partition, chunk) in enumerate([*pieces, ("", "", b"")]):
            if number == begin:
                before = {name: len(run.output(name)) for name in plan.sinks}
                run.capture()
            if number == end:
                capture = run.captured()
                after = {name: run.output(name) for name in plan.sinks}
            if number == ends and len(plan.sources) > 1:
                run.end(next(iter(plan.sources)))
            if source:
                run.feed(source, chunk, partition)
                run.advance(pause_us)
    assert_happens_again(plan, capture, {name: after[name][before[name] :] for name in plan.sinks})


def with_idle(made: Any, idle: str) -> Plan:
    """The drawn flow, whose sources are then idle at times."""
    sources = {
        name: {**table, "time": {**table["time"], "idle": idle}} if "time" in table else table
        for name, table in made.sources.items()
    }
    return plan_of(sources, made.steps, made.sinks)


# ---- by hand ----

SOURCES = {"a": {"time": {"field": "ts", "unit": "s", "late": "1s", "idle": "2s"}}, "b": {}}
STEPS = {
    "sums": {"from": "a", "key_by": "k", "window": {"tumbling": "5s"},
             "aggregate": {"n": "count()", "sum": "sum(v)"}},
    "arrived": {"from": "b", "key_by": "k", "window": {"hopping": "4s", "every": "2s"},
                "aggregate": {"n": "count()"}},
    "stamped": {"from": "b", "set": {"at": "now()"}, "running": {"last": "lag(v)"}},
}  # fmt: skip
SINKS = {"out": {"from": ["sums", "arrived"]}, "times": {"from": "stamped"}}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of(SOURCES, STEPS, SINKS)


def captured(plan: Plan, limit: int = 1 << 20) -> tuple[bytes, dict[str, bytes]]:
    """Three partitions, one of them silent; disorder; pauses longer than a window."""
    with CapturedRun(plan, live=True) as run:
        run.feed("a", lines({"k": "x", "v": 1, "ts": 3})[:9], "silent")
        run.advance(1_500_000)
        before = {name: len(run.output(name)) for name in SINKS}
        run.capture(limit)
        run.feed("a", lines({"k": "x", "v": 1, "ts": 3})[9:], "silent")
        for at_s in (1, 4, 2, 9, 6, 12, 30):
            run.feed("a", lines({"k": "x", "v": at_s, "ts": at_s}), "p1")
            run.feed("a", lines({"k": "y", "v": 0.1, "ts": at_s + 0.5}), "p2")
            run.feed("b", lines({"k": at_s % 2, "v": at_s}))
            run.advance(700_000)
        run.advance(9_000_000)
        capture = run.captured()
        return capture, {name: run.output(name)[before[name] :] for name in SINKS}


def test_idle_partitions_and_times_of_arrival_happen_again(plan: Plan) -> None:
    capture, wanted = captured(plan)
    assert wanted["out"].count(b"window_end") >= 8 and wanted["times"].count(b"\n") == 7
    assert_happens_again(plan, capture, wanted)


def test_a_capture_cut_short_is_replayed_up_to_its_last_whole_entry(plan: Plan) -> None:
    capture, wanted = captured(plan)
    head, start, *_ = form.read_entries(BytesIO(capture))
    begun = len(form.MAGIC) + len(form.framed(*head)) + len(form.framed(*start))
    step = (len(capture) - begun) // 12
    events = []
    for end in range(begun, len(capture), step):
        got = dict.fromkeys(plan.sinks, b"")
        outcome = replayed(plan, capture[:end], results=keeper(got))
        assert outcome.differs == "" and not outcome.whole and not outcome.compared_state
        assert all(wanted[name].startswith(got[name]) for name in wanted)
        events.append(outcome.events)
    assert events == sorted(events) and events[0] == 0 and events[-1] == 22


def test_until_ends_it_early(plan: Plan) -> None:
    capture, _ = captured(plan)
    outcome = replayed(plan, capture, until=lambda events, wall_us: events >= 5)
    assert outcome.stopped and outcome.events == 5 and outcome.differs == ""


@pytest.mark.parametrize(
    ("partition", "lines_read", "more", "events"),
    [("p1", 3, 0, 8), ("p1", 3, -1, 7), ("p1", 3, 1, 10), ("", 3, 0, 8), ("silent", 1, 0, 1)],
)
def test_a_place_in_the_input_ends_it_there(
    plan: Plan, partition: str, lines_read: int, more: int, events: int
) -> None:
    """To the byte, in the middle of what was read in one go."""
    capture, _ = captured(plan)
    if partition == "silent":
        size = len(lines({"k": "x", "v": 1, "ts": 3}))
    else:
        size = sum(len(lines({"k": "x", "v": at_s, "ts": at_s})) for at_s in (1, 4, 2))
    place = Place("a", partition, size + more)
    outcome = replayed(plan, capture, place=place)
    assert outcome.stopped and outcome.events == events and outcome.differs == ""


def test_a_place_that_is_not_reached_or_not_there(plan: Plan) -> None:
    capture, _ = captured(plan)
    outcome = replayed(plan, capture, place=Place("a", "p1", 1_000_000))
    assert not outcome.stopped and outcome.whole
    assert not replayed(plan, capture, place=Place("a", "1", 1)).stopped, "no end of a path"
    with pytest.raises(BettongError, match="no source c; it has a, b"):
        replayed(plan, capture, place=Place("c", "p1", 1))


def test_other_input_is_told_apart(plan: Plan) -> None:
    """The entry with one byte changed, its checksum made to fit."""
    capture, _ = captured(plan)
    entries = list(form.read_entries(BytesIO(capture)))
    changed = [
        (kind, members.replace(b'"v": 9', b'"v": 8') if kind == form.BYTES else members)
        for kind, members in entries
    ]
    assert changed != entries
    data = form.MAGIC + b"".join(form.framed(*entry) for entry in changed)
    outcome = replayed(plan, data)
    assert "sink " in outcome.differs and "after entry" in outcome.differs


def test_another_state_in_the_end_is_told_apart(plan: Plan) -> None:
    capture, _ = captured(plan)
    *entries, (_, last) = form.read_entries(BytesIO(capture))
    digest = form.Digest.unpack(last)
    other = form.Digest(digest.why, bytes(32), digest.sinks)
    data = [*entries, (form.DIGEST, other.pack())]
    outcome = replayed(plan, form.MAGIC + b"".join(form.framed(*entry) for entry in data))
    assert "the state in the end is another" in outcome.differs


def test_another_flow_is_refused(plan: Plan) -> None:
    capture, _ = captured(plan)
    changed = {**STEPS, "sums": {**STEPS["sums"], "window": {"tumbling": "6s"}}}
    with pytest.raises(BettongError, match="the flow has changed"):
        replayed(plan_of(SOURCES, changed, SINKS), capture)


def test_entries_that_do_not_fit_are_refused(plan: Plan) -> None:
    capture, _ = captured(plan)
    entries = list(form.read_entries(BytesIO(capture)))
    start = next(at for at, (kind, _) in enumerate(entries) if kind == form.START)
    for kind in (*range(form.TICK, form.TIMERS), form.END + 1):
        for members in (b"\x01", b"\xff" * 8, b"\xff" * 40):
            if kind == form.CUT or (kind == form.TICK and len(members) == 40):
                continue
            data = [*entries[: start + 1], (kind, members)]
            with pytest.raises(BettongError, match="capture"):
                replayed(plan, form.MAGIC + b"".join(form.framed(*entry) for entry in data))
    for size in (0, 30, len(entries[start][1]) - 1):
        data = [*entries[:start], (form.START, entries[start][1][:size])]
        with pytest.raises(BettongError, match="does not begin"):
            replayed(plan, form.MAGIC + b"".join(form.framed(*entry) for entry in data))


def test_the_limit_ends_a_capture_that_can_be_replayed(plan: Plan) -> None:
    with CapturedRun(plan, live=True) as run:
        run.capture(limit=2000)
        for at_s in range(60):
            run.feed("a", lines({"k": "x", "v": at_s, "ts": at_s}))
            run.advance(500_000)
        capture = run.captured()
    outcome = replayed(plan, capture)
    assert (outcome.why, outcome.differs, outcome.whole) == ("size limit reached", "", True)
    assert outcome.compared_state and 0 < outcome.events < 60


class ForgetfulRun(CapturedRun):
    """Nobody reports what is written: as if the disk had stopped."""

    def _capture_written(self, size: int) -> None:
        return


def test_a_disk_that_is_too_slow_ends_the_capture_and_not_the_run(plan: Plan) -> None:
    more = lines({"k": "x", "v": 1, "text": "x" * 500_000})
    with ForgetfulRun(plan, live=True) as run:
        run.capture()
        for _ in range(80):
            run.feed("b", more)
            run.advance(1000)
        capture = run.captured()
        assert run.metrics()["sources"][1]["records"] == 80
    outcome = replayed(plan, capture)
    assert (outcome.why, outcome.differs, outcome.whole) == ("the disk is too slow", "", True)
    assert not outcome.compared_state and 20 < outcome.events < 80
