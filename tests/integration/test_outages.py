"""Memories lost, boxes copied, and a receiver that is away: nothing lost that need not be, and
nothing silent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from appliance import clock
from appliance.supervisor.admin import ask_status
from integration.chain import TAKES, Node, chain, expected
from integration.processes import eventually, run, running, wait_for_text, worker_pid
from unit.ports import free_port

# ---- memories ----


def forget(node: Node) -> None:
    """What a new card has of the old one: nothing."""
    node.kill()
    shutil.rmtree(node.folder / "data")


def test_a_new_card_under_an_old_name_is_a_new_history_and_loses_nothing(tmp_path: Path) -> None:
    with chain(tmp_path) as three:
        three.feed()
        three.wait()
        before = three.in_file()
        forget(three.box)
        three.input.unlink()
        three.box.start()
        first = three.rounds
        three.feed(16)
        fresh = [window for each in expected(three.rounds, first).values() for window in each]
        count = len(before) + len(fresh)
        three.wait(lambda: len(three.in_file()) >= count and len(three.in_table()) >= count)
        assert three.in_file()[: len(before)] == before
        for rows in (three.in_file()[len(before) :], three.in_table()[len(before) :]):
            assert sorted(rows) == sorted(fresh)
        assert len(three.gateway.said("has a new history")) == 1
        assert three.gateway.end("source", "boxes")["counts"]["new_histories"] == 1
        assert not three.centre.said("new history") and not three.centre.said("gap")


def test_a_receiver_that_lost_its_memory_is_told_of_the_gap(tmp_path: Path) -> None:
    """Its results are where they belong already; what it asks for again is here no more."""
    with chain(tmp_path) as three:
        three.feed()
        three.wait()
        eventually(lambda: three.box.end("sink", "up")["spool"]["blocks"] == 0, "all is taken")
        count = len(three.in_file())
        forget(three.gateway)
        three.gateway.start()
        three.feed()
        three.wait()
        three.check()
        assert f"count={count}" in three.box.said("it is told of the gap")[0]
        counts = three.gateway.end("source", "boxes")["counts"]
        assert counts["lost"] == count
        assert three.gateway.said("never come")
        assert len(three.centre.said("has a new history")) == 1


def test_a_centre_that_lost_its_memory_is_told_of_the_gap(tmp_path: Path) -> None:
    with chain(tmp_path) as three:
        three.feed()
        three.wait()
        eventually(lambda: three.gateway.end("sink", "up")["spool"]["blocks"] == 0, "all is taken")
        count = len(three.in_file())
        forget(three.centre)
        three.centre.start()
        three.feed()
        three.wait()
        three.check()
        assert f"count={count}" in three.gateway.said("it is told of the gap")[0]
        assert three.centre.end("source", "gateways")["counts"]["lost"] == count
        assert not three.box.said("gap")


def test_of_two_copies_of_a_card_the_second_is_refused(tmp_path: Path) -> None:
    with chain(tmp_path) as three:
        three.feed()
        three.wait()
        three.box.kill()
        copy = Node(tmp_path / "copy", (three.box.folder / "flow.toml").read_text())
        no_socket = shutil.ignore_patterns("*.sock")
        shutil.copytree(three.box.folder / "data", copy.folder / "data", ignore=no_socket)
        shutil.copy(three.input, copy.folder / "in.jsonl")
        try:
            three.box.start()
            three.feed()
            three.wait()
            copy.start()
            refused = copy.now.wait_for("sink failed")  # type: ignore[union-attr]
            assert "two copies of one state are running; stop one of them" in refused
            assert three.gateway.end("source", "boxes")["counts"]["refused_copy"] >= 1
        finally:
            copy.remove()
        three.feed()
        three.wait()
        three.check()


def test_one_data_folder_has_one_owner(tmp_path: Path) -> None:
    with chain(tmp_path, start=False) as three:
        three.box.start().wait_for(" running ")
        ended = run(three.box.folder, "run", "flow.toml", "--data", "data")
        assert ended.returncode == 3
        assert b"in use by process" in ended.stderr and b"--data" in ended.stderr


# ---- a receiver that is away ----

AWAY = """
version = 1
name = "box"
[settings]
commit_every = "10ms"
[source.numbers]
{source}
[sink.up]
upstream = {{ to = "tcp://127.0.0.1:{port}", name = "box" }}
spool = {{ max_bytes = "{most}", when_full = "{policy}" }}
"""

#: Records of about 1,000 bytes, against a spool of 8 MiB: twice as many as have room.
COUNT = 16_000
MOST_BYTES = 8 << 20

#: What one cut brings here at most, however late it comes.
BLOCK_BYTES = 5 << 20


class Away:
    """A box whose receiver is not there at first, and the receiver."""

    def __init__(self, folder: Path, policy: str, rate: int = 8000, count: int = COUNT) -> None:
        port = free_port()
        text = "x" * 980
        fields = f'fields = {{ n = "counter()", text = \'choice("{text}")\' }}'
        source = f'generate = {{ rate = "{rate}/s", count = {count}, {fields} }}'
        flow = AWAY.format(source=source, port=port, policy=policy, most=f"{MOST_BYTES >> 20}MiB")
        self.box = Node(folder / "box", flow)
        self.centre = Node(folder / "centre", TAKES.format(port=port))

    def __enter__(self) -> Away:
        self.box.start().wait_for(" running ")
        return self

    def __exit__(self, *_: object) -> None:
        self.box.remove()
        self.centre.remove()

    def spool(self) -> dict[str, int]:
        found = self.box.end("sink", "up")["spool"]
        assert isinstance(found, dict)
        return found

    def numbers(self) -> list[int]:
        """What the centre has, in its order."""
        path = self.centre.folder / "out.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line)["n"] for line in lines if line.endswith("\n")]

    def deliver(self) -> list[int]:
        """The receiver comes; what it has once the box has nothing left."""
        self.centre.start()
        eventually(
            lambda: (
                bool(self.box.end("source", "numbers")["ended"]) and self.spool()["blocks"] == 0
            ),
            "all is delivered",
        )
        took = self.centre.end("source", "boxes")["records"]
        eventually(lambda: len(self.numbers()) == took, "the centre has written it")
        return self.numbers()


def own_memory_bytes(node: Node) -> int:
    """Of its worker, without what is mapped of files: the store's map is the system's cache."""
    assert node.now is not None
    text = Path(f"/proc/{worker_pid(node.now)}/status").read_text()
    (words,) = [line.split() for line in text.splitlines() if line.startswith("RssAnon:")]
    return int(words[1]) * 1024


def test_a_full_spool_stops_the_source_and_memory_is_flat(tmp_path: Path) -> None:
    with Away(tmp_path, "block") as away:
        eventually(lambda: away.spool()["bytes"] > MOST_BYTES // 2, "half of the spool is full")
        before = own_memory_bytes(away.box)
        eventually(lambda: bool(away.box.end("source", "numbers")["paused"]), "it stops")
        assert MOST_BYTES < away.spool()["bytes"] < MOST_BYTES + BLOCK_BYTES
        assert own_memory_bytes(away.box) - before < 6 << 20
        assert away.spool()["blocks"] > 10 and away.spool()["dropped"] == 0
        away.box.kill()
        away.box.start().wait_for(" running ")
        assert MOST_BYTES < away.spool()["bytes"] < MOST_BYTES + BLOCK_BYTES
        assert away.deliver() == list(range(COUNT))
        assert away.centre.end("source", "boxes")["counts"].get("lost", 0) == 0


def test_drop_oldest_leaves_a_recorded_gap(tmp_path: Path) -> None:
    with Away(tmp_path, "drop_oldest") as away:
        eventually(lambda: bool(away.box.end("source", "numbers")["ended"]), "all is read")
        away.box.now.wait_for("its oldest results are given up")  # type: ignore[union-attr]
        assert away.spool()["bytes"] <= MOST_BYTES and away.spool()["dropped"] > 0
        got = away.deliver()
        assert got == list(range(COUNT - len(got), COUNT)) and 0 < len(got) < COUNT
        assert away.centre.end("source", "boxes")["counts"]["lost"] == COUNT - len(got)
        assert away.centre.said("never come")


def test_drop_newest_refuses_before_numbering(tmp_path: Path) -> None:
    with Away(tmp_path, "drop_newest") as away:
        eventually(lambda: bool(away.box.end("source", "numbers")["ended"]), "all is read")
        refused = away.box.end("sink", "up")["refused"]
        assert 0 < refused < COUNT
        got = away.deliver()
        assert got == list(range(COUNT - refused))
        counts = away.centre.end("source", "boxes")["counts"]
        assert counts.get("lost", 0) == counts.get("gaps", 0) == 0


def test_a_backlog_drains_at_twice_the_rate_of_arrival(tmp_path: Path) -> None:
    rate = 1000
    with Away(tmp_path, "block", rate=rate, count=1_000_000) as away:
        eventually(lambda: away.spool()["bytes"] > 3_000_000, "a backlog of three seconds")
        backlog = away.box.end("sink", "up")["records"]
        away.centre.start()
        eventually(lambda: away.box.end("sink", "up")["state"] == "open", "it is there")
        begun_s = clock.monotonic_s()
        eventually(lambda: away.spool()["blocks"] < 10, "the backlog is gone")
        took_s = clock.monotonic_s() - begun_s
        assert backlog / max(took_s, 0.001) > rate, "beside what arrives meanwhile"


# ---- a sink that does not take anything for long ----

STALLED = """
version = 1
name = "stalled"
[settings]
commit_every = "20ms"
[source.numbers]
generate = { rate = "20000/s", count = 20000, fields = { n = "counter()" } }
[sink.late]
connector = { path = "late.py:LateSink" }
delivery = "at_least_once"
spool = { max_bytes = "64KiB" }
[sink.other]
file = { path = "other.jsonl" }
"""

BESIDE = """
version = 1
name = "beside"
[source.numbers]
file = { path = "in.jsonl", follow = true }
[sink.out]
file = { path = "beside.jsonl" }
"""

LATE = """
from pathlib import Path
from appliance.connect import Later, sink

