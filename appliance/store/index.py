"""What the store has of state, in memory: its deltas, the bases of shards, and which shard is to be
merged next. Pure bookkeeping; it changes only after a commit.

**Why this is bounded.** Let *live* be the bytes of all bases, and *held* those of all deltas.
A shard is due when its deltas outweigh its base `WEIGHT` times (and 64 KiB). One due shard is
merged in each cut: at that pace merges write little, and deltas pile up to some multiple of the
bases, which depends on how much of the state changes between two cuts. Shards that began together
would be due together, and the pages that all their deltas then free would fill a list which the
environment writes again with every cut (three pages of nine); so while none is due they have turns:
one is merged as soon as all that was changed since the last merge is nearly as much as makes it
due. That is hardly oftener than if it were due, but spread evenly. Beyond `BEHIND` times the
bases merges may write a quarter of what the cut itself writes, beyond `FAR_BEHIND` times as much as
the cut: there each byte merged frees several of deltas, so what is held stops growing.

A delta lives until every shard in it, and in those before it, has a newer base, so a cold shard
with a few bytes in an old delta would pin it for ever. Therefore, when more bytes are dead (in
deltas, superseded by a base) than alive, or when there are more than STORE_DELTA_MAX_COUNT deltas,
the shards of the oldest delta are merged too, one a cut, then within the same allowance. So a store
is at most about FAR_BEHIND + 2 times its live rows, plus a few MiB, and its start reads no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import takewhile

from msgspec import Struct, field

from appliance.limits import (
    STORE_DEAD_MIN_BYTES,
    STORE_DELTA_MAX_COUNT,
    STORE_MERGE_MIN_BYTES,
)
from appliance.store.segment import Segment

#: A shard is due when its deltas are so many times its base. With 1, the bases are written as often
#: as the rows that change; with 2 half as often, for a third more on the disk.
WEIGHT = 2

#: Held deltas over bases from which merges may write more than one shard a cut.
BEHIND, FAR_BEHIND = 5, 10

#: A shard has its turn when so much of what makes it due was changed since the last merge: so few
#: become due, and they come in the order of their bases.
TURN = 0.9

#: Which shards may have the next turn: those with so much of the deltas of the one with the most.
CLOSE = 0.75

Shard = tuple[str, int]


class ShardState(Struct):
    """One shard of one flow: its base, and what was changed since."""

    base: Segment | None = None
    base_cut: int = 0
    delta_bytes: int = 0
    deltas: list[int] = field(default_factory=list)

    @property
    def base_bytes(self) -> int:
        return self.base.length if self.base is not None else 0

    @property
    def due_bytes(self) -> int:
        """The bytes of deltas with which it is due."""
        return max(WEIGHT * self.base_bytes, STORE_MERGE_MIN_BYTES)

    @property
    def turn_bytes(self) -> int:
        """The bytes of all deltas after which it has its turn, whichever they are."""
        return int(TURN * self.due_bytes)

    @property
    def is_due(self) -> bool:
        return self.delta_bytes >= self.due_bytes


class Index:
    """Deltas by cut, shards by flow and number."""

    def __init__(self) -> None:
        self.deltas: dict[int, Segment] = {}
        self.shards: dict[Shard, ShardState] = {}
        self.held_bytes = 0
        self.base_bytes = 0
        self.base_count = 0
        self._unmerged_bytes = 0
        self._earned_bytes = 0
        self._pins: dict[int, int] = {}
        self._due: set[Shard] = set()
        self._stuck: set[Shard] = set()

    @property
    def dead_bytes(self) -> int:
        """Rows in deltas that a base has superseded."""
        return self.held_bytes - self._unmerged_bytes

    @property
    def oldest(self) -> int:
        return next(iter(self.deltas), 0)

    @property
    def newest(self) -> int:
        return next(reversed(self.deltas), 0)

    def shard(self, shard: Shard) -> ShardState:
        state = self.shards.get(shard)
        if state is None:
            state = self.shards[shard] = ShardState()
        return state

    def set_base(self, shard: Shard, base: Segment | None, cut: int) -> None:
        """The shard has a base up to `cut`; called while the store is being opened, before its
        deltas are added."""
        state = self.shard(shard)
        state.base, state.base_cut = base, cut
        self.base_bytes += state.base_bytes
        self.base_count += base is not None

    def add_delta(self, delta: Segment) -> None:
        """A delta that was committed; they come in the order of their cuts."""
        self.deltas[delta.cut] = delta
        self.held_bytes += delta.length
        pins = 0
        for part in delta.parts:
            for number, size in part.shards():
                state = self.shard((part.flow, number))
                if state.base_cut >= delta.cut:
                    continue
                if not state.deltas or state.deltas[-1] != delta.cut:
                    state.deltas.append(delta.cut)
                    pins += 1
                state.delta_bytes += size
                self._unmerged_bytes += size
                if state.is_due:
                    self._due.add((part.flow, number))
        self._pins[delta.cut] = pins

    def earn(self, size: int) -> None:
        """So many bytes of rows were committed: merges may write a share of them again."""
        self._earned_bytes += size

    def apply_merge(self, shard: Shard, base: Segment | None, cut: int) -> None:
        """The shard has got a base that holds everything up to `cut`, the newest there was."""
        state = self.shard(shard)
        for delta in state.deltas:
            self._pins[delta] -= 1
        self._unmerged_bytes -= state.delta_bytes
        # Where cuts outrun merges little is carried on: no row of merges makes up for it later.
        left = self._earned_bytes - state.turn_bytes
        self._earned_bytes = min(max(left, 0), state.turn_bytes)
        self.base_bytes -= state.base_bytes
        self.base_count += (base is not None) - (state.base is not None)
        self.shards[shard] = ShardState(base, cut)
        self.base_bytes += self.shards[shard].base_bytes
        self._due.discard(shard)
        self._stuck.discard(shard)

    def drop_delta(self, cut: int) -> None:
        self.held_bytes -= self.deltas.pop(cut).length
        del self._pins[cut]

    def without_pins(self, merged: Iterable[Shard]) -> list[int]:
        """The deltas that nobody needs any more once these shards have been merged: they go in the
        order in which they came, so that each names the one before it and none can vanish unseen.
        """
        freed = Counter(cut for shard in merged for cut in self.shard(shard).deltas)
        return list(takewhile(lambda cut: self._pins[cut] == freed[cut], self.deltas))

    def refuse_merge(self, shard: Shard) -> None:
        """This shard's rows cannot be merged: it is not asked for again."""
        self._stuck.add(shard)
        self._due.discard(shard)

    def next_merges(self) -> Iterator[Shard]:
        """The shards to merge in this cut, the most urgent first: one in any case, further ones
        while the merges have written less than the `allowance`."""
        due = sorted(
            self._due - self._stuck,
            key=lambda shard: self.shards[shard].base_bytes - self.shards[shard].delta_bytes,
        )
        if not due and self._earned_bytes >= STORE_MERGE_MIN_BYTES:
            turn = self._next_turn()
            if turn is not None and self._earned_bytes >= self.shards[turn].turn_bytes:
                due = [turn]
        yield from due
        if self._is_pinned():
            yield from (shard for shard in self._pinning() if shard not in due)

    def _next_turn(self) -> Shard | None:
        """Of the shards that are the closest to being due the one with the oldest base, for it is
        the one that keeps the oldest delta."""
        parts = {
            shard: state.delta_bytes / state.due_bytes
            for shard, state in self.shards.items()
            if state.delta_bytes and shard not in self._stuck
        }
        close = CLOSE * max(parts.values(), default=0.0)
        among = (shard for shard, part in parts.items() if part >= close)
        return min(among, key=lambda shard: self.shards[shard].base_cut, default=None)

    def allowance(self, segment_bytes: int) -> int:
        """Bytes after which no further shard is merged in this cut."""
        bases = self.base_bytes + STORE_DEAD_MIN_BYTES
        if self.held_bytes > FAR_BEHIND * bases or len(self.deltas) > 2 * STORE_DELTA_MAX_COUNT:
            return segment_bytes
        return segment_bytes // 4 if self.held_bytes > BEHIND * bases else 0

    def _is_pinned(self) -> bool:
        alive = self.base_bytes + self._unmerged_bytes
        is_full = len(self.deltas) > STORE_DELTA_MAX_COUNT
        return is_full or self.dead_bytes > alive + STORE_DEAD_MIN_BYTES

    def _pinning(self) -> Iterator[Shard]:
        """The shards that keep the oldest delta."""
        oldest = self.deltas[self.oldest]
        seen = set(self._stuck)
        for part in oldest.parts:
            for number, _ in part.shards():
                shard = (part.flow, number)
                if shard not in seen and self.shards[shard].base_cut < oldest.cut:
                    seen.add(shard)
                    yield shard
