"""`make bench-frozen`: the frozen programs' sizes, starts and rest; their table in RESULTS.md.

Ends with 1 when a limit is missed.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import processes
import results
from programs import FLOWS, HERE, ROOT
from results import Row

DIST = ROOT / "dist"
FILE = DIST / "bettong"
FOLDER = DIST / "bettong-folder"
PROGRAMS = {"one file": FILE, "one folder": FOLDER / "bettong"}
MB = 1_000_000

STARTS = 9
IDLE_S = 20.0
HEADING = "The frozen programs"

SECTION = """\
    make bench-frozen

Taken on {machine}; commit {commit}, {date}; load average before: {load:.1f}.

{table}
Sizes are those of the files. The first line is timed from the start of the process, {starts}
times, with everything in the page cache; the table shows the median. Memory and CPU are those of
all processes with one flow that waits on a socket: RSS counts what they share for each of them, PSS
once. The times hold for a machine that does nothing else: under load, look at the CPU.
"""


def sizes() -> Iterator[Row]:
    yield Row("one file", FILE.stat().st_size / MB, 25, "MB")
    installed = sum(path.lstat().st_size for path in FOLDER.rglob("*"))
    (packed,) = DIST.glob("bettong-*-linux-*.tar.gz")
    detail = f"{packed.stat().st_size / MB:.1f} MB packed"
    yield Row("one folder, installed", installed / MB, 60, "MB", detail)


@contextlib.contextmanager
def running(program: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A flow that waits on a socket; the process, and its port."""
    with tempfile.TemporaryDirectory() as folder:
        port = processes.free_port()
        extra = {"BENCH_PORT": str(port), "BENCH_OUTPUT": f"{folder}/out"}
        command = [str(program), "run", str(FLOWS / "sensors_tcp.toml"), "--data", f"{folder}/data"]
        child = subprocess.Popen(
            command,
            env=processes.environment(extra),
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        try:
            yield child, port
        finally:
            child.terminate()
            assert child.stderr is not None
            child.stderr.read()
            child.wait(processes.PATIENCE_S)
            child.stderr.close()


def start_s(program: Path) -> tuple[float, float]:
    """From the start until it says something, and until its flow runs, in seconds."""
    begun = time.monotonic()
    with running(program) as (child, _):
        assert child.stderr is not None
        said = os.read(child.stderr.fileno(), 65_536)
        first_s = time.monotonic() - begun
        while b" running " not in said:
            said += os.read(child.stderr.fileno(), 65_536)
        return first_s, time.monotonic() - begun


def starts() -> Iterator[Row]:
    for name, limit in (("one folder", 0.2), ("one file", 0.5)):
        first, ready = zip(*(start_s(PROGRAMS[name]) for _ in range(STARTS)), strict=True)
        detail = f"{min(first):.2f} to {max(first):.2f} s; runs at {statistics.median(ready):.2f} s"
        measure = f"first log line of `run`, {name}"
        yield Row(measure, statistics.median(first), limit, "s", detail)


def memory_bytes(pid: int, what: str) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"the kernel does not tell {what}")


def at_rest() -> Iterator[Row]:
    for name, program in PROGRAMS.items():
        with running(program) as (child, port):
            processes.wait_listening(port)
            pids = [child.pid, *processes.descendants(child.pid)]
            for pid in pids:
                processes.wait_quiet(pid)
            before = sum(map(processes.cpu_s, pids))
            time.sleep(IDLE_S)
            share = (sum(map(processes.cpu_s, pids)) - before) / IDLE_S * 100
            rss, pss = (
                sum(memory_bytes(pid, what) for pid in pids) / MB for what in ("Rss", "Pss")
            )
        count = f"{len(pids)} processes" if len(pids) > 2 else "supervisor and worker"
        yield Row(f"idle memory, {name}, RSS", rss, 80, "MB", f"{count}; PSS {pss:.1f} MB")
        yield Row(f"idle CPU, {name}", share, 1, "% of a core", f"over {IDLE_S:.0f} s")


def main() -> int:
    rows, load = [], os.getloadavg()[0]
    for measure in (sizes, starts, at_rest):
        for row in measure():
            print(f"  {' | '.join(row.cells())}", flush=True)
            rows.append(row)
    section = SECTION.format(
        machine=results.machine(),
        commit=results.commit(ROOT),
        date=date.today().isoformat(),
        table=results.table(rows),
        starts=STARTS,
        load=load,
    )
    results.write_section(HERE / "RESULTS.md", HEADING, section)
    return 0 if all(row.is_within for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
