"""A spool, its store and its sender through outages of every kind: each result arrives once, and
what does not was given up and is told as a gap. (A week of them: crash/test_virtual_week.py.)"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from appliance import clock
from appliance.connect import Batch, Later, Resume
from appliance.logs import Logger
from appliance.plan.logical import Spool as Bounds
from appliance.store import StoreFailed
from appliance.worker.block import Block, number
from appliance.worker.opening import OpenEnd
from appliance.worker.senders import SenderThread
from appliance.worker.spool import Spool, Waiting

STREAM = b"s" * 16


def packed(shards: bytes, following: dict[int, int], made_s: int = 0) -> bytes:
    """A block of a record for each shard; a record says its shard and number."""
    first = number(shards, following)
    numbers = dict(first)
    records = []
    for shard in shards:
        records.append(b"%d:%d" % (shard, numbers[shard]))
        numbers[shard] += 1
    data = b"".join(msgpack.packb(record) for record in records)
    return Block(data, made_s, -1, STREAM, 1, shards, first).pack()


@dataclass
class Receiver:
    """What keeps numbers with what it did; it outlives every sink and every run."""

    next: dict[int, int] = field(default_factory=dict)
    applied: list[bytes] = field(default_factory=list)
    lost: dict[int, set[int]] = field(default_factory=dict)

    def apply(self, batch: Batch) -> None:
        for shard, first in batch.first.items():
            gone = range(self.next.get(shard, 1), first)
            self.lost.setdefault(shard, set()).update(gone)
            self.next[shard] = max(self.next.get(shard, 1), first)
        at = dict(batch.first)
        for shard, record in zip(batch.shards, batch.records, strict=True):
            assert record == b"%d:%d" % (shard, at[shard]), "the same under the same number"
            if at[shard] == self.next[shard]:
                self.applied.append(record)
                self.next[shard] += 1
            at[shard] += 1
            assert at[shard] <= self.next[shard], "a number that is missing was told"


class Scripted:
    """A sink that does what its script says, step by step, and at its end what `at_end` does."""

    def __init__(self, receiver: Receiver, script: Sequence[str]) -> None:
        self._receiver = receiver
        self._script: Iterator[str] = iter(script)
        self.at_end = lambda: None
        self._broken = False
        self._arrived = self._seen = 0

    def _step(self) -> str:
        step = next(self._script, "")
        if not step:
            self.at_end()
        return step

    def open(self, resume: Resume) -> None:
        self._broken = False
        self._arrived = self._seen = 0
        if self._step() == "fail":
            raise ConnectionError("it is not there")

    def write_batch(self, batch: Batch) -> None:
        step = self._step()
        if step == "later":
            raise Later("no room")
        if self._broken or step == "fail":
            raise ConnectionError("it has gone")
        if step == "lost":  # taken, and lost on the way: nothing after it arrives
            self._broken = True
            return
        self._receiver.apply(batch)
        self._arrived += 1

    def confirmed(self) -> int:
        step = self._step()
        if self._broken or step == "fail":
            raise ConnectionError("it has gone")
        if step != "later":
            self._seen = self._arrived - (step == "lost" and self._arrived > self._seen)
        return self._seen

    def close(self) -> None:
        pass


@dataclass
class Disk:
    """What a store keeps of one sink."""

    blocks: dict[int, bytes] = field(default_factory=dict)
    first: int = 1
    next: int = 1

    def read_block(self, flow: str, sink: str, seq: int) -> bytes | None:
        return self.blocks.get(seq)

    def append(self, block: bytes) -> int:
        self.blocks[self.next] = block
        self.next += 1
        return self.next - 1

    def trim(self, spool: Spool) -> None:
        seq = spool.take_trim()
        if seq is not None:
            for old in range(self.first, seq + 1):
                del self.blocks[old]
            self.first = seq + 1
            spool.trimmed(seq)

    def spool(self, bounds: Bounds) -> Spool:
        spool = Spool("flow", "out", self, bounds)
        spool.restore(self.first, self.next, sum(map(len, self.blocks.values())))
        return spool


class Impatient(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


def run(spool: Spool, connector: Any, bounds: Bounds, *, to_the_end: bool) -> None:
    """A sender until all has arrived, or until its sink's script is over: as if it were cut off."""
    end = OpenEnd("flow", "out", 0, "own", connector, None, spooled=True)
    with open(os.devnull, "wb") as nowhere:
        log = Logger("worker", fd=nowhere.fileno())
        sender = SenderThread(end, spool, bounds, Resume(stream=STREAM, epoch=1), log)
        sender._leaving = Impatient()
        if not to_the_end:
            connector.at_end = sender._leaving.set
        sender.finish()
        sender.run()


