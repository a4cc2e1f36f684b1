"""One native lane as the worker's Python sees it: typed calls, bytes in and bytes out.

Everything here may be called from any thread while `run` is under way on its own; the mail and post
queues are the native side's and have their locks there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack
from msgspec import Struct

from appliance import clock
from appliance.errors import BettongError
from appliance.native import address, ffi, lib, read_packed

_MESSAGE_BYTES = 1024
_TIME_EXTENSION = 1  # microseconds since 1970, signed, eight bytes (pack_put.h)


class Post(Struct, frozen=True):
    """Something the lane hands over; see `post_t` in cdefs.h. The `view` of a cut, which may be
    some megabytes, is of the lane's own bytes, released with it."""

    kind: int
    flow: int
    index: int
    number: int
    view: bytes | memoryview

    @property
    def data(self) -> bytes:
        """The bytes; of a cut a copy."""
        return bytes(self.view)


class Lane:
    """A lane and the flows loaded into it. `destroy` after `run` has returned."""

    def __init__(self, page_fd: int = -1) -> None:
        self._self = lib.lane_new(page_fd)
        if self._self == ffi.NULL:
            raise BettongError("there is not enough memory for a lane")
        self._functions: list[list[Any]] = []  # the lane borrows these objects
        self._post = ffi.new("post_t *")

    def load(self, program: bytes, functions: list[Any], once: bool) -> int:
        """Load one packed program; the flow's index. BettongError says what it refused.

        `once`: the lane ends when all its sources have.
        """
        self._functions.append(functions)
        message = ffi.new("char[]", _MESSAGE_BYTES)
        index: int = lib.lane_load(
            self._self, program, len(program), address(functions), once, message, _MESSAGE_BYTES
        )
        if index < 0:
            raise BettongError(f"the lane refused its program: {_text(message)}")
        return index

    def restore(self, flow: int, document: bytes) -> None:
        """Let a loaded flow go on from a cut, before the lane starts: `FlowPositions.pack()`.

        BettongError when it is not this flow's; the lane can then only be destroyed.
        """
        message = ffi.new("char[]", _MESSAGE_BYTES)
        if not lib.lane_restore(self._self, flow, document, len(document), message, _MESSAGE_BYTES):
            raise BettongError(f"the positions of a flow were refused: {_text(message)}")

    def restore_rows(self, flow: int, op: int, rows: bytes) -> None:
        """State rows of one operator, after `restore` and before the lane starts: any number of
        times, in any order, each key once and no tombstones.

        BettongError when they are not this operator's; the lane can then only be destroyed.
        """
        message = ffi.new("char[]", _MESSAGE_BYTES)
        if not lib.lane_restore_rows(
            self._self, flow, op, rows, len(rows), message, _MESSAGE_BYTES
        ):
            raise BettongError(f"the state of a step was refused: {_text(message)}")

    def run(self) -> int:
        """Run to the lane's end (an `enum lane_end`); the GIL is given back meanwhile."""
        end: int = lib.lane_run(self._self)
        return end

    def end_before_cut(self, number: int) -> None:
        """For tests: the process ends for good just before this cut, counted from 1; 0: never."""
        lib.lane_end_before_cut(self._self, number)

    def set_clock(self, monotonic_ns: int, wall_us: int) -> None:
        """For tests: what the next turn takes the time to be."""
        lib.lane_set_clock(self._self, monotonic_ns, wall_us)

    def start(self) -> bool:
        """For tests: open what `run` would open first."""
        started: bool = lib.lane_start(self._self)
        return started

    def turn(self) -> int:
        """For tests: one turn of the loop, without waiting."""
        end: int = lib.lane_turn(self._self)
        return end

    def mail_chunk(
        self, flow: int, source: int, partition: bytes, position: bytes, data: bytes
    ) -> bool:
        """Bytes of a source written in Python; False when the inbox is full."""
        taken: bool = lib.lane_mail_chunk(
            self._self,
            flow,
            source,
            partition,
            len(partition),
            position,
            len(position),
            data,
            len(data),
        )
        return taken

    def mail_end(self, flow: int, source: int) -> None:
        """A source written in Python has come to its end."""
        lib.lane_mail_end(self._self, flow, source)

    def mail_committed(self, cut: int) -> None:
        """A cut is committed."""
        lib.lane_mail_committed(self._self, cut)

    def mail_taken(self, flow: int, sink: int) -> None:
        """A sink written in Python has taken the oldest list of records posted to it."""
        lib.lane_mail_taken(self._self, flow, sink)

    def mail_spool(self, flow: int, sink: int, full: bool) -> None:
        """The spool of a sink has no more room, or has room again."""
        lib.lane_mail_spool(self._self, flow, sink, full)

    def mail_address(self, flow: int, index: int, sockaddr: bytes) -> None:
        """The answer to POST_RESOLVE; empty when there is none."""
        lib.lane_mail_address(self._self, flow, index, sockaddr, len(sockaddr))

    def mail_stop(self, close: bool = False) -> None:
        """Stop reading, finish what is read, end. `close`: as if all sources had come to their
        ends, so that open windows are closed."""
        lib.lane_mail_stop(self._self, close)

    def mail_capture(self, flow: int, limit: int) -> None:
        """Write down what this flow does from the next cut on, at most so many bytes; with limit 0:
        until the next cut."""
        lib.lane_mail_capture(self._self, flow, limit)

    def capture_written(self, size: int) -> None:
        """So many bytes of POST_CAPTURE are on the disk."""
        lib.lane_capture_written(self._self, size)

    def replay_begin(self, members: bytes) -> bool:
        """Start to do again what a capture says; in place of `start`, after `restore`."""
        begun: bool = lib.lane_replay_begin(self._self, members, len(members))
        return begun

    def replay(self, kind: int, members: bytes) -> bool:
        """One entry of the capture; False when it does not fit."""
        done: bool = lib.lane_replay(self._self, kind, members, len(members))
        return done

    def replay_position(self, source: int, number: int, name: bytes) -> int:
        """How far that partition has been read, in bytes; −1 when it is not called so."""
        return int(lib.lane_replay_position(self._self, source, number, name, len(name)))

    def replay_results(self) -> bytes:
        """Entries with what the sinks have got since the last call."""
        return read_packed(lambda out, size: int(lib.lane_replay_results(self._self, out, size)))

    def replay_end(self) -> bool:
        """A last cut, to be taken from the posts."""
        frozen: bool = lib.lane_replay_end(self._self)
        return frozen

    @property
    def events(self) -> int:
        """How many events it has looked at."""
        return int(lib.lane_events(self._self))

    def mail_abort(self) -> None:
        """End now."""
        lib.lane_mail_abort(self._self)

    @property
    def post_fd(self) -> int:
        """Readable while a post waits."""
        fd: int = lib.lane_post_fd(self._self)
        return fd

    def posts(self) -> Iterator[Post]:
        """All posts that wait now, oldest first."""
        post = self._post
        while lib.lane_take_post(self._self, post):
            if post.kind == lib.POST_CUT:
                yield Post(post.kind, post.flow, post.index, post.number, _view(post))
                post = self._post = ffi.new("post_t *")
                continue
            data = bytes(ffi.buffer(post.data, post.size)) if post.size else b""
            taken = Post(post.kind, post.flow, post.index, post.number, data)
            lib.lane_release_post(post)
            yield taken

    def metrics(self) -> dict[str, Any]:
        """All counters and histograms. BettongError: there is no memory to gather them."""
        packed = read_packed(lambda out, size: int(lib.lane_metrics(self._self, out, size)))
        if not packed:
            raise BettongError("there is not enough memory for the figures of a lane")
        return _unpack_map(packed)

    def take_memory(self, flow: int, sink: int) -> bytes:
        """For tests: what a memory sink has been given since the last call."""
        return read_packed(
            lambda out, size: int(lib.lane_take_memory(self._self, flow, sink, out, size))
        )

    def last_errors(self) -> list[dict[str, Any]]:
        """The error records kept where no sink takes them (S3), times as text."""
        packed = read_packed(lambda out, size: int(lib.lane_last_errors(self._self, out, size)))
        unpacker = msgpack.Unpacker(
            strict_map_key=False, unicode_errors="replace", ext_hook=_extension
        )
        unpacker.feed(packed)
        return list(unpacker)

    def destroy(self) -> None:
        """Free the lane, after `run` has returned and nobody else will call."""
        holder = ffi.new("lane_t **", self._self)
        lib.lane_destroy(holder)
        self._self = ffi.NULL
        self._functions.clear()


def _view(post: Any) -> memoryview:
    """The data of a post, which goes when nobody looks at it any more."""
    data = ffi.gc(post.data, lambda _: lib.lane_release_post(post))
    return memoryview(ffi.buffer(data, post.size))


def _text(message: Any) -> str:
    said = ffi.string(message)
    assert isinstance(said, bytes)
    return said.decode("utf-8", "replace")


def _extension(code: int, data: bytes) -> object:
    if code == _TIME_EXTENSION:
        return clock.utc_text(int.from_bytes(data, "big", signed=True))
    return data


def _unpack_map(packed: bytes) -> dict[str, Any]:
    unpacked = msgpack.unpackb(packed, strict_map_key=False, unicode_errors="replace")
    assert isinstance(unpacked, dict), "the lane packs a map"
    return unpacked