HERE = Path(__file__).parent

@sink("late")
class LateSink:
    def open(self, resume):
        pass

    def write(self, records):
        if not (HERE / "go").exists():
            raise Later("not now")
        with (HERE / "late.jsonl").open("ab") as out:
            out.write(b"".join(records))

    def close(self):
        pass
"""


def test_a_sink_that_says_later_for_long_harms_no_other_flow(tmp_path: Path) -> None:
    (tmp_path / "stalled.toml").write_text(STALLED)
    (tmp_path / "beside.toml").write_text(BESIDE)
    (tmp_path / "late.py").write_text(LATE)
    (tmp_path / "in.jsonl").touch()
    everything = [{"n": n} for n in range(20_000)]
    with running(tmp_path, "run", "stalled.toml", "beside.toml", "--data", "data") as flow:

        def source() -> dict[str, Any]:
            status = ask_status(tmp_path / "data")
            assert status is not None
            (one,) = [each for each in status["flows"] if each["name"] == "stalled"]
            found = one["sources"][0]
            assert isinstance(found, dict)
            return found

        flow.wait_for(" running ", count=2)
        eventually(lambda: bool(source()["paused"]), "the source of the stalled sink stops")
        for n in range(3):
            with (tmp_path / "in.jsonl").open("a") as out:
                out.write(f'{{"n":{n}}}\n')
            text = "".join(f'{{"n":{m}}}\n' for m in range(n + 1))
            wait_for_text(tmp_path / "beside.jsonl", text)
        assert source()["paused"]
        (tmp_path / "go").touch()
        eventually(lambda: bool(source()["ended"]), "the source goes on to its end")
        for name in ("late.jsonl", "other.jsonl"):
            path = tmp_path / name
            eventually(lambda path=path: path.read_text().count("\n") == 20_000, name)  # type: ignore[misc]
            assert [json.loads(line) for line in path.read_text().splitlines()] == everything
        assert flow.stop() == 0
