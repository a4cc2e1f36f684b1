"""`settings.memory`: a flow that holds as much as it may reads nothing more until it holds less."""

from __future__ import annotations

import json
from pathlib import Path

from appliance.native import lib
from appliance.worker.cut_form import unpack_cut
from appliance.worker.lane import Lane
from native.lanes import Document, document_of, loaded, pack

RUNNING = """
version = 1
[source.in]
stdin = {}
[step.count]
key_by = "k"
running = { n = "count()" }
[sink.out]
stdout = {}
"""

WINDOW = """
version = 1
[source.in]
stdin = {}
[step.count]
key_by = "k"
window = { tumbling = "10s" }
aggregate = { n = "count()" }
[sink.out]
stdout = {}
"""

PLAIN = """
version = 1
[source.in]
stdin = {}
format = "text"
[sink.out]
stdout = {}
format = { text = "{line}" }
"""

LIMIT = 1 << 20
SECOND = 1_000_000


class Driven:
    """One lane on a clock of the test's own."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.now_us = 4_000_000_000 * SECOND  # later than the lane was started
        self.log: list[str] = []
        self.cuts: list[tuple[int, bytes]] = []
        self.taken = b""

    def turn(self, seconds: float = 0.0) -> None:
        self.now_us += int(seconds * SECOND)
        self.lane.set_clock(self.now_us * 1000, self.now_us)
        self.lane.turn()
        for post in self.lane.posts():
            if post.kind == lib.POST_LOG:
                self.log.append(post.data.decode())
            elif post.kind == lib.POST_CUT:
                self.cuts.append((post.number, post.data))
        self.taken += self.lane.take_memory(0, 0)

    def commit(self) -> None:
        for number, _ in self.cuts:
            self.lane.mail_committed(number)
        self.cuts.clear()

    def feed(self, data: bytes, flow: int = 0) -> bool:
        return self.lane.mail_chunk(flow, 0, b"p", b"", data)

    def memory(self, flow: int = 0) -> dict[str, int]:
        found: dict[str, int] = self.lane.metrics()["errors"][flow]
        return found

    def records(self, flow: int = 0) -> int:
        found: int = self.lane.metrics()["sources"][flow]["records"]
        return found


def keys(start: int, count: int = 500) -> bytes:
    return b"".join(b'{"k":"key number %08d"}\n' % n for n in range(start, start + count))


def limited(folder: Path, text: str, limit: int = LIMIT) -> Document:
    return document_of(folder, text) | {"memory": limit}


def fill(driven: Driven, chunks: int = 200) -> int:
    """Feed new keys until the flow is full, committing what is frozen; how many were offered."""
    for number in range(chunks):
        if driven.memory()["memory_waits"]:
            return number * 500
        assert driven.feed(keys(number * 500))
        driven.turn()
        driven.commit()
    raise AssertionError("it never becomes full")


def test_a_state_that_reaches_its_bound_pushes_the_source_back_once(tmp_path: Path) -> None:
    with loaded(limited(tmp_path, RUNNING)) as lane:
        driven = Driven(lane)
        offered = fill(driven)
        assert driven.records() == offered
        assert LIMIT < driven.memory()["memory_bytes"] < LIMIT * 5 // 4
        while driven.feed(keys(offered)):
            driven.turn(1)
            driven.commit()
        assert driven.records() == offered, "nothing is read while it is full"
        assert driven.memory()["memory_full"] == 1
        assert lane.metrics()["sources"][0]["paused"] == 1
        (line,) = [line for line in driven.log if "memory_full" in line]
        assert "settings.memory" in line


def test_windows_close_while_the_flow_is_full_and_let_it_go_on(tmp_path: Path) -> None:
    """Arrival time: the clock closes them, not a record. All that was fed comes out, once."""
    with loaded(limited(tmp_path, WINDOW)) as lane:
        driven = Driven(lane)
        offered = fill(driven)
        assert driven.feed(keys(offered))
        driven.turn()
        assert driven.records() == offered
        driven.turn(11)  # they close; their tombstones are in the next cut
        for _ in range(4):
            driven.turn(1)
            driven.commit()
        assert driven.records() == offered + 500
        assert not driven.memory()["memory_waits"]
        assert sum("room in its memory again" in line for line in driven.log) == 1
        driven.turn(11)
        found = [json.loads(line)["k"] for line in driven.taken.splitlines()]
        assert sorted(found) == [f"key number {n:08d}" for n in range(offered + 500)]


def test_results_that_no_cut_takes_are_bounded(tmp_path: Path) -> None:
    """As when the disk is full: nothing is committed, so reading stops; a commit lets it go on."""
    document = limited(tmp_path, PLAIN)
    document["sinks"][0].update(kind="spool", immediate=False, framed=False)
    line = b"x" * 99 + b"\n"
    with loaded(document) as lane:
        driven = Driven(lane)
        fed = 0
        while driven.feed(line * 1000):
            fed += 1000
            driven.turn(1)
        assert driven.records() < fed
        assert driven.memory()["memory_bytes"] < 2 * LIMIT
        blocks = b""
        for _ in range(100):
            for _, cut in driven.cuts:
                blocks += unpack_cut(cut)[0].sinks[0].block
            driven.commit()
            driven.turn(1)
        assert driven.records() == fed
        assert blocks == line * fed


def test_another_flow_is_not_pushed_back(tmp_path: Path) -> None:
    full = limited(tmp_path, RUNNING) | {"flow": "full"}
    other = limited(tmp_path, PLAIN) | {"flow": "other"}
    lane = Lane()
    try:
        lane.load(pack(full), [], once=False)
        lane.load(pack(other), [], once=False)
        assert lane.start()
        driven = Driven(lane)
        fill(driven)
        assert driven.feed(b"line\n" * 10, flow=1)
        driven.turn()
        assert driven.records(1) == 10
        assert driven.memory(1)["memory_full"] == 0
    finally:
        lane.destroy()


def test_a_burst_of_pauses_is_said_once_a_minute(tmp_path: Path) -> None:
    document = limited(tmp_path, PLAIN)
    document["sinks"][0].update(kind="spool", immediate=False, framed=False)
    line = b"x" * 99 + b"\n"
    with loaded(document) as lane:
        driven = Driven(lane)
        for _ in range(10):
            while not driven.memory()["memory_waits"]:
                assert driven.feed(line * 1000)
                driven.turn(0.01)
            while driven.memory()["memory_waits"]:
                driven.turn(1)
                driven.commit()
        assert driven.memory()["memory_full"] == 10
        assert sum("memory_full" in line for line in driven.log) == 1
        assert sum("room in its memory again" in line for line in driven.log) == 1
