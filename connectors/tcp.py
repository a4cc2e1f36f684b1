"""TCP: the lane reads and writes the sockets; here they are only made.

A plain TCP peer cannot be asked for anything again: as a source it is fire and forget, one
partition a connection. As a sink it is `immediate`: what lay in a dead peer's socket buffer is
lost.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

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
from appliance.limits import LISTEN_BACKLOG_COUNT


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

    def open(self, resume: Resume) -> None:
        """Nothing yet: the lane connects, and does so again whenever the peer has gone."""

    def native(self) -> NativeEnd:
        host, port = parse_address(self.connect)
        return NativeEnd("connect", peer=(host, port), label=address_text(host, port))

    def write(self, records: Sequence[bytes]) -> None:
        raise AssertionError("the lane writes to this sink itself")

    def close(self) -> None:
        """Nothing: the lane closes its connection."""
