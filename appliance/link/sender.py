"""What a sender knows: what the receiver has, what it may be sent now, and what is durable there.

One object serves one connection; it makes messages and is given those that come, and touches no
socket. What was given up (a spool that dropped its oldest results) shows as numbers that are
missing, and goes out as a gap: never silently.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from appliance.connect import Batch, Records
from appliance.limits import LINK_UNCONFIRMED_MAX_COUNT
from appliance.link import wire
from appliance.link.numbers import Numbers
from appliance.link.wire import Ack, Gap, Garbled, Hello, Reset, ResumeAt
from appliance.native import count_shards


class Refused(ConnectionError):
    """The receiver will not have this sender, or says what cannot be; the text is for a person."""


class GoBack(ConnectionError):
    """The receiver wants results again that it was sent already: begin anew with what it says."""


@dataclass
class Memory:
    """What outlives a connection: for each shard the oldest number there still is, and the one
    after the newest (None: not known).
    """

    first: dict[int, int]
    end: dict[int, int] | None

    def confirmed(self, durable: Mapping[int, int]) -> None:
        """What is before these numbers is durable at the receiver, and may be here no more."""
        for shard, number in durable.items():
            self.first[shard] = max(self.first.get(shard, 1), number)

    def made(self, end: Mapping[int, int]) -> None:
        """There are results up to these numbers."""
        if self.end is None:
            return
        for shard, number in end.items():
            self.end[shard] = max(self.end.get(shard, 1), number)


class Sender:
    """The sending half of one connection."""

    def __init__(self, hello: Hello, memory: Memory) -> None:
        self._hello = hello
        self._memory = memory
        self._next = Numbers()  # to send
        self._durable = Numbers()
        self.is_open = False  # whether the receiver has said where to go on
        self._credit = self._sent = 0
        self._waiting: deque[bytes] = deque()  # messages of gaps
        self._messages: Iterator[memoryview] = iter(())
        self._packer = wire.DataPacker(hello)
        self._head: memoryview | None = None  # made, but without credit so far
        self._marks: deque[dict[int, int]] = deque()  # of each batch on its way: what is after it
        self._confirmed = 0
        self.given_up = 0  # results that the receiver lacks and that are here no more

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to send, whatever the credit."""
        return bool(self._waiting) or self._peek() is not None

    def confirmed(self) -> int:
        """How many of the batches taken so far are durable at the receiver."""
        durable = self._durable.listed() if self._marks else []
        while self._marks and all(durable[shard] >= end for shard, end in self._marks[0].items()):
            self._marks.popleft()
            self._confirmed += 1
        return self._confirmed

    # ---- what comes ----

    def receive(self, message: bytes) -> None:
        """One message of the receiver. Refused or GoBack: this connection is at its end."""
        try:
            found = wire.read(message)
        except Garbled as error:
            raise Refused(f"the receiver sent a message that makes no sense: {error}") from error
        match found:
            case Reset():
                raise Refused(f"the receiver refused ({found.code}): {found.reason}")
            case ResumeAt():
                self._resume(found)
            case Ack():
                self._check_open()
                self._acknowledge(found)
            case _:
                raise Refused("the receiver sent a message that only a sender sends")

    def _resume(self, at: ResumeAt) -> None:
        if self.is_open:
            raise GoBack("the receiver lacks results that were sent: they are sent again")
        if (at.stream, at.epoch) != (self._hello.stream, self._hello.epoch):
            raise Refused("the receiver answered for another stream or epoch")
        self._check_never_sent(at.next)
        wanted, durable = Numbers(at.next), Numbers(at.durable)
        if durable.is_above(wanted):
            raise Refused("the receiver calls results durable that it still wants")
        self._next, self._durable, self._credit = wanted, durable, at.credit
        self.is_open = True
        # What no batch will bring, because it was given up or was confirmed before, is said here.
        for shard, first in sorted(self._memory.first.items()):
            self._skip_to(shard, first)
        self._memory.confirmed(at.durable)

    def _check_never_sent(self, vector: Mapping[int, int]) -> None:
        """A receiver that knows more of this stream than we ever made: ours is an older copy."""
        if self._memory.end is None:
            return
        for shard, number in vector.items():
            made = self._memory.end.get(shard, 1)
            if number > made:
                raise Refused(
                    f"the receiver has result {number - 1} of shard {shard}, but this state has "
                    f"made only {made - 1}: it is older than what was sent from it"
                )

    def _check_open(self) -> None:
        if not self.is_open:
            raise Refused("the receiver acknowledges before it has said where to go on")

    def _acknowledge(self, ack: Ack) -> None:
        if ack.stream != self._hello.stream:
            raise Refused("the receiver acknowledges another stream")
        for shard, number in ack.durable.items():
            if number > self._next[shard]:
                raise Refused(
                    f"the receiver acknowledges result {number - 1} of shard {shard}, which was "
                    "never sent"
                )
        durable = Numbers(ack.durable)
        if self._durable.is_above(durable) or ack.credit < self._credit:
            raise Refused("the receiver's numbers go back")
        self._durable, self._credit = durable, ack.credit
        self._memory.confirmed(ack.durable)

    # ---- what goes ----

    def offer(self, batch: Batch) -> bool:
        """Take a batch, to be sent as credit comes; False: one is still being sent, or too many are
        on their way. ValueError: it cannot be sent at all.
        """
        if not self.is_open or self.is_waiting or len(self._marks) >= LINK_UNCONFIRMED_MAX_COUNT:
            return False
        end = self._checked(batch)
        wanted = self._next.listed()
        is_known = False
        for shard, first in batch.first.items():
            if first > wanted[shard]:
                self._skip_to(shard, first)
            elif first < wanted[shard] and shard in end:
                is_known = True
        shards, records = batch.shards, Records.of(batch.records)
        if is_known:
            shards, records = self._without_known(batch)
        self._messages = self._packer.messages(self._next, shards, records)
        self._memory.made(end)
        self._marks.append(end)
        return True

    def _checked(self, batch: Batch) -> dict[int, int]:
        """The numbers behind it, of the shards that it has."""
        if batch.stream != self._hello.stream or batch.epoch > self._hello.epoch:
            raise ValueError("a batch of another stream, or of a later epoch, than the link's")
        counts, first = count_shards(batch.shards), batch.first
        if len(batch.shards) != len(batch.records) or not counts.keys() <= first.keys():
            raise ValueError("a batch whose records, shards and numbers do not belong together")
        return {shard: first[shard] + count for shard, count in counts.items()}

    def _skip_to(self, shard: int, first: int) -> None:
        """The numbers of a shard up to here will never come."""
        wanted = self._next[shard]
        if wanted < first:
            gap = Gap(self._hello.stream, self._hello.epoch, shard, wanted, first - 1)
            self._waiting.append(wire.pack(gap))
            self._next[shard] = first
            self.given_up += first - wanted

    def _without_known(self, batch: Batch) -> tuple[bytes, Records]:
        """Only the records that the receiver has not got, and their shards."""
        numbers = dict(batch.first)
        kept = []
        for i, shard in enumerate(batch.shards):
            if numbers[shard] >= self._next[shard]:
                kept.append(i)
            numbers[shard] += 1
        shards = bytes(batch.shards[i] for i in kept)
        return shards, Records.of([batch.records[i] for i in kept])

    def _peek(self) -> memoryview | None:
        if self._head is None:
            self._head = next(self._messages, None)
        return self._head

    def next_message(self) -> bytes | memoryview | None:
        """The next message to send, valid until it `has_left`; None: there is none, or the receiver
        gives no credit for it."""
        message: bytes | memoryview | None
        message = self._waiting[0] if self._waiting else self._peek()
        if message is None or self._sent + len(message) > self._credit:
            return None
        return message

    def has_left(self) -> None:
        """The message that `next_message` gave is on its way."""
        if self._waiting:
            self._sent += len(self._waiting.popleft())
        elif self._head is not None:
            self._sent += len(self._head)
            self._head = None
