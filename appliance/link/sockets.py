"""The sockets of both ends, and what ZeroMQ says about their connections.

An end has a context of its own, so that closing it leaves nothing behind. A sender's socket does
not connect again by itself: a new connection begins with HELLO, and the engine opens the sink again
after its own, growing waits.
"""

from __future__ import annotations

import errno
import sys
from collections import Counter
from typing import Any

from appliance.connect import address_text, parse_address
from appliance.errors import EnvironmentFailure
from appliance.limits import (
    LINK_BACKLOG_COUNT,
    LINK_EVENT_TURN_MAX_COUNT,
    LINK_HANDSHAKE_S,
    LINK_HEARTBEAT_S,
    LINK_HEARTBEAT_TIMEOUT_S,
    LINK_MESSAGE_MAX_BYTES,
    LINK_OPEN_TIMEOUT_S,
    LINK_QUEUE_MAX_COUNT,
)
from appliance.link.keys import KeyPair, Keys

_SCHEME = "tcp://"


def parse_endpoint(text: str) -> tuple[str, int]:
    """`"tcp://host:port"` or `"host:port"`. ValueError otherwise."""
    return parse_address(text.removeprefix(_SCHEME))


def is_loopback(host: str) -> bool:
    """Whether this host is the box itself, whatever its network."""
    return host in ("localhost", "::1") or host.startswith("127.")


def _endpoint(address: tuple[str, int]) -> str:
    return _SCHEME + address_text(*address)


def _socket(context: Any, kind: int) -> Any:
    import zmq

    made = context.socket(kind)
    made.linger = 0
    made.sndhwm = made.rcvhwm = LINK_QUEUE_MAX_COUNT
    made.maxmsgsize = LINK_MESSAGE_MAX_BYTES
    made.handshake_ivl = int(LINK_HANDSHAKE_S * 1000)
    made.setsockopt(zmq.HEARTBEAT_IVL, int(LINK_HEARTBEAT_S * 1000))
    made.setsockopt(zmq.HEARTBEAT_TIMEOUT, int(LINK_HEARTBEAT_TIMEOUT_S * 1000))
    return made


def _next_event(monitor: Any) -> int | None:
    """What a socket's monitor has to say next: the event of libzmq's message, 16 bits in the
    machine's order before its value. (pyzmq has a function for it, in a module that imports asyncio
    and ssl: 100 ms and some megabytes.)"""
    import zmq

    try:
        event, _ = monitor.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return None
    return int.from_bytes(event[:2], sys.byteorder)


class Line:
    """A sender's connection."""

    def __init__(self, to: str, own: KeyPair | None, server_key: bytes) -> None:
        """Begin to connect; ConnectionError later, from `look`, when that fails."""
        import zmq

        self._to = to
        self._zmq = zmq
        self._context = zmq.Context()
        try:
            self._socket = _socket(self._context, zmq.DEALER)
            self._socket.ipv6 = True
            self._socket.reconnect_ivl = -1
            self._socket.setsockopt(zmq.CONNECT_TIMEOUT, int(LINK_OPEN_TIMEOUT_S * 1000))
            if own is not None:
                self._socket.curve_publickey, self._socket.curve_secretkey = own.public, own.secret
                self._socket.curve_serverkey = server_key
            self._monitor = self._socket.get_monitor_socket(
                zmq.EVENT_CLOSED
                | zmq.EVENT_DISCONNECTED
                | zmq.EVENT_HANDSHAKE_FAILED_AUTH
                | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
                | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
            )
            self._poller = zmq.Poller()
            self._socket.connect(_endpoint(parse_endpoint(to)))
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise ConnectionError(f"cannot connect to {to}: {error}") from error
        self._secured = own is not None

    def close(self) -> None:
        self._socket.disable_monitor()
        self._context.destroy(linger=0)

    def receive(self) -> bytes | None:
        """The next message; None: none is there."""
        try:
            parts: list[bytes] = self._socket.recv_multipart(self._zmq.NOBLOCK)
        except self._zmq.Again:
            return None
        return parts[0] if len(parts) == 1 else b""

    def send(self, message: bytes | memoryview) -> bool:
        """False: ZeroMQ's queue is full; the message is not taken. It is copied: one that is lent
        comes back by a thread of pyzmq's, which costs more."""
        try:
            self._socket.send(message, self._zmq.NOBLOCK)
        except self._zmq.Again:
            return False
        return True

    def wait(self, timeout_s: float, to_send: bool) -> None:
        """Until something comes, something has happened to the connection or, when there is
        something `to_send`, there is room for it."""
        zmq = self._zmq
        self._poller.register(self._socket, zmq.POLLIN | (zmq.POLLOUT if to_send else 0))
        self._poller.register(self._monitor, zmq.POLLIN)
        self._poller.poll(int(timeout_s * 1000))

    def look(self) -> None:
        """ConnectionError when the connection is gone, with why."""
        zmq = self._zmq
        event = _next_event(self._monitor)
        if event is None:
            return
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            raise ConnectionError(
                f"{self._to} does not know the key of this box, and no token is open there: make "
                "one there (bettong key token) and give it to this sink"
            )
        if event in (
            zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
            zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
        ):
            # Which of the two comes is a matter of who speaks first.
            why = "server_key is not its key, or it has no keys"
            if not self._secured:
                why = "it asks for keys (give this sink its server_key), or it is no link"
            raise ConnectionError(f"{self._to} ends the handshake: {why}")
        gone = "cannot connect to" if event == zmq.EVENT_CLOSED else "lost the connection to"
        raise ConnectionError(f"{gone} {self._to}")


