"""A cut as the lane hands it over, and what a lane is restored from: `docs/formats/cut.md`.

Both come from a lane of ours, but the second has been on a disk: everything is checked, and what
does not fit is refused with a BettongError.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import msgpack
import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from appliance.errors import BettongError
from appliance.limits import CUT_MAX_BYTES, CUT_PART_MAX_COUNT, SHARD_COUNT

_SIZE = struct.Struct("<Q")
_SIZES = struct.Struct(f"<{SHARD_COUNT}I")

#: Flags of a partition.
COUNTED, IDLE, ENDED = 1, 2, 4

KINDS = ("window", "global", "running", "python", "seen")

_Part = TypeVar("_Part")


class SourceCut(Struct, frozen=True, array_like=True):
    """How far a source's event time has got. Times are microseconds; the smallest int64: none."""

    index: int
    watermark_us: int
    left_time_us: int  # the largest event time of the partitions that have gone
    ended: bool
    idle: bool  # all its partitions were: its watermark moves with the clock


class PartitionCut(Struct, frozen=True, array_like=True):
    """How far a partition has been read: an int where the lane reads the source itself, else bytes
    as the connector gave them.
    """

    source: int
    name: str
    position: int | bytes
    unfinished: bytes  # of the frame that the position lies in
    max_time_us: int
    watermark_us: int
    flags: int  # COUNTED | IDLE | ENDED
    frame: tuple[int, int, bool, int]  # bytes read, scanned, skipping, skipped
    format: bytes  # what the decoder keeps for a partition, such as a CSV header
    identity: bytes  # which file it is

    @property
    def ended(self) -> bool:
        """It brings nothing more: a file that was read to its end."""
        return bool(self.flags & ENDED)


class StepCut(Struct, frozen=True, array_like=True):
    """How far a step that watches event time has closed, by its operator."""

    op: int
    watermark_us: int


class Section(Struct, frozen=True):
    """The rows of one step that have changed since the cut before, sorted by shard."""

    op: int
    kind: str  # one of KINDS
    count: int  # rows
    rows: bytes
    sizes: tuple[int, ...]  # bytes of each shard's rows


class SinkCut(Struct, frozen=True):
    """What a sink has that no cut before holds; of an immediate one, what it has not taken yet.
    The block may be a view of the cut as the lane has handed it over."""

    records: int  # since the start
    block: bytes | memoryview
    count: int  # records in the block
    shards: bytes  # one byte a record, where the sink numbers them
    started: bool  # something has been written: a CSV header stands
    offset: int  # of a file: where the block belongs


class SinkRestore(Struct, frozen=True, array_like=True):
    """What an immediate sink goes on with. `offset` None: where the sink is opened."""

    index: int
    pending: bytes | memoryview
    started: bool
    offset: int | None = None


class FlowCut(Struct, frozen=True):
    """One flow's part of a cut; its Python steps' sections stand among the others."""

    name: str
    now_us: int
    sources: tuple[SourceCut, ...]
    partitions: tuple[PartitionCut, ...]
    steps: tuple[StepCut, ...]
    sections: tuple[Section, ...]
    sinks: tuple[SinkCut, ...]

    def positions(self) -> FlowPositions:
        """What a restart of the flow needs beside its state rows."""
        sinks = tuple(
            SinkRestore(index, sink.block, sink.started, sink.offset)
            for index, sink in enumerate(self.sinks)
        )
        return FlowPositions(self.now_us, self.sources, self.partitions, self.steps, sinks)


