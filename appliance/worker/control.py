"""The channel between supervisor and worker: one JSON object a line, both ways, over a socket pair.

Supervisor to worker: `job` (first, once), `status` (id), `capture`, `fit` (flows), `stop`. Worker
to supervisor: `loaded` (flows, texts), `checked` (flows), `ready`, `status` (id, …), `capture`,
`fit` (misfits), `failed` (code, text, faults), `ended` (result, metrics). Neither side ever waits
for the other: what cannot be sent at once is kept, within a bound, and goes out when the socket has
room.
"""

from __future__ import annotations

import base64
import json
import select
import socket
from typing import Any

from appliance import clock
from appliance.limits import CONTROL_MESSAGE_MAX_BYTES, CONTROL_QUEUE_MAX_BYTES

_READ_BYTES = 64 << 10


class ChannelClosed(Exception):
    """The other side has gone, or broke the rules of the channel; `str()` says which."""


class Channel:
    """One end of the channel. Used by one thread, around its own poll loop."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._received = bytearray()
        self._waiting = bytearray()

    def fileno(self) -> int:
        """For poll."""
        return self._socket.fileno()

    @property
    def wants_to_write(self) -> bool:
        """Whether something waits for room: poll for writing, then call `flush`."""
        return bool(self._waiting)

    def send(self, kind: str, **fields: Any) -> None:
        """Say something. ChannelClosed when the other side has gone, or has not read for long."""
        data = json.dumps({"kind": kind, **fields}, default=_plain).encode() + b"\n"
        if len(data) > CONTROL_MESSAGE_MAX_BYTES:
            raise ChannelClosed(f"a {kind} message of {len(data)} bytes is above the limit")
        if len(self._waiting) + len(data) > CONTROL_QUEUE_MAX_BYTES:
            raise ChannelClosed("the other side does not read")
        self._waiting += data
        self.flush()

    def flush(self) -> None:
        """Send what the socket has room for."""
        while self._waiting:
            try:
                sent = self._socket.send(self._waiting)
            except BlockingIOError:
                return
            except OSError as error:
                raise ChannelClosed("the other side has gone") from error
            del self._waiting[:sent]

    def drain(self, timeout_s: float) -> None:
        """Wait until all is sent, at most so long. ChannelClosed when the other side has gone."""
        until_s = clock.monotonic_s() + timeout_s
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        while self._waiting and (left_s := until_s - clock.monotonic_s()) > 0:
            poll.poll(left_s * 1000)
            self.flush()

    def receive(self) -> list[dict[str, Any]]:
        """The messages that have arrived. ChannelClosed when there are none and never will be."""
        closed = self._fill()
        messages = []
        while (end := self._received.find(b"\n")) >= 0:
            messages.append(_message(bytes(self._received[:end])))
            del self._received[: end + 1]
        if len(self._received) > CONTROL_MESSAGE_MAX_BYTES:
            raise ChannelClosed("a message above the limit")
        if closed and not messages:
            raise ChannelClosed("the other side has gone")
        return messages

    def _fill(self) -> bool:
        """Read what there is, at most one message's worth; True at the end of the stream."""
        while len(self._received) <= CONTROL_MESSAGE_MAX_BYTES:
            try:
                data = self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                return False
            except OSError:
                return True
            if not data:
                return True
            self._received += data
        return False

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


def _message(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError as error:
        raise ChannelClosed("a line that is not JSON") from error
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise ChannelClosed("a message without a kind")
    return message


def _plain(value: object) -> object:
    """Bytes travel as base64; nothing else that JSON lacks is ever sent."""
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} cannot be sent")
