"""Standard input, read by the lane; at most one source of a process can be it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from appliance.connect import Chunk, NativeEnd, own_stream, source


@source("stdin")
class StdinSource:
    """Read standard input to its end."""

    def __post_init__(self) -> None:
        self._fd = -1

    def open(self, positions: Mapping[str, bytes]) -> None:
        self._fd = own_stream(0, os.O_RDONLY)

    def native(self) -> NativeEnd:
        fd, self._fd = self._fd, -1
        return NativeEnd("stream", fd=fd, label="standard input")

    def bounded(self) -> bool:
        return True

    def read(self, limit: int) -> Chunk | None:
        raise AssertionError("the lane reads this source itself")

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
