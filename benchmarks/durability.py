"""What being durable costs: CPU, pauses, bytes to the disk, the time of a restart, memory.

Bytes to the disk are those of the write calls: each is synced and reaches the disk once. What the
file system writes beside them (its journal) is not in it.
"""

from __future__ import annotations

import filecmp
import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import inputs
import processes
from cuts_on_disk import LIVE_KEYS
from measures import MB, ROUNDS, SHORT, NotComparable, Running, Side, flow_side
from programs import HERE, PYTHON
from results import Row

COPIES = 4  # of the sensors job's events: long enough for several cuts in full run
PASSING_EVENTS = 1_000_000
PAUSE_BLASTS = 12
RESTARTS = 5
POLL_S = 0.002


def cuts() -> Iterator[Row]:
    """The sensors job with a cut every 200 ms and exact results, and with one cut at the end and
    results that leave at once: results that wait would ask for cuts."""
    full, short = inputs.sensors_for(COPIES), inputs.sensors(SHORT)
    sides = {
        every: Side(
            f"cuts-{every}",
            flow_side("sensors_cuts").command,
            {"BENCH_EVERY": every, "BENCH_DELIVERY": delivery},
        )
        for every, delivery in (("200ms", "exactly_once"), ("1h", "immediate"))
    }
    yield from by_turns(
        "J1 with cuts every 200 ms, CPU per event, to one cut at the end",
        sides["200ms"],
        sides["1h"],
        (full, short, COPIES * inputs.EVENTS),
        1.15,
    )


def passing() -> Iterator[Row]:
    """Every line is a result: exact by place, and written by the lane at once."""
    full, short = inputs.passing(PASSING_EVENTS), inputs.passing(SHORT)
    sides = {
        delivery: Side(
            f"passing-{delivery}", flow_side("passing").command, {"BENCH_DELIVERY": delivery}
        )
        for delivery in ("exactly_once", "immediate")
    }
    exact = sides["exactly_once"]
    rows = list(
        by_turns(
            "pass-through, one exact 100-byte result an event, CPU, to delivery at once",
            exact,
            sides["immediate"],
            (full, short, PASSING_EVENTS),
            3.0,
        )
    )
    results = PASSING_EVENTS * inputs.PASSING_BYTES
    ratio = exact.run(full).written_bytes / results
    detail = f"{results / MB:.0f} MB of results"
    yield Row("pass-through, bytes to the disk, to the results", ratio, 2.3, "×", detail)
    yield from rows


def by_turns(
    measure: str, ours: Side, other: Side, job: tuple[Path, Path, int], limit: float
) -> Iterator[Row]:
    """The median ratio of the CPU per event of two ways to run a job that must give the same."""
    full, short, events = job
    runs = [(side.run(short), side.run(full)) for _ in range(ROUNDS) for side in (ours, other)]
    # A start costs as much as some runs do: its median is taken off, not that of one round.
    started = [statistics.median(short.cpu_s for short, _ in runs[turn::2]) for turn in (0, 1)]
    our_costs, other_costs = (
        [(full.cpu_s - started[turn]) / (events - SHORT) for _, full in runs[turn::2]]
        for turn in (0, 1)
    )
    ratios = [one / another for one, another in zip(our_costs, other_costs, strict=True)]
    if not filecmp.cmp(ours.output(), other.output(), shallow=False):
        raise NotComparable(f"{ours.output()} and {other.output()} differ: not the same job")
    detail = (
        f"{statistics.median(our_costs) * 1e9:.0f} and {statistics.median(other_costs) * 1e9:.0f} "
        "ns an event; outputs equal"
    )
    yield Row(measure, statistics.median(ratios), limit, "×", detail)


def pauses() -> Iterator[Row]:
    """How long a lane stands still for a cut, under full load."""
    for keys, limit in ((10_000, 2_000), (1_000, 300)):
        source = inputs.keyed(keys, 1_000_000)
        with Running("keyed", {"BENCH_EVERY": "100ms"}) as flow:
            for _ in range(PAUSE_BLASTS):
                flow.blast(source)
            processes.wait_quiet(flow.worker)
            found = flow.status()["pause_us"]
        assert isinstance(found, dict)
        detail = f"{found['count']:,} cuts, p99 {found['p99']:.0f} µs"
        yield Row(
            f"pause of a cut with {keys:,} dirty keys, p50", found["p50"], limit, "µs", detail
        )


