"""One stream at the receiver: whose it is, what has been handed on of it and what is durable."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgpack

from appliance.formats import UPSTREAM_POSITION
from appliance.limits import LINK_NAME_MAX_COUNT
from appliance.link import wire
from appliance.link.numbers import Numbers
from appliance.link.wire import Hello

_LIST_OF_8 = b"\x98"


@dataclass
class History:
    """`next` and `durable` have for each shard the number that comes next: after what was handed
    on, and after what a cut holds. `lost` counts the results of recorded gaps.
    """

    stream: bytes
    node: str
    flow: str
    sink: str
    epoch: int
    instance: bytes
    next: Numbers = field(default_factory=Numbers)
    durable: Numbers = field(default_factory=Numbers)
    lost: int = 0
    _begin: bytes = field(default=b"", repr=False, compare=False)  # of its position, once known

    @property
    def partition(self) -> str:
        """Its partition in the flow: the stream's id in hexadecimal, and the sink. Numbers count
        the results of one sink, and a flow may send with two of them to one receiver.
        """
        return f"{self.stream.hex()}.{self.sink}"

    @property
    def key(self) -> tuple[bytes, str]:
        """What tells it from all others."""
        return self.stream, self.sink

    @property
    def who(self) -> tuple[str, str, str]:
        return self.node, self.flow, self.sink

    def follows(self, hello: Hello) -> None:
        """It is this sender's from now on."""
        self.node, self.flow = hello.node, hello.flow
        self.epoch, self.instance = hello.epoch, hello.instance
        self._begin = b""

    def position(self) -> bytes:
        """How far it has been handed on, as a cut keeps it."""
        if not self._begin:  # every message has a position: what does not change is packed once
            names = (self.node, self.flow, self.sink)
            values = (UPSTREAM_POSITION.version, *names, self.epoch, self.instance)
            self._begin = _LIST_OF_8 + b"".join(map(msgpack.packb, values))
        how_far: bytes = msgpack.packb(self.next.packed()) + msgpack.packb(self.lost)
        return self._begin + how_far

    @classmethod
    def restored(cls, partition: str, position: bytes) -> History:
        """From a partition and its position. ValueError: they are not of this version, or no
        upstream source made them."""
        try:
            values = msgpack.unpackb(
                position, max_array_len=8, max_map_len=0, max_str_len=4 * LINK_NAME_MAX_COUNT
            )
            version, node, flow, sink, epoch, instance, numbers, lost = values
            stream = bytes.fromhex(partition.partition(".")[0])
            if refusal := UPSTREAM_POSITION.refusal(int(version)):
                raise ValueError(refusal)
            if len(stream) != wire.STREAM_BYTES:
                raise ValueError("its stream is no 16 bytes")
            if not all(isinstance(name, str) for name in (node, flow, sink)):
                raise ValueError("its names are no text")
            if not (isinstance(epoch, int) and isinstance(instance, bytes)):
                raise ValueError("its epoch is none")
            made = cls(stream, node, flow, sink, epoch, instance, lost=int(lost))
            if made.partition != partition:
                raise ValueError(f"it belongs to {made.partition!r}")
            made.next = Numbers(wire.read_vector(numbers))
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise ValueError(
                f"the position of {partition!r} is no upstream source's: {error}"
            ) from error
        return made

    def is_durable(self, position: bytes) -> bool:
        """A cut holds everything up to this position, which this source gave. Whether that is more
        than before."""
        found = History.restored(self.partition, position)
        before = self.durable
        self.durable = found.next.at_most(self.next).at_least(before)
        return self.durable != before
