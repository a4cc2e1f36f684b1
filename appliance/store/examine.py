"""Looking at a store without changing anything: what it holds, and all that is wrong with it.

A file whose structure is sound is read through the engine, read-only; another one page by page, as
plain bytes (`pages.py`), which takes memory for what it holds. To repair is to open the store.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgpack

from appliance.limits import SHARD_COUNT
from appliance.store.entries import FlowEntry, refuse_other
from appliance.store.environment import DATA, Reading, reading_only, structure_faults
from appliance.store.failures import Damage, StoreRefused
from appliance.store.folder import Ownership, check_access, is_store, read_stamp
from appliance.store.pages import page_faults, salvage
from appliance.store.scan import Scan, scan
from appliance.store.shards import live_rows, read_pieces
from appliance.store.spool import SpoolInfo, read_spool_block


@dataclass(frozen=True)
class StepContents:
    """The live rows of a step: how many keys (for windows: keys and their windows), and bytes."""

    step: str
    kind: str
    keys: int
    bytes: int


@dataclass(frozen=True)
class FlowContents:
    """What the store has of a flow; `record` is None where it has none, or lost it."""

    name: str
    record: bytes | None
    steps: tuple[StepContents, ...]
    spools: tuple[SpoolInfo, ...]


@dataclass(frozen=True)
class Examined:
    """What a store holds, as far as it can be read, and all damage there is."""

    identity: str
    cut: int
    bytes: int
    flows: tuple[FlowContents, ...]
    damage: tuple[Damage, ...]


def examine(folder: Path) -> Examined:
    """Check the structure of the file, every checksum, every directory, and that no spool block is
    missing. StoreRefused: there is no store, it is in use, or a newer program's."""
    if not is_store(folder):
        raise StoreRefused(f"{folder}: there is no store here")
    owner = Ownership(folder)
    try:
        check_access(folder, to_write=False)
        stamp = read_stamp(folder)
        if stamp is not None:
            refuse_other(stamp.version, f"{folder}: ")
        damage = []
        if stamp is None:
            damage.append(Damage("stamp", "the file FORMAT is missing or damaged"))
        with _reading(folder, damage) as reading:
            found = scan(reading, stamp.identity if stamp is not None else "")
            flows = [_flow(reading, found, entry) for entry in found.entries.values()]
        size = (folder / DATA).stat().st_size if (folder / DATA).exists() else 0
    finally:
        owner.release()
    damage += found.damage
    flows.sort(key=lambda flow: flow.name)
    return Examined(found.head.identity, found.head.cut, size, tuple(flows), tuple(damage))


@contextmanager
def _reading(folder: Path, damage: list[Damage]) -> Iterator[Reading]:
    """The values of the store, from the engine where it can be trusted with the file."""
    faults = structure_faults(folder) or page_faults(folder)
    if not faults:
        with reading_only(folder) as reading:
            yield reading
        return
    what = f"the structure of the file is damaged ({faults[0]}; {len(faults)} in all)"
    found = salvage(folder)
    damage.append(Damage("structure", what))
    if found is None:
        damage.append(Damage("store", "nothing can be read of it: everything restarts empty"))
    elif not found.is_newest:
        text = "the newest cut may be lost: everything is as it was one cut earlier"
        damage.append(Damage("history", text))
    yield cast(Reading, _Values(found.values if found is not None else {}))


def _flow(reading: Reading, found: Scan, entry: FlowEntry) -> FlowContents:
    spools = tuple(
        SpoolInfo(entry.name, sink, one.first_seq, one.next_seq, one.bytes)
        for sink, one in sorted(entry.spools.items())
    )
    for info in spools:
        _check_spool(reading, found, info)
    return FlowContents(entry.name, entry.record, _steps(reading, found, entry), spools)


def _check_spool(reading: Reading, found: Scan, info: SpoolInfo) -> None:
    for seq in range(info.first_seq, info.next_seq):
        try:
            read_spool_block(reading, info.flow, info.sink, seq)
        except ValueError as error:
            text = f"of sink {info.sink}: {error}; these results are lost"
            found.damage.append(Damage("spool", text, flow=info.flow, step=info.sink))


def _steps(reading: Reading, found: Scan, entry: FlowEntry) -> tuple[StepContents, ...]:
    """What is live of each step, but for shards that have lost rows of it."""
    totals: dict[str, StepContents] = {}
    for shard in range(SHARD_COUNT):
        lost = found.losses.get((entry.name, shard), set())
        if lost is None:
            continue
        try:
            live = list(live_rows(read_pieces(reading, found.index, entry, shard, True), shard))
        except ValueError as error:
            if not lost:
                text = f"its rows cannot be read: {error}"
                found.damage.append(Damage("rows", text, flow=entry.name, shard=shard))
            continue
        for part in live:
            if part.step not in lost:
                before = totals.get(part.step, StepContents(part.step, part.kind, 0, 0))
                keys = before.keys + _count(part.rows)
                size = before.bytes + len(part.rows)
                totals[part.step] = StepContents(part.step, part.kind, keys, size)
    return tuple(totals[step] for step in sorted(totals))


def _count(rows: bytes) -> int:
    reader = msgpack.Unpacker(max_buffer_size=len(rows))
    reader.feed(rows)
    count = 0
    while reader.tell() < len(rows):
        reader.skip()
        count += 1
    return count


class _Values:
    """Values that were read page by page, with what a scan asks of a transaction."""

    def __init__(self, values: Mapping[bytes, bytes]) -> None:
        self._values = values
        self._keys = sorted(values)

    def get(self, key: bytes) -> memoryview | None:
        value = self._values.get(key)
        return None if value is None else memoryview(value)

    @contextmanager
    def cursor(self) -> Iterator[_Cursor]:
        yield _Cursor(self._keys, self._values)


class _Cursor:
    """A place among the keys."""

    def __init__(self, keys: list[bytes], values: Mapping[bytes, bytes]) -> None:
        self._keys, self._values = keys, values
        self._at = 0

    def set_range(self, key: bytes) -> bool:
        self._at = bisect_left(self._keys, key)
        return self._at < len(self._keys)

    def next(self) -> bool:
        self._at += 1
        return self._at < len(self._keys)

    def key(self) -> bytes:
        return self._keys[self._at]

    def value(self) -> memoryview:
        return memoryview(self._values[self._keys[self._at]])