def disk() -> Iterator[Row]:
    """Bytes to the disk for the state of a long run, which the store is given cut by cut."""
    for dirty, limit in ((10_000, 1.3), (1_000, 2.5), (100, 4.0)):
        with tempfile.TemporaryDirectory(dir=inputs.folder()) as folder:
            command = [PYTHON, str(HERE / "cuts_on_disk.py"), folder, str(dirty)]
            said = subprocess.run(command, capture_output=True, check=True, text=True).stdout
        found = json.loads(said)
        measure = (
            f"bytes to the disk, {dirty:,} of {LIVE_KEYS:,} keys dirty a cut, to rows and results"
        )
        detail = (
            f"{found['cuts']:,} cuts of {found['bytes'] / found['cuts'] / 1e3:.1f} kB, "
            f"{found['merges']} bases merged"
        )
        yield Row(measure, found["written"] / found["bytes"], limit, "×", detail)


def restart() -> Iterator[Row]:
    """From the start of a killed run's successor to its first new result; 100,000 keys. What its
    processes do until then they do one after the other, so that their CPU time is the time it takes
    on a machine that does nothing else, but for the disk."""
    source = inputs.keyed(LIVE_KEYS, 3 * LIVE_KEYS)
    with tempfile.TemporaryDirectory(dir=inputs.folder()) as name:
        folder = Path(name)
        with Running("keyed", {"BENCH_EVERY": "200ms"}, folder) as flow:
            flow.blast(source)
            wait_for_cut(flow)
            kill(flow)
        found = [first_result(folder) for _ in range(RESTARTS)]
    seconds, cpu = (statistics.median(column) for column in zip(*found, strict=True))
    detail = f"p50 of {RESTARTS}; on the clock {seconds:.2f} s"
    yield Row("restart with 100,000 keys to the first new result, CPU", cpu, 1, "s", detail)


def wait_for_cut(flow: Running) -> None:
    """Until the flow is at rest, with everything in a cut."""
    processes.wait_quiet(flow.worker)
    flows: Any = flow.status()["flows"]
    keys = next(step["keys"] for step in flows[0]["steps"] if step["name"] == "hot")
    if keys != LIVE_KEYS:
        raise NotComparable(f"the flow has {keys} keys, not {LIVE_KEYS}")


def kill(flow: Running) -> None:
    """The supervisor first: it would start the worker again."""
    os.kill(flow.supervisor, signal.SIGKILL)


def first_result(folder: Path) -> tuple[float, float]:
    """Seconds from the start to a new result, and the CPU of all processes until then."""
    probe, probes = inputs.probe(), folder / "probes.jsonl"
    before = probes.stat().st_size
    begun = time.perf_counter()
    with Running("keyed", {"BENCH_EVERY": "200ms"}, folder) as flow:
        flow.blast(probe)
        until(lambda: probes.stat().st_size > before)
        took = time.perf_counter() - begun
        cpu = processes.cpu_s(flow.worker) + processes.cpu_s(flow.supervisor)
        wait_for_cut(flow)
        kill(flow)
    return took, cpu


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + processes.PATIENCE_S
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError("what was waited for did not come")
        time.sleep(POLL_S)


def memory() -> Iterator[Row]:
    """The worker with 100,000 keys of the sensors job and with none; the store's map is not it."""
    source = inputs.keyed(LIVE_KEYS, 3 * LIVE_KEYS)
    with Running("keyed", {"BENCH_EVERY": "200ms"}) as flow:
        processes.wait_quiet(flow.worker)
        empty = processes.rss_bytes(flow.worker, "data.mdb")
        flow.blast(source)
        wait_for_cut(flow)
        full = processes.rss_bytes(flow.worker, "data.mdb")
        peak = processes.rss_peak_bytes(flow.worker)
    detail = f"{full / MB:.1f} and {empty / MB:.1f} MB; peak with the map {peak / MB:.0f} MB"
    yield Row("memory (RSS) for 100,000 keys of J1", (full - empty) / MB, 60, "MB", detail)
