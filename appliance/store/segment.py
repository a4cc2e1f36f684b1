"""A segment: rows of many steps, by shard, with a directory. What one cut changed is a segment (a
delta), and so is the base of one shard of one flow.

    size and checksum of the directory · directory · rows · directory · its checksum and size

The directory stands at both ends, for without it nobody could say whose rows the others are.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

import msgpack
from msgspec import Struct

from appliance.limits import SHARD_COUNT
from appliance.store.values import unpack

_FRONT = struct.Struct("<II")  # size, checksum
_BACK = struct.Struct("<II")  # checksum, size


class Section(Struct, frozen=True):
    """Rows of one stateful step that one cut changed.

    `kind` is "window", "global", "running" or "python"; `sizes` are the bytes of each of the 64
    shards' rows, by which `rows` are sorted.
    """

    flow: str
    step: str
    kind: str
    sizes: Sequence[int]
    rows: bytes


def one_shard(flow: str, step: str, kind: str, shard: int, rows: bytes) -> Section:
    """Rows that are all of one shard."""
    sizes = [0] * SHARD_COUNT
    sizes[shard] = len(rows)
    return Section(flow, step, kind, sizes, rows)


class Part(Struct, frozen=True):
    """A section within a segment: `mask` has a bit for each shard with rows, `ends` says where
    their rows end, counted from `start`, a place in the segment's bytes."""

    flow: str
    step: str
    kind: str
    mask: int
    ends: array[int]
    start: int

    def place(self, shard: int) -> tuple[int, int]:
        """Where the rows of a shard begin and end in the segment; equal if there are none."""
        if not self.mask >> shard & 1:
            return self.start, self.start
        index = (self.mask & ((1 << shard) - 1)).bit_count()
        begin = self.ends[index - 1] if index else 0
        return self.start + begin, self.start + self.ends[index]

    def shards(self) -> Iterator[tuple[int, int]]:
        """Each shard with rows, and how many bytes they are."""
        before, mask = 0, self.mask
        for end in self.ends:
            yield (mask & -mask).bit_length() - 1, end - before
            before, mask = end, mask & (mask - 1)


class Segment(Struct, frozen=True):
    """The directory of a segment: `cut` made it (for a base: it holds what was changed up to that
    cut); `previous` is the cut of the delta before it, 0 if there was none; `length` in bytes."""

    cut: int
    previous: int
    parts: tuple[Part, ...]
    length: int


def pack_segment(cut: int, previous: int, sections: Sequence[Section]) -> tuple[Segment, bytes]:
    """The bytes of a segment, and its directory as it would be read back. ValueError when a
    section's sizes are not those of its rows."""
    sized = [(section, *_shards_of(section)) for section in sections]
    listed = [
        [part.flow, part.step, part.kind, mask, struct.pack(f"<{len(sizes)}I", *sizes)]
        for part, mask, sizes in sized
    ]
    directory: bytes = msgpack.packb([cut, previous, listed])
    checksum, size = zlib.crc32(directory), len(directory)
    rows = [section.rows for section in sections]
    front, back = _FRONT.pack(size, checksum), _BACK.pack(checksum, size)
    data = b"".join((front, directory, *rows, directory, back))
    start = _FRONT.size + size
    parts = tuple(
        _parts(((p.flow, p.step, p.kind, mask, sizes) for p, mask, sizes in sized), start)
    )
    return Segment(cut, previous, parts, len(data)), data


def _shards_of(section: Section) -> tuple[int, list[int]]:
    """The shards with rows as a mask, and their sizes."""
    if len(section.sizes) != SHARD_COUNT:
        raise ValueError(f"step {section.step}: sizes of {len(section.sizes)} shards")
    if sum(section.sizes) != len(section.rows):
        raise ValueError(f"step {section.step}: sizes do not add up to its rows")
    mask = sum(1 << shard for shard, size in enumerate(section.sizes) if size)
    return mask, [size for size in section.sizes if size]


def _parts(
    listed: Iterable[tuple[str, str, str, int, Sequence[int]]], start: int
) -> Iterator[Part]:
    for flow, step, kind, mask, sizes in listed:
        ends = array("I", accumulate(sizes))
        yield Part(flow, step, kind, mask, ends, start)
        start += ends[-1] if ends else 0


def read_front(data: bytes | memoryview) -> Segment:
    """The directory at the beginning of a segment. ValueError if it is damaged or goes on behind
    `data`."""
    size, checksum = _FRONT.unpack_from(data) if len(data) >= _FRONT.size else (0, 0)
    return _read(memoryview(data)[_FRONT.size : _FRONT.size + size], size, checksum)


def read_back(data: bytes | memoryview) -> Segment:
    """The same, of the directory at the end; `data` ends where the segment does."""
    checksum, size = _BACK.unpack_from(data, len(data) - 8) if len(data) >= _BACK.size else (0, 0)
    begin = max(0, len(data) - _BACK.size - size)
    return _read(memoryview(data)[begin : begin + size], size, checksum)


def _read(directory: memoryview, size: int, checksum: int) -> Segment:
    if not size or len(directory) != size or zlib.crc32(directory) != checksum:
        raise ValueError("the directory is damaged or cut off")
    try:
        cut, previous, listed = unpack(directory)
        entries = [
            (str(flow), str(step), str(kind), int(mask), struct.unpack(f"<{len(ends) // 4}I", ends))
            for flow, step, kind, mask, ends in listed
        ]
    except (TypeError, ValueError, struct.error) as error:
        raise ValueError(f"not a directory: {error}") from error
    if not all(mask.bit_count() == len(sizes) for _, _, _, mask, sizes in entries):
        raise ValueError("not a directory: shards and sizes do not match")
    parts = tuple(_parts(entries, _FRONT.size + size))
    rows = sum(part.ends[-1] for part in parts if part.ends)
    return Segment(int(cut), int(previous), parts, rows + 2 * (size + _FRONT.size))
