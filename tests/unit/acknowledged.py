"""Both sides of the acknowledged TCP protocol for tests: a receiver that a test drives, and a
client that sends bytes as they are."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgpack

from appliance.connect import construct, source_class
from appliance.limits import CHUNK_MAX_BYTES

PATIENCE_S = 10.0


class Receiver:
    """An open `acknowledged_tcp` source, with what it has handed over, by stream."""

    def __init__(self, positions: Mapping[str, bytes] | None = None, **options: Any) -> None:
        self.source = construct(source_class("acknowledged_tcp"), {"listen": ":0", **options})
        self.source.open(positions or {})
        self.messages: dict[str, list[bytes]] = {}
        self.positions: dict[str, bytes] = dict(positions or {})

    def read(self) -> bool:
        """One read; whether there was something."""
        chunk = self.source.read(CHUNK_MAX_BYTES)
        if chunk is None:
            return False
        assert sum(len(message) + 4 for message in chunk.data) <= CHUNK_MAX_BYTES
        self.messages.setdefault(chunk.partition, []).extend(chunk.data)
        self.positions[chunk.partition] = chunk.position
        return True

    def read_until(self, true: Any) -> None:
        """Read on until it is so."""
        for _ in range(10_000):
            if true():
                return
            self.read()
        raise AssertionError("never")

    def until_alone(self, connections: int) -> None:
        """Read on until so many connections were made, and all of them are gone."""
        counts = self.source.counts
        self.read_until(
            lambda: counts().get("connections", 0) == connections and not counts()["clients"]
        )

    def commit(self) -> None:
        """All that was handed over is in a cut."""
        self.source.committed(dict(self.positions))

    def connect(self) -> Wire:
        return Wire(self.source.address)


class Wire:
    """A connection to a receiver."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), PATIENCE_S)
        self._got = b""

    def say(self, **frame: Any) -> None:
        self.socket.sendall(framed(**frame))

    def hello(self, stream: str | bytes = "s", **more: Any) -> None:
        self.say(kind="hello", version=1, stream=stream, **more)

    def hear(self, receiver: Receiver) -> dict[str, Any]:
        """The next frame; the receiver reads on until there is one. {} at the connection's end."""
        self.socket.setblocking(False)
        for _ in range(10_000):
            if len(self._got) >= 4:
                end = 4 + int.from_bytes(self._got[:4], "big")
                if len(self._got) >= end:
                    frame, self._got = self._got[4:end], self._got[end:]
                    self.socket.settimeout(PATIENCE_S)
                    found: dict[str, Any] = msgpack.unpackb(frame)
                    return found
            try:
                data = self.socket.recv(65_536)
            except BlockingIOError:
                receiver.read()
            except ConnectionResetError:
                return {}
            else:
                if not data:
                    return {}
                self._got += data
        raise AssertionError("nothing was said")

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def framed(**frame: Any) -> bytes:
    """A frame's bytes."""
    data: bytes = msgpack.packb(frame)
    return len(data).to_bytes(4, "big") + data


@contextmanager
def receiver(positions: Mapping[str, bytes] | None = None, **options: Any) -> Iterator[Receiver]:
    """A receiver for the length of a test."""
    made = Receiver(positions, **options)
    try:
        yield made
    finally:
        made.source.close()


@contextmanager
def served(made: Receiver) -> Iterator[None]:
    """The receiver reads on a thread of its own, and commits whatever it has read."""
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            if made.read():
                made.commit()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE_S)
