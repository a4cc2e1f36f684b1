"""One cut as one transaction: planned from what is committed, written, then taken over in memory.

A plan changes nothing until `apply`, so its `write` may run again in a larger map, or later when a
full disk has room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from appliance import points
from appliance.limits import SHARD_COUNT, STORE_SECTION_MAX_COUNT
from appliance.store.entries import FlowEntry, Head, SpoolRange
from appliance.store.environment import Writing
from appliance.store.index import Index
from appliance.store.segment import Section, Segment, pack_segment
from appliance.store.shards import Merge
from appliance.store.spool import SpoolBlock, delete_blocks, spool_values
from appliance.store.values import (
    END,
    base_prefix,
    block_count,
    block_key,
    blocks,
    copy_keys,
    delta_prefix,
    spool_block_prefix,
    with_checksum,
)


class Commit(Struct, frozen=True):
    """What one cut writes. Flows that `records` does not name keep theirs. `trims` deletes the
    blocks of a (flow, sink) up to that number, before `spools` are appended."""

    sections: Sequence[Section] = ()
    records: Mapping[str, bytes] = field(default_factory=dict)
    spools: Sequence[SpoolBlock] = ()
    trims: Mapping[tuple[str, str], int] = field(default_factory=dict)


class CommitResult(Struct, frozen=True):
    """The number of the cut, those of its spool blocks in their order, the bytes of all values
    written, the bases merged, and how long it took."""

    cut: int
    seqs: tuple[int, ...]
    bytes: int
    merges: int
    seconds: float


class Contents(Struct):
    """What is committed, as far as it is kept in memory."""

    head: Head
    entries: dict[str, FlowEntry]
    index: Index

    @classmethod
    def of(cls, head: Head) -> Contents:
        """Those of an empty store."""
        return cls(head, {}, Index())


class Draft:
    """What a transaction makes of head and entries. It becomes `Contents` after the commit."""

    def __init__(self, contents: Contents, writing: Writing) -> None:
        self.head = contents.head
        self.entries = dict(contents.entries)
        self.changed: set[str] = set()
        self.bytes = 0
        self._writing = writing

    def entry(self, flow: str) -> FlowEntry:
        """The entry of a flow. A new one has empty bases up to now: what came before says nothing
        about it, even if it is lost."""
        cut = self.head.cut
        return self.entries.get(flow) or FlowEntry(flow, cut, bases=(cut,) * SHARD_COUNT)

    def set_entry(self, entry: FlowEntry) -> None:
        self.entries[entry.name] = entry
        self.changed.add(entry.name)

    def remove_entry(self, flow: str) -> None:
        del self.entries[flow]
        self.changed.discard(flow)
        for key in copy_keys(flow):
            self._writing.delete(key)

    def put(self, key: bytes, value: bytes) -> None:
        self._writing.put(key, value)
        self.bytes += len(value)

    def delete_blocks(self, prefix: bytes, first: int, end: int) -> None:
        for number in range(first, end):
            self._writing.delete(block_key(prefix, number))

    def trim(self, flow: str, sink: str, upto: int) -> None:
        """Delete spool blocks up to a number, as far as there are any."""
        entry = self.entry(flow)
        spool = entry.spools.get(sink)
        if spool is None:
            return
        upto = min(upto, spool.next_seq - 1)
        if upto < spool.first_seq:
            return
        left = spool.bytes - delete_blocks(self._writing, flow, sink, upto)
        is_empty = upto + 1 == spool.next_seq
        spool = SpoolRange(upto + 1, spool.next_seq, 0 if is_empty else max(left, 0))
        self.set_entry(replace(entry, spools={**entry.spools, sink: spool}))

    def append(self, block: SpoolBlock) -> int:
        """Write a spool block; its number."""
        entry = self.entry(block.flow)
        spool = entry.spools.get(block.sink, SpoolRange())
        seq = spool.next_seq
        for key, value in spool_values(block, seq):
            self.put(key, value)
        spool = SpoolRange(spool.first_seq, seq + 1, spool.bytes + block.size)
        self.set_entry(replace(entry, spools={**entry.spools, block.sink: spool}))
        return seq

    def empty_block(self, flow: str, sink: str, seq: int) -> None:
        """Put a spool block without data in the place of what is left of one."""
        self.delete_all(spool_block_prefix(flow, sink, seq))
        for key, value in spool_values(SpoolBlock(flow, sink, ()), seq):
            self.put(key, value)

    def delete_all(self, prefix: bytes) -> None:
        """Delete every value whose key begins with `prefix`."""
        with self._writing.cursor() as cursor:
            there = cursor.set_range(prefix)
            while there and cursor.key().startswith(prefix):
                there = cursor.delete()

    def set_base(self, merge: Merge, before: Segment | None) -> None:
        """Write a new base of a shard in the place of the one before."""
        prefix = base_prefix(merge.flow, merge.shard)
        count = 0
        if merge.base is not None:
            for key, value in blocks(prefix, merge.data):
                self.put(key, value)
                count += 1
        self.delete_blocks(prefix, count, block_count(before.length) if before is not None else 0)
        entry = self.entry(merge.flow)
        self.set_entry(entry.with_base(merge.shard, merge.cut, merge.base is not None))

    def drop_delta(self, delta: Segment) -> None:
        self.delete_blocks(delta_prefix(delta.cut), 0, block_count(delta.length))

    def finish(self) -> None:
        """Write both copies of the head and of every entry that changed."""
        names = tuple(sorted(self.entries))
        self.head = replace(self.head, flows=names, transaction=self._writing.id())
        values: list[tuple[str | None, bytes]] = [(None, self.head.pack())]
        values += [(name, self.entries[name].pack()) for name in sorted(self.changed)]
        for name, data in values:
            for key in copy_keys(name):
                self.put(key, with_checksum(key, data))
        self.put(END, with_checksum(END))


class CutPlan:
    """The transaction of one cut."""

    def __init__(self, contents: Contents, commit: Commit, merges: Sequence[Merge]) -> None:
        """ValueError when the sections are not what they say."""
        if len(commit.sections) > STORE_SECTION_MAX_COUNT:
            raise ValueError(f"{len(commit.sections)} sections in one cut")
        self._contents, self._commit, self.merges = contents, commit, merges
        self.cut = contents.head.cut + 1
        index = contents.index
        sections = [section for section in commit.sections if section.rows]
        self._delta: Segment | None = None
        self._data = b""
        if sections:
            self._delta, self._data = pack_segment(self.cut, index.newest, sections)
        self._dropped = frozenset(index.without_pins((one.flow, one.shard) for one in merges))
        self._draft: Draft | None = None

    @property
    def segment_bytes(self) -> int:
        return len(self._data)

    @property
    def payload_bytes(self) -> int:
        """About how many bytes the transaction writes."""
        return (
            len(self._data)
            + sum(len(merge.data) for merge in self.merges)
            + sum(block.size for block in self._commit.spools)
            + 2 * sum(len(record) for record in self._commit.records.values())
        )

    def write(self, writing: Writing) -> tuple[int, ...]:
        """Everything the cut writes; the numbers of its spool blocks."""
        contents, commit = self._contents, self._commit
        draft = self._draft = Draft(contents, writing)
        for (flow, sink), upto in commit.trims.items():
            draft.trim(flow, sink, upto)
        for cut in sorted(self._dropped):
            draft.drop_delta(contents.index.deltas[cut])
        for merge in self.merges:
            points.reach("merge.before")
            draft.set_base(merge, contents.index.shard((merge.flow, merge.shard)).base)
            points.reach("merge.after")
        seqs = tuple(draft.append(block) for block in commit.spools)
        if self._delta is not None:
            for key, value in blocks(delta_prefix(self.cut), self._data):
                draft.put(key, value)
        for flow in {section.flow for section in commit.sections} - draft.entries.keys():
            draft.set_entry(draft.entry(flow))
        for flow, record in commit.records.items():
            draft.set_entry(replace(draft.entry(flow), record=record))
        draft.head = replace(draft.head, cut=self.cut).with_deltas(self._left())
        for flow in draft.changed:
            draft.entries[flow] = _tidied(replace(draft.entries[flow], cut=self.cut), draft.head)
        if self._dropped:
            self._remove_void(draft)
        draft.finish()
        return seqs

    def _remove_void(self, draft: Draft) -> None:
        deltas = self._contents.index.deltas
        left = [delta for cut, delta in deltas.items() if cut not in self._dropped]
        used = {section.flow for section in self._commit.sections} | draft.changed
        for entry in list(draft.entries.values()):
            if entry.name not in used and _is_void(entry, left):
                draft.remove_entry(entry.name)

    def _left(self) -> list[int]:
        """The deltas after this cut."""
        left = [cut for cut in self._contents.index.deltas if cut not in self._dropped]
        return left if self._delta is None else [*left, self.cut]

    def apply(self) -> int:
        """Take over what was committed; the bytes of all values written."""
        assert self._draft is not None
        contents, index = self._contents, self._contents.index
        contents.head, contents.entries = self._draft.head, self._draft.entries
        for merge in self.merges:
            index.apply_merge((merge.flow, merge.shard), merge.base, merge.cut)
        for cut in sorted(self._dropped):
            index.drop_delta(cut)
        if self._delta is not None:
            index.add_delta(self._delta)
            index.earn(sum(len(section.rows) for section in self._commit.sections))
        return self._draft.bytes


def _tidied(entry: FlowEntry, head: Head) -> FlowEntry:
    """Without the voids that no row left can be under."""
    if not entry.voids:
        return entry
    stored = [cut for shard, cut in enumerate(entry.bases) if entry.stored >> shard & 1]
    oldest = min([*stored, head.oldest or head.cut + 1])
    return replace(entry, voids={step: cut for step, cut in entry.voids.items() if cut >= oldest})


def _is_void(entry: FlowEntry, deltas: Iterable[Segment]) -> bool:
    """Whether nothing is left of a flow that was dropped, not even rows that its entry disowns."""
    if entry.record is not None or entry.stored or entry.spools:
        return False
    return not any(part.flow == entry.name for delta in deltas for part in delta.parts)


def total_bytes(merges: Iterable[Merge]) -> int:
    return sum(len(merge.data) for merge in merges)
