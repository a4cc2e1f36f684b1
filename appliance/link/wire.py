"""The messages of a link (docs/formats/link.md): made, and read from an end that may send anything.

A *vector* says for each shard which number comes next; a shard that is not in it comes at 1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgpack

from appliance.connect import Records
from appliance.limits import (
    LINK_MESSAGE_BYTES,
    LINK_MESSAGE_MAX_BYTES,
    LINK_NAME_MAX_COUNT,
    LINK_RECORD_MAX_BYTES,
    LINK_TEXT_MAX_COUNT,
    SHARD_COUNT,
)
from appliance.link.numbers import NUMBER_MAX, VECTOR_MAX_BYTES, Numbers
from appliance.native import ffi, lib

VERSION = 2
HELLO, RESUME, ACK, GAP, RESET, DATA = 1, 2, 3, 4, 5, 6
STREAM_BYTES, INSTANCE_BYTES = 16, 8

_HEAD = struct.Struct("<BBHI16sQ")  # kind, version, shards in the vector, records, stream, epoch
_NEXT = struct.Struct("<BQ")  # shard, number
_SUM = struct.Struct("<Q")

#: What a message may have beside its records with their shards and lengths.
_ENDS_BYTES = _HEAD.size + VECTOR_MAX_BYTES + _SUM.size
_ROOM = LINK_MESSAGE_BYTES - _ENDS_BYTES


class Garbled(ValueError):
    """A message that no sender or receiver of ours makes. The text says what is wrong with it."""


class OtherVersion(Garbled):
    """A message of a protocol version that we do not speak."""


@dataclass(frozen=True)
class Hello:
    """Who wants to send. `instance` is made by every start of a process: two that claim the same
    epoch of one stream are told apart by it. `end`: the number of each shard's next new result, or
    None where that is not known.
    """

    stream: bytes
    epoch: int
    instance: bytes
    node: str
    flow: str
    sink: str
    kind: str = "flow"
    token: str = ""
    end: Mapping[int, int] | None = None


@dataclass(frozen=True)
class ResumeAt:
    """Where the sender goes on, what is durable here, and how many bytes it may send in all."""

    stream: bytes
    epoch: int
    is_new: bool
    next: Mapping[int, int]
    durable: Mapping[int, int]
    credit: int


@dataclass(frozen=True)
class Ack:
    """What is durable, and how many bytes may be sent in all since RESUME."""

    stream: bytes
    durable: Mapping[int, int]
    credit: int


@dataclass(frozen=True)
class Gap:
    """Results that were given up and will never come: numbers `first` to `last` of a shard."""

    stream: bytes
    epoch: int
    shard: int
    first: int
    last: int


@dataclass(frozen=True)
class Reset:
    """The receiver serves this sender no further. `code` is one word, `reason` is for a person."""

    code: str
    reason: str


class Data(NamedTuple):
    """Records: a byte of `shards` for each; `framed` has them one behind the other, each behind its
    length (32 bits, big-endian). The numbers are a vector as it came: whoever takes the records
    checks it.
    """

    stream: bytes
    epoch: int
    numbers: bytes
    shards: bytes
    framed: memoryview


Message = Hello | ResumeAt | Ack | Gap | Reset | Data


# ---- making ----


def pack_vector(vector: Mapping[int, int]) -> bytes:
    """A vector as bytes: shards in their order, 9 bytes each."""
    return b"".join(_NEXT.pack(shard, vector[shard]) for shard in sorted(vector))


def _control(kind: int, *values: object) -> bytes:
    message: bytes = bytes((kind, VERSION)) + msgpack.packb(values)
    return message + _SUM.pack(lib.xxh64_bytes(message, len(message)))


def pack(message: Hello | ResumeAt | Ack | Gap | Reset) -> bytes:
    """A control message as bytes."""
    match message:
        case Hello():
            end = None if message.end is None else pack_vector(message.end)
            who = (message.node, message.flow, message.sink, message.kind, message.token)
            return _control(HELLO, message.stream, message.epoch, message.instance, *who, end)
        case ResumeAt():
            where = (pack_vector(message.next), pack_vector(message.durable), message.credit)
            return _control(RESUME, message.stream, message.epoch, message.is_new, *where)
        case Ack():
            return _control(ACK, message.stream, pack_vector(message.durable), message.credit)
        case Gap():
            numbers = (message.shard, message.first, message.last)
            return _control(GAP, message.stream, message.epoch, *numbers)
        case Reset():
            return _control(RESET, message.code, message.reason[:LINK_TEXT_MAX_COUNT])


class DataPacker:
    """Makes messages of records; keeps the room in which they are made."""

    def __init__(self, hello: Hello) -> None:
        self._head = _HEAD.pack(DATA, VERSION, 0, 0, hello.stream, hello.epoch)
        self._out = ffi.new("char[]", LINK_MESSAGE_BYTES)
        self._sizes = ffi.new("size_t[2]")

    def messages(self, numbers: Numbers, shards: bytes, records: Records) -> Iterator[memoryview]:
        """As few messages as these records have room in, numbered on from `numbers`, which go on
        behind each. A message is valid until the next is asked for.
        ValueError: a record is larger than a link carries."""
        bins, shard = ffi.from_buffer(records.packed), ffi.from_buffer(shards)
        left, more = len(records.packed), len(shards)
        taken, framed = self._sizes, self._sizes + 1
        while more:
            count = lib.bins_fit(bins, left, more, _ROOM, taken, framed)
            if not count:
                raise ValueError("there are fewer records than shards")
            size = _ENDS_BYTES + count + framed[0]
            check_record(framed[0] - 4 * count)  # only one record alone can be so large
            out = self._out if size <= LINK_MESSAGE_BYTES else ffi.new("char[]", size)
            size = lib.data_pack(self._head, shard, count, bins, numbers.at, out)
            yield memoryview(ffi.buffer(out, size))
            bins, left = bins + taken[0], left - taken[0]
            shard, more = shard + count, more - count


# ---- reading ----


def read(message: bytes | memoryview) -> Message:
    """What a message says. Garbled: it says nothing that we know."""
    view = memoryview(message)
    end = len(view) - _SUM.size
    if end <= 2 or len(view) > LINK_MESSAGE_MAX_BYTES:
        raise Garbled(f"it has {len(view)} bytes")
    if view[1] != VERSION:
        raise OtherVersion(f"it is of version {view[1]} of the protocol; this is {VERSION}")
    if lib.xxh64_bytes(ffi.from_buffer(view), end) != _SUM.unpack_from(view, end)[0]:
        raise Garbled("its checksum is wrong")
    if view[0] == DATA:
        return _read_data(view, end)
    if view[0] not in _READERS:
        raise Garbled(f"there is no message of kind {view[0]}")
    values = _unpacked(bytes(view[2:end]))
    kinds, make = _READERS[view[0]]
    if len(values) != len(kinds):
        raise Garbled(f"it has {len(values)} values, not {len(kinds)}")
    for value, check in zip(values, kinds, strict=True):
        if not check(value):
            raise Garbled(f"a value is not as it must be: {value!r:.80}")
    made: Message = make(values)
    return made


def _read_data(view: memoryview, end: int) -> Data:
    """`end`: where its checksum begins."""
    if end < _HEAD.size:
        raise Garbled("it is cut short")
    _, _, entries, count, stream, epoch = _HEAD.unpack_from(view)
    shards_at = _HEAD.size + entries * _NEXT.size
    records_at = shards_at + count
    if not (0 < entries <= SHARD_COUNT and count and records_at <= end):
        raise Garbled("its counts do not fit its size")
    if not 0 < epoch <= NUMBER_MAX:
        raise Garbled(f"its epoch is {epoch}")
    framed = view[records_at:end]
    if lib.frames_count(ffi.from_buffer(framed), len(framed)) != count:
        raise Garbled("its records have other lengths than it says")
    numbers, shards = bytes(view[_HEAD.size : shards_at]), bytes(view[shards_at:records_at])
    return Data(stream, epoch, numbers, shards, framed)


def read_vector(packed: bytes) -> dict[int, int]:
    """A vector from bytes; Garbled when it is none."""
    if len(packed) % _NEXT.size or len(packed) > VECTOR_MAX_BYTES:
        raise Garbled("a vector of numbers has a wrong size")
    found: dict[int, int] = {}
    above = -1
    for shard, number in _NEXT.iter_unpack(packed):
        if not above < shard < SHARD_COUNT or not 0 < number <= NUMBER_MAX:
            raise Garbled(f"a vector has number {number} for shard {shard}")
        found[shard] = number
        above = shard
    return found


def _unpacked(packed: bytes) -> list[Any]:
    """The list that a control message is; nothing inside of it can be large."""
    try:
        values = msgpack.unpackb(
            packed,
            max_array_len=16,
            max_map_len=0,
            max_ext_len=0,
            max_str_len=4 * LINK_TEXT_MAX_COUNT,
            max_bin_len=VECTOR_MAX_BYTES,
        )
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise Garbled(f"it is no list of values: {error}") from error
    if not isinstance(values, list):
        raise Garbled("it is no list of values")
    return values


def _is_stream(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == STREAM_BYTES


def _is_instance(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == INSTANCE_BYTES


def _is_number(value: object) -> bool:
    return type(value) is int and 0 < value <= NUMBER_MAX


def _is_shard(value: object) -> bool:
    return type(value) is int and 0 <= value < SHARD_COUNT


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LINK_NAME_MAX_COUNT and value.isprintable()


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LINK_TEXT_MAX_COUNT and value.isprintable()


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_bytes(value: object) -> bool:
    return isinstance(value, bytes)


def _is_bytes_or_none(value: object) -> bool:
    return value is None or isinstance(value, bytes)


def _hello(v: list[Any]) -> Hello:
    end = None if v[8] is None else read_vector(v[8])
    return Hello(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], end)


def _resume(v: list[Any]) -> ResumeAt:
    return ResumeAt(v[0], v[1], v[2], read_vector(v[3]), read_vector(v[4]), v[5])


_READERS: dict[int, tuple[tuple[Any, ...], Any]] = {
    HELLO: (
        (_is_stream, _is_number, _is_instance, *(_is_name,) * 5, _is_bytes_or_none),
        _hello,
    ),
    RESUME: (
        (_is_stream, _is_number, _is_bool, _is_bytes, _is_bytes, _is_number),
        _resume,
    ),
    ACK: (
        (_is_stream, _is_bytes, _is_number),
        lambda v: Ack(v[0], read_vector(v[1]), v[2]),
    ),
    GAP: ((_is_stream, _is_number, _is_shard, _is_number, _is_number), lambda v: Gap(*v)),
    RESET: ((_is_name, _is_text), lambda v: Reset(*v)),
}


def check_record(size: int) -> None:
    """ValueError for a result that no link carries."""
    if size > LINK_RECORD_MAX_BYTES:
        raise ValueError(
            f"a result of {size} bytes is larger than a link carries ({LINK_RECORD_MAX_BYTES}): "
            "let the flow make smaller ones"
        )
