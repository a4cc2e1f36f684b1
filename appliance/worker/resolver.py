"""The thread that resolves names: it may wait for seconds, which no lane ever does.

The lane asks (POST_RESOLVE) whenever it wants to connect, so a peer that has moved is found again.
An empty answer means "not now": the lane waits and asks again.
"""

from __future__ import annotations

import queue
import socket
import struct
import threading
from collections.abc import Callable

from appliance.limits import RESOLVE_QUEUE_MAX_COUNT, SINK_RETRY_FIRST_S, SINK_RETRY_MAX_S
from appliance.logs import Logger
from appliance.worker.backoff import Backoff

#: Called with the `struct sockaddr` found, or empty bytes.
Answer = Callable[[bytes], None]


class Resolver(threading.Thread):
    """Answers one question after the other; started with the first."""

    def __init__(self, log: Logger) -> None:
        super().__init__(name="resolver", daemon=True)
        self._log = log
        self._queue: queue.Queue[tuple[tuple[str, int], Answer]] = queue.Queue(
            RESOLVE_QUEUE_MAX_COUNT
        )
        self._silent: set[tuple[str, int]] = set()  # names whose failure has been said

    def ask(self, peer: tuple[str, int], answer: Answer) -> None:
        """Find the address of (host, port) and call `answer` with it on the resolver's thread."""
        if not self.is_alive():
            self.start()
        self._queue.put_nowait((peer, answer))

    def run(self) -> None:
        while True:
            peer, answer = self._queue.get()
            answer(self._resolve(peer))

    def _resolve(self, peer: tuple[str, int]) -> bytes:
        try:
            found = socket.getaddrinfo(*peer, type=socket.SOCK_STREAM)
        except OSError as error:
            if peer not in self._silent:
                self._silent.add(peer)
                self._log.warning(
                    "name not found; it is tried again", host=peer[0], error=error.strerror
                )
            return b""
        if peer in self._silent:
            self._silent.discard(peer)
            self._log.info("name found", host=peer[0])
        family, _, _, _, address = found[0]
        return sockaddr(family, address)


def sockaddr(family: int, address: tuple[object, ...]) -> bytes:
    """The bytes of a `struct sockaddr_in` or `sockaddr_in6`, as the kernel takes them."""
    host, port = str(address[0]), address[1]
    if family == socket.AF_INET:
        return struct.pack("=H", family) + struct.pack("!H4s8x", port, socket.inet_aton(host))
    flow, scope = (address[2], address[3]) if len(address) == 4 else (0, 0)
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    head = struct.pack("=H", family) + struct.pack("!HI", port, flow)
    return head + packed + struct.pack("=I", scope)


class PeerFinder(threading.Thread):
    """Connects a datagram socket to its peer, as soon as the peer's name is known."""

    def __init__(self, fd: int, peer: tuple[str, int], log: Logger) -> None:
        super().__init__(name=f"peer {peer[0]}", daemon=True)
        self._fd = fd
        self._peer = peer
        self._log = log
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Give up."""
        self._stopping.set()

    def try_once(self) -> bool:
        """Whether the socket is connected now."""
        with socket.socket(fileno=socket.dup(self._fd)) as made:
            try:
                found = socket.getaddrinfo(*self._peer, family=made.family, type=socket.SOCK_DGRAM)
                made.connect(found[0][4])
            except OSError:
                return False
        return True

    def run(self) -> None:
        backoff = Backoff(SINK_RETRY_FIRST_S, SINK_RETRY_MAX_S)
        self._log.warning("name not found; it is tried again", host=self._peer[0])
        while not self._stopping.wait(backoff.next_s()):
            if self.try_once():
                self._log.info("name found", host=self._peer[0])
                return
