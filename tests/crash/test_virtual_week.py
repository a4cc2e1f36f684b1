"""Upstream away for a week, on a clock that the test owns: all waits on the disk, in as much memory
as on the first day, and is drained faster than it comes. The longer form has a cut each second."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from appliance import clock
from appliance.limits import (
    LINK_OPEN_TIMEOUT_S,
    SINK_RETRY_MAX_S,
    SPOOL_LIVE_COUNT,
    SPOOL_MEMORY_MAX_BYTES,
)
from appliance.load import load
from appliance.testing import run_flow
from appliance.worker.memory import give_back
from appliance.worker.spool import Spool
from crash.virtual_boxes import START_US, Box, Network, boxes
from crash.virtual_time import World

HOUR_S, DAY_S = 3600, 86_400
WEEK_S = 7 * DAY_S

BOX = """
version = 1
name = "box"
[settings]
commit_every = "{cut_s}s"
[source.readings]
file = {{ path = "in.jsonl", follow = true }}
time = {{ field = "ts", unit = "ms", idle = "never" }}
[step.average]
from = "readings"
key_by = "device"
window = {{ tumbling = "{window_s}s" }}
aggregate = {{ n = "count()", mean = "mean(temp)", last = "last(temp)" }}
[sink.up]
from = "average"
upstream = {{ to = "tcp://127.0.0.1:7700", name = "box" }}
spool = {{ {bounds} }}
[sink.local]
from = "average"
file = {{ path = "local.jsonl" }}
"""

CENTRE = """
version = 1
name = "centre"
[settings]
commit_every = "{cut_s}s"
[source.boxes]
upstream = {{ listen = "tcp://127.0.0.1:7700" }}
[sink.file]
file = {{ path = "out.jsonl" }}
"""


@dataclass(frozen=True)
class Pace:
    """What comes of it: each device has two readings a window."""

    cut_s: int
    window_s: int
    devices: int

    @property
    def results_an_hour(self) -> int:
        return self.devices * HOUR_S // self.window_s

    def readings(self, begin_s: int) -> str:
        """The lines of one cut interval."""
        lines = []
        for at_s in range(begin_s, begin_s + self.cut_s, self.window_s):
            for half in range(2):
                ts = START_US // 1000 + at_s * 1000 + half * 500 * self.window_s
                for device in range(self.devices):
                    temp = (at_s * 7 + device * 3 + half) % 1000
                    lines.append(f'{{"device":"d{device}","ts":{ts},"temp":{temp}.5}}\n')
        return "".join(lines)


#: So many blocks may wait for their confirmation when a backlog is gone.
UNDER_WAY_COUNT = 4

#: 2,016 blocks a week, 43 MB; or one a second.
WEEK = Pace(300, 60, 40)
if os.environ.get("BETTONG_SOAK") == "1":
    WEEK = Pace(1, 1, 2)


@dataclass
class Site:
    """A box that always has something to say, and a centre that may be there."""

    world: World
    network: Network
    box: Box
    centre: Box
    pace: Pace
    fed_s: int = 0

    def live(self, seconds: int) -> float:
        """So much time goes by while readings come; the CPU seconds that the boxes took for it."""
        cpu_s = 0.0
        for _ in range(seconds // self.pace.cut_s):
            with (self.box.folder / "in.jsonl").open("a") as out:
                out.write(self.pace.readings(self.fed_s))
            self.fed_s += self.pace.cut_s
            begun_s = clock.cpu_s()
            self.world.run(self.pace.cut_s)
            cpu_s += clock.cpu_s() - begun_s
        return cpu_s

    def upstream_returns(self) -> None:
        self.network.answers = True
        self.centre.start()

    @property
    def spool(self) -> Spool:
        """What waits for upstream."""
        return self.box.spools["up"]

    @property
    def made(self) -> int:
        """Blocks that there have been for upstream so far."""
        return self.spool.first + self.spool.count - 1

    def is_paused(self) -> bool:
        return bool(self.box.status()["metrics"]["sources"][0]["paused"])

    def finish(self) -> tuple[bytes, bytes]:
        """Everything is closed and delivered; what the centre has, and what the box's file has."""
        self.box.drain()
        self.world.run(2 * HOUR_S)
        self.centre.drain()
        files = self.centre.folder / "out.jsonl", self.box.folder / "local.jsonl"
        return files[0].read_bytes(), files[1].read_bytes()

    def undisturbed(self) -> bytes:
        """What comes out where nothing ever fails and everything is read at once."""
        (plan,) = load([self.box.folder / "flow.toml"])
        with (self.box.folder / "in.jsonl").open("rb") as lines:
            pieces = iter(lambda: lines.read(64 << 10), b"")
            late_us = START_US + self.fed_s * 1_000_000
            return run_flow(plan, {"readings": pieces}, start_us=late_us)["local"]


@contextmanager
def site(folder: Path, pace: Pace, bounds: str, centre_cut_s: int = 1) -> Iterator[Site]:
    """A box whose upstream is not there."""
    with boxes(look_every_s=min(5.0, pace.cut_s / 4)) as (world, network):
        words = {"cut_s": pace.cut_s, "window_s": pace.window_s, "bounds": bounds}
        box = Box(world, folder / "box", BOX.format_map(words))
        (box.folder / "in.jsonl").touch()
        centre = Box(world, folder / "centre", CENTRE.format(cut_s=centre_cut_s))
        box.start()
        try:
            yield Site(world, network, box, centre, pace)
        finally:
            box.kill()
            centre.kill()


