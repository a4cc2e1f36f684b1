"""Sinks that take nothing for an hour, without refusing anything: a peer that does not read, a
`write` that does not come back, one that says `Later`. Their sources wait, all else goes on, and
after the hour they go on by themselves. The processes are real; their clocks run as the test says
(running_clock.c)."""

from __future__ import annotations

import mmap
import os
import socket
from pathlib import Path

import pytest

from appliance.limits import LANE_STALL_S, SINK_RETRY_MAX_S
from appliance.supervisor.admin import ask_status
from crash.images import build_shim
from integration.processes import PATIENCE_S, Running, eventually, running, worker_pid

HOUR_S, STEP_S = 3600, 5

#: Far more than a socket takes whose peer does not read; and than a spool here.
TCP_LINES, SPOOL_LINES = 240_000, 8_000
LINE = "{:08d} " + "x" * 90 + "\n"

FLOW = """
version = 1
name = "{name}"
[settings]
commit_every = "20ms"
[source.lines]
file = {{ path = "{path}", follow = true }}
format = "text"
[sink.out]
{sink}
format = {{ text = "{{line}}" }}
"""

SPOOLED = """connector = {{ path = "sinks.py:{cls}" }}
delivery = "at_least_once"
spool = {{ max_bytes = "64KiB" }}"""

SINKS = """
from pathlib import Path
from appliance.connect import Later, sink

HERE = Path(__file__).parent

class Writes:
    def open(self, resume):
        pass

    def write(self, records):
        self.wait()
        with (HERE / f"{type(self).__name__}.txt").open("ab") as out:
            out.write(b"".join(records))

    def close(self):
        pass

@sink("says_later")
class SaysLater(Writes):
    def wait(self):
        if not (HERE / "go").exists():
            with (HERE / "tries").open("ab") as tries:
                tries.write(b".")
            raise Later("not now")

@sink("blocks")
class Blocks(Writes):
    waited = False

    def wait(self):
        if not self.waited:
            (HERE / "pipe").read_bytes()  # nobody writes for long
        self.waited = True
"""


class Clock:
    """Of the processes under test: goes as ever, and on by what it is told."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 8)
        self._words = memoryview(self._page).cast("q")

    def advance(self, seconds: int) -> None:
        self._words[0] += seconds * 1_000_000_000

    def close(self) -> None:
        self._words.release()
        self._page.close()


class Site:
    """A worker of four flows, three of which have a sink that stalls."""

    def __init__(self, folder: Path, flow: Running) -> None:
        self.folder, self.flow = folder, flow
        self.beats = 0

    def paused(self) -> dict[str, bool]:
        """The flows whose sources wait."""
        status = ask_status(self.folder / "data")
        assert status is not None
        return {flow["name"]: bool(flow["sources"][0]["paused"]) for flow in status["flows"]}

    def beat(self) -> None:
        """Something goes all the way through the flow that is not stalled."""
        with (self.folder / "beside.in").open("a") as out:
            out.write(LINE.format(self.beats))
        self.beats += 1
        size = self.beats * len(LINE.format(0))
        path = self.folder / "beside.out"
        eventually(lambda: path.exists() and path.stat().st_size == size, f"beat {self.beats}")

    def own_memory_bytes(self) -> int:
        """The worker's, without what is mapped of files."""
        lines = Path(f"/proc/{worker_pid(self.flow)}/status").read_text().splitlines()
        (words,) = [line.split() for line in lines if line.startswith("RssAnon:")]
        return int(words[1]) * 1024


def write_flows(folder: Path, port: int) -> None:
    sinks: dict[str, tuple[str, str]] = {
        "tcp": ("many.in", f'tcp = {{ connect = "127.0.0.1:{port}" }}'),
        "later": ("few.in", SPOOLED.format(cls="SaysLater")),
        "blocks": ("few.in", SPOOLED.format(cls="Blocks")),
        "beside": ("beside.in", 'file = { path = "beside.out" }'),
    }
    for name, (path, sink) in sinks.items():
        (folder / f"{name}.toml").write_text(FLOW.format(name=name, path=path, sink=sink))
    (folder / "sinks.py").write_text(SINKS)
    (folder / "many.in").write_text(lines(TCP_LINES))
    (folder / "few.in").write_text(lines(SPOOL_LINES))
    (folder / "beside.in").touch()
    os.mkfifo(folder / "pipe")


def lines(count: int) -> str:
    return "".join(LINE.format(number) for number in range(count))


def receive(connection: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size and (part := connection.recv(1 << 20)):
        found += part
    return bytes(found)


def test_sinks_that_stall_for_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert STEP_S < LANE_STALL_S / 4
    clock = Clock(tmp_path / "ahead")
    monkeypatch.setenv("LD_PRELOAD", str(build_shim(tmp_path, "running_clock.c")))
    monkeypatch.setenv("CLOCK_AHEAD", str(tmp_path / "ahead"))
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(PATIENCE_S)
        write_flows(tmp_path, server.getsockname()[1])
        words = ("tcp.toml", "later.toml", "blocks.toml", "beside.toml", "--data", "data")
        with running(tmp_path, "run", *words) as flow, server.accept()[0] as peer:
            peer.settimeout(PATIENCE_S)
            stalled(Site(tmp_path, flow), clock)
            assert receive(peer, TCP_LINES * len(LINE.format(0))) == lines(TCP_LINES).encode()
            assert flow.stop() == 0
    clock.close()


def stalled(site: Site, clock: Clock) -> None:
    folder, flow = site.folder, site.flow
    flow.wait_for(" running ", count=4)
    waiting = {"tcp": True, "later": True, "blocks": True, "beside": False}
    eventually(lambda: site.paused() == waiting, "the sources of all that stall wait")
    worker, said, memory = worker_pid(flow), len(flow.log), []
    for _ in range(HOUR_S // STEP_S):
        clock.advance(STEP_S)
        site.beat()
        if site.beats % (300 // STEP_S) == 0:
            assert site.paused() == waiting
            memory.append(site.own_memory_bytes())
    tries = (folder / "tries").stat().st_size
    print(f"memory of the hour: {memory}; {tries} tries")
    assert max(memory) - memory[0] < 6 << 20
    assert HOUR_S / SINK_RETRY_MAX_S < tries < 3 * HOUR_S / SINK_RETRY_MAX_S
    assert worker_pid(flow) == worker, "nobody took it for one that hangs"
    assert not [line for line in flow.log[said:] if " INFO " not in line]

    (folder / "go").touch()
    (folder / "pipe").write_bytes(b"go")
    wanted = lines(SPOOL_LINES).encode()
    for name in ("SaysLater", "Blocks"):
        path = folder / f"{name}.txt"

        def is_there(path: Path = path) -> bool:
            clock.advance(1)
            return path.exists() and path.stat().st_size >= len(wanted)

        eventually(is_there, f"{path} is whole")
        assert path.read_bytes() == wanted
    assert (folder / "beside.out").read_text() == lines(site.beats)
