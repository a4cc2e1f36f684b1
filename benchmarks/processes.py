"""Children and what they cost: CPU seconds by resource usage, memory and threads from /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 120.0
QUIET_S = 0.6  # CPU time that stands still for this long means: done
POLL_S = 0.02


@dataclass(frozen=True)
class Cost:
    """One finished child with all it waited for: `cpu_s` user and system, `rss_bytes` the peak of
    its largest process, `written_bytes` those of its write calls, to files and whatever else."""

    cpu_s: float
    rss_bytes: int
    written_bytes: int


def write_calls_bytes() -> int:
    """Those of this process and of all it has waited for. (The kernel's count of what the cache got
    to write, `write_bytes`, takes a page for the whole run of pages it is held in.)"""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1])
    raise OSError("the kernel does not count what is written")


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, **extra}


def run(command: Sequence[str], extra: Mapping[str, str] | None = None) -> Cost:
    """Run to the end. Raises CalledProcessError when it fails."""
    written = write_calls_bytes()
    child = subprocess.Popen(
        command, env=environment(extra or {}), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert child.stderr is not None
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stderr.close()
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command, stderr=said)
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(cpu, usage.ru_maxrss * 1024, write_calls_bytes() - written)


@contextlib.contextmanager
def started(
    command: Sequence[str], extra: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A child that runs while the block does, its words in `log`; then it is asked to end."""
    with log.open("wb") as said:
        child = subprocess.Popen(command, env=environment(extra), stdout=said, stderr=said)
        try:
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found


def cpu_s(pid: int) -> float:
    """CPU time of one process so far, in seconds; to the nanosecond where the kernel tells."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            total += int(task.read_text().split()[0])
    return total / 1e9


def rss_peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def rss_bytes(pid: int, without: str) -> int:
    """What a process has in memory now, without what it maps of files of that name."""
    total, counts = 0, True
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0]:
            counts = not words[-1].endswith(f"/{without}")
        elif words[0] == "Rss:" and counts:
            total += int(words[1]) * 1024
    return total


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_listening(port: int) -> None:
    """Until something listens there; asked of the kernel's table, so that nothing is accepted."""
    wanted = f"0100007F:{port:04X}"
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for line in Path("/proc/net/tcp").read_text().splitlines():
            fields = line.split()
            if fields[1] == wanted and fields[3] == "0A":
                return
        time.sleep(POLL_S)
    raise TimeoutError(f"nothing listens on port {port}")


def wait_quiet(pid: int, share: float = 0.02) -> float:
    """Until a process uses less than `share` of a core for a while; its CPU time then."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        before = cpu_s(pid)
        time.sleep(QUIET_S)
        after = cpu_s(pid)
        if after - before < share * QUIET_S:
            return after
    raise TimeoutError(f"process {pid} did not come to rest")


def worker_of(supervisor: int) -> int:
    """The one worker under a supervisor."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = descendants(supervisor)
        if found:
            return found[0]
        time.sleep(POLL_S)
    raise TimeoutError("the supervisor started no worker")
