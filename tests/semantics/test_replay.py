"""Random flows, captured while they run and done again: the same bytes, the same state."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from appliance.plan.logical import Plan
from appliance.testing.captured import CapturedRun
from appliance.worker import capture_form as form
from appliance.worker.replay import Outcome, Replay
from semantics import strategies
from semantics.strategies import examples


def replayed(plan: Plan, capture: bytes, **options: Any) -> Outcome:
    entries = form.read_entries(BytesIO(capture))
    kind, head = next(entries)
    assert kind == form.HEAD
    with Replay(plan, form.Head.unpack(head), **options) as replay:
        return replay.run(entries)


@examples(60)
@given(st.data())
def test_what_was_captured_happens_again(data: Any) -> None:
    """Begun and ended anywhere, with pauses that make cuts, timers due and partitions idle."""
    made = data.draw(strategies.flows())
    pieces = data.draw(strategies.inputs(made.sources))
    pause_us = data.draw(st.sampled_from([0, 100_000, 1_000_000, 40_000_000]))
    begin = data.draw(st.integers(0, len(pieces)))
    end = data.draw(st.integers(begin, len(pieces)))
    with CapturedRun(made.plan, live=data.draw(st.booleans())) as run:
        capture = None
        for number, (source, partition, chunk) in enumerate([*pieces, ("", "", b"")]):
            if number == begin:
                before = {name: len(run.output(name)) for name in made.plan.sinks}
                run.capture()
            if number == end:
                capture = run.captured()
                after = {name: run.output(name) for name in made.plan.sinks}
            if source:
                run.feed(source, chunk, partition)
                run.advance(pause_us)
    assert capture is not None
    got = dict.fromkeys(made.plan.sinks, b"")

    def keep(sink: str, more: bytes) -> None:
        got[sink] += more

    outcome = replayed(made.plan, capture, results=keep)
    assert outcome.differs == "" and outcome.whole and outcome.compared_state
    assert got == {name: after[name][before[name] :] for name in made.plan.sinks}
