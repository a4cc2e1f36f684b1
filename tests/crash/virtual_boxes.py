"""Workers and the network between them on a clock that a test owns (virtual_time.py).

A box is a worker as it is in production, with its main loop, committer, threads of sources and
sinks, lane, and store on the disk, but in the test's process and without a supervisor. Links are
real from HELLO to ACK; what ZeroMQ would carry goes from hand to hand.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.link import upstream
from appliance.logs import Logger
from appliance.native import lib
from appliance.worker import committer, inbox, mailroom, senders, spool
from appliance.worker.control import Channel
from appliance.worker.damage import open_store
from appliance.worker.job import Job
from appliance.worker.lane import Lane
from appliance.worker.loading import load_plans, open_flows
from appliance.worker.recovery import recover
from crash.virtual_time import Task, World, in_place_of_the_librarys, virtual_time

#: 2026-11-02T00:00:00Z: the box knows the time.
START_US = 1_793_577_600_000_000


class TurnedLane(Lane):
    """A lane that is turned whenever it has mail, and as often as it has cuts to make."""

    world: World
    turn_every_s: float
    has_mail = False

    def run(self) -> int:
        assert self.start()
        while True:
            self.has_mail, events = False, self.events
            self.set_clock(self.world.now_us * 1000, self.world.now_us)
            end = self.turn()
            if end != lib.LANE_RUNNING:
                return end
            if self.events == events:  # nothing is left to read
                beat_us = round(self.turn_every_s * 1e6)
                left_us = beat_us - (self.world.now_us - self.world.start_us) % beat_us
                self.world.wait(left_us / 1e6, lambda: self.has_mail)

    def mail_chunk(self, *words: Any) -> bool:
        self.has_mail = True
        return super().mail_chunk(*words)

    def mail_committed(self, cut: int) -> None:
        self.has_mail = True
        super().mail_committed(cut)

    def mail_spool(self, flow: int, sink: int, full: bool) -> None:
        self.has_mail = True
        super().mail_spool(flow, sink, full)

    def mail_stop(self, close: bool = False) -> None:
        self.has_mail = True
        super().mail_stop(close)


class Box:
    """One worker with the flow of a file. `start`, then it lives as time goes by."""

    def __init__(self, world: World, folder: Path, flow: str) -> None:
        self.world, self.folder = world, folder
        folder.mkdir(exist_ok=True)
        (folder / "flow.toml").write_text(flow)
        self._asked = 0
        self._is_alive = False

    def start(self) -> None:
        """As `worker.main` does."""
        job = Job(paths=(str(self.folder / "flow.toml"),), store=str(self.folder / "store"))
        plans, _, _ = load_plans(job)
        self._log = (self.folder / "log").open("ab")
        log = Logger("worker", fd=self._log.fileno())
        self.lane = TurnedLane()
        self.lane.world = self.world
        self.lane.turn_every_s = plans[0].settings.commit_every_us / 1e6
        self.store = open_store(Path(job.store))
        flows = open_flows(job, plans, self.lane)
        recovered = recover(self.store, flows, self.lane, job, log)
        ours, theirs = socket.socketpair()
        self._ours, self._theirs = Channel(ours), Channel(theirs)
        self.room = mailroom.Mailroom(
            job, self.lane, self._theirs, log, flows, self.store, recovered
        )
        self.spools: dict[str, Any] = recovered[0].durable.spools
        self.ended: int | None = None
        self._is_alive = True
        self.world.spawn("main", self._main, str(self.folder))
        self.world.run(0)

    def _main(self) -> None:
        self.ended = self.room.run()

    def status(self) -> dict[str, Any]:
        """What the worker says of itself."""
        self._asked += 1
        self._ours.send("status", id=self._asked)
        found: list[dict[str, Any]] = []

        def has_come() -> bool:
            found.extend(m for m in self._ours.receive() if m.get("id") == self._asked)
            return bool(found)

        self.world.run_until(has_come, 1.0)
        return found[0]

    def end_of(self, name: str) -> dict[str, Any]:
        """What it says of one source or sink."""
        (found,) = [end for end in self.status()["ends"] if end["name"] == name]
        assert isinstance(found, dict)
        return found

    def said(self, words: str = "") -> list[str]:
        return [line for line in (self.folder / "log").read_text().splitlines() if words in line]

    def drain(self) -> None:
        """Close what is open, deliver everything, end."""
        self._ours.send("stop", drain=True, close=True)
        self.world.run_until(lambda: self.ended is not None, 86_400)
        assert self.ended == 0
        self._let_go()

    def kill(self) -> None:
        """End where it stands; what is on the disk is there for the next start."""
        if self._is_alive:
            self.world.kill(str(self.folder))
            self._let_go()

    def _let_go(self) -> None:
        self._is_alive = False
        for flow in self.room._flows:
            flow.open.close()
        self.lane.destroy()
        self.store.close()
        self._ours.close()
        self._theirs.close()
        os.close(self.room._wake_fd)
        self._log.close()


class Network:
    """What is between a box and its receiver: `answers` when a connection can be made. When not,
    every `silent_every`-th is not refused, but what is sent just vanishes. `tries` counts the
    connections that were begun."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.listener: VirtualListener | None = None
        self.answers = False
        self.silent_every = self.tries = 0