class Listener:
    """A receiver's socket, and the door before it."""

    def __init__(self, listen: str, keys: Keys | None) -> None:
        """EnvironmentFailure: it cannot be had, and why."""
        import zmq

        self._zmq = zmq
        self._keys = keys
        self.failed: Counter[str] = Counter()  # handshakes, by what was wrong, and "disconnected"
        self.stranger = ""  # address and key of the last one that the door was not opened for
        self._context = zmq.Context()
        try:
            self._socket = _socket(self._context, zmq.ROUTER)
            address = parse_endpoint(listen)
            self._socket.ipv6 = ":" in address[0]
            self._socket.router_mandatory = True
            self._socket.backlog = LINK_BACKLOG_COUNT
            self._door = self._context.socket(zmq.REP)
            self._door.linger = 0
            self._door.bind("inproc://zeromq.zap.01")
            if keys is not None:
                self._socket.curve_server = True
                self._socket.curve_secretkey = keys.own().secret
                self._socket.zap_domain = b"link"
            self._monitor = self._socket.get_monitor_socket(
                zmq.EVENT_DISCONNECTED
                | zmq.EVENT_HANDSHAKE_FAILED_AUTH
                | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
                | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
            )
            self._socket.bind(_endpoint(address))
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            why = "another program has this port" if error.errno == errno.EADDRINUSE else error
            raise EnvironmentFailure(f"cannot listen on {listen}: {why}") from error
        except EnvironmentFailure:
            self._context.destroy(linger=0)
            raise
        self.address: str = self._socket.last_endpoint.decode().rstrip("\0")
        self._poller = zmq.Poller()
        for each in (self._socket, self._door, self._monitor):
            self._poller.register(each, zmq.POLLIN)

    def close(self) -> None:
        self._socket.disable_monitor()
        self._context.destroy(linger=0)

    def receive(self) -> tuple[bytes, memoryview, str] | None:
        """The next message with its connection and the sender's public key; None: none is there."""
        socket = self._socket
        try:
            connection = socket.recv(self._zmq.NOBLOCK)
        except self._zmq.Again:
            return None
        part = socket.recv(copy=False)  # it is here: a message comes whole
        key = str(part.get("User-Id")) if self._keys is not None else ""
        if not part.more:
            return connection, part.buffer, key
        # More than one part is no message of ours: an empty one says so.
        while part.more:
            part = socket.recv(copy=False)
        return connection, memoryview(b""), key

    def send(self, connection: bytes, message: bytes) -> bool:
        """False: it is gone, or reads nothing."""
        try:
            self._socket.send_multipart([connection, message], self._zmq.NOBLOCK)
        except self._zmq.ZMQError as error:
            if error.errno in (errno.EHOSTUNREACH, errno.EAGAIN):
                return False
            raise
        return True

    def wait(self, timeout_s: float) -> None:
        """Until something comes; whoever knocks meanwhile is let in or not."""
        ready = dict(self._poller.poll(int(timeout_s * 1000)))
        if self._door in ready or self._monitor in ready:
            self.attend()

    def attend(self) -> None:
        """Look at those who knock, at handshakes that failed and at connections that ended."""
        zmq = self._zmq
        names = {
            zmq.EVENT_DISCONNECTED: "disconnected",
            zmq.EVENT_HANDSHAKE_FAILED_AUTH: "key",
            zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "protocol",
            zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "broken",
        }
        for _ in range(LINK_EVENT_TURN_MAX_COUNT):
            event = _next_event(self._monitor)
            if event is None:
                break
            self.failed[names[event]] += 1
        for _ in range(LINK_EVENT_TURN_MAX_COUNT):
            try:
                asked = self._door.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._door.send_multipart(self._answer(asked))

    def _answer(self, asked: list[bytes]) -> list[bytes]:
        """What the ZeroMQ authentication protocol (RFC 27) wants to know of one client."""
        version, request = asked[:2]
        key = asked[6].hex() if len(asked) == 7 and asked[5] == b"CURVE" else ""
        keys = self._keys
        may = keys is not None and bool(key) and (keys.knows(key) or keys.is_enrolling())
        if not may:
            self.stranger = f"{asked[3].decode('ascii', 'replace')} {key}"
        code, text = (b"200", b"OK") if may else (b"400", b"unknown key")
        return [version, request, code, text, key.encode() if may else b"", b""]
