"""The rows of one shard of one flow, read from committed bytes: its base and the deltas since."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from appliance.store.entries import FlowEntry
from appliance.store.environment import Reading
from appliance.store.index import Index
from appliance.store.rows import merge_rows
from appliance.store.segment import Part, Segment, one_shard, pack_segment
from appliance.store.values import (
    CHECKSUM_BYTES,
    base_prefix,
    block_bytes,
    block_key,
    delta_prefix,
    without_checksum,
)


class ShardRows(Struct, frozen=True):
    """The live rows of one shard of one step."""

    step: str
    kind: str
    shard: int
    rows: bytes


class Merge(Struct, frozen=True):
    """A new base of a shard: `base` and `data` are its directory and bytes, None and empty when the
    shard has no rows; it holds everything up to `cut`."""

    flow: str
    shard: int
    cut: int
    base: Segment | None
    data: bytes


#: Kind and pieces of rows of each step, the oldest piece first.
Pieces = dict[str, tuple[str, list[bytes]]]


def read_pieces(
    reading: Reading, index: Index, entry: FlowEntry, shard: int, is_checked: bool
) -> Pieces:
    """What the store has of a shard, as it was written. `is_checked`: every block read is held
    against its checksum; without it, only what was checked when the store was opened is sound.

    ValueError if a block is missing or damaged.
    """
    pieces: Pieces = {}
    for prefix, segment, part in places(index, entry, shard):
        kind, rows = pieces.get(part.step, ("", []))
        if kind != part.kind:
            # Another kind of step under the same name: what the other kept means nothing to it.
            kind, rows = pieces[part.step] = part.kind, []
        rows.append(read_slice(reading, prefix, segment.length, part.place(shard), is_checked))
    return pieces


def places(index: Index, entry: FlowEntry, shard: int) -> Iterator[tuple[bytes, Segment, Part]]:
    """Where the rows of a shard stand, the oldest first: each segment's key and its part."""
    state = index.shard((entry.name, shard))
    segments = [(base_prefix(entry.name, shard), state.base)] if state.base is not None else []
    segments += [(delta_prefix(cut), index.deltas[cut]) for cut in state.deltas]
    for prefix, segment in segments:
        for part in segment.parts:
            is_ours = part.flow == entry.name and part.mask >> shard & 1
            if is_ours and segment.cut > entry.voids.get(part.step, -1):
                yield prefix, segment, part


def read_slice(
    reading: Reading, prefix: bytes, length: int, place: tuple[int, int], is_checked: bool
) -> bytes:
    """The bytes of a segment of that length from the one place to the other. ValueError if they are
    not there."""
    begin, end = place
    size, found = block_bytes(length), []
    for number in range(begin // size, (end - 1) // size + 1):
        key = block_key(prefix, number)
        value = reading.get(key)
        payload = None
        if value is not None:
            payload = without_checksum(key, value) if is_checked else value[CHECKSUM_BYTES:]
        if payload is None:
            raise ValueError(f"block {number} of {prefix.hex()} is missing or damaged")
        offset = number * size
        found.append(bytes(payload[max(0, begin - offset) : end - offset]))
    data = b"".join(found)
    if len(data) != end - begin:
        raise ValueError(f"{prefix.hex()} is shorter than its directory says")
    return data


def live_rows(pieces: Pieces, shard: int) -> Iterator[ShardRows]:
    """The merged rows of each step that has any. ValueError: they are no rows."""
    for step, (kind, parts) in pieces.items():
        rows = merge_rows(kind, parts)
        if rows:
            yield ShardRows(step, kind, shard, rows)


def merge_shard(flow: str, shard: int, cut: int, live: Iterator[ShardRows]) -> Merge:
    """The shard's new base, up to `cut`."""
    sections = [one_shard(flow, found.step, found.kind, shard, found.rows) for found in live]
    if not sections:
        return Merge(flow, shard, cut, None, b"")
    base, data = pack_segment(cut, 0, sections)
    return Merge(flow, shard, cut, base, data)
