"""Windows and running steps of the oracle (S12–S16, S25, S27, S29): plain dicts and lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appliance.plan.logical import Aggregate, Running, Window
from semantics.evaluate import Time
from semantics.oracle_aggregates import Accumulators, Input
from semantics.oracle_codec import Refused

#: Beyond every watermark: all sources have ended.
END_OF_TIME = float("inf")
START_OF_TIME = float("-inf")

#: A record further from 1970 has no window.
WINDOW_TIME_MAX_US = 1 << 61


@dataclass(frozen=True)
class Key:
    """The key of a record: its values under their names, numbers that are equal the same (S10)."""

    names: tuple[str, ...]
    values: tuple[Any, ...]
    fields: frozenset[str]  # the names that are fields: removing one ends the key

    @property
    def identity(self) -> tuple[tuple[str, Any], ...]:
        """1 and "1" differ, so do 1 and true."""
        return tuple((type(value).__name__, value) for value in self.values)

    def record(self) -> dict[str, Any]:
        return dict(zip(self.names, self.values, strict=True))


NO_KEY = Key((), (), frozenset())


def key_value(value: Any, null_key: bool) -> Any:
    """One value of a key: an integral float is its int; NaN and nested values are no keys."""
    if isinstance(value, list | dict):
        raise Refused("key", "a list or a map")
    if value is None and not null_key:
        raise Refused("key", "null")
    if isinstance(value, float):
        if value != value:
            raise Refused("key", "NaN")
        if value.is_integer() and -(2**63) <= value < 2**63:
            return int(value)
    return value


@dataclass(frozen=True)
class Result:
    """What a window gives: the record and the time that it has."""

    key: Key
    record: dict[str, Any]
    time: int


class AlignedWindows:
    """Tumbling and hopping: [start, start + size) for every start that is a multiple of `every`
    beside the offset."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.size = window.size_us
        self.every = window.size_us if window.kind == "tumbling" else window.every_us
        self.open: dict[tuple[int, int], dict[Any, tuple[Key, Accumulators]]] = {}

    def around(self, time: int) -> list[tuple[int, int]]:
        """(end, start) of every window that this time is in."""
        offset = self.window.offset_us
        start = (time - offset) // self.every * self.every + offset
        found = []
        while start + self.size > time:
            found.append((start + self.size, start))
            start -= self.every
        return sorted(found)

    def add(
        self, key: Key, inputs: Mapping[str, Input], time: int, watermark: float
    ) -> list[Result] | None:
        """None: late for all its windows. `watermark`: windows that end by then are closed."""
        around = self.around(time)
        still_open = [place for place in around if place[0] > watermark]
        if around and not still_open:
            return None
        rows = []
        for place in still_open:
            known = self.open.get(place, {}).get(key.identity)
            row = known or (key, Accumulators(self.window.aggregates))
            row[1].check(inputs)
            rows.append((place, row))
        for place, row in rows:
            self.open.setdefault(place, {})[key.identity] = row
            row[1].add(inputs)
        return []

    def advance(self, watermark: float) -> list[Result]:
        """Close what is due, by (end, start), then by first appearance (S16)."""
        results = []
        for place in sorted(place for place in self.open if place[0] <= watermark):
            end, start = place
            for key, accumulators in self.open.pop(place).values():
                record = {
                    **key.record(),
                    "window_start": Time(start),
                    "window_end": Time(end),
                    **accumulators.results(),
                }
                results.append(Result(key, record, end - 1))
        return results


@dataclass
class GlobalRow:
    key: Key
    accumulators: Accumulators
    start: int
    end: int


class GlobalWindow:
    """One row a key without an end; its results at every record, or when the watermark passes a
    multiple of `every`."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.rows: dict[Any, GlobalRow] = {}
        self.changed: dict[Any, GlobalRow] = {}
        self.due: int | None = None

    def add(
        self, key: Key, inputs: Mapping[str, Input], time: int, watermark: float
    ) -> list[Result] | None:
        row = self.rows.get(key.identity)
        if row is None:
            row = GlobalRow(key, Accumulators(self.window.aggregates), time, time)
        row.accumulators.check(inputs)
        row.accumulators.add(inputs)
        row.start, row.end = min(row.start, time), max(row.end, time)
        self.rows[key.identity] = row
        if not self.window.every_us:
            return [self.result(row, time)]
        self.changed.setdefault(key.identity, row)
        return []

    def advance(self, watermark: float) -> list[Result]:
        every = self.window.every_us
        if not every or watermark == START_OF_TIME:
            return []
        results: list[Result] = []
        if watermark == END_OF_TIME or (self.due is not None and watermark >= self.due):
            for row in self.changed.values():
                time = row.end - 1 if self.due is None else self.due - 1
                results.append(self.result(row, time))
            self.changed.clear()
        if watermark != END_OF_TIME:
            self.due = (int(watermark) // every + 1) * every
        return results

    def result(self, row: GlobalRow, time: int) -> Result:
        bounds = {"window_start": Time(row.start), "window_end": Time(row.end)}
        record = {**row.key.record(), **bounds, **row.accumulators.results()}
        return Result(row.key, record, time)


Windows = AlignedWindows | GlobalWindow


def windows(window: Window) -> Windows:
    return GlobalWindow(window) if window.kind == "global" else AlignedWindows(window)


class RunningState:
    """One row of accumulators a key, for ever."""

    def __init__(self, running: Running) -> None:
        self.aggregates: Mapping[str, Aggregate] = running.aggregates
        self.rows: dict[Any, Accumulators] = {}

    def add(self, key: Key, inputs: Mapping[str, Input]) -> dict[str, Any]:
        row = self.rows.get(key.identity) or Accumulators(self.aggregates)
        row.check(inputs)
        row.add(inputs)
        self.rows[key.identity] = row
        return row.results()
