"""The thread of a sink whose results leave after the cut: it sends committed blocks, in order, from
the sink's spool, and says what has arrived.

What has arrived where it belongs depends on the sink: a file's bytes when they are synced, a row of
a database when `write_batch` has returned, a frame when its receiver has committed it, all others'
records when `write` has returned. What a verb raises means: not arrived; the sink is opened again
after a wait and sending begins at the oldest block that has not arrived. Sending again is always
safe, for a block goes to the same place and has the same numbers each time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from appliance import clock, connect, points
from appliance.connect import Later, Resume
from appliance.limits import (
    CONFIRM_POLL_S,
    PLACE_SYNC_MAX_BYTES,
    SEND_WINDOW_MAX_BYTES,
    SEND_WINDOW_MAX_COUNT,
    SPOOL_LIVE_COUNT,
)
from appliance.logs import Logger
from appliance.plan.logical import Spool as Bounds
from appliance.store import StoreFailed
from appliance.worker.attempts import Attempts
from appliance.worker.block import Block, BlockDamaged
from appliance.worker.opening import OpenEnd
from appliance.worker.spool import Spool, Waiting


class SenderThread(threading.Thread):
    """Serves one spooled sink until `finish` (when all is sent) or `leave` (at once)."""

    def __init__(
        self,
        end: OpenEnd,
        spool: Spool,
        bounds: Bounds,
        resume: Resume,
        log: Logger,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name=f"sink {end.flow}.{end.name}", daemon=True)
        self._end = end
        self._spool = spool
        self._resume = resume
        self._stream = resume.stream  # whose results the sink was opened for
        self._log = log
        self._attempts = Attempts(end, log)
        self._ended = ended
        self._max_age_s = bounds.max_age_us / 1e6
        self._rate = Rate(bounds.resend_rate)
        self._leaving = threading.Event()
        self._finishing = threading.Event()
        self.done = threading.Event()
        self._at = 0  # the next block to send
        self._written = -1  # the last one sent since `open`
        self._reached = 0  # of a placed sink: how far there is something
        # Not yet arrived: (seq, bytes, whether it was written; a damaged one never is).
        self._sent: deque[tuple[int, int, bool]] = deque()
        self._sent_bytes = 0
        self._confirmed = 0  # of the batches written since `open`
        self._oldest_s = 0  # when the oldest block that has not arrived was committed
        self.sent_records = self.damaged = 0
        if isinstance(end.connector, connect.Telling):
            end.connector.tell(log)

    @property
    def state(self) -> str:
        return self._attempts.state

    @property
    def trouble(self) -> str:
        return self._attempts.trouble

    def finish(self) -> None:
        """End when everything in the spool has arrived."""
        self._finishing.set()
        self._spool.close()

    def leave(self) -> None:
        """End as soon as the verb at hand returns: the spool keeps the rest."""
        self._leaving.set()
        self.finish()

    def spool_words(self) -> dict[str, object]:
        """How much waits, for `status`. `dropped` and `damaged` count blocks given up."""
        return {
            "bytes": self._spool.bytes,
            "blocks": self._spool.count,
            "dropped": self._spool.dropped,
            "damaged": self.damaged,
            "age_s": self._age_s(),
        }

    def say_what_waits(self, *, kept: bool) -> None:
        """At the end of a run: results that have not arrived, and whether a next run sends them."""
        if not self._spool.is_empty:
            text = "results wait in the spool" if kept else "results were not delivered"
            where = {"flow": self._end.flow, "sink": self._end.name}
            self._log.warning(text, **where, bytes=self._spool.bytes)

    def _age_s(self) -> int | None:
        """Since when the oldest block waits, as far as the box knows the time."""
        now_s, made_s = clock.known_s(), self._oldest_s
        return now_s - made_s if now_s and made_s and not self._spool.is_empty else None

    def run(self) -> None:
        try:
            self._serve()
        except StoreFailed:
            # The committer has said why, and the worker ends: the next run sends what is left.
            self._leaving.set()
        self._attempts.end()
        self.done.set()
        self._ended()

    def _serve(self) -> None:
        """Until all is done or it is to leave. StoreFailed: there is nothing to send any more."""
        while not self._leaving.is_set():
            try:
                self._make_ready()
                if self._step():
                    break
            except StoreFailed:
                raise
            except (Exception, SystemExit) as error:  # sys.exit() would end the thread unsaid
                self._failed(error)

    # ---- one step ----

    def _step(self) -> bool:
        """Send one block, or see what has arrived; True when all is done."""
        if self._is_window_full():
            self._settle(CONFIRM_POLL_S)
            return False
        found = self._spool.next(self._at, self._patience_s())
        if found is None:
            # Once the spool is closed it no longer waits for blocks: then the wait is ours.
            self._settle(CONFIRM_POLL_S if self._finishing.is_set() else 0.0)
            return self._finishing.is_set() and self._spool.is_empty
        self._at = found.seq + 1
        if found.block is not None:
            if not self._sent:
                self._oldest_s = found.block.made_s
            if self._is_too_old(found.block, found.seq):
                self._spool.drop(found.seq, found.size)
                return False
            if self._is_numbered and found.block.stream not in (b"", self._stream):
                self._at = found.seq
                self._turn_over()
                return False
        self._send(found)
        if not self._waits_for_confirmation and not self._is_placed:
            self._arrived(len(self._sent))
        return False

    def _send(self, waiting: Waiting) -> None:
        """On its way; what is damaged is said and goes with those before it."""
        seq, written = waiting.seq, True
        points.reach("send.before")
        try:
            if waiting.block is None:
                raise BlockDamaged(f"block {seq} of the spool cannot be read")
            self._write(waiting.block, follows=seq == self._written + 1)
            self._written = seq
        except BlockDamaged as error:
            self.damaged += 1
            written = False
            self._attempts.say("a block of results cannot be sent", error)
        points.reach("send.after")
        self._attempts.works()
        self._sent.append((seq, waiting.size, written))
        self._sent_bytes += waiting.size

    def _write(self, block: Block, *, follows: bool) -> None:
        connector: Any = self._end.connector
        if self._is_placed:
            self._place(block)
            return
        batch = block.batch(whole=not follows)
        count = len(batch.records)
        is_backlog = self._await_rate()
        if isinstance(connector, connect.Numbered):
            connector.write_batch(batch)
        elif count:
            connector.write(list(batch.records))
        self.sent_records += count
        if is_backlog:
            self._rate.spend(count)

    def _place(self, block: Block) -> None:
        """Places are given out once: what was given up before this block is a hole, of zeros. Where
        results are lines it is ended by a newline, so that no line but the hole's is spoiled.
        """
        connector: Any = self._end.connector
        hole = block.place - self._reached
        if hole > 0 and block.data[-1:] == b"\n":
            connector.write_at(block.place - 1, b"\n")
        connector.write_at(block.place, block.data)
        if hole > 0:
            text = "results were given up: there are zeros in their place"
            where = {"flow": self._end.flow, "sink": self._end.name}
            self._log.warning(text, **where, place=self._reached, bytes=hole)
        self._reached = max(self._reached, block.place + len(block.data))

    def _await_rate(self) -> bool:
        """Whether a backlog is being sent; then wait until more of it may leave. Blocks that were
        sent and are not yet confirmed are none, or a slow receiver would slow down what is new.
        """
        unsent = self._spool.first + self._spool.count - (self._at - 1)
        if unsent <= SPOOL_LIVE_COUNT:
            return False
        wait_s = self._rate.wait_s()
        if wait_s:
            self._leaving.wait(wait_s)
            self._settle(0.0)  # or the spool would stay full until a whole window is sent
        return True

    def _is_window_full(self) -> bool:
        most = PLACE_SYNC_MAX_BYTES if self._is_placed else SEND_WINDOW_MAX_BYTES
        return len(self._sent) >= SEND_WINDOW_MAX_COUNT or self._sent_bytes >= most

    def _patience_s(self) -> float | None:
        """How long to wait for a block: for ever, unless something sent has still to arrive."""
        if not self._sent:
            return None
        return 0.0 if self._is_placed else CONFIRM_POLL_S

    def _settle(self, wait_s: float) -> None:
        """See what of the blocks sent has arrived."""
        if not self._sent:
            return
        connector: Any = self._end.connector
        if self._is_placed:
            connector.sync()
            self._arrived(len(self._sent))
        elif self._waits_for_confirmation:
            before = self._confirmed
            self._confirmed = connector.confirmed()
            self._arrived(self._confirmed - before)
            if self._confirmed == before and wait_s:
                self._leaving.wait(wait_s)

    def _arrived(self, count: int) -> None:
        """So many of the blocks written have arrived; what is damaged goes with those before it."""
        while self._sent and (count > 0 or not self._sent[0][2]):
            seq, size, written = self._sent.popleft()
            count -= written
            self._sent_bytes -= size
            self._spool.delivered(seq, size)

    def _is_too_old(self, block: Block, seq: int) -> bool:
        now_s = clock.known_s()
        if not (block.made_s and now_s) or now_s - block.made_s <= self._max_age_s or self._sent:
            return False
        if self._spool.dropped == 0:
            self._attempts.say("results are too old to be sent and are given up", seq)
        return True

    def _give_up_old(self) -> None:
        """What is past `max_age` goes also while nobody takes anything."""
        while (found := self._spool.next(self._spool.first, 0.0)) is not None:
            if found.block is None:
                return  # said when its turn comes
            self._oldest_s = found.block.made_s
            if not self._is_too_old(found.block, found.seq):
                return
            self._spool.drop(found.seq, found.size)

    # ---- opening and failing ----

    @property
    def _is_numbered(self) -> bool:
        return isinstance(self._end.connector, connect.Numbered)

    @property
    def _is_placed(self) -> bool:
        return isinstance(self._end.connector, connect.Placed)

    @property
    def _waits_for_confirmation(self) -> bool:
        return isinstance(self._end.connector, connect.Confirming)

    def _make_ready(self) -> None:
        if self._attempts.is_open:
            return
        connector: Any = self._end.connector
        resume = self._history() if self._is_numbered else self._resume
        connector.open(resume)
        # Opened again, it keeps what this run has written.
        self._resume = replace(self._resume, fresh=False)
        self._stream = resume.stream
        self._confirmed = 0
        self._written = -1
        self._reached = connector.size() if self._is_placed else 0
        self._forget_sent()
        self._at = self._spool.first
        self._attempts.opened()

    def _forget_sent(self) -> None:
        """It is sent again when the sink is open again."""
        self._sent.clear()
        self._sent_bytes = 0

    def _history(self) -> Resume:
        """Whose results come next, and from which numbers on: as the oldest block says that can be
        read. Results of a history that damage has ended go under its name, not under ours.
        """
        seq = self._spool.first
        while (found := self._spool.next(seq, 0.0)) is not None:
            seq, block = found.seq + 1, found.block
            if block is None:
                continue
            if not block.stream:
                return self._resume
            end = self._resume.end if block.stream == self._resume.stream else None
            return replace(
                self._resume, stream=block.stream, first=dict(block.first or {}), end=end
            )
        return replace(self._resume, first=self._resume.end or {})

    def _turn_over(self) -> None:
        """Another history begins: when all of this one has arrived, the sink is opened for it."""
        if self._sent:
            self._settle(CONFIRM_POLL_S)
        else:
            self._attempts.close()

    def _failed(self, error: Exception | SystemExit) -> None:
        wait_s = self._attempts.wait_after(error)
        if isinstance(error, Later):
            self._at = self._spool.first if not self._sent else self._sent[-1][0] + 1
        if not self._attempts.is_open:
            self._forget_sent()
            self._give_up_old()
        self._leaving.wait(wait_s)


class Rate:
    """Records a second while a sink catches up; None: as fast as it takes them."""

    def __init__(self, per_s: float | None) -> None:
        self._per_s = per_s
        self._free_s = 0.0  # when the next records may leave, monotonic

    def wait_s(self) -> float:
        """How long to wait before more records may leave, in seconds."""
        return max(self._free_s - clock.monotonic_s(), 0.0)

    def spend(self, count: int) -> None:
        """So many have left."""
        if self._per_s is not None:
            self._free_s = max(self._free_s, clock.monotonic_s()) + count / self._per_s
