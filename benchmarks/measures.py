"""The measures: each runs ours and the other side by turns and gives the rows for the table.

CPU time is user and system time of all processes of a side, by resource usage. Starting an
interpreter is not an event: each side is also run on a short input, and what that took is taken
off. A ratio is taken within a round, where both sides met the same machine; the table shows the
median of the rounds.
"""

from __future__ import annotations

import filecmp
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import inputs
import processes
from processes import Cost
from programs import BETTONG, FLOWS, flow_once, loop, program
from results import Row

SHORT = 1_000  # events whose cost is the cost of starting
ROUNDS = 5
START_ROUNDS = 7
MB = 1_000_000


class NotComparable(Exception):
    """The two sides did not do the same work, so that their ratio would say nothing."""


@dataclass(frozen=True)
class Side:
    """One way to do a job: its command for an input and an output, and its environment."""

    name: str
    command: Callable[[Path, Path], Sequence[str]]
    extra: Mapping[str, str] = field(default_factory=dict)

    def run(self, source: Path) -> Cost:
        target = self.output()
        extra = {**self.extra, "BENCH_INPUT": str(source), "BENCH_OUTPUT": str(target)}
        return processes.run(self.command(source, target), extra)

    def output(self) -> Path:
        return inputs.folder() / f"{self.name}.out"


def flow_side(name: str) -> Side:
    return Side(f"{name}-flow", lambda source, target: flow_once(name))


def loop_side(name: str) -> Side:
    return Side(f"{name}-loop", lambda source, target: loop(name, source, target))


def limit_side() -> Side:
    return Side("limit", lambda source, target: [program("limit"), str(source), str(target)])


def cost_per_event(side: Side, full: Path, short: Path, events: int) -> tuple[float, Cost]:
    """Seconds of CPU an event beyond the start, and the whole cost of the full run."""
    start = side.run(short)
    whole = side.run(full)
    return (whole.cpu_s - start.cpu_s) / (events - SHORT), whole


def compare(
    measure: str,
    ours: Side,
    other: Side,
    make_input: Callable[[int], Path],
    limit: float,
) -> Iterator[Row]:
    """Rows for the ratio of two sides, and for the memory of ours."""
    full, short = make_input(inputs.EVENTS), make_input(SHORT)
    ratios, our_costs, other_costs = [], [], []
    for _ in range(ROUNDS):
        our_cost, our_whole = cost_per_event(ours, full, short, inputs.EVENTS)
        other_cost, _ = cost_per_event(other, full, short, inputs.EVENTS)
        ratios.append(our_cost / other_cost)
        our_costs.append(our_cost)
        other_costs.append(other_cost)
    if not filecmp.cmp(ours.output(), other.output(), shallow=False):
        raise NotComparable(f"{ours.output()} and {other.output()} differ: not the same job")
    if min(our_costs + other_costs) <= 0:
        raise NotComparable("a run cost no more than its start: nothing was measured")
    detail = (
        f"{statistics.median(our_costs) * 1e9:.0f} and {statistics.median(other_costs) * 1e9:.0f} "
        "ns an event; outputs equal"
    )
    yield Row(measure, statistics.median(ratios), limit, "×", detail)
    if ours.name == "sensors-flow":
        peak = our_whole.rss_bytes / MB
        yield Row("memory (RSS) of the largest process on J1", peak, 60, "MB", "its peak")


def sensors_by_file() -> Iterator[Row]:
    yield from compare(
        "J1, file → file, CPU per event, ours to C",
        flow_side("sensors"),
        limit_side(),
        inputs.sensors,
        2.0,
    )


def ema() -> Iterator[Row]:
    yield from compare(
        "J4, a stateful Python function per event, ours to a plain loop",
        flow_side("ema"),
        loop_side("ema"),
        inputs.sensors,
        1.0,
    )


def celsius() -> Iterator[Row]:
    yield from compare(
        "J3, a Python function per event on u32-framed f32, ours to a plain loop",
        flow_side("celsius"),
        loop_side("celsius"),
        inputs.celsius,
        1.0,
    )


class Running:
    """One of our flows that listens on a socket; its supervisor and worker by process id."""

    def __init__(self, flow: str, extra: Mapping[str, str], folder: Path | None = None) -> None:
        """It goes on in `folder` where one is given, else it begins in a folder of its own."""
        self.port = processes.free_port()
        self._folder = None
        if folder is None:
            self._folder = tempfile.TemporaryDirectory(dir=inputs.folder())
            folder = Path(self._folder.name)
        self.data = folder
        extra = {
            **extra,
            "BENCH_PORT": str(self.port),
            "BENCH_OUTPUT": str(self.data / "results.jsonl"),
            "BENCH_PROBES": str(self.probes),
        }
        command = [BETTONG, "run", str(FLOWS / f"{flow}.toml"), "--data", str(self.data / "data")]
        self._started = processes.started(command, extra, inputs.folder() / f"{flow}.log")

    def __enter__(self) -> Running:
        self.supervisor = self._started.__enter__().pid
        processes.wait_listening(self.port)
        self.worker = processes.worker_of(self.supervisor)
        return self

    def __exit__(self, *error: object) -> None:
        self._started.__exit__(None, None, None)
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def probes(self) -> Path:
        return self.data / "probes.jsonl"

    def blast(self, source: Path) -> None:
        """Send a file; returns when the socket has taken it."""
        command = [program("client"), "blast", str(self.port), str(source)]
        subprocess.run(command, check=True)

    def status(self) -> dict[str, object]:
        command = [BETTONG, "status", "--json", "--data", str(self.data / "data")]
        said = subprocess.run(command, capture_output=True, check=True).stdout
        found = json.loads(said)
        assert isinstance(found, dict)
        return found