class FlowPositions(Struct, frozen=True):
    """The document of `Lane.restore`.

    From a cut, `sinks` holds every sink's block as pending: take out those of sinks that deliver
    from a spool (`replace(positions, sinks=…)`), or they go out twice.
    """

    now_us: int
    sources: tuple[SourceCut, ...]
    partitions: tuple[PartitionCut, ...]
    steps: tuple[StepCut, ...]
    sinks: tuple[SinkRestore, ...] = ()

    def pack(self) -> bytes:
        """As `unpack_positions` and the lane read it."""
        document = {
            "now": self.now_us,
            "sources": self.sources,
            "partitions": self.partitions,
            "steps": self.steps,
            "sinks": self.sinks,
        }
        try:
            return msgspec.msgpack.encode(document)
        except UnicodeEncodeError:  # a file's name may be any bytes
            named = [_with_any_name(one) for one in self.partitions]
            return msgspec.msgpack.encode(document | {"partitions": named})


def unpack_cut(blocks: bytes | memoryview) -> tuple[FlowCut, ...]:
    """The flows of a cut. BettongError when it is none."""
    try:
        results = _Results(blocks)
        flows, behind = _first(results.behind)
        later = msgpack.unpackb(behind, **_limits(len(behind)))
        python: dict[int, list[Section]] = {}
        for items in _list(later, "sections"):
            flow, *rest = _items(items, 6, "a section")
            python.setdefault(_int(flow), []).append(_section(rest))
        cut = tuple(
            _flow(flow, python.get(index, []), results)
            for index, flow in enumerate(_list(flows, "flows"))
        )
        results.end()
        return cut
    except (ValueError, struct.error, msgpack.exceptions.UnpackException) as error:
        raise _wrong("a cut", str(error) or type(error).__name__) from error


def unpack_positions(packed: bytes) -> FlowPositions:
    """What `FlowPositions.pack` made. BettongError when it did not."""
    try:
        document = msgpack.unpackb(packed, **_limits(len(packed)))
        flow = _map(document, "a flow's positions")
        return FlowPositions(
            _int(flow["now"]),
            _all(flow, "sources", _source),
            _partitions(flow["partitions"]),
            _all(flow, "steps", _step),
            _all(flow, "sinks", _sink_restore),
        )
    except KeyError as error:
        raise _wrong("a flow's positions", f"{error} is missing") from error
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise _wrong("a flow's positions", str(error) or type(error).__name__) from error


class _Results:
    """The results in front of a cut's document, to be taken sink by sink."""

    def __init__(self, blocks: bytes | memoryview) -> None:
        view = memoryview(blocks)
        (size,) = _SIZE.unpack_from(view)
        self.behind = view[_SIZE.size + size :]
        self._left = view[_SIZE.size : _SIZE.size + size]
        self._whole = len(view)

    def take(self, size: int) -> bytes | memoryview:
        """The next so many bytes. What is most of the cut is not copied; what is less of it is, for
        it would keep the rest in memory as long as it waits."""
        if not 0 <= size <= len(self._left):
            raise ValueError(f"a block of {size} bytes where {len(self._left)} are left")
        block, self._left = self._left[:size], self._left[size:]
        return block if 2 * size > self._whole else bytes(block)

    def end(self) -> None:
        if self._left:
            raise ValueError(f"{len(self._left)} bytes of results are no sink's")


def _first(blocks: memoryview) -> tuple[Any, bytes]:
    """The first value, and what is behind it. An Unpacker would copy all of it before it begins."""
    try:
        msgpack.unpackb(blocks, **_limits(len(blocks)))
    except msgpack.exceptions.ExtraData as found:
        return found.unpacked, found.extra
    raise ValueError("there is nothing behind the flows")


# ---- the parts ----


def _flow(value: Any, python: Iterable[Section], results: _Results) -> FlowCut:
    flow = _map(value, "a flow")
    try:
        return FlowCut(
            _text(flow["flow"]),
            _int(flow["now"]),
            _all(flow, "sources", _source),
            _partitions(flow["partitions"]),
            _all(flow, "steps", _step),
            (*_all(flow, "states", _section), *python),
            _all(flow, "sinks", partial(_sink, results)),
        )
    except KeyError as error:
        raise _wrong("a cut", f"a flow has no {error}") from error


