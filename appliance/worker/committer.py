"""The thread that commits cuts: it makes a cut of the lane one transaction of the store, and only
after the commit tells the lane, the sources and the sinks' senders.

One cut is in flight at a time, and the lane never waits for it. A full disk is a state: the commit
is tried again until there is room, while the lane goes on as long as its memory lasts. Any other
failure of the disk ends the worker, which starts again from what is on the disk.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

from msgspec import Struct

from appliance import clock, points
from appliance.limits import (
    BUDGET_BURST_S,
    BUDGET_WAIT_MAX_S,
    COMMIT_RETRY_FIRST_S,
    COMMIT_RETRY_MAX_S,
    CUT_LARGE_BYTES,
    STORE_RESERVE_BYTES,
)
from appliance.logs import Logger
from appliance.store import Commit, CommitResult, DiskFull, Section, SpoolBlock, Store
from appliance.worker.backoff import Backoff
from appliance.worker.cut_form import FlowCut, unpack_cut
from appliance.worker.durable import Durable
from appliance.worker.memory import give_back


class CommitStats(Struct):
    """What `status` says of the cuts. Durations in seconds, sizes in bytes."""

    cuts: int = 0
    bytes: int = 0
    last_s: float = 0.0
    longest_s: float = 0.0
    merges: int = 0
    disk_full: bool = False
    refused: int = 0  # commits that found the disk full
    interval_s: float = 0.0  # between the last two
    stretched_s: float = 0.0  # how long the write budget has made cuts wait, in all
    reserve_bytes: int = 0  # of the disk, for what makes room when it is full
    reserve_short: bool = False  # less than it should be: given away, or there was no room


class Committer(threading.Thread):
    """Commits what `put` brings, in order.

    After each commit, on this thread: `committed(number)` for the lane, `acknowledge(cut)` for the
    sources. `failed(error)` when the disk can no longer be trusted: nothing is committed then.
    """

    def __init__(
        self,
        store: Store,
        flows: Sequence[Durable],
        committed: Callable[[int], None],
        acknowledge: Callable[[Sequence[FlowCut]], None],
        failed: Callable[[Exception], None],
        log: Logger,
        trim_every_s: float,
        budget_bytes: int | None = None,
    ) -> None:
        super().__init__(name="committer", daemon=True)
        self._store = store
        self._flows = flows
        self._committed = committed
        self._acknowledge = acknowledge
        self._failed = failed
        self._log = log
        self._trim_every_s = trim_every_s
        self._budget = Budget(budget_bytes)
        self._hurry = threading.Event()
        self._last_s: float | None = None
        # One cut is in flight at a time; the other place is for the end.
        self._queue: queue.Queue[tuple[int, bytes | memoryview] | None] = queue.Queue(2)
        self._abandoned = threading.Event()
        self._backoff = Backoff(COMMIT_RETRY_FIRST_S, COMMIT_RETRY_MAX_S)
        self._may_help = False  # letting go may make room for the cut that waits
        self.stats = CommitStats()
        self.number = 0  # of the last cut that is committed
        self._after: dict[int, Callable[[Sequence[FlowCut]], None]] = {}

    def after(self, number: int, work: Callable[[Sequence[FlowCut]], None]) -> None:
        """Do this once a cut that has not been put yet is committed, while the store holds just
        that cut."""
        self._after[number] = work

    def put(self, number: int, blocks: bytes | memoryview) -> None:
        """A frozen cut. The lane makes the next only when this one is committed."""
        self._queue.put_nowait((number, blocks))

    def finish(self) -> None:
        """End after what was put, and after what has been delivered meanwhile is let go."""
        self._queue.put(None)

    def hurry(self) -> None:
        """The worker stops: its last cut does not wait for the write budget."""
        self._hurry.set()

    def abandon(self) -> None:
        """Do not wait any longer for room on the disk."""
        self._abandoned.set()

    def run(self) -> None:
        try:
            while True:
                try:
                    cut = self._queue.get(timeout=self._trim_every_s)
                except queue.Empty:
                    self._trim()
                    continue
                if cut is None:
                    self._trim()
                    return
                self._commit_cut(*cut)
                is_large = len(cut[1]) > CUT_LARGE_BYTES
                del cut  # not kept until the next one comes
                if is_large:
                    give_back()
        except Exception as error:
            self._failed(error)

    def _commit_cut(self, number: int, blocks: bytes | memoryview) -> None:
        wait_s = self._budget.wait_s(clock.monotonic_s())
        if wait_s:
            self.stats.stretched_s += wait_s
            self._hurry.wait(wait_s)
        cut = unpack_cut(blocks)
        sections: list[Section] = []
        records: dict[str, bytes] = {}
        spools: list[SpoolBlock] = []
        trims = self._trims()
        for flow, part in zip(self._flows, cut, strict=True):
            sections += flow.sections(part)
            made, replaced = flow.blocks(part)
            spools += made
            trims.update(replaced)
            flow.note(part)
            records[flow.name] = flow.record.pack()
        if points.is_broken("ack-after-commit"):
            self._acknowledge(cut)
        if points.is_broken("release-after-commit"):
            self._release([self._next_seq(made) for made in spools], spools)
        if points.is_broken("one-transaction"):
            self._commit(Commit((), records, (), {}))
        points.reach("commit.before")
        result = self._commit(Commit(sections, records, spools, trims))
        if result is None:
            self._log.error(
                "the last cut is given up, for the disk is full; the next run reads again what "
                "came since the one before it, where a source can"
            )
            return
        points.reach("commit.after")
        self.number = number
        work = self._after.pop(number, None)
        if work is not None:
            work(cut)
        self._say_trimmed(trims)
        points.reach("release.before")
        if not points.is_broken("release-after-commit"):
            self._release(result.seqs, spools)
        points.reach("release.after")
        self._committed(number)
        points.reach("ack.before")
        self._acknowledge(cut)
        points.reach("ack.after")

    def _commit(self, commit: Commit) -> CommitResult | None:
        """Until it is committed; None when that was abandoned first. StoreFailed: see above."""
        while True:
            try:
                result = self._store.commit(commit)
            except DiskFull as error:
                self._note_full(error)
                if not self._make_room():
                    self._abandoned.wait(self._backoff.next_s())
                    if self._abandoned.is_set():
                        return None
                continue
            self._note(result)
            return result

    def _note_full(self, error: DiskFull) -> None:
        self.stats.refused += 1
        if not self.stats.disk_full:
            self._log.error(
                "the disk is full; nothing is committed until there is room", error=error
            )
            self._may_help = True
        self.stats.disk_full = True

    def _make_room(self) -> bool:
        """Let go of what has been delivered, while a cut waits; whether it is to be tried again at
        once. Two transactions: what one frees can be used from the second after it on. So they help
        also where there was nothing to let go of since the transaction before the cut."""
        trims = self._trims()
        self._may_help |= bool(trims)
        if not self._may_help:
            return False
        try:
            self._store.commit(Commit(trims=trims))
            self._store.commit(Commit())
        except DiskFull as error:
            self._log.debug("nor can anything be let go of", error=error)
            return False
        self._may_help = False
        self._say_trimmed(trims)
        self._note_reserve()
        return True

    def _note(self, result: CommitResult) -> None:
        stats, now_s = self.stats, clock.monotonic_s()
        if self._last_s is not None:
            stats.interval_s = now_s - self._last_s
        self._last_s = now_s
        self._budget.spend(result.bytes, now_s)
        stats.cuts += 1
        stats.bytes += result.bytes
        stats.merges += result.merges
        stats.last_s = result.seconds
        stats.longest_s = max(stats.longest_s, result.seconds)
        if stats.disk_full:
            self._backoff.reset()
            stats.disk_full = False
            self._log.info("there is room on the disk again")
        self._note_reserve()

    def _note_reserve(self) -> None:
        stats, held = self.stats, self._store.reserve_bytes
        was_short, stats.reserve_bytes = stats.reserve_short, held
        stats.reserve_short = held < STORE_RESERVE_BYTES
        if stats.reserve_short and not was_short:
            self._log.warning(
                "the store has less of the disk in reserve than it wants",
                bytes=held,
                wanted=STORE_RESERVE_BYTES,
            )
        elif was_short and not stats.reserve_short:
            self._log.info("the store has its reserve of the disk again", bytes=held)

    def _release(self, seqs: Sequence[int], spools: Sequence[SpoolBlock]) -> None:
        """The blocks of this cut may leave: they are in the store under these numbers."""
        numbered = list(zip(spools, seqs, strict=True))
        for flow in self._flows:
            flow.committed({made.sink: seq for made, seq in numbered if made.flow == flow.name})

    def _next_seq(self, made: SpoolBlock) -> int:
        """The number that the store will give this block."""
        spool = next(flow for flow in self._flows if flow.name == made.flow).spools.get(made.sink)
        return 0 if spool is None else spool.first + spool.count

    def _trims(self) -> dict[tuple[str, str], int]:
        """What has been delivered since the last transaction."""
        found: dict[tuple[str, str], int] = {}
        for flow in self._flows:
            for sink, spool in flow.spools.items():
                seq = spool.take_trim()
                if seq is not None:
                    found[(flow.name, sink)] = seq
        return found

    def _trim(self) -> None:
        """Let go of what has been delivered, while no cut brings a transaction along."""
        trims = self._trims()
        if trims:
            points.reach("trim.before")
            if self._commit(Commit((), {}, (), trims)) is not None:
                points.reach("trim.after")
                self._say_trimmed(trims)

    def _say_trimmed(self, trims: dict[tuple[str, str], int]) -> None:
        for flow in self._flows:
            for sink, spool in flow.spools.items():
                seq = trims.get((flow.name, sink))
                if seq is not None:
                    spool.trimmed(seq)


class Budget:
    """Bytes a day that may be written; a cut waits while they are overdrawn, so that cuts get
    further apart. What was not used of the last hour may be used at once.
    """

    def __init__(self, bytes_a_day: int | None) -> None:
        self._per_s = None if bytes_a_day is None else bytes_a_day / 86_400
        self._left = 0.0 if self._per_s is None else self._per_s * BUDGET_BURST_S
        self._at_s = clock.monotonic_s()

    def wait_s(self, now_s: float) -> float:
        """How long the next cut has to wait, in seconds; bounded, for results wait with it."""
        if self._per_s is None:
            return 0.0
        self._earn(now_s)
        return 0.0 if self._left >= 0 else min(-self._left / self._per_s, BUDGET_WAIT_MAX_S)

    def spend(self, size: int, now_s: float) -> None:
        """So many bytes were written."""
        self._earn(now_s)
        self._left -= size

    def _earn(self, now_s: float) -> None:
        per_s = self._per_s or 0.0
        self._left = min(self._left + (now_s - self._at_s) * per_s, per_s * BUDGET_BURST_S)
        self._at_s = now_s
