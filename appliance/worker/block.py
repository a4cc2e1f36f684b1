"""A spool block: the results that one cut has committed for one sink, as the store keeps them.

The form is described in `docs/formats/spool.md`. A block says by itself where it belongs, so that
sending it again after a crash does what the first time did: at the same place, under the same
numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgpack
from msgspec import Struct

from appliance.connect import Batch, Records
from appliance.limits import BLOCK_MAX_BYTES, RECORD_MAX_COUNT, SHARD_COUNT
from appliance.native import count_shards, ffi, lib


class BlockDamaged(ValueError):
    """Bytes that are no block of ours."""


_LIST_OF_7 = b"\x97"


def _bin_head(size: int) -> bytes:
    """What msgpack has before so many bytes: the shortest form."""
    if size < 1 << 8:
        return b"\xc4" + size.to_bytes(1, "big")
    if size < 1 << 16:
        return b"\xc5" + size.to_bytes(2, "big")
    return b"\xc6" + size.to_bytes(4, "big")


class Block(Struct, frozen=True):
    """`data`: the results. Of a placed sink as they will stand there, from the byte `place` on; of
    the others each as a packed bin, one behind the other.

    `stream` and `epoch` are those of the run that made it. `shards` (a byte a record) and `first`
    (the number of each shard's next record when this block begins) are empty unless the sink's
    records are numbered. `made_s`: seconds since 1970 by the box's clock when it was committed;
    only a bound on age looks at it.
    """

    data: bytes | memoryview
    made_s: int
    place: int = -1
    stream: bytes = b""
    epoch: int = 0
    shards: bytes = b""
    first: Mapping[int, int] | None = None

    def parts(self) -> tuple[bytes, bytes | memoryview]:
        """Its bytes as the store keeps them: a head, and the data, some megabytes perhaps, as they
        are."""
        first = [[shard, number] for shard, number in (self.first or {}).items()]
        items = [self.made_s, self.place, self.stream, self.epoch, first, self.shards]
        head = b"".join(map(msgpack.packb, items))
        return b"".join((_LIST_OF_7, head, _bin_head(len(self.data)))), self.data

    def pack(self) -> bytes:
        """The same in one piece."""
        return b"".join(self.parts())

    @classmethod
    def unpack(cls, packed: bytes) -> Block:
        """BlockDamaged when it is none."""
        try:
            made_s, place, stream, epoch, first, shards, data = msgpack.unpackb(
                packed, max_bin_len=BLOCK_MAX_BYTES, max_array_len=SHARD_COUNT
            )
            numbers = {int(shard): int(number) for shard, number in first}
            if not all(isinstance(part, bytes) for part in (stream, shards, data)):
                raise ValueError("its parts are of other types")
            if not numbers.keys() >= count_shards(shards).keys():
                raise ValueError("a record has no number")
            return cls(data, int(made_s), int(place), stream, int(epoch), shards, numbers)
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise BlockDamaged(f"a spool block cannot be read: {error}") from error

    def records(self) -> Records:
        """The results. BlockDamaged when they are not what they should be."""
        count: int = lib.bins_count(ffi.from_buffer(self.data), len(self.data))
        if count < 0:
            raise BlockDamaged("a spool block holds something else than records")
        if count > RECORD_MAX_COUNT or (self.shards and len(self.shards) != count):
            raise BlockDamaged("a spool block's records and shards do not fit together")
        return Records(self.data, count)

    def batch(self, *, whole: bool) -> Batch:
        """For a sink that keeps numbers. `whole`: it does not follow the one sent before, so that
        what was given up of shards without a record in this block is told as well."""
        known = self.first or {}
        first = {
            shard: known[shard] for shard in sorted(known if whole else count_shards(self.shards))
        }
        return Batch(self.stream, self.epoch, first, self.shards, self.records())


def number(shards: bytes, following: dict[int, int]) -> dict[int, int]:
    """The next number of each shard of a sink before a block with these shards; `following`, the
    same after the blocks before it, is moved on. Numbers begin at 1 (S21).
    """
    counts = count_shards(shards)
    for shard in counts:
        following.setdefault(shard, 1)
    first = dict(following)
    for shard, count in counts.items():
        following[shard] += count
    return first
