"""Messages that have not come whole have a bound of their own: many of them stop nobody, and the
one that is just being sent is not the one to go."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from appliance.testing.captured import CapturedRun
from appliance.worker.cut_form import unpack_cut
from appliance.worker.lane import Lane
from native.files import Files, document
from native.lanes import Document, document_of, loaded, pack
from native.test_lane_memory import LIMIT, SECOND, Driven
from semantics.compare import plan_of
from semantics.test_replay import assert_happens_again

FRAME_MAX = 64 << 10

#: An eighth of the memory; two of the largest messages are as much.
BOUND = LIMIT // 8

LINES = f"""
version = 1
[settings]
memory = "1MiB"
[source.in]
stdin = {{}}
format = "text"
frame_max = "{FRAME_MAX}B"
[sink.out]
stdout = {{}}
format = {{ text = "{{line}}" }}
[sink.bad]
from = "errors"
stdout = {{}}
"""


class Peers(Driven):
    """Many partitions, each with what it has sent; `bad` of them are set aside as unfinished."""

    bad = 0

    def send(self, peer: int, data: bytes) -> None:
        assert self.lane.mail_chunk(0, 0, b"peer %d" % peer, b"", data)
        self.turn()
        self.bad += self.lane.take_memory(0, 1).count(b"unfinished")

    def source(self) -> dict[str, int]:
        (found,) = self.lane.metrics()["sources"]
        return dict(found)

    def reasons(self) -> dict[str, int]:
        found: dict[str, int] = self.lane.metrics()["errors"][0]["reasons"]
        return found


def framed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def test_beginnings_without_an_end_stop_nobody(tmp_path: Path) -> None:
    """Four times what the whole flow may hold. The honest one's lines all come, and what the others
    begin anew behind a newline."""
    with loaded(document_of(tmp_path, LINES)) as lane:
        peers = Peers(lane)
        for peer in range(1, 1001):
            peers.send(peer, b"x" * 4096)
            peers.now_us += SECOND // 1000
            peers.send(0, b"line %d " % peer + b"y" * 1000 + b"\nbegun")
            peers.send(0, b" and ended\n")
            assert peers.memory()["unfinished_bytes"] <= BOUND
        assert peers.memory()["memory_full"] == 0
        assert peers.taken.count(b"begun and ended\n") == 1000
        assert peers.taken.count(b"line ") == 1000
        given_up = peers.source()["unfinished"]
        assert 960 <= given_up < 1000, "those for which there was room are waited for"
        assert peers.reasons() == {"unfinished": given_up}
        assert peers.bad == given_up
        assert sum("unfinished" in line for line in peers.log) == 1
        peers.taken = b""
        for peer in range(1, 1001):
            peers.send(peer, b"x" * 4096 + b"\nwhole\n")
        whole = b"x" * 8192 + b"\n"
        assert peers.taken.count(b"whole\n") == 1000
        assert peers.taken.count(whole) == 1000 - peers.source()["unfinished"]
        assert peers.memory()["unfinished_bytes"] == 0


def test_the_heaviest_for_the_longest_goes_first(tmp_path: Path) -> None:
    """One that has just come may be the largest, and one that is old may be tiny: neither helps."""
    with loaded(document_of(tmp_path, LINES)) as lane:
        peers = Peers(lane)
        peers.send(1, b"small and old " * 2)
        peers.now_us += SECOND
        for peer in range(10, 18):
            peers.send(peer, b"x" * 10_000)
        peers.now_us += 10 * SECOND
        peers.send(2, b"y" * 60_000)
        assert peers.source()["unfinished"] == 1
        peers.send(2, b"\n")
        peers.send(1, b"\n")
        assert sorted(peers.taken.splitlines()) == [b"small and old " * 2, b"y" * 60_000]


@pytest.mark.parametrize("piece", [1, 100, 9_000])
def test_the_rest_of_a_frame_that_was_given_up_is_left_out(tmp_path: Path, piece: int) -> None:
    """Its length says where the next begins, also after a restart in its midst."""
    document = document_of(tmp_path, LINES.replace("[sink.out]", 'frame = "u32"\n[sink.out]'))
    document["sinks"][0].update(kind="spool", immediate=False, framed=False)
    rest = b"x" * 9_000 + framed(b"next")
    with loaded(document) as lane:
        peers = Peers(lane)
        for peer in range(20):
            peers.send(peer, framed(b"x" * 18_000)[: 4 + 9_000])
        assert peers.source()["unfinished"] == 6
        peers.commit()
        peers.turn(2)
        positions = unpack_cut(peers.cuts[-1][1])[0].positions()
    skipped = [one.name for one in positions.partitions if one.frame[2]]
    assert len(skipped) == 6
    resumed(document, positions.pack(), skipped, rest, piece)


def resumed(
    document: Document, positions: bytes, skipped: list[str], rest: bytes, piece: int
) -> None:
    lane = Lane()
    try:
        lane.load(pack(document), [], once=False)
        lane.restore(0, positions)
        assert lane.start()
        peers = Peers(lane)
        blocks = b""
        for name in skipped:
            for at in range(0, len(rest), piece):
                assert lane.mail_chunk(0, 0, name.encode(), b"", rest[at : at + piece])
                if piece > 1 or at % 1000 == 0:
                    peers.turn()
        for _ in range(3):
            peers.turn(2)
            for _, cut in peers.cuts:
                blocks += unpack_cut(cut)[0].sinks[0].block
            peers.commit()
        assert blocks == b"next\n" * len(skipped)
        assert peers.reasons() == {}
    finally:
        lane.destroy()


def test_a_message_of_the_largest_size_has_room_in_the_smallest_memory(tmp_path: Path) -> None:
    """It is as large as the memory is; the flow is not full because of it."""
    document = document_of(tmp_path, LINES.replace(f"{FRAME_MAX}B", "1MiB"))
    with loaded(document) as lane:
        peers = Peers(lane)
        for _ in range(16):
            peers.send(1, b"x" * (1 << 16))
            assert not peers.memory()["memory_waits"]
        peers.send(1, b"\n")
        assert peers.taken == b"x" * (1 << 20) + b"\n"
        assert peers.source()["unfinished"] == 0


def test_files_go_back_to_where_their_line_begins(tmp_path: Path) -> None:
    """Longer than what is read of one in a turn, in more files than there is room for."""
    texts = [bytes([97 + n]) * 300_000 + b"\n" for n in range(12)]
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.log").write_bytes(b"short\n" + text * 3)
    flow = LINES.replace("stdin = {}", f'file = {{ path = "{tmp_path}/0.log" }}')
    made = document(
        tmp_path,
        flow.replace(f"{FRAME_MAX}B", "300000B"),
        paths=[str(tmp_path / f"{n}.log") for n in range(12)],
    )
    with Files(made) as files:
        lines: list[str] = []
        for _ in range(1000):
            lines += files.lines()
            if files.ended:
                break
        assert sorted(lines) == sorted(["short"] * 12 + [t.decode().strip() for t in texts * 3])
        assert files.source()["put_back"] > 0
        assert (files.source()["unfinished"], files.source()["errors"]) == (0, 0)


def test_what_was_set_aside_is_set_aside_in_a_replay(tmp_path: Path) -> None:
    source = {"stdin": {}, "format": "text", "frame_max": "16KiB"}
    plan = plan_of({"in": source}, {}, {"out": {"from": "in"}, "bad": {"from": "errors"}})
    with CapturedRun(plan) as run:
        run.capture()
        for peer in range(1250):
            run.feed("in", b"x" * 15_000, f"peer {peer}")
            run.feed("in", b"a line\nbegun", "honest")
            run.feed("in", b" and ended\n", "honest")
        capture = run.captured()
        outputs = {name: run.output(name) for name in plan.sinks}
    assert outputs["bad"].count(b"unfinished") > 100
    assert outputs["out"].count(b"begun and ended") == 1250
    assert_happens_again(plan, capture, outputs)
