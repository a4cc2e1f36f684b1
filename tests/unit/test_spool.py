"""A spool and its sender: every block arrives, in order, whatever the sink does; bounds hold."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import clock
from appliance.connect import Batch, Later, Resume
from appliance.logs import Logger
from appliance.plan.logical import Spool as Bounds
from appliance.worker.block import Block, BlockDamaged, number
from appliance.worker.opening import OpenEnd
from appliance.worker.senders import SenderThread
from appliance.worker.spool import Spool, Waiting

BOUNDS = Bounds()


@dataclass
class Disk:
    """The blocks of a store, for one sink."""

    blocks: dict[int, bytes] = field(default_factory=dict)

    def read_block(self, flow: str, sink: str, seq: int) -> bytes | None:
        return self.blocks.get(seq)


def block(*records: bytes, **more: Any) -> bytes:
    data = b"".join(b"\xc4" + bytes([len(record)]) + record for record in records)
    return Block(data, 0, **more).pack()


def spool_of(blocks: Sequence[bytes], bounds: Bounds = BOUNDS) -> tuple[Spool, Disk]:
    disk = Disk(dict(enumerate(blocks, 1)))
    spool = Spool("flow", "out", disk, bounds)
    for seq, made in disk.blocks.items():
        spool.add(Waiting.read(seq, made))
    return spool, disk


def send(
    connector: Any, spool: Spool, bounds: Bounds = BOUNDS, fresh: bool = False
) -> SenderThread:
    """Run a sender over what is in the spool, to the end."""
    end = OpenEnd("flow", "out", 0, "own", connector, None, spooled=True)
    resume = Resume(fresh=fresh, stream=b"s" * 16, epoch=3)
    with open(os.devnull, "wb") as nowhere:
        log = Logger("worker", fd=nowhere.fileno())
        sender = SenderThread(end, spool, bounds, resume, log)
        sender._leaving = Impatient()  # no test waits for a back-off
        sender.finish()
        sender.run()
    return sender


class Impatient(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


class Plain:
    def __init__(self, failures: Sequence[BaseException | None] = ()) -> None:
        self.got: list[bytes] = []
        self._failures = list(failures)
        self.opened = 0

    def open(self, resume: Resume) -> None:
        self.opened += 1

    def write(self, records: Sequence[bytes]) -> None:
        failure = self._failures.pop(0) if self._failures else None
        if failure is not None:
            raise failure
        self.got += records

    def close(self) -> None:
        pass


class Place(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.file = io.BytesIO()
        self.synced = 0

    def size(self) -> int:
        return len(self.file.getvalue())

    def write_at(self, place: int, data: bytes) -> None:
        self.file.seek(place)
        self.file.write(data)

    def sync(self) -> None:
        self.synced += 1


class Remote(Plain):
    """Confirms later; breaks after so many batches, having confirmed only some."""

    def __init__(self, breaks_after: int, confirms: int) -> None:
        super().__init__()
        self.batches: list[Batch] = []
        self._left = breaks_after
        self._confirms = confirms
        self._asked = 0

    def open(self, resume: Resume) -> None:
        super().open(resume)
        self._written = 0

    def write_batch(self, batch: Batch) -> None:
        if self.opened == 1 and self._written == self._left:
            raise ConnectionError("the other side has gone")
        self._written += 1
        self.batches.append(batch)

    def confirmed(self) -> int:
        if self.opened > 1:
            return self._written
        self._asked += 1
        if self._asked > 5:
            raise ConnectionError("no word from the other side")
        return min(self._written, self._confirms)


def test_a_block_comes_back_as_it_was() -> None:
    made = Block(b"\xc4\x01a\xc4\x01b", 7, 20, b"s" * 16, 3, b"\x05\x3f", {5: 9, 63: 1})
    assert Block.unpack(made.pack()) == made
    assert list(made.records()) == [b"a", b"b"]


@pytest.mark.parametrize("packed", [b"", b"\x01", b"\xc1", block(b"a")[:-1], b"\x97" + b"\xc0" * 7])
def test_bytes_that_are_no_block_are_refused(packed: bytes) -> None:
    with pytest.raises(BlockDamaged):
        Block.unpack(packed)


@given(st.lists(st.binary(max_size=20).map(lambda b: bytes(x % 64 for x in b)), max_size=6))
def test_numbers_of_a_shard_follow_each_other_without_a_gap_S21(blocks: list[bytes]) -> None:
    following: dict[int, int] = {}
    seen: dict[int, list[int]] = {}
    for shards in blocks:
        first = number(shards, following)
        for shard in shards:
            seen.setdefault(shard, []).append(first[shard])
            first[shard] += 1
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in seen.values())


def test_the_end_of_a_run_says_what_has_not_arrived(tmp_path: Path) -> None:
    spool, _ = spool_of([block(b"a")])
    end = OpenEnd("flow", "out", 0, "own", Plain(), None, spooled=True)
    with (tmp_path / "log").open("wb") as log:
        sender = SenderThread(end, spool, BOUNDS, Resume(), Logger("worker", fd=log.fileno()))
        sender.say_what_waits(kept=True)
        sender.say_what_waits(kept=False)
        spool.delivered(1, len(block(b"a")))
        sender.say_what_waits(kept=True)
    said = (tmp_path / "log").read_text().splitlines()
    assert len(said) == 2
    assert "results wait in the spool" in said[0] and "sink=out" in said[0]
    assert "results were not delivered" in said[1]


def test_a_run_from_nothing_replaces_what_is_there_once() -> None:
    """Opened again after a failure, a sink keeps what this run has written."""
    fresh: list[bool] = []

    class Replacing(Plain):
        def open(self, resume: Resume) -> None:
            fresh.append(resume.fresh)

    spool, _ = spool_of([block(b"a")])
    send(Replacing([OSError("gone")]), spool, fresh=True)
    assert fresh == [True, False]


def test_everything_arrives_in_order_and_may_then_go() -> None:
    spool, _ = spool_of([block(b"a", b"b"), block(b"c")])
    sink = Plain()
    send(sink, spool)
    assert sink.got == [b"a", b"b", b"c"]
    assert spool.is_empty and spool.bytes == 0 and spool.take_trim() == 2


def test_a_sink_that_fails_or_says_later_gets_the_same_again() -> None:
    spool, _ = spool_of([block(b"a"), block(b"b")])
    sink = Plain([OSError("gone"), Later(), None, OSError("gone"), None])
    sender = send(sink, spool)
    assert sink.got == [b"a", b"b"]
    assert sink.opened == 3 and sender.sent_records == 2


def test_a_placed_block_stands_at_its_place_and_counts_once_it_is_synced() -> None:
    spool, _ = spool_of([Block(b"one\n", 0, 4).pack(), Block(b"two\n", 0, 8).pack()])
    sink = Place()
    sink.file.write(b"old\n")
    send(sink, spool)
    assert sink.file.getvalue() == b"old\none\ntwo\n"
    assert sink.synced == 1 and spool.is_empty


def test_what_a_file_lacks_is_said_and_spoils_no_line(capfd: pytest.CaptureFixture[str]) -> None:
    """The second block was given up when its first bytes were written."""
    lines = [b'{"n":1}\n', b'{"n":2}\n', b'{"n":3}\n', b'{"n":4}\n']
    blocks = [Block(line, 0, place=8 * i).pack() for i, line in enumerate(lines)]
    spool, _ = spool_of(blocks)
    spool.restore(3, 5, 2 * len(blocks[0]))
    place = Place()
    place.file.write(lines[0] + b'{"n"')
    end = OpenEnd("flow", "out", 0, "own", place, None, spooled=True)
    sender = SenderThread(end, spool, BOUNDS, Resume(), Logger("worker"))
    sender.finish()
    sender.run()
    written = place.file.getvalue().split(b"\n")
    assert written == [b'{"n":1}', b'{"n"\0\0\0', b'{"n":3}', b'{"n":4}', b""]
    (said,) = capfd.readouterr().err.splitlines()
    assert "results were given up" in said and "place=12 bytes=4" in said


@given(st.integers(0, 4), st.integers(0, 4))
def test_what_was_not_confirmed_is_sent_again_under_the_same_numbers(
    breaks_after: int, confirms: int
) -> None:
    blocks = [
        block(b"%d" % n, stream=b"s" * 16, epoch=3, shards=b"\x07", first={7: n})
        for n in range(1, 5)
    ]
    spool, _ = spool_of(blocks)
    sink = Remote(breaks_after, confirms)
    send(sink, spool)
    numbers = [batch.first[7] for batch in sink.batches]
    arrived: list[int] = []
    for n in numbers:  # what a receiver does that keeps numbers
        if n == len(arrived) + 1:
            arrived.append(n)
    assert arrived == [1, 2, 3, 4]
    assert all(batch.stream == b"s" * 16 for batch in sink.batches)
    assert spool.is_empty


def test_a_damaged_block_is_counted_and_the_rest_arrives() -> None:
    spool, _ = spool_of([block(b"a"), b"\xc1", block(b"c")])
    sink = Plain()
    sender = send(sink, spool)
    assert sink.got == [b"a", b"c"] and sender.damaged == 1


def test_a_damaged_block_does_not_hold_up_what_is_confirmed() -> None:
    good = [
        block(b"%d" % n, stream=b"s" * 16, epoch=3, shards=b"\x07", first={7: n}) for n in (1, 2)
    ]
    spool, _ = spool_of([good[0], b"\xc1", good[1], b"\xc1"])
    sink = Remote(9, 9)
    send(sink, spool)
    assert spool.is_empty and [batch.first[7] for batch in sink.batches] == [1, 2]


def test_blocks_of_an_earlier_run_are_read_from_the_disk() -> None:
    disk = Disk({4: block(b"d"), 5: block(b"e")})
    spool = Spool("flow", "out", disk, Bounds())
    spool.restore(4, 6, 20)
    spool.add(Waiting.read(6, block(b"f")))
    sink = Plain()
    send(sink, spool)
    assert sink.got == [b"d", b"e", b"f"] and spool.take_trim() == 6


def test_a_block_that_the_disk_has_lost_holds_nothing_up() -> None:
    disk = Disk({1: block(b"a"), 3: block(b"c")})
    spool = Spool("flow", "out", disk, Bounds())
    spool.restore(1, 4, 30)
    sink = Plain()
    sender = send(sink, spool)
    assert sink.got == [b"a", b"c"] and sender.damaged == 1 and spool.is_empty


def test_a_full_spool_blocks_until_there_is_room() -> None:
    said: list[bool] = []
    one = block(b"a" * 100)
    disk = Disk()
    spool = Spool("flow", "out", disk, Bounds(max_bytes=2 * len(one)), said.append)
    for seq in (1, 2, 3):
        spool.add(Waiting.read(seq, one))
    assert said == [True]
    spool.delivered(1, len(one))
    assert said == [True]  # at the bound, not below it by a tenth
    spool.delivered(2, len(one))
    assert said == [True, False]


def test_drop_oldest_gives_up_whole_blocks_and_counts_them() -> None:
    one = block(b"a" * 100)
    spool, _ = spool_of([one] * 5, Bounds(max_bytes=2 * len(one), when_full="drop_oldest"))
    assert spool.dropped == 3 and spool.count == 2 and spool.first == 4
    assert spool.take_trim() == 3


def test_a_spool_keeps_no_more_than_its_share_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.worker.spool.SPOOL_MEMORY_MAX_BYTES", 250)
    blocks = [block(b"%d" % n * 90) for n in range(10)]
    spool, _ = spool_of(blocks)
    assert 0 < spool._memory_bytes <= 250
    sink = Plain()
    send(sink, spool)
    assert len(sink.got) == 10


def test_of_small_blocks_a_spool_keeps_no_more_than_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each is an object or two, whatever its size."""
    monkeypatch.setattr("appliance.worker.spool.SPOOL_MEMORY_MAX_COUNT", 3)
    blocks = [block(b"%d" % n) for n in range(10)]
    spool, _ = spool_of(blocks)
    assert len(spool._memory) == 3 and spool._memory_bytes == 3 * len(blocks[0])
    sink = Plain()
    send(sink, spool)
    assert len(sink.got) == 10 and spool._memory_bytes == 0