def _source(value: Any) -> SourceCut:
    index, watermark, left, ended, idle = _items(value, 5, "a source")
    return SourceCut(_int(index), _int(watermark), _int(left), _bool(ended), _bool(idle))


def _partitions(value: Any) -> tuple[PartitionCut, ...]:
    """There may be ten thousand of them in each cut, so they are not taken apart here."""
    items = _list(value, "partitions")
    for at, item in enumerate(items):
        if len(_list(item, "a partition")) != len(PartitionCut.__struct_fields__):
            raise ValueError(f"a partition has {len(item)} items")
        if isinstance(item[1], bytes):
            items[at] = [item[0], _text(item[1]), *item[2:]]
    try:
        return msgspec.convert(items, tuple[PartitionCut, ...])
    except msgspec.ValidationError as error:
        raise ValueError(f"a partition: {error}") from error


def _with_any_name(one: PartitionCut) -> list[Any]:
    """As it is packed, the name as bytes if it is no text."""
    items = list(astuple(one))
    try:
        one.name.encode()
    except UnicodeEncodeError:
        items[1] = one.name.encode("utf-8", "surrogateescape")
    return items


def _step(value: Any) -> StepCut:
    op, watermark = _items(value, 2, "a step")
    return StepCut(_int(op), _int(watermark))


def _section(value: Any) -> Section:
    op, kind, count, rows, sizes = _items(value, 5, "a section")
    if kind not in KINDS:
        raise ValueError(f"a section of kind {kind!r}")
    if len(_bytes(sizes)) != _SIZES.size:
        raise ValueError(f"a section with {len(sizes)} bytes of sizes")
    section = Section(_int(op), kind, _int(count), _bytes(rows), _SIZES.unpack(sizes))
    if sum(section.sizes) != len(section.rows):
        raise ValueError("a section's sizes are not those of its rows")
    return section


def _sink(results: _Results, value: Any) -> SinkCut:
    records, size, count, shards, started, offset = _items(value, 6, "a sink")
    block = results.take(_int(size))
    return SinkCut(_int(records), block, _int(count), _bytes(shards), _bool(started), _int(offset))


def _sink_restore(value: Any) -> SinkRestore:
    index, pending, started, offset = _items(value, 4, "a sink")
    where = None if offset is None else _int(offset)
    return SinkRestore(_int(index), _bytes(pending), _bool(started), where)


# ---- checks ----


def _limits(size: int) -> dict[str, Any]:
    if size > CUT_MAX_BYTES:
        raise _wrong("a cut", f"{size} bytes are more than {CUT_MAX_BYTES}")
    return {
        "raw": False,
        "strict_map_key": True,
        "unicode_errors": "surrogateescape",
        "max_str_len": CUT_MAX_BYTES,
        "max_bin_len": CUT_MAX_BYTES,
        "max_array_len": CUT_PART_MAX_COUNT,
        "max_map_len": 16,
        "max_ext_len": 0,
    }


def _all(flow: dict[str, Any], name: str, part: Callable[[Any], _Part]) -> tuple[_Part, ...]:
    return tuple(part(item) for item in _list(flow[name], name))


def _map(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no map")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{what}: no list")
    return value


def _items(value: Any, count: int, what: str) -> list[Any]:
    if len(_list(value, what)) != count:
        raise ValueError(f"{what} has {len(value)} items, not {count}")
    return list(value)


def _int(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is no int")
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{value!r} is no bool")
    return value


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError(f"{type(value).__name__} where bytes should be")
    return value


def _text(value: Any) -> str:
    """A name; one that is no UTF-8 is a bin, its bytes kept as surrogates."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if not isinstance(value, str):
        raise ValueError(f"{type(value).__name__} where text should be")
    return value


def _wrong(what: str, why: str) -> BettongError:
    return BettongError(f"{what} cannot be read: {why}")
