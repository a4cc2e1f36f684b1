"""What a Python step costs an event, at full buffers and at one event a buffer, in this process.

The lane is driven by hand: chunks wait in its mail, and only the turn that works through them is
timed. The cost of the step is the cost of the flow with it less that of the same flow with the
same sum done natively.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import inputs
from appliance.expression import col
from appliance.flow import Flow, Stream
from appliance.flow.words import blackhole, file, json
from appliance.testing import LaneRun
from results import Row

EVENTS = 100_000
FULL_BUFFER = 1_000  # events in a buffer of about 76 KB
MAILED = 20  # chunks that wait when a turn begins
ROUNDS = 7
LIMIT_US, LIMIT_RATIO = 0.5, 2.0


def fahrenheit(event: Any) -> float:
    """The user's function."""
    degrees: float = event.temp * 1.8 + 32.0
    return degrees


def flow(with_python: bool) -> Flow:
    made = Flow("step")
    readings = made.source(file("readings.jsonl"), json())
    converted: Stream = (
        readings.map(fahrenheit) if with_python else readings.select(value=col.temp * 1.8 + 32.0)
    )
    converted.sink(blackhole())
    return made


def cpu_us_an_event(with_python: bool, chunks: Sequence[bytes]) -> float:
    """Microseconds of this thread's CPU an event, in the lane's turns alone."""
    spent = position = 0
    with LaneRun(flow(with_python).plan()) as run:
        for first in range(0, len(chunks), MAILED):
            for chunk in chunks[first : first + MAILED]:
                position += len(chunk)
                # Past `feed`, which takes a turn for each chunk: here many wait for one turn.
                assert run._lane.mail_chunk(0, 0, b"", b"%d" % position, chunk)
            before = time.thread_time_ns()
            run.turn()
            spent += time.thread_time_ns() - before
        run.finish()
        assert run.metrics()["events"] == EVENTS
    return spent / 1000 / EVENTS


def step_cost_us(chunks: Sequence[bytes]) -> float:
    costs = [cpu_us_an_event(True, chunks) - cpu_us_an_event(False, chunks) for _ in range(ROUNDS)]
    return statistics.median(costs)


def python_step() -> Iterator[Row]:
    lines = inputs.sensors(EVENTS).read_bytes().splitlines(keepends=True)
    full = [b"".join(lines[i : i + FULL_BUFFER]) for i in range(0, EVENTS, FULL_BUFFER)]
    full_us, single_us = step_cost_us(full), step_cost_us(lines)
    yield Row(
        "a Python step at one event a buffer",
        single_us,
        max(LIMIT_US, LIMIT_RATIO * full_us),
        "µs",
        f"{full_us:.3f} µs at full buffers",
    )
