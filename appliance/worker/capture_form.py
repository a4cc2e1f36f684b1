"""The file of a capture: `docs/formats/capture.md`.

It may have been cut short: a reader takes all whole entries and says that there is no end.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import IO, Any

import msgpack

from appliance.errors import BettongError
from appliance.formats import CAPTURE
from appliance.limits import CAPTURE_ENTRY_MAX_BYTES, CUT_PART_MAX_COUNT
from appliance.store.rows import merge_rows

_NAME = b"BTNGCAP"
MAGIC = _NAME + bytes((CAPTURE.version,))

#: Kinds of entries that the lane writes (native/include/capture.h).
START, TICK, BEGIN, RESUME, BYTES, PLACE, RENAME, PARTITION_END = range(1, 9)
SOURCE_END, PAUSE, SPOOL, CUT, TIMERS, RESULTS, END, UNFINISHED = range(9, 17)

#: Kinds that are written around them.
HEAD, DIGEST = 64, 65

#: Why a capture ended (enum capture_end), as people read it.
WHY = {
    1: "asked",
    2: "size limit reached",
    3: "the run ended",
    4: "the disk is too slow",
    5: "no memory",
}

#: Ends before which something was not written down: what came last cannot be compared.
INCOMPLETE = (WHY[4], WHY[5])

_ENTRY = struct.Struct("<II")  # size of kind and members, crc32 of both
_RAW = struct.Struct("<IB")  # from the lane: size of kind and members, kind
_SINK = struct.Struct("<I")
_TOTAL = struct.Struct("<IQI")  # sink, its bytes so far, their running crc32
_TICK = struct.Struct("<qqqB")
_READ = struct.Struct("<IIB")  # source, number of its partition, whether it is a datagram
_END = struct.Struct("<BQ")

#: Operator → its kind and its rows.
Rows = Mapping[int, tuple[str, bytes]]


@dataclass(frozen=True)
class Head:
    """What stands before the first entry of the lane."""

    flow: str
    program: bytes  # as the lane loaded it
    positions: bytes  # FlowPositions.pack()
    rows: Rows
    files: Mapping[str, bytes]  # the flow file and the user's files beside it, by name

    def pack(self) -> bytes:
        """As it stands in its entry."""
        return _packed(
            {
                "flow": self.flow,
                "program": self.program,
                "positions": self.positions,
                "rows": [[op, kind, rows] for op, (kind, rows) in sorted(self.rows.items())],
                "files": dict(self.files),
            }
        )

    @classmethod
    def unpack(cls, packed: bytes) -> Head:
        """BettongError when it is none."""
        document = _unpacked(packed)
        try:
            rows = {int(op): (str(kind), bytes(rows)) for op, kind, rows in document["rows"]}
            files = {str(name): bytes(text) for name, text in document["files"].items()}
            flow, program = str(document["flow"]), bytes(document["program"])
            return cls(flow, program, bytes(document["positions"]), rows, files)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BettongError(f"the head of the capture cannot be read: {error!r}") from error


@dataclass(frozen=True)
class Digest:
    """What a whole capture ends with. `state` is empty where the capture ended between cuts."""

    why: str
    state: bytes
    sinks: tuple[tuple[str, int, bytes], ...]  # name, bytes, sha256 of them

    def pack(self) -> bytes:
        """As it stands in its entry."""
        sinks = [list(sink) for sink in self.sinks]
        return _packed({"why": self.why, "state": self.state, "sinks": sinks})

    @classmethod
    def unpack(cls, packed: bytes) -> Digest:
        """BettongError when it is none."""
        document = _unpacked(packed)
        try:
            sinks = tuple((str(n), int(size), bytes(sha)) for n, size, sha in document["sinks"])
            return cls(str(document["why"]), bytes(document["state"]), sinks)
        except (KeyError, TypeError, ValueError) as error:
            raise BettongError(f"the end of the capture cannot be read: {error!r}") from error


@dataclass
class SinkTotals:
    """What the sinks of one flow have got since a capture began."""

    names: tuple[str, ...]
    sizes: list[int] = field(default_factory=list)
    crcs: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sizes = [0] * len(self.names)
        self.crcs = [0] * len(self.names)
        self._hashes = [sha256() for _ in self.names]

    def add(self, sink: int, data: bytes) -> None:
        """More results."""
        self.sizes[sink] += len(data)
        self.crcs[sink] = zlib.crc32(data, self.crcs[sink])
        self._hashes[sink].update(data)

    def entry(self, sink: int) -> bytes:
        """How it is written down."""
        return _TOTAL.pack(sink, self.sizes[sink], self.crcs[sink])

    def digests(self) -> tuple[tuple[str, int, bytes], ...]:
        """All of them."""
        hashes = [one.digest() for one in self._hashes]
        return tuple(zip(self.names, self.sizes, hashes, strict=True))


def framed(kind: int, members: bytes) -> bytes:
    """One entry as it stands in the file."""
    body = bytes((kind,)) + members
    return _ENTRY.pack(len(body), zlib.crc32(body)) + body


def from_lane(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The entries of a POST_CAPTURE, or of `Lane.replay_results`."""
    at = 0
    while at < len(data):
        size, kind = _RAW.unpack_from(data, at)
        yield kind, data[at + _RAW.size : at + 4 + size]
        at += 4 + size


