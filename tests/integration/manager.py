"""A service manager's end of the socket that it names in NOTIFY_SOCKET."""

from __future__ import annotations

import socket
import threading

from integration.processes import PATIENCE_S


class Manager:
    """The manager's end, which reads at once. `all`: everything that it has heard."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.all: list[str] = []
        self._next = 0  # where `hear` goes on
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while data := self.socket.recv(4096):
            with self._said:
                self.all.append(data.decode())
                self._said.notify_all()

    def hear(self, words: str) -> None:
        """Wait for something that begins with these words, after what it waited for before."""

        def found() -> int | None:
            places = range(self._next, len(self.all))
            return next((n + 1 for n in places if self.all[n].startswith(words)), None)

        with self._said:
            place = self._said.wait_for(found, PATIENCE_S)
            assert place, f"no {words!r} in {self.all[self._next :]}"
            self._next = place

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.address)
        self._reader.join()
        self.socket.close()
