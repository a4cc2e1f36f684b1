"""Sinks that take nothing for an hour, without refusing anything: a peer that does not read, a
`write` that does not come back, one that says `Later`. Their sources wait, all else goes on, and
after the hour they go on by themselves. The processes are real; their clocks run as the test says
(running_clock.c)."""

from __future__ import annotations

import mmap
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from appliance.limits import LANE_STALL_S, SINK_RETRY_MAX_S
from appliance.supervisor.admin import ask_status
from crash.images import build_shim
from integration.processes import PATIENCE_S, Running, eventually, running, worker_pid

HOUR_S, STEP_S = 3600, 5

#: Far more than a socket takes whose peer does not read, and than a spool and a lane hold here.
COUNT, HELD_MAX_BYTES = 240_000, 8 << 20
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

PYTHON = 'connector = {{ path = "sinks.py:{cls}" }}'
SPOOLED = (
    f"{PYTHON}\n"
    + """
delivery = "at_least_once"
spool = {{ max_bytes = "64KiB" }}
"""
)

SINKS = """
from pathlib import Path
from typing import Any
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

class Waits(Writes):
    waited = False

    def wait(self):
        if not self.waited:
            (HERE / f"{type(self).__name__}.pipe").read_bytes()  # nobody writes for long
        self.waited = True

@sink("blocks")
class Blocks(Waits):
    pass

@sink("blocks_at_once")
class BlocksAtOnce(Waits):
    pass
"""


#: The flows whose sinks stall.
STALLED = ("tcp", "later", "blocks", "at_once")


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
    """A worker of flows whose sinks stall, and of one that is as ever."""

    def __init__(self, folder: Path, flow: Running) -> None:
        self.folder, self.flow = folder, flow
        self.beats = 0

    def status(self) -> dict[str, Any]:
        found = ask_status(self.folder / "data")
        assert found is not None
        return found

    def paused(self) -> dict[str, bool]:
        """The flows whose sources wait."""
        flows = self.status()["flows"]
        return {flow["name"]: bool(flow["sources"][0]["paused"]) for flow in flows}

    def spools(self) -> list[int]:
        """How many bytes wait for the sinks that are written to after a cut."""
        flows = {flow["name"]: flow for flow in self.status()["flows"]}
        return [flows[name]["sinks"][0]["spool"]["bytes"] for name in ("later", "blocks")]

    def beat(self) -> None:
        """Something goes all the way through the flow that is not stalled."""
        with (self.folder / "beside.in").open("a") as out:
            out.write(LINE.format(self.beats))
        self.beats += 1
        size = lines_bytes(self.beats)
        path = self.folder / "beside.out"
        eventually(lambda: path.exists() and path.stat().st_size == size, f"beat {self.beats}")

    def own_memory_bytes(self) -> int:
        """The worker's, without what is mapped of files."""
        lines = Path(f"/proc/{worker_pid(self.flow)}/status").read_text().splitlines()
        (words,) = [line.split() for line in lines if line.startswith("RssAnon:")]
        return int(words[1]) * 1024


def write_flows(folder: Path, port: int) -> None:
    sinks: dict[str, tuple[str, str]] = {
        "tcp": ("lines.in", f'tcp = {{ connect = "127.0.0.1:{port}" }}'),
        "later": ("lines.in", SPOOLED.format(cls="SaysLater")),
        "blocks": ("lines.in", SPOOLED.format(cls="Blocks")),
        "at_once": ("lines.in", PYTHON.format(cls="BlocksAtOnce")),
        "beside": ("beside.in", 'file = { path = "beside.out" }'),
    }
    for name, (path, sink) in sinks.items():
        (folder / f"{name}.toml").write_text(FLOW.format(name=name, path=path, sink=sink))
    (folder / "sinks.py").write_text(SINKS)
    (folder / "lines.in").write_text(lines(COUNT))
    (folder / "beside.in").touch()
    for name in ("Blocks", "BlocksAtOnce"):
        os.mkfifo(folder / f"{name}.pipe")


def lines(count: int) -> str:
    return "".join(LINE.format(number) for number in range(count))


def lines_bytes(count: int) -> int:
    return count * len(LINE.format(0))


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
        flows = [f"{name}.toml" for name in STALLED] + ["beside.toml"]
        with running(tmp_path, "run", *flows, "--data", "data") as flow, server.accept()[0] as peer:
            peer.settimeout(PATIENCE_S)
            stalled(Site(tmp_path, flow), clock)
            assert receive(peer, lines_bytes(COUNT)) == lines(COUNT).encode()
            assert flow.stop() == 0
    clock.close()


def stalled(site: Site, clock: Clock) -> None:
    folder, flow = site.folder, site.flow
    flow.wait_for(" running ", count=len(STALLED) + 1)
    waiting = dict.fromkeys(STALLED, True) | {"beside": False}
    eventually(lambda: site.paused() == waiting, "the sources of all that stall wait")
    worker, said, memory, spools = worker_pid(flow), len(flow.log), [], []
    for _ in range(HOUR_S // STEP_S):
        clock.advance(STEP_S)
        site.beat()
        if site.beats % (300 // STEP_S) == 0:
            assert site.paused() == waiting
            spools.append(site.spools())
            memory.append(site.own_memory_bytes())
    tries = (folder / "tries").stat().st_size
    print(f"memory of the hour: {memory}; {tries} tries; in spools: {spools[0]}")
    assert all(64 << 10 < size < HELD_MAX_BYTES for size in spools[0])
    assert spools == [spools[0]] * len(spools)
    assert max(memory) - memory[0] < 12 << 20
    assert HOUR_S / SINK_RETRY_MAX_S < tries < 3 * HOUR_S / SINK_RETRY_MAX_S
    assert site.status()["uptime_s"] > HOUR_S
    assert worker_pid(flow) == worker, "nobody took it for one that hangs"
    assert not [line for line in flow.log[said:] if " INFO " not in line]

    (folder / "go").touch()
    text = lines(COUNT).encode()
    for name in ("SaysLater", "Blocks", "BlocksAtOnce"):
        pipe, path = folder / f"{name}.pipe", folder / f"{name}.txt"
        if pipe.exists():
            pipe.write_bytes(b"go")

        def is_there(path: Path = path) -> bool:
            clock.advance(1)
            return path.exists() and path.stat().st_size >= len(text)

        eventually(is_there, f"{path} is whole")
        assert path.read_bytes() == text
    assert (folder / "beside.out").read_text() == lines(site.beats)
