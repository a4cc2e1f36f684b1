"""What feeds the flow of a scenario, from outside of the worker that is killed: a file that grows,
a client, the upstream sink of an appliance that lives on. What is not safe yet, it gives again.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from appliance import clock
from appliance.client import Client, ClientError
from appliance.connect import Batch, Resume
from appliance.link.history import History
from appliance.link.sender import GoBack, Refused
from appliance.link.upstream import UpstreamSink
from appliance.worker.cut_form import PartitionCut
from crash.sequence import KEYS, Wrong, check
from crash.workers import PATIENCE_S, Worker
from integration.processes import eventually
from unit.ports import free_port, own_host

#: Between two looks at a worker that does not answer yet.
SETTLE_S = 0.1
LOOK_S = 0.01


class Input(Protocol):
    """`fed`: whole messages that may be read by now; `acknowledged`: as many has the worker said to
    be safe; `ends`: whether it comes to an end by itself."""

    fed: int
    acknowledged: int
    ends: bool

    def words(self, follow: bool = True) -> str:
        """The source in the flow file."""

    def feed(self, count: int) -> None:
        """About so many messages more, as far as there are any."""

    def connect(self, worker: Worker) -> None:
        """A worker is ready: give it what there is, unless it is gone before it answers."""

    def flush(self) -> None:
        """Wait until the worker has called everything safe."""

    def part(self) -> None:
        """The worker is gone, or goes: hear what it has said last, and let go."""

    def committed(self, partitions: Sequence[PartitionCut]) -> int:
        """How many messages were read up to these positions."""


class FileInput:
    """A file; it mostly ends within a message."""

    ends = True
    acknowledged = 0

    def __init__(self, folder: Path, messages: Sequence[bytes], seed: int) -> None:
        self._path = folder / "in.jsonl"
        self._path.touch()
        self._bytes = b"".join(messages)
        self._average = -(-len(self._bytes) // len(messages))
        self._chance = random.Random(seed)
        self._size = self.fed = 0

    def words(self, follow: bool = True) -> str:
        return f'file = {{ path = "in.jsonl", follow = {str(follow).lower()} }}'

    def feed(self, count: int) -> None:
        more = count * self._average + self._chance.randrange(self._average)
        upto = min(self._size + more, len(self._bytes))
        with self._path.open("ab") as out:
            out.write(self._bytes[self._size : upto])
        self._size, self.fed = upto, self._bytes[:upto].count(b"\n")

    def connect(self, worker: Worker) -> None:
        """It is there."""

    def flush(self) -> None:
        """Nobody says anything to a file."""

    def part(self) -> None:
        """It stays."""

    def committed(self, partitions: Sequence[PartitionCut]) -> int:
        return sum(self._bytes[: each.position].count(b"\n") for each in partitions)


class _Sender:
    """What those have in common that connect to a port."""

    ends = False

    def __init__(self, folder: Path, messages: Sequence[bytes], seed: int) -> None:
        self.host = own_host()
        self.port = free_port(self.host)
        self._address = f"{self.host}:{self.port}"
        self._messages = messages
        self._is_connected = False
        self.fed = self.acknowledged = 0

    def feed(self, count: int) -> None:
        before, self.fed = self.fed, min(self.fed + count, len(self._messages))
        if self._is_connected:
            self._send(before)

    def _send(self, begin: int) -> None:
        """The messages from this one on."""
        raise NotImplementedError


class AcknowledgedInput(_Sender):
    """A client that has forgotten what was acknowledged, and gives all that comes after it."""

    def words(self, follow: bool = True) -> str:
        return f'acknowledged_tcp = {{ listen = "{self._address}" }}'

    def connect(self, worker: Worker) -> None:
        before = self.acknowledged
        self._client = Client(self._address, "s", first=before + 1)
        self._is_connected = True
        try:
            if self._settle(worker):
                begin = self._client.acknowledged
                check(begin >= before, f"{before} were acknowledged, {begin} are")
                self._send(begin)
        except ClientError as error:
            self._client.close()
            raise Wrong(f"{before} were acknowledged: {error}") from error

    def _settle(self, worker: Worker) -> bool:
        """Wait for the answer to its greeting; False when the worker was killed before."""
        while not worker.wait_until_gone(0):
            with contextlib.suppress(TimeoutError):
                self._client.flush(SETTLE_S)
                return True
        return False

    def _send(self, begin: int) -> None:
        for message in self._messages[begin : self.fed]:
            self._client.send(message)

    def flush(self) -> None:
        self._client.flush(PATIENCE_S)

    def part(self) -> None:
        if self._is_connected:
            self._is_connected = False
            self._client.close()
            self.acknowledged = max(self.acknowledged, self._client.acknowledged)

    def committed(self, partitions: Sequence[PartitionCut]) -> int:
        return sum(int(each.position) for each in partitions)


class UpstreamInput(_Sender):
    """The upstream sink of an appliance that is never killed: each message is a result of its key's
    shard, a batch has a few of them, and what is not confirmed is sent again."""

    def __init__(self, folder: Path, messages: Sequence[bytes], seed: int) -> None:
        super().__init__(folder, messages, seed)
        self._shards = bytes(7 * KEYS.index(json.loads(line)["key"]) for line in messages)
        self._chance = random.Random(seed)
        self._sink = UpstreamSink(to=self._address, name="far")
        self._resume = Resume(stream=b"sixteen of bytes", epoch=1, flow="far", sink="up")
        self._ends: list[int] = []  # of each batch on this connection: the message behind it
        self._is_open = False

    def words(self, follow: bool = True) -> str:
        return f'upstream = {{ listen = "tcp://{self._address}" }}'

    def connect(self, worker: Worker) -> None:
        until_s = clock.monotonic_s() + PATIENCE_S
        while not self._is_open and not worker.wait_until_gone(LOOK_S):
            check(clock.monotonic_s() < until_s, f"nobody answers at {self._address}")
            self._is_open = self._is_connected = self._holds(self._open)
        if self._is_open:
            self._send(self.acknowledged)

    def _open(self) -> None:
        self._sink.open(self._resume)
        self._ends = []

    def _send(self, begin: int) -> None:
        while begin < self.fed and self._is_connected:
            end = min(begin + self._chance.randrange(1, 4), self.fed)
            batch = self._batch(begin, end)
            self._ends.append(end)
            self._is_connected = self._holds(partial(self._sink.write_batch, batch))
            begin = end

    def _batch(self, begin: int, end: int) -> Batch:
        before, shards = Counter(self._shards[:begin]), self._shards[begin:end]
        first = {shard: before[shard] + 1 for shard in shards}
        return Batch(self._resume.stream, 1, first, shards, self._messages[begin:end])

    def _hear(self) -> None:
        confirmed = self._sink.confirmed()
        if confirmed:
            self.acknowledged = self._ends[confirmed - 1]

    def _holds(self, act: Callable[[], None]) -> bool:
        """Whether the connection still holds after this."""
        try:
            act()
        except (Refused, GoBack) as error:
            raise Wrong(f"{self.acknowledged} were acknowledged: {error}") from error
        except ConnectionError:
            return False
        gone = self._sink.counts().get("given_up", 0)
        check(not gone, f"{gone} are wanted again that were acknowledged")
        return True

    def flush(self) -> None:
        def is_safe() -> bool:
            self._hear()
            return self.acknowledged == self.fed

        eventually(is_safe, "all is confirmed")

    def part(self) -> None:
        if not self._is_open:
            return
        if self._is_connected:
            eventually(lambda: not self._holds(self._hear), "the connection breaks")
        self._holds(self._hear)  # what the worker had said by then
        self._sink.close()
        self._is_open = self._is_connected = False

    def committed(self, partitions: Sequence[PartitionCut]) -> int:
        histories = [History.restored(each.name, each.position) for each in partitions]
        strangers = [each.who for each in histories if each.stream != self._resume.stream]
        check(not strangers, f"it has results of {strangers}, who do not belong to this scenario")
        check(not any(each.lost for each in histories), "it has taken gaps, and none were sent")
        return sum(number - 1 for each in histories for number in each.next)


class PlainInput(_Sender):
    """Plain TCP: each message is sent once, and what a dead receiver does not take is gone."""

    sent = last = 0  # in all; when it connected last

    def words(self, follow: bool = True) -> str:
        return f'tcp = {{ listen = "{self._address}" }}'

    def connect(self, worker: Worker) -> None:
        with contextlib.suppress(ConnectionError):  # it was killed before
            self._socket = socket.create_connection((self.host, self.port), PATIENCE_S)
            self._is_connected = True
            self._worker, self.last = worker, self.fed - self.sent
            self._send(self.sent)

    def _send(self, begin: int) -> None:
        self.sent = self.fed
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(b"".join(self._messages[begin : self.fed]))

    def flush(self) -> None:
        eventually(lambda: self._worker.events() == self.last, "all is read")

    def part(self) -> None:
        if self._is_connected:
            self._is_connected = False
            self._socket.close()

    def committed(self, partitions: Sequence[PartitionCut]) -> int:
        return self.sent  # positions are those of connections, which are gone


INPUTS = {
    "file": FileInput,
    "acknowledged_tcp": AcknowledgedInput,
    "upstream": UpstreamInput,
    "tcp": PlainInput,
}
