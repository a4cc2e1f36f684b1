"""TCP: the lane reads and writes the sockets; here they are only made.

A plain TCP peer cannot be asked for anything again: as a source it is fire and forget, one
partition a connection. As a sink it is `immediate`: what lay in a dead peer's socket buffer is
lost.
"""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import termios
from collections.abc import Mapping, Sequence

from appliance import clock
from appliance.connect import (
    Address,
    Chunk,
    NativeEnd,
    Resume,
    address_text,
    listening_socket,
    parse_address,
    sink,
    source,
)
from appliance.limits import LISTEN_BACKLOG_COUNT, TCP_PEER_POLL_MS, TCP_PEER_WAIT_MAX_S


@source("tcp")
class TcpSource:
    """Accept connections on `listen`, or `connect` to a peer and stay connected; exactly one of
    them.

    Both are `"host:port"`; without a host it is the loopback.
    """

    listen: Address | None = None
    connect: Address | None = None

    def __post_init__(self) -> None:
        if (self.listen is None) == (self.connect is None):
            raise ValueError('either listen = "host:port" or connect = "host:port" is needed')
        parse_address(self.listen or self.connect or "")
        self._socket: socket.socket | None = None

    def open(self, positions: Mapping[str, bytes]) -> None:
        if self.listen is not None:
            self._socket = listening_socket(self.listen, socket.SOCK_STREAM)
            self._socket.listen(LISTEN_BACKLOG_COUNT)

    def native(self) -> NativeEnd:
        if self._socket is None:
            host, port = parse_address(self.connect or "")
            return NativeEnd("connect", peer=(host, port), label=address_text(host, port))
        host, port = self._socket.getsockname()[:2]
        return NativeEnd("listen", fd=self._socket.detach(), label=address_text(host, port))

    def read(self, limit: int) -> Chunk | None:
        raise AssertionError("the lane reads this source itself")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@sink("tcp")
class TcpSink:
    """Stay connected to the peer at `connect`, `"host:port"`, and send results as they come."""

    connect: Address

    def __post_init__(self) -> None:
        parse_address(self.connect)
        self._socket: socket.socket | None = None

    def open(self, resume: Resume) -> None:
        """Nothing yet: whoever sends connects, and does so again whenever the peer has gone."""

    def native(self) -> NativeEnd:
        host, port = parse_address(self.connect)
        return NativeEnd("connect", peer=(host, port), label=address_text(host, port))

    def write(self, records: Sequence[bytes]) -> None:
        """After a cut: these have arrived when the peer's system has acknowledged every byte."""
        if self._socket is None:
            address = parse_address(self.connect)
            self._socket = socket.create_connection(address, TCP_PEER_WAIT_MAX_S)
        self._socket.sendall(b"".join(records))
        self._wait_acknowledged(self._socket)

    def _wait_acknowledged(self, peer: socket.socket) -> None:
        until_s = clock.monotonic_s() + TCP_PEER_WAIT_MAX_S
        poll = select.poll()
        poll.register(peer, select.POLLERR | select.POLLHUP)
        while struct.unpack("i", fcntl.ioctl(peer, termios.TIOCOUTQ, b"\0\0\0\0"))[0]:
            if poll.poll(TCP_PEER_POLL_MS) or clock.monotonic_s() > until_s:
                raise ConnectionError(f"{self.connect} does not acknowledge what it was sent")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