STEPS = st.lists(st.sampled_from(["ok", "ok", "ok", "fail", "later", "lost"]), max_size=12)
BLOCKS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5).map(bytes), max_size=5)
PHASES = st.lists(st.tuples(BLOCKS, STEPS, st.booleans(), st.booleans()), max_size=6)


@given(PHASES, st.sampled_from(["block", "drop_oldest"]))
def test_whatever_happens_each_result_arrives_once_or_is_told_as_lost_S21(
    phases: list[tuple[list[bytes], list[str], bool, bool]], when_full: str
) -> None:
    """In each phase blocks are committed and a sink meets its script; then what has arrived is let
    go of in the store or not, and the run is cut off or goes on."""
    bounds = Bounds(max_bytes=200, when_full=when_full)
    disk, receiver = Disk(), Receiver()
    spool = disk.spool(bounds)
    following: dict[int, int] = {}
    dropped = 0
    for blocks, script, trims, restarts in phases:
        for shards in blocks:
            block = packed(shards, following)
            spool.add(Waiting.read(disk.append(block), block))
        run(spool, Scripted(receiver, script), bounds, to_the_end=False)
        if trims:
            disk.trim(spool)
        if restarts:
            dropped += spool.dropped
            spool = disk.spool(bounds)
    last = packed(b"\0", following)
    spool.add(Waiting.read(disk.append(last), last))
    run(spool, Scripted(receiver, ()), bounds, to_the_end=True)
    assert spool.is_empty and spool.bytes == 0
    disk.trim(spool)
    assert not disk.blocks
    assert receiver.next == following, "of every shard, all is there or told as lost"
    assert len(set(receiver.applied)) == len(receiver.applied)
    got: dict[int, list[int]] = {shard: [] for shard in following}
    for record in receiver.applied:
        shard, n = map(int, record.split(b":"))
        got[shard].append(n)
    for shard, end in following.items():
        gone = receiver.lost.get(shard, set())
        assert got[shard] == [n for n in range(1, end) if n not in gone]
    if not dropped and not spool.dropped:
        assert not any(receiver.lost.values())


def test_what_is_too_old_goes_also_while_the_sink_is_away() -> None:
    bounds = Bounds(max_age_us=3_600_000_000)
    disk, receiver = Disk(), Receiver()
    spool = disk.spool(bounds)
    following: dict[int, int] = {}
    now_s = clock.known_s()
    for made_s in (now_s - 7200, now_s - 4000, now_s - 60, now_s):
        block = packed(b"\0", following, made_s)
        spool.add(Waiting.read(disk.append(block), block))
    run(spool, Scripted(receiver, ["fail", "fail"]), bounds, to_the_end=False)
    assert (spool.dropped, spool.count) == (2, 2)
    run(spool, Scripted(receiver, ()), bounds, to_the_end=True)
    assert receiver.applied == [b"0:3", b"0:4"]
    assert receiver.lost == {0: {1, 2}}


def test_a_store_that_failed_is_no_failure_of_the_sink() -> None:
    """Whoever commits says it and ends the worker; the sender leaves without a word of its own, and
    keeps what is left for the next run, whether it was sending or its sink was away."""
    disk, following = Disk(), dict[int, int]()
    for _ in range(3):
        disk.append(packed(b"\0", following))
    for script in ((), ("fail", "fail")):

        def refuse(flow: str, sink: str, seq: int) -> bytes | None:
            raise StoreFailed("the disk refused a write")

        failed = Disk(dict(disk.blocks), next=disk.next)
        failed.read_block = refuse  # type: ignore[method-assign]
        spool = failed.spool(Bounds())
        run(spool, Scripted(Receiver(), script), Bounds(), to_the_end=False)
        assert spool.count == 3