def test_a_backlog_leaves_at_its_rate_however_often_the_sink_says_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten blocks of a record, a second each: only what the sink takes is counted, and the last two
    are no backlog."""
    now_s = 1000.0

    class Passing(Impatient):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal now_s
            now_s += timeout or 0.0
            return self.is_set()

    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s)
    monkeypatch.setitem(globals(), "Impatient", Passing)
    bounds = Bounds(resend_rate=1.0)
    spool, _ = spool_of([block(b"%d" % n) for n in range(10)], bounds)
    sink = Plain([None, Later("busy", after_s=0.0), None, *[Later("busy", after_s=0.0)] * 20])
    send(sink, spool, bounds)
    assert sink.got == [b"%d" % n for n in range(10)]
    assert now_s == 1000.0 + 7


def test_the_last_word_on_a_full_spool_is_the_true_one() -> None:
    """While the committer says that it is full, the sender empties it: the lane must hear of the
    room after it has heard of the bound, or its sources wait for ever."""
    said: list[bool] = []
    taken: list[threading.Thread] = []

    def press(full: bool) -> None:
        if full:
            taken.append(threading.Thread(target=spool.delivered, args=(1, len(whole))))
            taken[0].start()
            taken[0].join(0.1)  # without a lock it overtakes us here
        said.append(full)

    whole = block(b"x" * 100)
    spool = Spool("flow", "out", Disk(), Bounds(max_bytes=50), press)
    spool.add(Waiting.read(1, whole))
    taken[0].join()
    assert said == [True, False]


def test_a_sink_that_asks_for_the_end_of_the_process_has_failed() -> None:
    """`sys.exit()` in somebody's `write` ends a thread without a word, and the run waits for it."""
    plain = Plain([SystemExit(1)])
    spool, _ = spool_of([block(b"a")])
    sender = send(plain, spool)
    assert plain.got == [b"a"] and plain.opened == 2
    assert sender.done.is_set()


@pytest.mark.parametrize("size", [0, 255, 256, 65_535, 65_536, 3_000_000])
def test_a_block_of_any_size_is_one_msgpack_list(size: int) -> None:
    data = b"x" * size
    packed = Block(data, 7, 120).pack()
    assert packed == msgpack.packb([7, 120, b"", 0, [], b"", data])
    assert Block.unpack(packed).data == data
