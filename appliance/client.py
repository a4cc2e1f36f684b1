"""A client of the acknowledged TCP protocol: it keeps each message until the receiver has it safe.

    with Client("10.0.0.7:9100", "press-4") as client:
        client.send(b'{"temp":21.5}')

A thread connects, as often as it must, and sends again what is not acknowledged. The wire is in
docs/formats/acknowledged-tcp.md. Nothing of the engine is imported.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import threading
from collections import deque
from typing import Any

import msgpack

from appliance import clock, limits

_FRAME_BYTES = 32 << 10  # 9,600 baud carry it in half the time that a frame may take


class ClientError(Exception):
    """The receiver refused for good. `code` is the protocol's, the text says why."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code


class Client:
    """Sends messages of one stream (text, or 16 bytes) in order; any thread may call it.

    It keeps at most `max_count` messages; beyond them `send` waits. They go behind whatever the
    receiver has of the stream. A caller that can give all of them again, the same under the same
    number, says with `first` where they begin, and after a `flush` goes on behind `acknowledged`.
    """

    def __init__(
        self, address: str, stream: str | bytes, *, token: str = "", first: int | None = None,
        max_count: int = limits.ACKNOWLEDGED_CREDIT_MAX_COUNT,
    ) -> None:  # fmt: skip
        host, _, port = address.rpartition(":")
        self._address, self._max_count = (host.strip("[]") or "127.0.0.1", int(port)), max_count
        oldest = {} if first is None else {"from": first}
        self._hello = {"kind": "hello", "version": 1, "stream": stream, "token": token, **oldest}
        self._pending: deque[bytes] = deque()  # not acknowledged
        self._unsent: deque[bytes] = deque()  # the last of them, not sent on this connection
        self._bytes = self._flying = 0  # bytes of `_pending`; of those sent on this connection
        self._credit = (0, 0)  # messages and bytes that may fly; none before we are welcome
        self._settled = self._closing = False
        self._error: ClientError | None = None
        self.acknowledged = 0  #: the last number that is safe; known once a `flush` has returned
        self.trouble = "not connected yet"  #: why there is no connection, or ""
        self._changed = threading.Condition()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="client", daemon=True)
        self._thread.start()

    def send(self, message: bytes, timeout: float | None = None) -> None:
        """Take a message. TimeoutError: no room for it in `timeout` seconds. ClientError."""
        with self._changed:
            if self._closing or len(message) > limits.ACKNOWLEDGED_MESSAGE_MAX_BYTES:
                raise ValueError("the client is closed, or the message is too large")
            room = limits.ACKNOWLEDGED_CREDIT_MAX_BYTES
            self._wait(lambda: len(self._pending) < self._max_count and self._bytes < room, timeout)
            self._pending.append(message)
            self._unsent.append(message)
            self._bytes += len(message)
            if len(self._unsent) == 1:
                os.eventfd_write(self._bell, 1)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until the receiver has answered and has all. TimeoutError, ClientError."""
        with self._changed:
            self._wait(lambda: self._settled and not self._pending, timeout)

    def close(self) -> None:
        """Let go at once: what is not acknowledged may be lost."""
        with self._changed:
            was_closing, self._closing = self._closing, True
            self._changed.notify_all()
        if not was_closing:
            os.eventfd_write(self._bell, 1)
            self._thread.join()
            os.close(self._bell)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with contextlib.closing(self):
            if kind is None:
                self.flush()

    def _wait(self, done: Any, timeout: float | None) -> None:
        self._changed.wait_for(lambda: self._error or done(), timeout)
        if self._error:
            raise self._error
        if not done():
            raise TimeoutError(f"the receiver has not taken enough; {self.trouble or 'connected'}")

    def _run(self) -> None:
        wait_s = first_s = limits.ACKNOWLEDGED_RETRY_FIRST_S
        while not self._closing and not self._error:
            before = self.acknowledged
            try:
                with socket.create_connection(self._address, limits.ACKNOWLEDGED_FRAME_S) as up:
                    self._serve(up)
            except (OSError, ValueError, LookupError, TypeError, ClientError) as error:
                self.trouble = str(error)
                if isinstance(error, ClientError) and error.code not in ("full", "timeout"):
                    self._error = error
            with self._changed:
                self._changed.notify_all()
                twice_s = min(wait_s * 2, limits.ACKNOWLEDGED_RETRY_MAX_S)
                wait_s = twice_s if self.acknowledged == before else first_s
                pause_s = wait_s * (0.5 + random.random() / 2)
                self._changed.wait_for(lambda: self._closing or self._error, pause_s)

    def _serve(self, up: socket.socket) -> None:
        """One connection, until it breaks or we close."""
        self._credit = (0, 0)
        up.sendall(_framed(self._hello))
        got, heard_s, poll = bytearray(), clock.monotonic_s(), select.poll()
        poll.register(up, select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        while not self._closing:
            ready = dict(poll.poll(1000))
            if self._bell in ready:
                os.eventfd_read(self._bell)
            if up.fileno() in ready:
                if not (data := up.recv(65_536)):
                    raise ConnectionError("the receiver has closed the connection")
                got, heard_s = got + data, clock.monotonic_s()
                while len(got) >= (end := 4 + int.from_bytes(got[:4], "big")) > 4:
                    self._hear(msgpack.unpackb(bytes(got[4:end])))
                    del got[:end]
                if end > 65_536:
                    raise ValueError("this is no receiver of the protocol")
            elif clock.monotonic_s() - heard_s > limits.ACKNOWLEDGED_SILENCE_S:
                raise TimeoutError("the receiver is silent")
            while frame := self._next_frame():
                up.sendall(frame)

    def _hear(self, frame: Any) -> None:
        """A frame of the receiver: what is acknowledged, and how much more may fly."""
        if frame["kind"] == "error":
            raise ClientError(frame["code"], frame["text"])
        welcome, number = frame["kind"] == "welcome", frame["committed"]
        if not welcome and not self._credit[0]:
            return  # a sign of life while we wait to be welcome
        with self._changed:
            self.acknowledged = self.acknowledged if self._settled else number
            last = self.acknowledged + len(self._pending) - (0 if welcome else len(self._unsent))
            if not self.acknowledged <= number <= last:
                raise ClientError("ack", f"{number} is acknowledged; {last} was the last sent")
            for _ in range(number - self.acknowledged):
                size = len(self._pending.popleft())
                self._bytes, self._flying = self._bytes - size, self._flying - size
            if welcome:  # what is left goes out anew
                self._unsent, self._flying = deque(self._pending), 0
            self.acknowledged, self._hello["from"] = number, number + 1
            self._credit = frame["messages"], frame["bytes"]
            self._settled, self.trouble = True, ""
            self._changed.notify_all()

    def _next_frame(self) -> bytes:
        """The next messages that may fly, as one frame; nothing when there are none."""
        with self._changed:
            batch: list[bytes] = []
            size, flying_count = 0, len(self._pending) - len(self._unsent)
            data = {"kind": "data", "first": self.acknowledged + flying_count + 1}
            most = min(self._credit[0] - flying_count, limits.ACKNOWLEDGED_FRAME_MAX_COUNT)
            while self._unsent and len(batch) < most:
                size += len(self._unsent[0])
                flying = self._flying + size
                is_full = flying > self._credit[1] or (batch and size > _FRAME_BYTES)
                if is_full and flying > len(self._unsent[0]):  # one alone may always fly
                    break
                batch.append(self._unsent.popleft())
            self._flying += sum(map(len, batch))
        return _framed({**data, "messages": batch}) if batch else b""


def _framed(frame: dict[str, Any]) -> bytes:
    data: bytes = msgpack.packb(frame)
    return len(data).to_bytes(4, "big") + data
