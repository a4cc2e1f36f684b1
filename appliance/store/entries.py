"""The head of a store and the entry of a flow: small values, written with every cut that changes
them, each kept twice. The newest sound copy wins.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgpack
from msgspec import Struct, field
from msgspec.structs import replace

from appliance.formats import STORE
from appliance.limits import SHARD_COUNT
from appliance.store.failures import StoreRefused
from appliance.store.values import unpack


def refuse_other(version: int, where: str = "") -> None:
    """StoreRefused when a store of this version is not one that we read."""
    refusal = STORE.refusal(version, "another folder")
    if refusal:
        raise StoreRefused(f"{where}{refusal}")


class Head(Struct, frozen=True):
    """What holds for the whole store: its newest cut, the newest and the oldest delta it has (their
    cuts; 0: none), the names of all flows that have an entry, and the environment's number of the
    transaction that wrote this, which every one of them does."""

    identity: str
    cut: int = 0
    newest: int = 0
    oldest: int = 0
    flows: tuple[str, ...] = ()
    transaction: int = 0

    def with_deltas(self, cuts: Sequence[int]) -> Head:
        """The head of a store that has these deltas, in their order."""
        return replace(self, newest=cuts[-1] if cuts else 0, oldest=cuts[0] if cuts else 0)

    def pack(self) -> bytes:
        packed: bytes = msgpack.packb(
            [
                STORE.version,
                self.cut,
                self.identity,
                self.newest,
                self.oldest,
                self.flows,
                self.transaction,
            ]
        )
        return packed


class SpoolRange(Struct, frozen=True):
    """The blocks of one sink: `first_seq` to `next_seq` − 1, and how many bytes they hold."""

    first_seq: int = 1
    next_seq: int = 1
    bytes: int = 0


class FlowEntry(Struct, frozen=True):
    """What the store knows of one flow.

    `bases` says for each shard up to which cut its base reaches: older deltas say nothing about it
    any more. A base without rows is not stored: `stored` has a bit for each one that is. `voids`
    names steps that were dropped, with the cut up to which their rows are void.
    """

    name: str
    cut: int = 0
    record: bytes | None = None
    bases: tuple[int, ...] = (0,) * SHARD_COUNT
    stored: int = 0
    voids: dict[str, int] = field(default_factory=dict)
    spools: dict[str, SpoolRange] = field(default_factory=dict)

    def pack(self) -> bytes:
        mask = sum(1 << shard for shard, cut in enumerate(self.bases) if cut)
        cuts = [cut for cut in self.bases if cut]
        spools = [[sink, s.first_seq, s.next_seq, s.bytes] for sink, s in self.spools.items()]
        bases = struct.pack(f"<{len(cuts)}Q", *cuts)
        packed: bytes = msgpack.packb(
            [
                STORE.version,
                self.cut,
                self.name,
                self.record,
                mask,
                bases,
                self.stored,
                self.voids,
                spools,
            ]
        )
        return packed

    def with_base(self, shard: int, cut: int, is_stored: bool) -> FlowEntry:
        """The entry after a merge of that shard up to that cut."""
        bases = (*self.bases[:shard], cut, *self.bases[shard + 1 :])
        stored = self.stored & ~(1 << shard) | is_stored << shard
        return replace(self, bases=bases, stored=stored)


def unpack_head(data: bytes | memoryview) -> Head:
    """ValueError if it is none; StoreRefused if another program's is not read here."""
    fields = unpack(data)
    _check_version(fields)
    try:
        _, cut, identity, newest, oldest, flows, transaction = fields
        names = tuple(str(name) for name in flows)
        return Head(str(identity), int(cut), int(newest), int(oldest), names, int(transaction))
    except TypeError as error:
        raise ValueError(f"not a head: {error}") from error


def unpack_entry(data: bytes | memoryview) -> FlowEntry:
    """ValueError if it is none; StoreRefused if another program's is not read here."""
    fields = unpack(data)
    _check_version(fields)
    try:
        _, cut, name, record, mask, packed, stored, voids, spools = fields
        cuts = iter(struct.unpack(f"<{mask.bit_count()}Q", packed))
        bases = tuple(next(cuts) if mask >> shard & 1 else 0 for shard in range(SHARD_COUNT))
        ranges = {str(sink): SpoolRange(int(a), int(b), int(c)) for sink, a, b, c in spools}
        if record is not None and not isinstance(record, bytes):
            raise ValueError("the record of a flow is not bytes")
        return FlowEntry(str(name), int(cut), record, bases, int(stored), dict(voids), ranges)
    except (TypeError, AttributeError, struct.error) as error:
        raise ValueError(f"not the entry of a flow: {error}") from error


def _check_version(fields: object) -> None:
    if isinstance(fields, list) and fields and isinstance(fields[0], int):
        refuse_other(fields[0])
