"""The record of a flow: what a restart needs beside the rows of its steps and its spools. The store
keeps it whole, twice, and replaces it with every cut. Its form is `docs/formats/record.md`.

The lane speaks of sources and operators by index. A record keeps the names of both along, because
the flow may have been changed before it is read again.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
from msgspec import Struct, field
from msgspec.structs import replace

from appliance.errors import BettongError
from appliance.formats import RECORD
from appliance.limits import (
    CUT_MAX_BYTES,
    CUT_PART_MAX_COUNT,
    POSITIONS_DEFLATE_MAX_BYTES,
    POSITIONS_DEFLATE_MIN_BYTES,
    SHARD_COUNT,
)
from appliance.worker.cut_form import FlowPositions, unpack_positions

STREAM_BYTES = 16

#: No number, epoch or place of a record reaches this.
NUMBER_MAX = 1 << 62


#: The first byte of a zlib stream; a map of positions begins with 0x85.
_DEFLATED = b"\x78"


class RecordUnreadable(ValueError):
    """Bytes that are no record."""


class RecordRefused(RecordUnreadable):
    """A record of a version that this program does not read: nothing of it may be touched."""


class Names(Struct, frozen=True):
    """How a loaded program calls what the lane knows by index; `steps` has one entry an operator,
    empty where it belongs to none.
    """

    sources: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Names:
        steps = document["steps"]
        return cls(
            tuple(entry["name"] for entry in document["sources"]),
            tuple(op.get("id_of") or _step_name(steps, op.get("step")) for op in document["ops"]),
        )


def _step_name(steps: Sequence[str], index: object) -> str:
    return steps[index] if isinstance(index, int) and 0 <= index < len(steps) else ""


class SinkRecord(Struct):
    """How far a sink has got: `place`, the byte behind the last block of a placed sink (−1: it has
    none); `following`, the next number of each shard; `records`, how many there have been in all;
    `started`, whether anything was written, such as a CSV header; `address`, how results get there
    and where that is.
    """

    place: int = -1
    following: dict[int, int] = field(default_factory=dict)
    records: int = 0
    started: bool = False
    address: str = ""

    def items(self) -> list[object]:
        """As they stand in the record."""
        following = [list(pair) for pair in self.following.items()]
        return [self.place, following, self.records, self.started, self.address]


class FlowRecord(Struct):
    """`stream`: whose results these are. `epoch`: the number of this start. `signatures`: what the
    stored state depends on, by "step NAME" and "source NAME". `positions`: as the lane froze them,
    with the `names` that its indexes had then; None before the first cut.
    """

    stream: bytes
    epoch: int = 0
    signatures: dict[str, str] = field(default_factory=dict)
    names: Names = Names()
    positions: FlowPositions | None = None
    sinks: dict[str, SinkRecord] = field(default_factory=dict)

    def pack(self) -> bytes:
        sinks = {name: sink.items() for name, sink in self.sinks.items()}
        document = {
            "version": RECORD.version,
            "stream": self.stream,
            "epoch": self.epoch,
            "signatures": self.signatures,
            "sources": self.names.sources,
            "steps": self.names.steps,
            "positions": b"" if self.positions is None else _deflated(self.positions.pack()),
            "sinks": sinks,
        }
        packed = msgpack.packb(document, use_bin_type=True)
        assert isinstance(packed, bytes)
        return packed

    @classmethod
    def unpack(cls, packed: bytes) -> FlowRecord:
        """RecordUnreadable when it is none of ours."""
        try:
            found = msgpack.unpackb(
                packed,
                max_bin_len=CUT_MAX_BYTES,
                max_str_len=CUT_MAX_BYTES,
                max_array_len=CUT_PART_MAX_COUNT,
                max_map_len=CUT_PART_MAX_COUNT,
            )
            refusal = RECORD.refusal(int(found["version"]), "another data folder")
            if refusal:
                raise RecordRefused(refusal)
            stream, positions = found["stream"], found["positions"]
            if not isinstance(stream, bytes) or len(stream) != STREAM_BYTES:
                raise ValueError("its stream is no 16 bytes")
            names = Names(tuple(found["sources"]), tuple(found["steps"]))
            return cls(
                stream,
                _bounded(found["epoch"], 0, "epoch"),
                dict(found["signatures"]),
                names,
                _within(names, unpack_positions(_inflated(positions))) if positions else None,
                {name: _sink(*values) for name, values in found["sinks"].items()},
            )
        except RecordUnreadable:
            raise
        except (
            ValueError,
            TypeError,
            KeyError,
            BettongError,
            msgpack.exceptions.UnpackException,
        ) as error:
            raise RecordUnreadable(f"the record cannot be read: {error!r}") from error

    def positions_for(self, names: Names, timed: Sequence[int]) -> FlowPositions | None:
        """The positions in the indexes of a program that may have been changed since: sources by
        their names, watermarks by the steps of its operators `timed`. What has gone is left out.
        """
        if self.positions is None:
            return None
        sources = {name: index for index, name in enumerate(names.sources)}
        steps = {names.steps[op]: op for op in timed}
        now = self.positions
        return FlowPositions(
            now.now_us,
            tuple(
                replace(one, index=sources[name])
                for one in now.sources
                if (name := self.names.sources[one.index]) in sources
            ),
            tuple(
                replace(one, source=sources[name])
                for one in now.partitions
                if (name := self.names.sources[one.source]) in sources
            ),
            tuple(
                replace(one, op=steps[name])
                for one in now.steps
                if (name := self.names.steps[one.op]) in steps
            ),
        )

    def forget_source(self, name: str) -> None:
        """Its positions are dropped: it begins anew."""
        if self.positions is not None and name in self.names.sources:
            index = self.names.sources.index(name)
            self.positions = replace(
                self.positions,
                sources=tuple(one for one in self.positions.sources if one.index != index),
                partitions=tuple(one for one in self.positions.partitions if one.source != index),
            )

    def forget_step(self, name: str) -> None:
        """Its state is dropped: so is how far it had closed."""
        if self.positions is not None:
            kept = (one for one in self.positions.steps if self.names.steps[one.op] != name)
            self.positions = replace(self.positions, steps=tuple(kept))


def _deflated(positions: bytes) -> bytes:
    if POSITIONS_DEFLATE_MIN_BYTES <= len(positions) <= POSITIONS_DEFLATE_MAX_BYTES:
        return zlib.compress(positions, 1)
    return positions


def _inflated(positions: bytes) -> bytes:
    """What was deflated begins with another byte than a map."""
    if positions[:1] != _DEFLATED:
        return positions
    inflater = zlib.decompressobj()
    try:
        found = inflater.decompress(positions, POSITIONS_DEFLATE_MAX_BYTES)
    except zlib.error as error:
        raise ValueError(f"its positions cannot be inflated: {error}") from error
    if not inflater.eof or inflater.unused_data:
        raise ValueError("its positions do not end where they should")
    return found


def _within(names: Names, positions: FlowPositions) -> FlowPositions:
    """The positions, once all their indexes have names."""
    sources = [one.index for one in positions.sources]
    sources += [one.source for one in positions.partitions]
    steps = [one.op for one in positions.steps]
    for indexes, known in ((sources, names.sources), (steps, names.steps)):
        if any(not 0 <= index < len(known) for index in indexes):
            raise ValueError("its positions are of sources or steps that it does not name")
    return positions


def _sink(
    place: int, following: Sequence[Sequence[int]], records: int, started: bool, address: str
) -> SinkRecord:
    numbers = {int(shard): _bounded(number, 1, "number") for shard, number in following}
    if any(not 0 <= shard < SHARD_COUNT for shard in numbers):
        raise ValueError("it numbers a shard that there cannot be")
    place, records = _bounded(place, -1, "place"), _bounded(records, 0, "count of records")
    return SinkRecord(place, numbers, records, bool(started), str(address))


def _bounded(value: object, least: int, what: str) -> int:
    """Numbers that can be counted on from: half of what 64 bits hold is never reached."""
    if not isinstance(value, int) or not least <= value < NUMBER_MAX:
        raise ValueError(f"it has the {what} {value!r}")
    return value
