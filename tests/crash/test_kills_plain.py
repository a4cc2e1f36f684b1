"""Plain TCP knows no acknowledgement: what came since the last cut may be lost with a kill. Still
nothing comes twice, and state and results have lost the same: each result follows from the last.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from appliance.points import POINTS
from crash.sequence import Kill, Scenario, lines, outputs, rows
from crash.workers import PATIENCE_S, Nursery, Worker
from integration.processes import eventually

MESSAGES = 500


class Sender:
    """One connection; what a dead receiver does not take is gone."""

    acknowledged = 0

    def __init__(self, port: int) -> None:
        self.sent = 0
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)

    def send(self, message: bytes) -> None:
        self.sent += 1
        try:
            self._socket.sendall(message)
        except ConnectionError as error:
            self.lost = error

    def close(self) -> None:
        self._socket.close()


class Plain(Scenario):
    """Each message is sent once."""

    sent = 0

    def _connect(self, worker: Worker) -> Any:
        try:
            sender = Sender(self.port)
        except ConnectionError:
            return None  # it was killed before
        for message in self.messages[self.sent : self._fed]:
            sender.send(message)
        return sender

    def _note_client(self, client: Any) -> None:
        if client is not None:
            client.close()
            self.sent += client.sent

    def committed(self) -> int:
        return 0  # positions are those of connections, which are gone

    def run_to_the_end(self) -> None:
        worker = self._start(Kill())
        assert worker.wait_for("ready"), self.log()
        left = len(self.messages) - self.sent
        self.feed(left)
        sender = self._connect(worker)
        eventually(lambda: worker.events() == left, "all is read")
        sender.close()
        worker.stop()
        assert worker.wait_until_gone(PATIENCE_S), self.log()
        assert worker.end(kill=False)[0] == [0], self.log()


def judge(folder: Path, sent: list[bytes], last: int) -> None:
    """Results of each key in their order, none twice, each with the three that came before it, and
    the last messages all there."""
    found = [json.loads(line) for line in outputs(folder)["four"].splitlines()]
    query = "SELECT key, seen FROM four ORDER BY rowid"
    stored = [{"key": key, "seen": json.loads(seen)} for key, seen in rows(folder, query)]
    assert stored == found
    seen: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for result in found:
        before = seen[result["key"]]
        assert result["seen"] == [*before[-3:], result["seen"][-1]]
        assert result["seen"][-1] > before[-1]
        before.append(result["seen"][-1])
    for line in sent[-last:]:
        record = json.loads(line)
        assert record["n"] in seen[record["key"]], record


@pytest.mark.parametrize("broken", ["", "merge-committed"])
def test_what_is_lost_is_lost_everywhere(broken: str, workers: Nursery, quick_path: Path) -> None:
    """Rows that a transaction of their own commits ahead of the results are noticed."""
    chance = random.Random(6)
    kills = [Kill(at=f"{point}:1") for point in POINTS[2:]]
    kills += [Kill(at=f"transaction.before:{count}") for count in (3, 4, 5, 6)] * 2
    kills += [Kill(after_s=chance.random() * 0.08) for _ in range(10)]
    chance.shuffle(kills)
    scenario = Plain(workers, quick_path / "box", lines(MESSAGES, 6), "tcp", broken, seed=6)
    scenario.run(kills)
    assert outputs(scenario.folder)["faults"] == b""
    with pytest.raises(AssertionError) if broken else contextlib.nullcontext():
        judge(scenario.folder, scenario.messages, last=MESSAGES - scenario.sent)
    count = len(outputs(scenario.folder)["four"].splitlines())
    assert 0 < MESSAGES - scenario.sent < count < MESSAGES, "some are lost, as they may be"
