"""Bits that flip in the store of a real run. The next start finds nothing wrong, and then gives
what it would have given; or it says what was lost and refuses to go on until that is accepted, and
then goes on under a new stream id. It never crashes, and is never silent.

BETTONG_SOAK=1 flips a thousand bits instead of a few.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.worker.job import Job
from appliance.worker.record import FlowRecord
from crash.workers import Nursery, Worker
from integration.processes import eventually
from integration.stateful import FLOW, OUTPUTS, append, lines, prepare, readings
from integration.stateful import record as record_of

FLIPS = 1000 if os.environ.get("BETTONG_SOAK") == "1" else 30

#: Readings before the damage and after it; with five devices, of which each second brings one,
#: every ten seconds bring five means.
BEFORE, MORE = 120, 10

UPLINK = '\n[sink.far]\nfrom = "total"\ndelivery = "at_least_once"\ntcp = {{ connect = "{}" }}\n'


@dataclass
class Ran:
    """A run that was killed, as it was then, and what it gives when it goes on."""

    folder: Path
    workers: Nursery
    copy: Path
    stream: bytes = b""
    undisturbed: tuple[bytes, ...] = ()

    def restore(self) -> None:
        """Everything as it was, with more to read."""
        shutil.rmtree(self.folder / "data")
        shutil.copytree(self.copy / "data", self.folder / "data")
        for name in (*OUTPUTS, "in.jsonl"):
            (self.folder / name).write_bytes((self.copy / name).read_bytes())
        append(self.folder, BEFORE, BEFORE + MORE)

    def start(self, **options: object) -> Worker:
        job = Job(
            (str(self.folder / "flow.toml"),),
            store=str(self.folder / "data" / "state" / "shared"),
            **options,  # type: ignore[arg-type]
        )
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        return self.workers.start(job, log, "", "", "")

    def finish(self, worker: Worker, count: int, means: int = 0) -> tuple[bytes, ...]:
        """Let it give so many results, kill it, and give the files' content."""
        for name, least in (("out.jsonl", count), ("times.jsonl", count), ("means.jsonl", means)):
            path = self.folder / name

            def is_there(path: Path = path, least: int = least) -> bool:
                return len(lines(path)) >= least

            eventually(is_there, f"{least} lines in {path}")
        worker.end(kill=True)
        return tuple((self.folder / name).read_bytes() for name in OUTPUTS)

    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")

    def record(self) -> FlowRecord:
        return record_of(self.folder)


@pytest.fixture(scope="module")
def ran(workers: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """With every kind of state, bases and deltas, and results that wait for a sink that is away."""
    folder = tmp_path_factory.mktemp("damaged") / "run"
    with socket.socket() as away:
        away.bind(("127.0.0.1", 0))
        prepare(folder, FLOW + UPLINK.format(f"127.0.0.1:{away.getsockname()[1]}"))
        made = Ran(folder, workers, folder.with_name("copy"))
        worker = made.start()
        for end in range(10, BEFORE + 1, 10):
            append(folder, end - 10, end)
            eventually(lambda end=end: len(lines(folder / "out.jsonl")) >= end, "results")  # type: ignore[misc]
        made.finish(worker, BEFORE, BEFORE // 2 - 5)
        made.stream = made.record().stream
        shutil.copytree(folder, made.copy)
        made.restore()
        worker = made.start()
        made.undisturbed = made.finish(worker, BEFORE + MORE, BEFORE // 2)
        assert lines(folder / "in.jsonl") == readings(0, BEFORE + MORE).splitlines()
        yield made


def refusal(worker: Worker) -> str:
    """Why it does not begin; empty when it runs."""
    worker.wait_for("ready")
    if "ready" in worker.messages:
        return ""
    worker.end(kill=False)
    held = worker.messages["loaded"]["held"] if "loaded" in worker.messages else {}
    if held:
        assert worker.messages["ended"]["result"] == "nothing"
        return "\n".join(line for lines in held.values() for line in lines)
    failed = worker.messages["failed"]
    assert failed["code"] == 3, failed
    assert "Traceback" not in failed["text"], failed
    return str(failed["text"])


def go_on(ran: Ran) -> bool:
    """Judge the start after some damage; whether something was lost."""
    worker = ran.start()
    refused = refusal(worker)
    if not refused:
        assert ran.finish(worker, BEFORE + MORE, BEFORE // 2) == ran.undisturbed
        assert ran.record().stream == ran.stream
        return False
    assert "damaged:" in refused and "--accept-damage" in refused, refused
    assert refusal(ran.start()) == refused  # it is not forgotten
    worker = ran.start(accept_damage=True)
    assert refusal(worker) == ""
    ran.finish(worker, BEFORE + MORE)
    assert "damaged: going on with what is left" in ran.log()
    assert ran.record().stream != ran.stream
    worker = ran.start()
    assert refusal(worker) == ""  # it was accepted
    worker.end(kill=True)
    return True


def test_a_flipped_bit_is_harmless_or_said(ran: Ran) -> None:
    """Most of the file says nothing any more; so it goes on until something did harm."""
    chance, losses = random.Random(11), 0
    sound = (ran.copy / "data" / "state" / "shared" / "data.mdb").read_bytes()
    for turn in range(20 * FLIPS):
        if turn >= FLIPS and losses:
            break
        ran.restore()
        place = chance.randrange(len(sound))
        data = bytearray(sound)
        data[place] ^= 1 << chance.randrange(8)
        (ran.folder / "data" / "state" / "shared" / "data.mdb").write_bytes(data)
        try:
            losses += go_on(ran)
        except AssertionError as error:
            raise AssertionError(f"a bit at {place}: {error}") from error
    assert losses


def test_lost_pages_are_said(ran: Ran) -> None:
    """The worst: every page but the first ones."""
    ran.restore()
    path = ran.folder / "data" / "state" / "shared" / "data.mdb"
    data = path.read_bytes()
    path.write_bytes(data[:8192] + bytes(len(data) - 8192))
    assert go_on(ran)


def test_a_flow_can_say_that_it_goes_on_by_itself(ran: Ran) -> None:
    ran.restore()
    path = ran.folder / "data" / "state" / "shared" / "data.mdb"
    data = path.read_bytes()
    path.write_bytes(data[:8192] + bytes(len(data) - 8192))
    flow = ran.folder / "flow.toml"
    text = flow.read_text()
    flow.write_text(text.replace("[settings]", '[settings]\non_damage = "continue"'))
    worker = ran.start()
    assert refusal(worker) == ""
    ran.finish(worker, BEFORE + MORE)
    flow.write_text(text)
    assert "damaged: going on with what is left" in ran.log()
    assert ran.record().stream != ran.stream
