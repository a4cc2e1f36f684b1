"""What the tests of links share: batches, a log that takes notes, both halves without sockets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from appliance.connect import Batch, Chunk
from appliance.link.receiver import Receiver
from appliance.link.sender import Memory, Sender
from appliance.link.wire import Hello

STREAM = bytes(range(16))
ONE, TWO = b"start-01", b"start-02"  # instances: two starts of a process


class Notes:
    """A log whose lines are a list."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str, **fields: object) -> None:
        self.lines.append(f"{message} {fields}")

    def warning(self, message: str, **fields: object) -> None:
        self.lines.append(f"{message} {fields}")

    def said(self, text: str) -> int:
        """How many lines have this text in them."""
        return sum(text in line for line in self.lines)


def hello(epoch: int = 1, instance: bytes = ONE, stream: bytes = STREAM, **more: object) -> Hello:
    """A HELLO of the sink `out` of the flow `f` on `box`."""
    return Hello(stream, epoch, instance, "box", "f", "out", **more)  # type: ignore[arg-type]


def sender(memory: Memory | None = None, **words: object) -> Sender:
    return Sender(hello(**words), Memory({}, None) if memory is None else memory)  # type: ignore[arg-type]


def batches(shards: Sequence[Sequence[int]], stream: bytes = STREAM) -> list[Batch]:
    """A batch for each list of shards, numbered on from 1; a record names its shard and number."""
    numbers: dict[int, int] = {}
    made = []
    for each in shards:
        first = {shard: numbers.get(shard, 1) for shard in each}
        records = []
        for shard in each:
            number = numbers.get(shard, 1)
            records.append(b"%d:%d" % (shard, number))
            numbers[shard] = number + 1
        made.append(Batch(stream, 1, first, bytes(each), records))
    return made


def messages(framed: bytes) -> list[bytes]:
    """Records out of their frames of 32-bit lengths."""
    found = []
    at = 0
    while at < len(framed):
        end = at + 4 + int.from_bytes(framed[at : at + 4], "big")
        assert end <= len(framed)
        found.append(framed[at + 4 : end])
        at = end
    return found


def in_order(records: Sequence[bytes]) -> Mapping[int, list[int]]:
    """The numbers that came, by shard."""
    found: dict[int, list[int]] = {}
    for record in records:
        shard, number = map(int, record.split(b":"))
        found.setdefault(shard, []).append(number)
    return found


class Pair:
    """A receiver and what came out of it, fed by senders without a wire."""

    def __init__(self) -> None:
        self.notes = Notes()
        self.receiver = Receiver(self.notes)
        self.taken: list[Chunk] = []

    @property
    def records(self) -> list[bytes]:
        return [record for each in self.taken for record in messages(each.data)]

    @property
    def positions(self) -> dict[str, bytes]:
        return {each.partition: each.position for each in self.taken}

    def give(self, message: bytes, connection: bytes = b"a") -> list[bytes]:
        """One message in; what the receiver answers to this connection."""
        taken = self.receiver.receive(connection, message)
        if taken is not None:
            self.taken.append(taken)
        return self.answers(connection)

    def answers(self, connection: bytes = b"a") -> list[bytes]:
        box, self.receiver.outbox = self.receiver.outbox, []
        return [message for to, message in box if to == connection]