def results(members: bytes) -> tuple[int, bytes]:
    """The sink and the bytes of a RESULTS of the lane."""
    return _SINK.unpack_from(members)[0], members[_SINK.size :]


def total(members: bytes) -> tuple[int, int, int]:
    """The sink, its bytes and their crc32 of a RESULTS in a file."""
    return _unpack(_TOTAL, members)  # type: ignore[return-value]


def wall_us(members: bytes) -> int:
    """The wall clock of a TICK."""
    return int(_unpack(_TICK, members)[2])


def bytes_read(members: bytes) -> tuple[int, int, int]:
    """Source, number of the partition, and how many bytes, of a BYTES."""
    source, number, _ = _unpack(_READ, members[: _READ.size])
    return source, number, len(members) - _READ.size


def first_bytes(members: bytes, count: int) -> bytes:
    """A BYTES of which only so many were read; of a datagram none, for it is whole."""
    is_whole = _unpack(_READ, members[: _READ.size])[2]
    return members[: _READ.size + (0 if is_whole else count)]


def ending(members: bytes) -> tuple[str, int]:
    """Why, and at which cut (0: at none), of an END."""
    why, cut = _unpack(_END, members)
    return WHY.get(why, "unknown"), cut


def read_entries(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """All whole entries; BettongError when the file is no capture."""
    stamp = file.read(len(MAGIC))
    if not stamp.startswith(_NAME) or len(stamp) < len(MAGIC):
        raise BettongError("this is no capture")
    if refusal := CAPTURE.refusal(stamp[-1]):
        raise BettongError(refusal)
    while len(head := file.read(_ENTRY.size)) == _ENTRY.size:
        size, crc = _ENTRY.unpack(head)
        if not 0 < size <= CAPTURE_ENTRY_MAX_BYTES:
            return
        body = file.read(size)
        if len(body) < size or zlib.crc32(body) != crc:
            return
        yield body[0], body[1:]


def state_digest(rows: Rows) -> bytes:
    """sha256 over all live rows: operators in order, the rows of each sorted by their bytes."""
    found = sha256()
    for op, (kind, data) in sorted(rows.items()):
        live = sorted(_each_row(data))
        if live:
            found.update(f"{op} {kind} {len(live)}\n".encode())
            for row in live:
                found.update(row)
    return found.digest()


def merged(rows: Rows, sections: Iterable[tuple[int, str, bytes]]) -> dict[int, tuple[str, bytes]]:
    """Rows with those of a later cut put over."""
    found = dict(rows)
    for op, kind, data in sections:
        if data:
            before = found.get(op, (kind, b""))[1]
            found[op] = (kind, merge_rows(kind, [before, data]))
    return found


def _each_row(data: bytes) -> Iterator[bytes]:
    reader = msgpack.Unpacker(max_buffer_size=max(len(data), 1))
    reader.feed(data)
    start = 0
    while start < len(data):
        reader.skip()
        end = reader.tell()
        yield data[start:end]
        start = end


def _unpack(form: struct.Struct, members: bytes) -> tuple[int, ...]:
    try:
        return form.unpack(members)
    except struct.error as error:
        raise BettongError(f"an entry of the capture cannot be read: {error}") from error


def _packed(document: Mapping[str, Any]) -> bytes:
    packed = msgpack.packb(document, use_bin_type=True)
    assert isinstance(packed, bytes)
    return packed


def _unpacked(packed: bytes) -> dict[str, Any]:
    size = len(packed)
    try:
        document = msgpack.unpackb(
            packed,
            max_str_len=size,
            max_bin_len=size,
            max_array_len=CUT_PART_MAX_COUNT,
            max_map_len=CUT_PART_MAX_COUNT,
            max_ext_len=0,
        )
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise BettongError(f"an entry of the capture cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise BettongError("an entry of the capture is no map")
    return document
