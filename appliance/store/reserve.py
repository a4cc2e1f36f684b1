"""A piece of the disk that a store keeps for itself, so that what makes room always has some.

What lets go of results writes a little before it frees much: on a disk without a single page left
nothing would ever get free again. So a file without content holds some blocks of the disk, and
gives them to such a transaction while it lasts. It has them back before anything else is written:
what only grows never gets them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from appliance.limits import STORE_RESERVE_BYTES, STORE_RESERVE_ROOM_BYTES

RESERVE = "reserve"

#: The smallest piece that is asked for.
_PIECE_BYTES = 4096


def free_bytes(folder: Path) -> int:
    """The room that is left on the folder's disk."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


class Reserve:
    """The reserve of one store. `bytes`: how much of the disk it holds now."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / RESERVE
        self.bytes = 0

    @property
    def is_whole(self) -> bool:
        return self.bytes >= STORE_RESERVE_BYTES

    def claim(self) -> None:
        """When the store is opened: hold what it held before, or as much of it as there is."""
        if self._path.exists():
            self._take()
        else:
            self.fill()

    def fill(self) -> None:
        """Make it whole, if there is room to spare."""
        if self.is_whole:
            return
        with suppress(OSError):
            if free_bytes(self._folder) >= STORE_RESERVE_ROOM_BYTES:
                self._take()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Its room is free in the block, and taken again after it, as far as there is some. OSError
        when it cannot be given back."""
        with self._path.open("ab") as file:
            file.truncate(0)
            os.fsync(file.fileno())  # journals free blocks for good only then
        self.bytes = 0
        try:
            yield
        finally:
            self._take()

    def _take(self) -> None:
        """Hold as much as there is, up to the whole. A disk that refuses leaves it smaller: that is
        seen in `bytes`."""
        try:
            with self._path.open("ab") as file:
                _allocate(file.fileno())
                status = os.fstat(file.fileno())
                self.bytes = min(status.st_size, status.st_blocks * 512)
        except OSError:
            self.bytes = 0


def _allocate(descriptor: int) -> None:
    """Give the file its blocks, in smaller and smaller pieces as the disk refuses larger ones."""
    held, piece = 0, STORE_RESERVE_BYTES
    while held < STORE_RESERVE_BYTES and piece >= _PIECE_BYTES:
        try:
            os.posix_fallocate(descriptor, held, piece)
            held += piece
        except OSError:
            piece //= 2
