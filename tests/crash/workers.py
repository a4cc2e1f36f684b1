"""Workers as the tests of kills have them: started, fed, ended in the middle of something."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from appliance import clock
from appliance.supervisor.page import Page
from appliance.worker.control import Channel, ChannelClosed
from appliance.worker.job import Job

ROOT = Path(__file__).resolve().parents[2]

PATIENCE_S = 60.0


class Nursery:
    """The process that forks workers (nursery.py), one at a time."""

    def __init__(self) -> None:
        self._door, theirs = socket.socketpair()
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "crash" / "nursery.py")],
            stdin=theirs,
            env={**os.environ, "PYTHONPATH": path},
        )
        theirs.close()
        self._door.settimeout(PATIENCE_S)

    def start(self, job: Job, log: Path, crash_at: str, broken: str, hold_at: str) -> Worker:
        """Fork a worker and give it its job."""
        ours, theirs = socket.socketpair()
        page = Page()
        folder = str(Path(job.paths[0]).parent)
        order = {"do": "start", "log": str(log), "crash_at": crash_at, "broken": broken}
        order |= {"hold_at": hold_at, "folder": folder}
        socket.send_fds(self._door, [json.dumps(order).encode()], [theirs.fileno(), page.fd])
        theirs.close()
        self._answer()
        channel = Channel(ours)
        try:
            channel.send("job", **job.pack())
        except ChannelClosed:
            assert crash_at, "a worker that is not to die takes its job"
        return Worker(self, channel, page)

    def order(self, do: str) -> list[int]:
        self._door.sendall(json.dumps({"do": do}).encode())
        return self._answer()

    def _answer(self) -> list[int]:
        data = self._door.recv(65_536)
        assert data, "the nursery is gone"
        codes: list[int] = json.loads(data)
        return codes

    def close(self) -> None:
        self._door.close()
        assert self._process.wait(PATIENCE_S) == 0


@contextmanager
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    try:
        yield made
    finally:
        made.close()


class Worker:
    """A worker that was started. `messages`: what it has said over its channel, by kind."""

    def __init__(self, nursery: Nursery, channel: Channel, page: Page) -> None:
        self._nursery, self._channel, self._page = nursery, channel, page
        self.messages: dict[str, dict[str, Any]] = {}
        self.is_gone = False

    def wait_for(self, kind: str, wait_s: float = PATIENCE_S) -> bool:
        """Until it has said this; False when it died first, or did not in time."""
        until_s = clock.monotonic_s() + wait_s
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        while not self.is_gone and kind not in self.messages:
            left_s = until_s - clock.monotonic_s()
            if not poll.poll(max(left_s, 0) * 1000) and left_s <= 0:
                break
            try:
                for message in self._channel.receive():
                    self.messages[message["kind"]] = message
            except ChannelClosed:
                self.is_gone = True
        return kind in self.messages

    def wait_until_gone(self, wait_s: float) -> bool:
        self.wait_for("its end", wait_s)
        return self.is_gone

    def stop(self) -> None:
        self._channel.send("stop", drain=True, close=True)

    def events(self) -> int:
        """Records that its lane has worked on."""
        pulse = self._page.pulse()
        return pulse.events if pulse is not None else 0

    def end(self, kill: bool) -> tuple[list[int], int]:
        """Kill it, or wait for its end; the exit codes of worker and stand-in, and its events."""
        if kill:
            self._nursery.order("kill")
        codes = self._nursery.order("reap")
        events = self.events()
        self._channel.close()
        self._page.close()
        return codes, events