class VirtualLine:
    """A sender's connection, in place of `link.sockets.Line`."""

    def __init__(self, network: Network) -> None:
        network.tries += 1
        self._network = network
        self._listener = network.listener if network.answers else None
        is_silent = network.silent_every > 0 and network.tries % network.silent_every == 0
        self._is_lost = self._listener is None and not is_silent
        self._name = b"%d" % network.tries
        self.inbox: deque[bytes] = deque()
        if self._listener is not None:
            self._listener.lines[self._name] = self

    @property
    def _is_gone(self) -> bool:
        listener = self._listener
        return self._is_lost or (listener is not None and listener is not self._network.listener)

    def send(self, message: bytes | memoryview) -> bool:
        if self._listener is not None:
            self._listener.inbox.append((self._name, memoryview(bytes(message)), ""))
        return True

    def receive(self) -> bytes | None:
        return self.inbox.popleft() if self.inbox else None

    def wait(self, timeout_s: float, to_send: bool) -> None:
        self._network.world.wait(timeout_s, lambda: to_send or bool(self.inbox) or self._is_gone)

    def look(self) -> None:
        if self._is_gone:
            raise ConnectionError("cannot connect")

    def close(self) -> None:
        self._is_lost = True
        if self._listener is not None:
            self._listener.lines.pop(self._name, None)


class VirtualListener:
    """A receiver's socket, in place of `link.sockets.Listener`."""

    address = "virtual"

    def __init__(self, network: Network) -> None:
        self._network = network
        self.inbox: deque[tuple[bytes, memoryview, str]] = deque()
        self.lines: dict[bytes, VirtualLine] = {}
        self.failed: Counter[str] = Counter()
        network.listener = self

    def receive(self) -> tuple[bytes, memoryview, str] | None:
        return self.inbox.popleft() if self.inbox else None

    def send(self, connection: bytes, message: bytes) -> bool:
        line = self.lines.get(connection)
        if line is not None:
            line.inbox.append(message)
        return line is not None

    def wait(self, timeout_s: float) -> None:
        self._network.world.wait(timeout_s, lambda: bool(self.inbox))

    def attend(self) -> None:
        """Nobody knocks."""

    def close(self) -> None:
        self._network.listener = None


@contextlib.contextmanager
def boxes(look_every_s: float) -> Iterator[tuple[World, Network]]:
    """A world in which boxes can be started. What a thread looks at again and again, in production
    many times a second, it looks at so often here."""
    with virtual_time(START_US) as (world, patch):
        network = Network(world)
        _replace(world, network, patch)
        patch.setattr(upstream, "READ_WAIT_MAX_S", look_every_s)
        patch.setattr(senders, "CONFIRM_POLL_S", look_every_s)
        yield world, network


def _replace(world: World, network: Network, patch: pytest.MonkeyPatch) -> None:
    ours = in_place_of_the_librarys(world)
    for module in (committer, inbox, mailroom, senders, spool):
        for name, stand_in in ours.items():
            if hasattr(module, name):
                patch.setattr(module, name, stand_in)
    tasks: dict[object, Task] = {}

    def start(thread: Any) -> None:
        tasks[thread] = world.spawn(thread.name, thread.run)

    def join(thread: Any, timeout_s: float | None = None) -> None:
        tasks[thread].join(timeout_s)

    for kind in (committer.Committer, inbox.SourceThread, senders.SenderThread):
        patch.setattr(kind, "start", start)
        patch.setattr(kind, "join", join)
    patch.setattr(
        mailroom, "start_lane", lambda run, ended: world.spawn("lane", lambda: ended(run()))
    )
    patch.setattr(upstream, "Line", lambda *_: VirtualLine(network))
    patch.setattr(upstream, "Listener", lambda *_: VirtualListener(network))
