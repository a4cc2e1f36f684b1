"""The next number of every shard: what both ends of a link count with, for each message in C."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from appliance.limits import SHARD_COUNT
from appliance.native import ffi, lib

#: Beyond any number that a flow reaches, and inside 64 bits with a sign: sums do not overflow.
NUMBER_MAX = (1 << 62) - 1

#: A whole vector on the wire: 9 bytes a shard.
VECTOR_MAX_BYTES = SHARD_COUNT * 9


class Numbers:
    """64 numbers, one a shard; a shard that `vector` does not name comes at 1."""

    def __init__(self, vector: Mapping[int, int] | None = None) -> None:
        given = vector or {}
        #: The same for C.
        self.at = ffi.new("uint64_t[]", [given.get(shard, 1) for shard in range(SHARD_COUNT)])

    def __getitem__(self, shard: int) -> int:
        number: int = self.at[shard]
        return number

    def __setitem__(self, shard: int, number: int) -> None:
        self.at[shard] = number

    def __iter__(self) -> Iterator[int]:
        return iter(self.listed())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Numbers) and self.listed() == other.listed()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def listed(self) -> list[int]:
        """All 64."""
        found: list[int] = ffi.unpack(self.at, SHARD_COUNT)
        return found

    def vector(self) -> dict[int, int]:
        """The shards whose next number is not the first."""
        return {shard: number for shard, number in enumerate(self) if number != 1}

    def at_least(self, other: Numbers) -> Numbers:
        """Of each shard the larger number of both."""
        return Numbers(dict(enumerate(map(max, self, other))))

    def at_most(self, other: Numbers) -> Numbers:
        """Of each shard the smaller number of both."""
        return Numbers(dict(enumerate(map(min, self, other))))

    def is_above(self, other: Numbers) -> bool:
        """Whether the number of some shard is larger than the other's."""
        return any(map(int.__gt__, self, other))

    def packed(self) -> bytes:
        """The same in its form on the wire."""
        out = ffi.new("char[]", VECTOR_MAX_BYTES)
        return bytes(ffi.buffer(out, lib.vector_pack(self.at, out)))

    def check(self, vector: bytes, shards: bytes) -> tuple[int, Numbers]:
        """How a message of records with these shards, whose first numbers are this vector, fits
        here (NUMBERS_… of the native module), and the numbers behind it."""
        after = Numbers.__new__(Numbers)
        after.at = ffi.new("uint64_t[]", SHARD_COUNT)
        sizes = (len(vector), shards, len(shards))
        found: int = lib.records_check(vector, *sizes, self.at, NUMBER_MAX, after.at)
        return found, after
