"""What a sink has still to take: one sequence of committed blocks, in the store and, the newest of
them, in memory.

The committer adds a block after the cut that holds it, a sender reads blocks in order and says what
is delivered, and the committer takes what is delivered out of the store with its next transaction.
The sequence is bounded in bytes and age. At the bound it blocks (the lane stops the sources that
feed the sink), or its oldest blocks go, or the lane refuses new results: each is counted and said.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from msgspec import Struct

from appliance.limits import SPOOL_LOW_SHARE, SPOOL_MEMORY_MAX_BYTES, SPOOL_MEMORY_MAX_COUNT
from appliance.plan.logical import Spool as Bounds
from appliance.worker.block import Block, BlockDamaged


class Blocks(Protocol):
    """What a spool needs of a store."""

    def read_block(self, flow: str, sink: str, seq: int) -> bytes | None: ...


class Waiting(Struct, frozen=True):
    """A block that is to be sent: its number, what it holds (None: it is damaged), and its bytes in
    the store."""

    seq: int
    block: Block | None
    size: int

    @classmethod
    def read(cls, seq: int, packed: bytes) -> Waiting:
        """From its bytes in the store; empty where the store could not read it, and has said so."""
        try:
            return cls(seq, Block.unpack(packed), len(packed))
        except BlockDamaged:
            return cls(seq, None, len(packed))


class Spool:
    """The sequence of one sink. `add` and `take_trim` are the committer's, `next` and `delivered`
    its sender's.

    `pressure(full)` is called when the spool reaches its bound and when there is room again;
    `gives_up()` when it begins to drop what is oldest, once until something has arrived again.
    """

    def __init__(
        self,
        flow: str,
        sink: str,
        blocks: Blocks,
        bounds: Bounds,
        pressure: Callable[[bool], None] = lambda full: None,
        gives_up: Callable[[], None] = lambda: None,
    ) -> None:
        self.flow, self.sink = flow, sink
        self._blocks = blocks
        self._bounds = bounds
        self._pressure = pressure
        self._gives_up = gives_up
        self._giving_up = False
        self._changed = threading.Condition()
        self._first = 1  # the oldest block that is not delivered
        self._next = 1
        self._trimmed = 0  # everything up to this one is gone from the store
        self._memory: deque[Waiting] = deque()  # the newest of first … next − 1
        self._memory_bytes = 0
        self._closed = False
        self._full = False
        self.bytes = 0
        self.dropped = 0  # blocks given up by `drop_oldest` or for their age

    def restore(self, first: int, following: int, size: int) -> None:
        """The blocks from `first` to before `following` are left from an earlier run: `size` bytes
        together.
        """
        with self._changed:
            self._first, self._next, self._trimmed = first, following, first - 1
            self.bytes = size
        self._press()

    # ---- the committer's side ----

    def add(self, made: Waiting) -> None:
        """A block that is now committed."""
        with self._changed:
            assert made.seq == self._next, "blocks are numbered without a gap"
            self._next += 1
            self.bytes += made.size
            self._memory.append(made)
            self._memory_bytes += made.size
            while (
                self._memory_bytes > SPOOL_MEMORY_MAX_BYTES
                or len(self._memory) > SPOOL_MEMORY_MAX_COUNT
            ):
                self._memory_bytes -= self._memory.popleft().size
            before = self.dropped
            if self._bounds.when_full == "drop_oldest":
                while self.bytes > self._bounds.max_bytes and self.count > 1:
                    self._drop_first()
            begins = self.dropped > before and not self._giving_up
            self._giving_up |= begins
            self._changed.notify_all()
        if begins:
            self._gives_up()
        self._press()

    def take_trim(self) -> int | None:
        """The last block that need not be kept any more, if it was not said before."""
        with self._changed:
            if self._first - 1 <= self._trimmed:
                return None
            return self._first - 1

    def trimmed(self, seq: int) -> None:
        """The store has let go of everything up to this block."""
        with self._changed:
            self._trimmed = max(self._trimmed, seq)
            self._changed.notify_all()

    # ---- the sender's side ----

    def next(self, seq: int, wait_s: float | None) -> Waiting | None:
        """The block `seq`, or the oldest there is if that one was dropped. None when none came in
        time, or the spool is closed and there is none.
        """
        while True:
            with self._changed:
                self._changed.wait_for(partial(self._is_over_or_has, seq), wait_s)
                seq = max(seq, self._first)
                if seq >= self._next:
                    return None
                behind = self._next - seq  # 1: the newest
                if behind <= len(self._memory):
                    return self._memory[-behind]
            packed = self._blocks.read_block(self.flow, self.sink, seq)
            if packed is not None or seq >= self._first:
                return Waiting.read(seq, packed or b"")

    def _is_over_or_has(self, seq: int) -> bool:
        return self._closed or max(seq, self._first) < self._next

    def delivered(self, seq: int, size: int) -> None:
        """This block has arrived where it belongs, as all before it have; it had so many bytes."""
        with self._changed:
            if self._first == seq:  # else it was dropped while it was on its way
                self._forget_first(size)
                self._giving_up = False
            self._changed.notify_all()
        self._press()

    def drop(self, seq: int, size: int) -> None:
        """This block, the oldest, is too old to be sent."""
        with self._changed:
            if self._first == seq:
                self._forget_first(size)
                self.dropped += 1
        self._press()

    def close(self) -> None:
        """Nothing more will come: a sender that waits is woken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def count(self) -> int:
        """Blocks that are not delivered."""
        return self._next - self._first

    @property
    def first(self) -> int:
        """The oldest block that is not delivered, or the one that will come next."""
        return self._first

    @property
    def is_empty(self) -> bool:
        """Whether all there was is delivered."""
        return self._first == self._next

    def _drop_first(self) -> None:
        size = self._memory[0].size if len(self._memory) == self.count else None
        if size is None:
            block = self._blocks.read_block(self.flow, self.sink, self._first)
            size = 0 if block is None else len(block)
        self._forget_first(size)
        self.dropped += 1

    def _forget_first(self, size: int) -> None:
        self._first += 1
        self.bytes = 0 if self.is_empty else max(self.bytes - size, 0)
        if len(self._memory) > self.count:
            self._memory_bytes -= self._memory.popleft().size

    def _press(self) -> None:
        """Say when the bound is reached, and when there is room again. Under the lock, said too:
        committer and sender may both have something to say, and the lane believes the last word.
        """
        if self._bounds.when_full == "drop_oldest":
            return
        with self._changed:
            low = self._bounds.max_bytes * SPOOL_LOW_SHARE
            full = self.bytes > (low if self._full else self._bounds.max_bytes)
            if full != self._full:
                self._full = full
                self._pressure(full)
