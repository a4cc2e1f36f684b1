"""A worker without threads and without a process: real files, store, recovery, committer and
senders around a lane, each called in its turn, so that it can be ended between any two of them,
hundreds of times in a few seconds.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from appliance.logs import ERROR, Logger
from appliance.native import lib
from appliance.plan.logical import Plan
from appliance.store import Store
from appliance.worker.control import Channel
from appliance.worker.job import Job
from appliance.worker.lane import Lane
from appliance.worker.loading import open_flows
from appliance.worker.mailroom import Mailroom
from appliance.worker.recovery import recover

START_US = 1_700_000_000_000_000

#: Turns of a lane without anything new, after which there is nothing to come.
QUIET_TURNS = 6
TURN_MAX_COUNT = 100_000

#: How far one start gets before it is ended, the last one with all of it.
STAGES = ("frozen", "committed", "delivered", "trimmed")


class Box:
    """Starts of one flow, on a clock that goes on from one to the next."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan, self._folder = plan, folder
        self._now_us = 0
        self.cuts = 0

    def start(self, stage: str, once: bool = False) -> None:
        """Read what there is and end at that stage, without a word; `once`: run to the end."""
        job = Job(
            paths=(),
            store=str(self._folder / "shared"),
            once=once,
            options={name: {"follow": not once} for name in self._plan.sources},
        )
        log = Logger("test", "human", ERROR)
        store = Store.open(Path(job.store), identity="shared")
        lane = Lane()
        flows = open_flows(job, [self._plan], lane)
        ours, theirs = socket.socketpair()
        mailroom = Mailroom(
            job, lane, Channel(ours), log, flows, store, recover(store, flows, lane, job, log)
        )
        try:
            self._tick(lane)
            assert lane.start()
            ended = self._turn(lane, mailroom, "trimmed" if once else stage)
            assert ended == (lib.LANE_ENDED if once else lib.LANE_RUNNING)
            self._finish(mailroom, "trimmed" if once else stage)
            assert not mailroom._disk_failed
        finally:
            for flow in flows:
                flow.open.close()
            lane.destroy()
            store.close()
            os.close(mailroom._wake_fd)
            ours.close()
            theirs.close()

    def _tick(self, lane: Lane) -> None:
        self._now_us += 1000  # `commit_every`
        lane.set_clock(1_000_000_000_000 + self._now_us * 1000, START_US + self._now_us)

    def _turn(self, lane: Lane, mailroom: Mailroom, stage: str) -> int:
        """Turns of the lane, with a commit after each that has made a cut."""
        quiet = 0
        for _ in range(TURN_MAX_COUNT):
            self._tick(lane)
            ended = lane.turn()
            mailroom._carry_posts()
            quiet += 1
            if not mailroom._committer._queue.empty():
                self.cuts += 1
                if stage == "frozen":
                    return ended
                self._commit(mailroom)
                quiet = 0
            if ended != lib.LANE_RUNNING:
                return ended
            if quiet == QUIET_TURNS:
                return ended
        raise AssertionError("the lane finds no end")

    def _finish(self, mailroom: Mailroom, stage: str) -> None:
        if stage in ("delivered", "trimmed"):
            for sender in mailroom._senders.values():
                sender.finish()
                sender.run()
        if stage == "trimmed":
            self._commit(mailroom)

    def _commit(self, mailroom: Mailroom) -> None:
        """On this thread what the committer does on its own: the cuts that wait, then a trim."""
        mailroom._committer.finish()
        mailroom._committer.run()


def feed(path: Path, data: bytes) -> None:
    with path.open("ab") as out:
        out.write(data)


def stages(count: int) -> Sequence[str]:
    """The stage of each start: the first of four stages is the hardest, and all come by turns."""
    return [STAGES[number * 3 % len(STAGES)] for number in range(count)]
