"""UDP: the lane reads and writes the socket, one message a datagram; here it is only made."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

from appliance.connect import (
    Address,
    Chunk,
    Later,
    NativeEnd,
    Resume,
    address_text,
    listening_socket,
    parse_address,
    sink,
    source,
)
from appliance.errors import EnvironmentFailure
from appliance.limits import DATAGRAM_BUFFER_BYTES


@source("udp")
class UdpSource:
    """Receive datagrams at `listen`, `"host:port"`; without a host it is the loopback."""

    listen: Address

    def __post_init__(self) -> None:
        parse_address(self.listen)
        self._socket: socket.socket | None = None

    def open(self, positions: Mapping[str, bytes]) -> None:
        self._socket = listening_socket(self.listen, socket.SOCK_DGRAM)
        # Datagrams that arrive while the lane does something else wait here; the kernel may give
        # less.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DATAGRAM_BUFFER_BYTES)

    def native(self) -> NativeEnd:
        assert self._socket is not None
        host, port = self._socket.getsockname()[:2]
        return NativeEnd("datagram", fd=self._socket.detach(), label=address_text(host, port))

    def read(self, limit: int) -> Chunk | None:
        raise AssertionError("the lane reads this source itself")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@sink("udp")
class UdpSink:
    """Send every result as one datagram to the peer at `connect`, `"host:port"`.

    The family of the socket is that of the address; a name is taken as IPv4. The socket is
    connected by the worker as soon as the name is known.
    """

    connect: Address

    def __post_init__(self) -> None:
        parse_address(self.connect)
        self._socket: socket.socket | None = None

    def open(self, resume: Resume) -> None:
        host, _ = parse_address(self.connect)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            made = socket.socket(family, socket.SOCK_DGRAM)
        except OSError as error:
            raise EnvironmentFailure(f"cannot make a UDP socket: {error.strerror}") from error
        made.setblocking(False)
        self._socket = made

    def write(self, records: Sequence[bytes]) -> None:
        """After a cut; nobody says whether a datagram has arrived."""
        assert self._socket is not None
        peer = parse_address(self.connect)
        for record in records:
            try:
                self._socket.sendto(record, peer)
            except BlockingIOError as error:
                raise Later("the socket's buffer is full") from error

    def native(self) -> NativeEnd:
        assert self._socket is not None
        host, port = parse_address(self.connect)
        label = address_text(host, port)
        return NativeEnd("datagram", fd=self._socket.detach(), peer=(host, port), label=label)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