def own_memory_bytes() -> int:
    """What this process has, without what is mapped of files."""
    gc.collect()
    give_back()
    lines = Path("/proc/self/status").read_text().splitlines()
    (words,) = [line.split() for line in lines if line.startswith("RssAnon:")]
    return int(words[1]) * 1024


def test_upstream_is_away_for_a_week(quick_path: Path) -> None:
    """On some days it refuses, on others nothing answers, or not each time; at last the box is
    killed, too."""
    most = 1 << 30 if WEEK.cut_s == 1 else 64 << 20
    with site(quick_path, WEEK, f'max_bytes = "{most}B"') as here:  # and no older than 7 days
        memory, tries, cpu_s = [], [0], 0.0
        for day in range(7):
            here.network.silent_every = day % 3
            for _ in range(24):
                cpu_s += here.live(HOUR_S)
                assert not here.is_paused()
                assert here.box.spools["local"].is_empty, "the other sink has all of it"
                assert sum(one.size for one in here.spool._memory) <= SPOOL_MEMORY_MAX_BYTES
            memory.append(own_memory_bytes())
            tries.append(here.network.tries)
        words = here.box.end_of("up")["spool"]
        assert words["dropped"] == 0 and words["blocks"] == here.made
        assert WEEK_S // WEEK.cut_s - 1 <= here.made, "a block each cut, but perhaps the first"
        assert 8 * SPOOL_MEMORY_MAX_BYTES < words["bytes"] < most
        assert WEEK_S - 2 * WEEK.cut_s <= words["age_s"] <= WEEK_S
        assert max(memory) - memory[0] < 6 << 20
        for before, after in pairwise(tries):
            a_wait = DAY_S / (after - before)
            assert SINK_RETRY_MAX_S / 2 < a_wait < SINK_RETRY_MAX_S + LINK_OPEN_TIMEOUT_S
        assert len(here.box.said("sink failed")) == 2, "each reason once"
        assert len(here.box.said()) < 10

        here.box.kill()
        here.upstream_returns()
        here.box.start()
        drain_cpu_s, drained, arrived = 0.0, 0, 0
        while here.spool.count > UNDER_WAY_COUNT:
            first, made = here.spool.first, here.made
            drain_cpu_s += here.live(WEEK.cut_s)
            drained += here.spool.first - first
            arrived += here.made - made
            memory.append(own_memory_bytes())
        assert drained > 2 * arrived
        assert 2 * drain_cpu_s < cpu_s, "of the processor's time"
        got, local = here.finish()
        print(
            f"memory day 1: {memory[0]}, day 7: {memory[6]}, drained: {max(memory[7:])}; "
            f"tries: {tries[-1]}; drained {drained} while {arrived} came; "
            f"CPU of the week {cpu_s:.2f} s, of draining {drain_cpu_s:.2f} s"
        )
    assert got == local
    assert local == here.undisturbed()


#: An hour brings 12 blocks.
HOURS = Pace(300, 60, 10)


def test_a_backlog_is_drained_at_the_rate_that_was_set_while_more_comes(quick_path: Path) -> None:
    """Twice the rate of arrival: the backlog of six hours is gone after six more."""
    rate = f'resend_rate = "{2 * HOURS.results_an_hour}/h"'
    with site(quick_path, HOURS, rate) as here:
        here.live(6 * HOUR_S)
        here.upstream_returns()
        here.live(HOURS.cut_s)  # it is tried again
        drained = []
        for _ in range(5):
            first = here.spool.first
            here.live(HOUR_S)
            drained.append(here.spool.first - first)
            assert here.box.spools["local"].is_empty
        assert drained == [pytest.approx(2 * 12, abs=1)] * 5
        here.live(HOUR_S)
        assert here.spool.count <= SPOOL_LIVE_COUNT
        got, local = here.finish()
    assert got == local == here.undisturbed()


def test_a_receiver_that_confirms_late_makes_no_backlog(quick_path: Path) -> None:
    """What has been sent and waits for its confirmation is not sent again: what comes is not slowed
    down to the rate of that."""
    pace = Pace(60, 60, 10)
    rate = f'resend_rate = "{pace.results_an_hour // 2}/h"'
    with site(quick_path, pace, rate, centre_cut_s=900) as here:
        here.upstream_returns()
        here.live(HOUR_S)
        for _ in range(30):
            here.live(pace.cut_s)
            (sent,) = here.box.status()["metrics"]["sinks"][:1]
            assert here.centre.status()["metrics"]["sources"][0]["records"] == sent["records"]
        assert here.spool.count > SPOOL_LIVE_COUNT
        got, local = here.finish()
    assert got == local == here.undisturbed()


def test_what_is_past_its_age_goes_while_upstream_is_away_and_is_told(quick_path: Path) -> None:
    with site(quick_path, HOURS, 'max_age = "6h"') as here:
        here.live(6 * HOUR_S)
        assert here.box.end_of("up")["spool"]["dropped"] == 0
        here.live(3 * HOUR_S)
        words = here.box.end_of("up")["spool"]
        assert words["blocks"] == pytest.approx(6 * 12, abs=1)
        assert words["dropped"] + words["blocks"] == here.made
        assert len(here.box.said("too old")) == 1
        here.upstream_returns()
        here.live(HOUR_S)
        lost = here.centre.end_of("boxes")["counts"]["lost"]
        assert lost == here.spool.dropped * HOURS.results_an_hour // 12 - HOURS.devices
        got, local = here.finish()
    assert got.splitlines() == local.splitlines()[lost:]
