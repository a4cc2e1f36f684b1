"""One stream at the receiver: whose it is, what has been handed on of it and what is durable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgpack

from appliance.limits import LINK_NAME_MAX_COUNT, SHARD_COUNT
from appliance.link import wire
from appliance.link.wire import Hello

_VERSION = 1


def _ones() -> list[int]:
    return [1] * SHARD_COUNT


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
    next: list[int] = field(default_factory=_ones)
    durable: list[int] = field(default_factory=_ones)
    lost: int = 0

    @property
    def partition(self) -> str:
        """Its partition in the flow: the stream's id in hexadecimal."""
        return self.stream.hex()

    @property
    def who(self) -> tuple[str, str, str]:
        return self.node, self.flow, self.sink

    def follows(self, hello: Hello) -> None:
        """It is this sender's from now on."""
        self.node, self.flow, self.sink = hello.node, hello.flow, hello.sink
        self.epoch, self.instance = hello.epoch, hello.instance

    def position(self) -> bytes:
        """How far it has been handed on, as a cut keeps it."""
        names = (self.node, self.flow, self.sink)
        numbers = wire.pack_vector(vector_of(self.next))
        packed = msgpack.packb((_VERSION, *names, self.epoch, self.instance, numbers, self.lost))
        assert isinstance(packed, bytes)
        return packed

    @classmethod
    def restored(cls, partition: str, position: bytes) -> History:
        """From a partition and its position. ValueError: they are not of this version, or no
        upstream source made them."""
        try:
            values = msgpack.unpackb(
                position, max_array_len=8, max_map_len=0, max_str_len=4 * LINK_NAME_MAX_COUNT
            )
            version, node, flow, sink, epoch, instance, numbers, lost = values
            stream = bytes.fromhex(partition)
            if version != _VERSION or len(stream) != wire.STREAM_BYTES:
                raise ValueError(f"version {version!r}")
            made = cls(stream, node, flow, sink, epoch, instance, lost=lost)
            made.next = list_of(wire.read_vector(numbers))
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise ValueError(f"the position of {partition!r} is no upstream source's") from error
        return made

    def is_durable(self, position: bytes) -> bool:
        """A cut holds everything up to this position, which this source gave. Whether that is more
        than before."""
        found = History.restored(self.partition, position)
        before = self.durable
        self.durable = list(map(max, before, map(min, found.next, self.next)))
        return self.durable != before


def vector_of(numbers: list[int]) -> Mapping[int, int]:
    """The shards whose next number is not the first."""
    return {shard: number for shard, number in enumerate(numbers) if number != 1}


def list_of(vector: Mapping[int, int]) -> list[int]:
    """The next number of every shard."""
    return [vector.get(shard, 1) for shard in range(SHARD_COUNT)]
