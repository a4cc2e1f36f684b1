"""Running `bettong` as its users do: real processes, files, sockets and signals.

Nothing here sleeps to wait for something: it waits for the thing (a line, a file's content, the
process's end), looks again as soon as it may have come, and gives up with what it has seen.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from appliance import clock

ROOT = Path(__file__).resolve().parents[2]

PATIENCE_S = 60.0

BETTONG = [sys.executable, "-P", "-m", "appliance"]

#: Three readings of one device; the third ends the first window (size 10 s, late 2 s).
READINGS = (
    '{"device":"d1","ts":1700000000000,"temp":21.5,"status":"ok"}\n'
    '{"device":"d1","ts":1700000004000,"temp":22.5,"status":"ok"}\n'
    '{"device":"d1","ts":1700000012500,"temp":20.0,"status":"ok"}\n'
)

WINDOW_ONE = (
    '{"device":"d1","window_start":1700000000000,"window_end":1700000010000,"n":2,"mean":22.0}\n'
)
WINDOW_TWO = (
    '{"device":"d1","window_start":1700000010000,"window_end":1700000020000,"n":1,"mean":20.0}\n'
)


def windows(source: str, sink: str, more: str = "") -> str:
    """The sensors flow between this source and this sink, each a line of TOML."""
    return f"""
version = 1
name = "sensors"

[source.readings]
{source}
time = {{ field = "ts", unit = "ms", late = "2s" }}

[step.average]
where = 'status == "ok"'
key_by = "device"
window = {{ tumbling = "10s" }}
aggregate = {{ n = "count()", mean = "mean(temp)" }}

[sink.out]
{sink}
{more}
"""


def run(folder: Path, *words: str, stdin: str | bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command in `folder` to its end."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    return subprocess.run(
        [*BETTONG, *words],
        cwd=folder,
        input=data,
        capture_output=True,
        timeout=PATIENCE_S,
        env=environment(),
        check=False,
    )


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "BETTONG_DATA"}


class Running:
    """A `bettong` that goes on until it is stopped. `log`: the lines of its standard error."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.log: list[str] = []
        self.lines: queue.Queue[str] = queue.Queue()
        self._said = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read_log, daemon=True),
            threading.Thread(target=self._read_output, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._said:
                self.log.append(line.decode())
                self._said.notify_all()

    def _read_output(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.decode())

    def wait_for(self, words: str, count: int = 1) -> str:
        """The line of the log that is the `count`-th with these words."""

        def found() -> bool:
            return sum(words in line for line in self.log) >= count

        with self._said:
            assert self._said.wait_for(found, PATIENCE_S), f"no {words!r} in {self.log}"
            return [line for line in self.log if words in line][count - 1]

    def line(self) -> str:
        """The next line of standard output."""
        return self.lines.get(timeout=PATIENCE_S)

    def address(self, start: int = 1) -> tuple[str, int]:
        """Where the flow's source listens; `start`: of which start of its worker."""
        words = self.wait_for(" listening ", start).split("address=")[1].split()[0]
        host, _, port = words.rpartition(":")
        return host, int(port)

    def send(self, data: str | bytes, start: int = 1) -> None:
        """One connection that sends this and closes."""
        with socket.create_connection(self.address(start), PATIENCE_S) as connection:
            connection.sendall(data.encode() if isinstance(data, str) else data)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for its end; the exit code."""
        code = self.process.wait(PATIENCE_S)
        for reader in self._readers:
            reader.join(PATIENCE_S)
        return code

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.signal(signal.SIGTERM)
        return self.end()

    def remove(self) -> None:
        """Kill it if it still runs, and let go of its pipes."""
        process = self.process
        if process.poll() is None:
            process.kill()
        self.end()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()

    def worker_pids(self) -> list[int]:
        """The processes it has started."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in path.read_text().split()]


def start(
    folder: Path,
    *words: str,
    stdin: int = subprocess.DEVNULL,
    more: Mapping[str, str] | None = None,
) -> Running:
    """`bettong …` in `folder`, with `more` in its environment; see that it is gone afterwards."""
    return Running(
        subprocess.Popen(
            [*BETTONG, *words],
            cwd=folder,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment(), **(more or {})},
        )
    )


@contextmanager
def running(folder: Path, *words: str, stdin: int = subprocess.DEVNULL) -> Iterator[Running]:
    """`bettong run …` in `folder`; whatever the test does, it is gone afterwards."""
    found = start(folder, *words, stdin=stdin)
    try:
        yield found
    finally:
        found.remove()


def eventually(true: Callable[[], bool], what: str) -> None:
    """Look until it is so."""
    until_s = clock.monotonic_s() + PATIENCE_S
    pause = threading.Event()
    while not true():
        assert clock.monotonic_s() < until_s, f"never: {what}"
        pause.wait(0.01)


def wait_for_text(path: Path, text: str) -> None:
    """Until the file is exactly this."""
    eventually(lambda: path.exists() and path.read_text() == text, f"{path} is {text!r}")


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def worker_pid(flow: Running) -> int:
    """The one worker."""
    (pid,) = flow.worker_pids()
    return pid


def said_after_start(ended: subprocess.CompletedProcess[bytes]) -> str:
    """What a run has said but for its first line, if that only says that it starts."""
    said = ended.stderr.decode()
    first, _, rest = said.partition("\n")
    return rest if "starting" in first and "version" in first else said


def memory_bytes(flow: Running) -> int:
    """What the worker has in memory now."""
    lines = Path(f"/proc/{worker_pid(flow)}/status").read_text().splitlines()
    (words,) = [line.split() for line in lines if line.startswith("VmRSS:")]
    return int(words[1]) * 1024


def worker_cpu_s(flow: Running) -> float:
    """CPU that the worker has used so far."""
    fields = Path(f"/proc/{worker_pid(flow)}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def status_of(folder: Path, *words: str) -> dict[str, Any]:
    """`bettong status --json`."""
    ended = run(folder, "status", "--json", *words)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert isinstance(found, dict)
    return found
