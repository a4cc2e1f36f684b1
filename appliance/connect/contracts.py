"""What the engine asks of sources and sinks: three verbs each, and small optional traits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct, field

# ---- what travels ----


class Chunk(Struct, frozen=True):
    """Bytes as they came, the partition they belong to, and the position after them.

    `data` is a piece of a stream, cut anywhere; for a source with the trait `Messages`, a list of
    whole messages. `position` is in the source's own terms and is given back to `open` as it is.
    """

    data: bytes | Sequence[bytes]
    position: bytes = b""
    partition: str = ""


class EndOfInput(Exception):
    """Raised by `read`: this source has come to its end."""


class Later(Exception):
    """Raised by `write`: nothing of these records was taken; try again. `after_s` is a wish, in
    seconds.
    """

    def __init__(self, reason: str = "", after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Resume(Struct, frozen=True):
    """What a sink is told when it opens.

    `fresh`: the run starts from nothing, so what is there is replaced. `stream` and `epoch` are
    whose results these are (16 random bytes, made with the flow's first cut) and the number of this
    start; `flow` and `sink` are their names. `first` gives for each shard the oldest number that
    can still be sent, `end` the number of its next new result (None: not known), both as recovered
    with this start: a receiver that asks for less than `first` is told what is gone, and one that
    knows more than `end` belongs to a newer state than ours.
    """

    fresh: bool = False
    stream: bytes = b""
    epoch: int = 0
    flow: str = ""
    sink: str = ""
    first: Mapping[int, int] = field(default_factory=dict)
    end: Mapping[int, int] | None = None


class Batch(Struct, frozen=True):
    """The results that one cut has committed for a sink that keeps numbers.

    A record's number counts those of its shard: `first` gives the number of the first record of
    each shard in this batch, `shards` the shard of each record, a byte each. Numbers that are
    missing before `first` are results that were given up: a recorded gap. `first` may also name
    shards that have no record here.
    """

    stream: bytes
    epoch: int
    first: Mapping[int, int]
    shards: bytes
    records: Sequence[bytes]


class NativeEnd(Struct, frozen=True):
    """How the lane itself reads or writes, as `native` returns it. The lane takes `fd` over.

    Sources: `listen` (fd), `connect` (peer), `datagram` (fd), `files` (paths, follow; pattern:
    followed files that match it are read when they appear), `stream` (fd). Sinks: `file` (fd,
    offset), `stream` (fd), `connect` (peer), `datagram` (fd, connected to its peer by us as soon as
    the peer's name is known), `blackhole`. Descriptors do not block and are not inherited.
    """

    kind: str
    fd: int = -1
    offset: int = 0
    paths: tuple[str, ...] = ()
    follow: bool = False
    pattern: str = ""
    peer: tuple[str, int] | None = None
    label: str = ""  # what a person calls it: the address that was bound, the path

    def entry(self) -> dict[str, object]:
        """What the lane's program says about it."""
        entry: dict[str, object] = {"kind": self.kind}
        if self.kind == "files":
            entry.update(paths=list(self.paths), follow=self.follow, pattern=self.pattern)
        elif self.kind == "file":
            entry.update(fd=self.fd, offset=self.offset)
        elif self.fd >= 0:
            entry.update(fd=self.fd)
        return entry


# ---- the contracts ----


@runtime_checkable
class Source(Protocol):
    """Where events come from. All verbs are called on one thread of the source's own.

    `open` is called first, and again, after `close`, when `read` has failed (with back-off): what
    it raises is logged once and tried again later. `read` is called while the lane has room.
    """

    def open(self, positions: Mapping[str, bytes]) -> None:
        """Begin exactly after these positions, by partition; an unknown partition begins at its
        start.
        """

    def read(self, limit: int) -> Chunk | None:
        """At most `limit` bytes.

        None: nothing now; it may wait up to 100 ms to find out. EndOfInput: no more, ever.
        """

    def close(self) -> None:
        """Let go of everything. Called once after each `open`, on the same thread."""


@runtime_checkable
class Sink(Protocol):
    """Where results go. All verbs are called on one thread of the sink's own."""

    def open(self, resume: Resume) -> None:
        """Make ready. What it raises is logged once and tried again with back-off."""

    def write(self, records: Sequence[bytes]) -> None:
        """Take all of these encoded records, in order.

        Later: none was taken, the same ones come again.
        """

    def close(self) -> None:
        """Let go of everything, after the last record."""


@runtime_checkable
class Placed(Protocol):
    """Trait of a sink that is exact by place: a block of results has a place of its own, and
    writing it again writes the same bytes there.
    """

    def size(self) -> int:
        """How many bytes there are: where the first block of a flow without a history goes. −1:
        this is no place of places, as a pipe is none, and the lane writes it as it comes.
        """

    def write_at(self, place: int, data: bytes | memoryview) -> None:
        """These bytes at this place."""

    def sync(self) -> None:
        """All that was written survives a power cut when this returns."""


@runtime_checkable
class Numbered(Protocol):
    """Trait of a sink that keeps the numbers of what it has taken together with the effect: it is
    exact.
    """

    def write_batch(self, batch: Batch) -> None:
        """Take what of these records has not been taken yet. Later: none was; they come again."""


@runtime_checkable
class Confirming(Protocol):
    """Trait of a sink whose other side says later what is durable there."""

    def confirmed(self) -> int:
        """How many of the batches written since `open` are durable at the receiver. Called often;
        it must not wait long.
        """


@runtime_checkable
class Acknowledging(Protocol):
    """Trait of a source whose other side wants to know what is safe."""

    def committed(self, positions: Mapping[str, bytes]) -> None:
        """Everything up to these positions is in a cut. Called on the source's own thread."""


class Messages:
    """Trait of a source that brings whole messages: the data of its chunks is a list, one message
    an entry, or bytes in which each message stands behind its length (32 bits, big-endian).
    """


class Log(Protocol):
    """Where a connector says what a person should know: a fixed text, and what varies as fields."""

    def info(self, message: str, **fields: object) -> None: ...

    def warning(self, message: str, **fields: object) -> None: ...


@runtime_checkable
class Telling(Protocol):
    """Trait of a connector that has more to say than errors, and counts what it meets."""

    def tell(self, log: Log) -> None:
        """Where to say it; called before the first `open`."""

    def counts(self) -> Mapping[str, int]:
        """What it has met so far, by name. Any thread may ask."""


@runtime_checkable
class Native(Protocol):
    """Trait of a connector that the lane reads or writes itself; `read` and `write` are then never
    called.

    `open` is called before the lane starts, on the worker's main thread; what is wrong then is an
    EnvironmentFailure.
    """

    def native(self) -> NativeEnd:
        """Describe itself, after `open`."""


@runtime_checkable
class Bounded(Protocol):
    """Trait of a source that can come to an end by itself."""

    def bounded(self) -> bool:
        """Whether, as it is configured, it will."""


@runtime_checkable
class Replayable(Protocol):
    """Trait of a source that gives the same bytes again when opened at an earlier position."""

    def replayable(self) -> bool:
        """Whether, as it is configured, it does."""


def is_native(connector: object) -> bool:
    """Whether the lane reads or writes it itself."""
    return isinstance(connector, Native)


def is_bounded(connector: object) -> bool:
    """Whether this source ends by itself."""
    return isinstance(connector, Bounded) and connector.bounded()


def is_replayable(connector: object) -> bool:
    """Whether this source can be read again from a position."""
    return isinstance(connector, Replayable) and connector.replayable()


def guarantee(connector: object) -> str:
    """The class of a source: what a crash can do to what it sent (architecture, "Sources")."""
    if is_replayable(connector):
        return "replayable"
    return "acknowledged" if isinstance(connector, Acknowledging) else "fire and forget"
