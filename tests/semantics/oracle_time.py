"""How far event time has got, per partition and per source (S6–S8); nothing here is ever idle.

A watermark is a number of microseconds; `START_OF_TIME` while nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from appliance.plan.logical import Source
from semantics.oracle_codec import Decoder
from semantics.oracle_windows import END_OF_TIME, START_OF_TIME


@dataclass
class Partition:
    """An ordered part of a source. It counts from its first record that has a time; a fixed one, a
    named file, from the start."""

    name: str
    decoder: Decoder
    largest_time: float = START_OF_TIME
    late_us: int = 0
    is_fixed: bool = False

    @property
    def watermark(self) -> float:
        return self.largest_time - self.late_us

    @property
    def counts(self) -> bool:
        return self.is_fixed or self.largest_time != START_OF_TIME


@dataclass
class SourceTime:
    """A source's partitions, in the order of their first bytes."""

    source: Source
    now_us: int
    partitions: dict[str, Partition] = field(default_factory=dict)
    seen: dict[Any, int] = field(default_factory=dict)  # ids, and when they came first
    ended: bool = False
    _watermark: float = START_OF_TIME

    @property
    def is_arrival(self) -> bool:
        return self.source.time.field is None

    def partition(self, name: str, is_fixed: bool = False) -> Partition:
        if name not in self.partitions:
            decoder, late_us = Decoder(self.source), self.source.time.late_us
            self.partitions[name] = Partition(name, decoder, late_us=late_us, is_fixed=is_fixed)
        return self.partitions[name]

    @property
    def counts(self) -> bool:
        """Whether it takes part in the minimum of the steps that it reaches."""
        if self.ended:
            return False
        return self.is_arrival or any(part.counts for part in self.partitions.values())

    def watermark(self) -> float:
        """The minimum over what counts; it never goes back (S7). Nothing that arrives from now on
        is older than now."""
        if self.is_arrival:
            return self.now_us
        counted = [part.watermark for part in self.partitions.values() if part.counts]
        self._watermark = max(self._watermark, min(counted, default=START_OF_TIME))
        return self._watermark


def step_watermark(sources: Iterable[SourceTime]) -> float:
    """The minimum over the sources that reach a step, those left out that have brought nothing yet
    or have ended; the end of time when all have ended."""
    waiting = [source for source in sources if not source.ended]
    if not waiting:
        return END_OF_TIME
    counted = [source.watermark() for source in waiting if source.counts]
    return min(counted) if counted else max(source.watermark() for source in waiting)
