"""The two deliveries without numbers, through kills at every stage, to somebody who stays alive:
each result arrives, and some may come twice; never more than what no cut had told of yet.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from integration.chain import Node
from integration.processes import eventually

FLOW = """
version = 1
name = "box"
[settings]
commit_every = "20ms"
[source.numbers]
file = {{ path = "in.jsonl", follow = true }}
[step.total]
from = "numbers"
running = {{ total = "count()" }}
[sink.at-least-once]
from = "total"
tcp = {{ connect = "127.0.0.1:{later}" }}
delivery = "at_least_once"
[sink.immediate]
from = "total"
tcp = {{ connect = "127.0.0.1:{at_once}" }}
"""

STAGES = [
    "freeze.after:3", "commit.before:2", "commit.after:2", "release.after:3", "ack.after:2",
    "send.before:2", "send.after:2", "trim.before:1", "trim.after:1",
]  # fmt: skip


class Taker:
    """Takes lines from whoever connects. What a connection ends within is no line."""

    def __init__(self, listener: socket.socket) -> None:
        self.lines: list[bytes] = []
        self._listener = listener
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def _take(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # the test is over
                return
            with connection:
                rest = b""
                while data := connection.recv(65_536):
                    *whole, rest = (rest + data).split(b"\n")
                    self.lines += whole

    def numbers(self) -> list[int]:
        """Of the results, each with the state that it must have come from."""
        found = [json.loads(line) for line in list(self.lines)]
        assert all(one["total"] == one["n"] for one in found)
        return [one["n"] for one in found]

    def end(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@contextmanager
def taker() -> Iterator[Taker]:
    made = Taker(socket.create_server(("127.0.0.1", 0)))
    try:
        yield made
    finally:
        made.end()


def test_nothing_is_lost_and_little_comes_twice(tmp_path: Path) -> None:
    fed = 0

    def feed(count: int) -> None:
        nonlocal fed
        with (tmp_path / "box" / "in.jsonl").open("a") as out:
            out.writelines(f'{{"n":{n}}}\n' for n in range(fed + 1, fed + count + 1))
        fed += count

    with taker() as later, taker() as at_once:
        box = Node(tmp_path / "box", FLOW.format(later=later.port, at_once=at_once.port))
        try:
            feed(5)
            for stage in STAGES:
                box.start(crash_at=stage)
                for _ in range(60):
                    feed(5)
                    if box.is_dead(within_s=1.0):
                        break
                else:
                    raise AssertionError(f"it never reaches {stage}")
            box.start()
            feed(5)
            wanted = list(range(1, fed + 1))
            for one in (later, at_once):
                eventually(lambda one=one: fed in one.numbers(), "the last one comes")  # type: ignore[misc]
        finally:
            box.remove()
        for one in (later, at_once):
            numbers = one.numbers()
            assert sorted(set(numbers)) == wanted, "each has come"
            _check_order(numbers)


def _check_order(numbers: list[int]) -> None:
    """What comes again is a part of what came, and goes on behind it without a gap."""
    for before, number in zip([0, *numbers], numbers, strict=False):
        assert number <= before + 1, (before, number)
