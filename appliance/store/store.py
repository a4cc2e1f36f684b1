"""The store of one worker: what its cuts have committed. One environment, one transaction a cut.

A commit writes the segment of the cut (a *delta*: the rows that changed, by shard), the records of
the flows (opaque: positions, numbers, epochs; kept twice), spool blocks, and now and then a new
*base* of a shard, merged from committed bytes alone (`index.py` says when). The form on disk is
docs/formats/store.md.

Opening checks the structure of the whole file without the engine, and the checksum of everything
but the spools' data; what is damaged is copied to `quarantine/`, named in `damage`, and taken out;
the rest is kept.

One thread at a time changes the store. `read_block`, `spool`, `spools` and `stats` may be called
from any thread meanwhile, and do not wait for a commit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from operator import methodcaller
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from appliance import points
from appliance.clock import monotonic_s
from appliance.limits import SHARD_COUNT, STORE_DAMAGE_MAX_COUNT
from appliance.store.commit import Commit, CommitResult, Contents, CutPlan, Draft, total_bytes
from appliance.store.entries import FlowEntry, SpoolRange
from appliance.store.environment import Environment, Writing
from appliance.store.failures import Damage, DiskFull
from appliance.store.folder import Ownership, Quarantine
from appliance.store.opening import Note, open_folder
from appliance.store.scan import raw_values
from appliance.store.shards import Merge, ShardRows, live_rows, merge_shard, places, read_pieces
from appliance.store.spool import SpoolInfo, read_spool_block
from appliance.store.values import base_prefix, block_count, spool_block_prefix


class StoreStats(Struct, frozen=True):
    """Sizes in bytes. `dead_bytes` are those in deltas that a newer base supersedes; the last four
    count since the store was opened."""

    map_bytes: int
    used_bytes: int
    delta_count: int
    delta_bytes: int
    dead_bytes: int
    base_count: int
    base_bytes: int
    spool_bytes: int
    commit_count: int
    merge_count: int
    written_bytes: int
    damage_count: int


class StepInfo(Struct, frozen=True):
    """A step that has rows, and their kind."""

    step: str
    kind: str


class Store:
    """An open store. Close it, or end the process: both are safe at any time."""

    def __init__(
        self,
        folder: Path,
        owner: Ownership,
        environment: Environment,
        contents: Contents,
        damage: Sequence[Damage],
    ) -> None:
        """For `open`."""
        self._folder, self._owner, self._environment = folder, owner, environment
        self._contents = contents
        self._damage = list(damage)
        self._quarantine = Quarantine(folder)
        self._writer = threading.RLock()
        self._state = threading.Lock()
        self._bad_blocks: set[tuple[str, str, int]] = set()
        self._commits = self._merges = self._bytes = 0

    @classmethod
    def open(cls, folder: Path, *, identity: str = "", note: Note = lambda damage: None) -> Store:
        """Open the store of a folder, or make it there. `identity` names the worker whose store it
        is; it is kept, and another one is refused. `note` gets what is damaged before it is taken
        out, so that it can be written down; when it raises, the next opening finds it again.

        Raises StoreRefused (a newer format, another identity, in use, not a store: nothing is
        changed), DiskFull, StoreFailed. Damage is no error: see `damage`.
        """
        opened = open_folder(folder, identity, note)
        return cls(folder, opened.owner, opened.environment, opened.contents, opened.damage)

    @property
    def cut(self) -> int:
        """The number of the newest cut; 0 before the first."""
        return self._contents.head.cut

    @property
    def damage(self) -> Sequence[Damage]:
        """What was found damaged since (and by) the opening, and what became of it."""
        with self._state:
            return tuple(self._damage)

    # ---- writing ----

    def commit(self, commit: Commit) -> CommitResult:
        """Write a cut, with the merges that are due, in one transaction; durable on return.

        One without sections and spools, which trims or writes records, has the reserve of a disk
        that is full. What it frees can be used from the second commit after it on.

        DiskFull: nothing was written, and the same commit can be tried again, now or much later.
        StoreFailed: the process must start again from the disk. ValueError: a section whose sizes
        are not those of its rows.
        """
        with self._writer:
            started = monotonic_s()
            if points.is_broken("merge-committed") and commit.records and self._is_merge_due():
                self.commit(Commit(commit.sections))
            plan = CutPlan(self._contents, commit, ())
            makes_room = not (commit.sections or commit.spools)
            merges = self._plan_merges(plan.segment_bytes)
            if merges:
                plan = CutPlan(self._contents, commit, merges)
            try:
                seqs = self._environment.write(plan.write, plan.payload_bytes)
            except DiskFull:
                if not merges and not makes_room:
                    raise
                # A merge takes room before it gives some back: the cut alone may still fit.
                plan = CutPlan(self._contents, commit, ())
                seqs = self._environment.write(
                    plan.write, plan.payload_bytes, of_reserve=makes_room
                )
            self._environment.reserve.fill()
            with self._state:
                written = plan.apply()
                self._commits += 1
                self._merges += len(plan.merges)
                self._bytes += written
            return CommitResult(plan.cut, seqs, written, len(plan.merges), monotonic_s() - started)

    def _is_merge_due(self) -> bool:
        return next(self._contents.index.next_merges(), None) is not None

    def _plan_merges(self, segment_bytes: int) -> list[Merge]:
        """The new bases of this cut."""
        index, merges = self._contents.index, list[Merge]()
        allowance = index.allowance(segment_bytes)
        for flow, shard in index.next_merges():
            merge = self._merge(flow, shard)
            if merge is None:
                continue
            merges.append(merge)
            if total_bytes(merges) >= allowance:
                break
        return merges

    def _merge(self, flow: str, shard: int) -> Merge | None:
        """A new base from committed bytes; None if they are damaged: then everything stays as it
        is, for the next start to sort out."""
        contents = self._contents
        entry = contents.entries[flow]
        try:
            with self._environment.reading() as reading:
                pieces = read_pieces(reading, contents.index, entry, shard, is_checked=True)
            return merge_shard(flow, shard, contents.head.cut, live_rows(pieces, shard))
        except ValueError as error:
            contents.index.refuse_merge((flow, shard))
            text = f"cannot be merged: {error}; it is looked at when the store is next opened"
            self._note(Damage("rows", text, flow=flow, shard=shard))
            return None

    def drop_step(self, flow: str, step: str) -> bool:
        """Forget the rows of a step. False if it has none."""
        with self._writer:
            if step not in {info.step for info in self.steps(flow)}:
                return False
            entry = self._contents.entries[flow]
            voids = {**entry.voids, step: self.cut}
            self._change(lambda draft: draft.set_entry(replace(entry, voids=voids)))
            return True

    def drop_flow(self, flow: str) -> bool:
        """Forget everything of a flow. False if there is nothing."""
        with self._writer:
            entry = self._contents.entries.get(flow)
            if entry is None or not self._has_anything(entry):
                return False
            # Its rows in deltas are void by bases that reach as far and are empty; the entry that
            # says so goes with the last of those deltas.
            void = FlowEntry(flow, self.cut, bases=(self.cut,) * SHARD_COUNT)

            def work(draft: Draft) -> None:
                for sink, spool in entry.spools.items():
                    draft.trim(flow, sink, spool.next_seq)
                for shard in range(SHARD_COUNT):
                    base = self._contents.index.shard((flow, shard)).base
                    if base is not None:
                        draft.delete_blocks(base_prefix(flow, shard), 0, block_count(base.length))
                draft.set_entry(void)

            self._change(work)
            for shard in range(SHARD_COUNT):
                self._contents.index.apply_merge((flow, shard), None, self.cut)
            return True

    def drop_spool(self, flow: str, sink: str) -> bool:
        """Delete what waits for a sink; its numbers go on. False if nothing waits."""
        with self._writer:
            spool = self.spool(flow, sink)
            if spool.first_seq == spool.next_seq:
                return False
            self._change(lambda draft: draft.trim(flow, sink, spool.next_seq))
            return True

    def _change(self, work: Callable[[Draft], None]) -> None:
        """A transaction of its own, which changes entries but is no cut."""

        def write(writing: Writing) -> Draft:
            draft = Draft(self._contents, writing)
            work(draft)
            draft.finish()
            return draft

        draft = self._environment.write(write, 0, of_reserve=True)
        with self._state:
            self._contents.head, self._contents.entries = draft.head, draft.entries
            self._bytes += draft.bytes

    def _has_anything(self, entry: FlowEntry) -> bool:
        return entry.record is not None or bool(entry.spools) or bool(self.steps(entry.name))

    # ---- reading ----

    def records(self) -> dict[str, bytes]:
        """The newest record of each flow that has one."""
        entries = self._contents.entries.values()
        return {entry.name: entry.record for entry in entries if entry.record is not None}

    def steps(self, flow: str) -> list[StepInfo]:
        """The steps of which rows are stored, by name. A step all of whose rows have been deleted
        is among them until its last tombstone is merged."""
        with self._state:
            entry = self._contents.entries.get(flow)
            if entry is None:
                return []
            found = {
                part.step: part.kind
                for shard in range(SHARD_COUNT)
                for _, _, part in places(self._contents.index, entry, shard)
            }
        return [StepInfo(step, kind) for step, kind in sorted(found.items())]

    def rows(self, flow: str) -> Iterator[ShardRows]:
        """The live rows of a flow, shard by shard, for the start of its lane: base and deltas
        merged. At most one shard is in memory. A shard whose rows cannot be merged is left out, and
        named in `damage`."""
        for shard in range(SHARD_COUNT):
            with self._writer:
                contents = self._contents
                entry = contents.entries.get(flow)
                if entry is None:
                    return
                try:
                    # Every block was held against its checksum when the store was opened.
                    with self._environment.reading() as reading:
                        pieces = read_pieces(reading, contents.index, entry, shard, False)
                    found = list(live_rows(pieces, shard))
                except ValueError as error:
                    contents.index.refuse_merge((flow, shard))
                    text = f"its rows cannot be read: {error}; it restarts empty"
                    self._note(Damage("rows", text, flow=flow, shard=shard))
                    continue
            yield from found

    def spool(self, flow: str, sink: str) -> SpoolInfo:
        """What waits for a sink; an empty range from 1 for one that never had anything."""
        entry = self._contents.entries.get(flow)
        spool = entry.spools.get(sink, SpoolRange()) if entry is not None else SpoolRange()
        return SpoolInfo(flow, sink, spool.first_seq, spool.next_seq, spool.bytes)

    def spools(self) -> list[SpoolInfo]:
        """The spools of all flows, empty ones too."""
        entries = self._contents.entries.values()
        return [self.spool(entry.name, sink) for entry in entries for sink in entry.spools]

    def read_block(self, flow: str, sink: str, seq: int) -> bytes | None:
        """The data of a spool block. None if there is none of that number: it was deleted, or not
        yet written, or it is damaged. A damaged one is quarantined and named in `damage`, and still
        counts as waiting until it is trimmed."""
        if not self._is_waiting(flow, sink, seq):
            return None
        try:
            with self._environment.reading() as reading:
                return read_spool_block(reading, flow, sink, seq)
        except ValueError as error:
            if self._is_waiting(flow, sink, seq):
                self._note_block(flow, sink, seq, str(error))
            return None

    def repair_spools(self) -> None:
        """Read every block that waits. In the place of a damaged one stands an empty one then: who
        sends it finds nothing, and the numbers of the next say what is missing."""
        with self._writer:
            for info in self.spools():
                for seq in range(info.first_seq, info.next_seq):
                    if self.read_block(info.flow, info.sink, seq) is None:
                        self._change(methodcaller("empty_block", info.flow, info.sink, seq))

    def _is_waiting(self, flow: str, sink: str, seq: int) -> bool:
        spool = self.spool(flow, sink)
        return spool.first_seq <= seq < spool.next_seq

    def _note_block(self, flow: str, sink: str, seq: int, text: str) -> None:
        with self._state:
            if (flow, sink, seq) in self._bad_blocks:
                return
            self._bad_blocks.add((flow, sink, seq))
        with self._environment.reading() as reading:
            data = raw_values(reading, spool_block_prefix(flow, sink, seq))
        file = self._quarantine.keep(f"spool-{flow}-{sink}-{seq}", data)
        text = f"of sink {sink}: {text}; these results are lost"
        self._note(Damage("spool", text, flow=flow, step=sink, file=file))

    def _note(self, damage: Damage) -> None:
        with self._state:
            if len(self._damage) < STORE_DAMAGE_MAX_COUNT:
                self._damage.append(damage)

    @property
    def reserve_bytes(self) -> int:
        """What it holds of the disk for transactions that make room."""
        return self._environment.reserve.bytes

    def stats(self) -> StoreStats:
        """Sizes and counts, for `status` and the metrics."""
        index = self._contents.index
        with self._state:
            return StoreStats(
                map_bytes=self._environment.map_bytes,
                used_bytes=self._environment.used_bytes,
                delta_count=len(index.deltas),
                delta_bytes=index.held_bytes,
                dead_bytes=index.dead_bytes,
                base_count=index.base_count,
                base_bytes=index.base_bytes,
                spool_bytes=sum(spool.bytes for spool in self.spools()),
                commit_count=self._commits,
                merge_count=self._merges,
                written_bytes=self._bytes,
                damage_count=len(self._damage),
            )

    def close(self) -> None:
        """Close it. What was committed is on the disk already."""
        with self._writer:
            self._environment.close()
            self._owner.release()