def sensors_by_socket() -> Iterator[Row]:
    """The worker's CPU while it takes the whole input from a socket, against C on the file."""
    source, short = inputs.sensors(), inputs.sensors(SHORT)
    ratios, our_costs, other_costs, peaks = [], [], [], []
    for _ in range(ROUNDS):
        with Running("sensors_tcp", {}) as flow:
            before = processes.wait_quiet(flow.worker)
            flow.blast(source)
            cost = (processes.wait_quiet(flow.worker) - before) / inputs.EVENTS
            peaks.append(processes.rss_peak_bytes(flow.worker))
        other, _ = cost_per_event(limit_side(), source, short, inputs.EVENTS)
        our_costs.append(cost)
        other_costs.append(other)
        ratios.append(cost / other)
    detail = (
        f"{statistics.median(our_costs) * 1e9:.0f} and {statistics.median(other_costs) * 1e9:.0f} "
        "ns an event"
    )
    yield Row(
        "J1 over loopback TCP, ours to C on the file", statistics.median(ratios), 2.5, "×", detail
    )
    yield Row("memory (RSS) of the worker on J1 over TCP", max(peaks) / MB, 60, "MB", "its peak")


ROUND_RATE, ROUND_SECONDS = 10_000, 5


def round_trip(port: int, out_port: int) -> float:
    """Microseconds from send to receipt, p50, through whatever listens on `port`."""
    client = [program("client"), "round", str(port), str(out_port)]
    rate = [str(ROUND_RATE), str(ROUND_SECONDS)]
    said = subprocess.run([*client, *rate], capture_output=True, check=True, text=True).stdout
    return float(json.loads(said)["p50_us"])


def socket_to_socket() -> Iterator[Row]:
    """10,000 events a second, each in a packet of its own, through ours and through C."""
    ratios, our_waits, other_waits = [], [], []
    for _ in range(ROUNDS):
        out_port = processes.free_port()
        with Running("echo", {"BENCH_OUT_PORT": str(out_port)}) as flow:
            ours = round_trip(flow.port, out_port)
        port, out_port = processes.free_port(), processes.free_port()
        echo = [program("echo"), str(port), str(out_port)]
        with processes.started(echo, {}, inputs.folder() / "echo-c.log"):
            processes.wait_listening(port)
            other = round_trip(port, out_port)
        our_waits.append(ours)
        other_waits.append(other)
        ratios.append(ours / other)
    detail = f"{statistics.median(our_waits):.0f} and {statistics.median(other_waits):.0f} µs"
    yield Row(
        f"socket → socket at {ROUND_RATE:,} events/s, p50, ours to C",
        statistics.median(ratios),
        1.5,
        "×",
        detail,
    )


def starting() -> Iterator[Row]:
    """CPU of the shortest command, and of `run` until its flow runs; it speaks earlier."""
    version = [processes.run([BETTONG, "version"]).cpu_s for _ in range(START_ROUNDS)]
    yield Row("`bettong version`, CPU", statistics.median(version), 0.15, "s")
    runs = [cpu_until_it_runs() for _ in range(START_ROUNDS)]
    measure = "first log line of `bettong run`, CPU"
    yield Row(measure, statistics.median(runs), 0.4, "s", "until the line that says that it runs")


def cpu_until_it_runs() -> float:
    with tempfile.TemporaryDirectory(dir=inputs.folder()) as folder:
        log = Path(folder) / "log"
        extra = {"BENCH_PORT": str(processes.free_port()), "BENCH_OUTPUT": f"{folder}/out"}
        command = [BETTONG, "run", str(FLOWS / "sensors_tcp.toml"), "--data", f"{folder}/data"]
        with processes.started(command, extra, log) as child:
            deadline = time.monotonic() + processes.PATIENCE_S
            while b" running " not in log.read_bytes():
                if time.monotonic() > deadline:
                    raise TimeoutError("the flow does not run")
                time.sleep(0.001)
            pids = [child.pid, *processes.descendants(child.pid)]
            return sum(map(processes.cpu_s, pids))


LATENCY_RATE, LATENCY_SECONDS = 1_000, 10


def latency() -> Iterator[Row]:
    """One event alone, a thousand a second; a cut is frozen every second meanwhile."""
    with Running("sensors_tcp", {}) as flow:
        pace = [program("client"), "pace", str(flow.port)]
        subprocess.run([*pace, str(LATENCY_RATE), str(LATENCY_SECONDS)], check=True)
        found = flow.status()["latency_us"]
    assert isinstance(found, dict)
    detail = f"{found['count']:,} events"
    yield Row("in-process latency, one event alone, p50", found["p50"], 2, "µs", detail)
    yield Row("in-process latency, one event alone, p99", found["p99"], 20, "µs", detail)
    detail += "; a cut with 1,000 dirty keys every second"
    yield Row("in-process latency, one event alone, p99.9", found["p99.9"], 300, "µs", detail)
