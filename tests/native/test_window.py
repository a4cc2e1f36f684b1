"""Windows against plain Python: who joins which, what is late, when and in which order they close,
and what a cut is shown (S13 to S16, S25 to S27)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.native import lib
from native.accumulators import Twin
from native.keyed import (
    ADDED,
    ALWAYS,
    FAULT,
    LATE,
    NEVER,
    Keyed,
    Refused,
    aggregate,
    unpack_all,
)
from native.test_aggregate import examples
from native.values import Time, block_of, pack

KEY, VALUE, KEY_OUT, START, END, COUNT, SUM, LAST = range(8)
KINDS = ["count", "sum", "last"]
TOO_FAR = 2**61 + 1

Event = tuple[Any, Any, int, int]  # key, value, time, how far the watermark moves after it


def program(kind: str, **measures: Any) -> dict[str, Any]:
    aggregates = [
        aggregate("count", COUNT),
        aggregate("sum", SUM, VALUE),
        aggregate("last", LAST, VALUE),
    ]
    window = {"kind": kind, "aggregates": aggregates, "start": START, "end": END, "keys": [KEY_OUT]}
    results = [KEY_OUT, START, END, COUNT, SUM, LAST]
    return {"slots": 8, "key": [KEY], "results": results, "window": window | measures}


@dataclass
class Cell:
    """One key in one window."""

    start: int
    end: int
    order: int
    twins: list[Twin] = field(default_factory=lambda: [Twin(kind) for kind in KINDS])

    def check(self, value: Any) -> None:
        for twin in self.twins:
            twin.check(1 if twin.kind == "count" else value, None, True)

    def add(self, value: Any, time: int) -> None:
        for twin in self.twins:
            twin.add(1 if twin.kind == "count" else value, None, True, time)

    def values(self) -> list[Any]:
        return [twin.result() for twin in self.twins]

    def row(self, key: Any, speaks: int | None = None) -> list[Any]:
        """A result, and one microsecond after the time it has (S29)."""
        end = self.end if speaks is None else speaks
        return [key, Time(self.start), Time(self.end), *self.values(), end]


class Panes:
    """Tumbling and hopping windows, by brute force."""

    def __init__(self, size: int, every: int, offset: int) -> None:
        self.size, self.every, self.offset = size, every, offset
        self.open: dict[int, dict[Any, Cell]] = {}
        self.advanced = ALWAYS

    def starts(self, time: int) -> list[int]:
        first = (time - self.size - self.offset) // self.every - 1
        around = (
            self.offset + (first + step) * self.every for step in range(self.size // self.every + 4)
        )
        return [start for start in around if start <= time < start + self.size]

    def add(self, key: Any, value: Any, time: int, watermark: int) -> int:
        starts = self.starts(time)
        bound = max(watermark, self.advanced)
        joined = [start for start in starts if start + self.size > bound]
        if not joined:
            return LATE if starts else ADDED
        for start in joined:
            panes = self.open.setdefault(start, {})
            cell = panes.get(key) or Cell(start, start + self.size, 0)
            try:
                cell.check(value)
            except Refused:
                return FAULT
        for start in joined:
            panes = self.open[start]
            cell = panes.setdefault(key, Cell(start, start + self.size, len(panes)))
            cell.add(value, time)
        return ADDED

    def due(self) -> int:
        return min((start + self.size for start in self.open), default=NEVER)

    def advance(self, watermark: int) -> list[list[Any]]:
        self.advanced = max(self.advanced, watermark)
        found = []
        for start in sorted(self.open):
            if start + self.size <= watermark:
                found += [cell.row(key) for key, cell in self.open.pop(start).items()]
        return found

    def cells(self) -> Iterator[tuple[Any, Cell]]:
        for panes in self.open.values():
            yield from panes.items()


def frozen(data: bytes) -> list[list[Any]]:
    """Rows of a freeze, sorted as a cut wants them, with the key's value in the key's place."""
    rows = unpack_all(data)
    shards = [row[0] for row in rows]
    assert shards == sorted(shards)
    for row in rows:
        key = row[1]
        assert lib.hash_bytes(block_of(key), len(key)) >> 58 == row[0]
        row[1] = msgpack.unpackb(key)
    return rows


class Store:
    """What the rows of all cuts come to."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Any, int], list[Any]] = {}

    def take(self, data: bytes, by_start: bool = True) -> None:
        for _, key, start, end, order, accumulators in frozen(data):
            place = (key, start if by_start else 0)
            if accumulators is None:
                assert self.rows.pop(place)  # only of rows that a cut has had
            else:
                self.rows[place] = [start, end, order, accumulators]

    def holds(self, cells: list[tuple[Any, Cell]], by_start: bool = True) -> bool:
        """Each open row with its bounds and count; orders rise as the keys appeared."""
        mine = {place: [*row[:2], row[3][0]] for place, row in self.rows.items()}
        want = {
            (key, cell.start if by_start else 0): [cell.start, cell.end, cell.twins[0].result()]
            for key, cell in cells
        }
        orders = [self.rows[key, cell.start][2] for key, cell in cells if by_start]
        starts = [cell.start for _, cell in cells]
        rising = all(
            a < b
            for a, b, x, y in zip(orders, orders[1:], starts, starts[1:], strict=False)
            if x == y
        )
        return mine == want and rising


