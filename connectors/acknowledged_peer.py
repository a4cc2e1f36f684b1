"""One client of the acknowledged TCP protocol: its socket, and the frames in and out of it.

What the frames mean is decided in `acknowledged_tcp`; their form is in
`docs/formats/acknowledged-tcp.md`. Nothing here waits, and everything is bounded.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgpack

from appliance.limits import (
    ACKNOWLEDGED_FRAME_MAX_BYTES,
    ACKNOWLEDGED_FRAME_MAX_COUNT,
    ACKNOWLEDGED_GONE_S,
    ACKNOWLEDGED_HELLO_MAX_BYTES,
)

_LENGTH = struct.Struct(">I")

#: The most that one look at a socket takes from it.
_READ_BYTES = 64 << 10

#: Frames have five keys; those of later versions may have a few more, which are passed over.
_KEY_MAX_COUNT = 16


class Refused(Exception):
    """What the client did is against the protocol: `code` is for programs, the text for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class State(Enum):
    """How far a client has got."""

    GREETING = "greeting"  # its first frame has not come
    WAITING = "waiting"  # it begins when what came before under its name is committed
    OPEN = "open"
    LEAVING = "leaving"  # it was told an error; what it still sends is not looked at


class Peer:
    """A connection. Times are given by its owner, in seconds of any clock."""

    def __init__(self, connection: socket.socket, label: str, now_s: float) -> None:
        self.socket = connection
        self.label = label  # where it comes from
        self.state = State.GREETING
        self.stream = ""
        self.next = 0  # the number that its next message must have
        self.held: deque[bytes] = deque()  # messages of the frame at hand, not handed over yet
        self.since_s = now_s  # when the wait began that is not to last for ever
        self.said_s = now_s  # when something was last said to it
        self.listed = False  # whether it waits in its owner's queue of those who have a whole frame
        self._in = bytearray()
        self._out = bytearray()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # One that has gone without a word holds its place no longer than this.
        gone_ms = int(ACKNOWLEDGED_GONE_S * 1000)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, gone_ms)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, int(ACKNOWLEDGED_GONE_S))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)

    @property
    def wants_to_write(self) -> bool:
        return bool(self._out)

    @property
    def is_amid_a_frame(self) -> bool:
        """Whether the client owes us the rest of something."""
        return self.state is State.GREETING or bool(self._in)

    def receive(self, now_s: float) -> bool:
        """Take what has come, at most one read. False: the connection is at its end."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if self.state is State.LEAVING:
            return bool(data)
        if not self._in and self.state is not State.GREETING:
            self.since_s = now_s
        self._in += data
        return bool(data)

    def has_frame(self) -> bool:
        """Whether a whole frame has come. Refused when it is longer than allowed."""
        if len(self._in) < _LENGTH.size:
            return False
        size: int = _LENGTH.unpack_from(self._in)[0]
        greeting = self.state is State.GREETING
        limit = ACKNOWLEDGED_HELLO_MAX_BYTES if greeting else ACKNOWLEDGED_FRAME_MAX_BYTES
        if size > limit:
            raise Refused("too-large", f"a frame of {size} bytes; at most {limit} are taken here")
        return len(self._in) >= _LENGTH.size + size

    def take_frame(self, now_s: float) -> Mapping[str, Any] | None:
        """The next whole frame. Refused when it is none of the protocol."""
        if not self.has_frame():
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(self._in)[0]
        data = bytes(memoryview(self._in)[_LENGTH.size : end])
        del self._in[:end]
        self.since_s = now_s
        return _unpack(data)

    def say(self, frame: Mapping[str, object], now_s: float) -> bool:
        """Send a frame as far as the socket takes it. False: the connection is at its end."""
        data = msgpack.packb(frame)
        self._out += _LENGTH.pack(len(data)) + data
        self.said_s = now_s
        return self.flush()

    def flush(self) -> bool:
        """Send what is left. False: the connection is at its end."""
        try:
            while self._out:
                del self._out[: self.socket.send(self._out)]
            if self.state is State.LEAVING:
                self.socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def leave(self, now_s: float) -> None:
        """Listen no more; what is still to be said is said."""
        self.state = State.LEAVING
        self.since_s = now_s
        self._in.clear()
        self.held.clear()


def _unpack(data: bytes) -> Mapping[str, Any]:
    """One frame's map. Every way in which bytes can be wrong is the same error to us."""
    try:
        frame = msgpack.unpackb(
            data,
            max_map_len=_KEY_MAX_COUNT,
            max_array_len=ACKNOWLEDGED_FRAME_MAX_COUNT,
            max_str_len=ACKNOWLEDGED_HELLO_MAX_BYTES,
            max_bin_len=ACKNOWLEDGED_FRAME_MAX_BYTES,
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException) as error:
        why = str(error) or type(error).__name__  # some have no words
        raise Refused("malformed", f"a frame is not msgpack within the limits: {why}") from error
    if not isinstance(frame, dict) or not isinstance(frame.get("kind"), str):
        raise Refused("malformed", 'a frame is a map with the text "kind"')
    return frame