keys = st.sampled_from(["a", "b", "a key of more than sixteen bytes", 7, 2.5, True])
values = st.one_of(
    st.integers(-5, 5),
    st.floats(-5, 5),
    st.none(),
    st.sampled_from([2**62, 2**63 - 1, "text", -(2**62)]),
)


@st.composite
def histories(draw: Any, spread: int) -> list[Event]:
    """Events around a moving time, and how the step's watermark follows."""
    events = draw(
        st.lists(
            st.tuples(keys, values, st.integers(-spread, spread), st.integers(0, spread // 2)),
            max_size=40,
        )
    )
    base, found = draw(st.integers(-3 * spread, 3 * spread)), []
    for key, value, apart, ahead in events:
        base += ahead // 2
        found.append((key, value, base + apart, ahead))
    return found


measures = st.one_of(
    st.builds(
        lambda size, offset: ("tumbling", size, size, offset),
        st.integers(1, 30),
        st.integers(-50, 50),
    ),
    st.builds(
        lambda *found: ("hopping", *found),
        st.integers(1, 30),
        st.integers(1, 40),
        st.integers(-50, 50),
    ),
)


@given(measures, histories(60), st.data())
def test_windows_are_those_of_plain_python(
    measures: tuple[str, int, int, int], events: list[Event], data: Any
) -> None:
    """S13 to S16, S25, S27; a refused record joins no window at all."""
    kind, size, every, offset = measures
    twin, store = Panes(size, every, offset), Store()
    watermark, step_watermark = ALWAYS, ALWAYS
    with Keyed(program(kind, size=size, every=every, offset=offset)) as step:
        for key, value, time, ahead in events:
            found, results = step.add([key, value], time, watermark)
            assert not results
            assert found == twin.add(key, value, time, watermark)
            watermark = max(watermark, time - ahead)
            if data.draw(st.booleans()):
                step_watermark = max(step_watermark, watermark - data.draw(st.integers(0, 20)))
                expected = twin.advance(step_watermark)
                assert (step.due <= step_watermark) or not expected
                assert step.advance(step_watermark) == expected
            assert step.due == twin.due()
            assert step.keys == len(list(twin.cells()))
            if data.draw(st.integers(0, 4)) == 0:
                store.take(step.freeze())
                assert store.holds(list(twin.cells()))
        store.take(step.freeze())
        assert store.holds(list(twin.cells()))
        assert step.advance(NEVER) == twin.advance(NEVER)
        store.take(step.freeze())
        assert not store.rows
        assert step.add(["a", 1], 0, ALWAYS)[0] in (LATE, ADDED) and step.keys == 0


class Global:
    """The window without an end, in plain Python."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.next: int | None = None
        self.cells: dict[Any, Cell] = {}
        self.changed: list[Any] = []

    def add(self, key: Any, value: Any, time: int) -> tuple[int, list[Any]]:
        cell = self.cells.get(key) or Cell(time, time, 0)
        try:
            cell.check(value)
        except Refused:
            return FAULT, []
        cell.add(value, time)
        cell.start, cell.end = min(cell.start, time), max(cell.end, time)
        self.cells[key] = cell
        if not self.every:
            return ADDED, [cell.row(key)]
        if key not in self.changed:
            self.changed.append(key)
        return ADDED, []

    def advance(self, watermark: int) -> list[Any]:
        if not self.every:
            return []
        found = []
        if watermark == NEVER or (self.next is not None and watermark >= self.next):
            found = [self.cells[key].row(key, self.next) for key in self.changed]
            self.changed = []
        if watermark != NEVER and (self.next is None or watermark >= self.next):
            self.next = (watermark // self.every + 1) * self.every
        return found


@given(st.sampled_from([0, 1, 7, 20]), histories(60), st.data())
def test_global_windows_are_those_of_plain_python_s14(
    every: int, events: list[Event], data: Any
) -> None:
    twin, store, watermark = Global(every), Store(), ALWAYS
    with Keyed(program("global", every=every)) as step:
        assert step.due <= (ALWAYS + 1 if every else NEVER)
        for key, value, time, ahead in events:
            assert step.add([key, value], time, watermark) == twin.add(key, value, time)
            if data.draw(st.booleans()) and time - ahead > watermark:
                watermark = time - ahead
                expected = twin.advance(watermark)
                assert step.due <= watermark or not expected
                assert step.advance(watermark) == expected
            assert step.keys == len(twin.cells)
            if data.draw(st.integers(0, 4)) == 0:
                store.take(step.freeze(), by_start=False)
                assert store.holds(list(twin.cells.items()), by_start=False)
                waiting = {key: at for at, key in enumerate(twin.changed)}
                assert {key: row[2] for (key, _), row in store.rows.items()} == {
                    key: waiting.get(key, -1) for key in twin.cells
                }
        assert step.advance(NEVER) == twin.advance(NEVER)


@given(histories(60))
def test_a_running_step_answers_every_record_s12(events: list[Event]) -> None:
    cells: dict[Any, Cell] = {}
    stored: dict[Any, Any] = {}
    running = {"aggregates": program("global")["window"]["aggregates"]}
    results = [COUNT, SUM, LAST]
    with Keyed({"slots": 8, "key": [KEY], "results": results, "running": running}) as step:
        for number, (key, value, time, _) in enumerate(events):
            cell = cells.get(key) or Cell(0, 0, 0)
            try:
                cell.check(value)
            except Refused:
                assert step.add([key, value], time) == (FAULT, [])
            else:
                cell.add(value, time)
                cells[key] = cell
                assert step.add([key, value], time) == (ADDED, [cell.values()])
            assert step.keys == len(cells)
            if number % 5 == 0:
                stored.update({row[1]: row[2] for row in frozen(step.freeze())})
                assert {key: row[0] for key, row in stored.items()} == {
                    key: cell.twins[0].result() for key, cell in cells.items()
                }


def test_late_is_judged_by_the_records_own_partition_s15() -> None:
    """Whatever the step still holds open; and a window that the step has closed stays closed."""
    with Keyed(program("tumbling", size=10)) as step:
        assert step.add(["a", 1], 5, watermark=9)[0] == ADDED
        assert step.add(["a", 1], 6, watermark=10)[0] == LATE
        assert step.add(["a", 1], 7, watermark=3)[0] == ADDED
        assert step.advance(10) == [["a", Time(0), Time(10), 2, 2, 1, 10]]
        assert step.add(["a", 1], 8, watermark=3)[0] == LATE
        assert step.add(["a", 1], 10, watermark=3)[0] == ADDED


def test_a_hopping_record_joins_the_windows_still_open_s27() -> None:
    with Keyed(program("hopping", size=30, every=10)) as step:
        assert step.add(["a", 1], 25, watermark=30)[0] == ADDED
        assert step.add(["a", 1], 25, watermark=50)[0] == LATE
        assert [row[1] for row in step.advance()] == [10, 20]
    with Keyed(program("hopping", size=10, every=30)) as step:
        assert step.add(["a", 1], 15, watermark=100)[0] == ADDED  # in a gap (S25): not late either
        assert step.keys == 0


def test_a_key_that_is_refused_says_why_s10() -> None:
    with Keyed(program("tumbling", size=10)) as step:
        assert step.add([None, 1], 0)[0] == FAULT
        assert step.message == "the key is null"
        assert step.reason == lib.REASON_KEY
        assert step.keys == 0


@pytest.mark.parametrize("time", [TOO_FAR, -TOO_FAR, NEVER, ALWAYS])
def test_a_time_beyond_all_windows_is_an_error(time: int) -> None:
    for found in (
        program("tumbling", size=10),
        program("hopping", size=2**60, every=2**59, offset=2**60),
        program("global"),
    ):
        with Keyed(found) as step:
            assert step.add(["a", 1], time)[0] == FAULT
            assert step.reason == lib.REASON_TIME
            assert step.add(["a", 1], 2**61, NEVER - 1)[0] in (LATE, ADDED)


def test_no_more_than_100000_windows_are_open() -> None:
    """And a record that would open more joins none of its windows."""
    with Keyed(program("hopping", size=1000, every=1)) as step:
        for time in range(0, 100_000, 1000):
            assert step.add(["a", 1], time)[0] == ADDED
        assert step.keys == 100_000
        assert step.add(["b", 1], 99_500)[0] == FAULT
        assert step.reason == lib.REASON_LIMIT
        assert step.keys == 100_000
        assert step.add(["b", 1], 98_000)[0] == ADDED
        assert len(step.advance(500)) == 500
        assert step.add(["b", 1], 99_500)[0] == ADDED


def test_a_steady_state_holds_a_steady_amount_of_memory() -> None:
    """Windows close and open, keys and kept texts come and go, cuts are made: nothing grows."""
    draw, held = random.Random(3), []
    texts = [f"{number}" * (number % 40) for number in range(100)]
    found = program("hopping", size=40, every=10)
    found["window"]["aggregates"] = [aggregate("last", LAST, VALUE)]
    with Keyed(found) as step:
        for round_ in range(60):
            for _ in range(40):
                key = f"a key that is long enough to lie outside {draw.randrange(20)}"
                time = round_ * 10 + draw.randrange(10)
                assert step.add([key, draw.choice(texts)], time)[0] == ADDED
            step.advance(round_ * 10)
            if round_ % 3 == 0:
                step.freeze()
            held.append(step.bytes_held)
    assert max(held[30:]) <= max(held[:30])


@pytest.mark.parametrize(
    "spoilt",
    [
        {"kind": "round"},
        {"kind": "tumbling", "size": 0},
        {"kind": "tumbling", "size": 2**61},
        {"kind": "hopping", "size": 10, "every": 0},
        {"kind": "hopping", "size": 10**6, "every": 1},
        {"kind": "hopping", "size": 10, "every": 10, "offset": 2**62},
        {"kind": "global", "every": -1},
        {"kind": "tumbling", "size": 10, "keys": [-1]},
        {"kind": "tumbling", "size": 10, "aggregates": 5},
        {"kind": "tumbling", "size": 10, "start": "x"},
    ],
)
def test_a_malformed_program_is_refused(spoilt: dict[str, Any]) -> None:
    found = program("tumbling")
    found["window"] = found["window"] | spoilt
    with pytest.raises(Refused, match="malformed"):
        Keyed(found)


def test_the_page_shows_rows_as_they_are() -> None:
    """docs/formats/state-rows.md."""
    window = {"kind": "tumbling", "size": 10_000_000, "aggregates": [aggregate("count", COUNT)]}
    with Keyed({"slots": 8, "key": [KEY], "results": [COUNT], "window": window}) as step:
        step.add(["d0"], 12_000_000)
        step.freeze()
        for time in (13_000_000, 14_000_000):
            step.add(["d1"], time)
        assert step.freeze() == examples()["Window row"]
        step.advance(20_000_000)
        rows = {row[1]: row for row in unpack_all(step.freeze())}
        assert pack(rows[pack("d1")]) == examples()["Tombstone"]
