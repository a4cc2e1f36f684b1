"""Standard output, written by the lane."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence

from appliance.connect import NativeEnd, Resume, own_stream, sink


@sink("stdout")
class StdoutSink:
    """Write results to standard output. A reader that goes away ends the writing, not the flow."""

    def __post_init__(self) -> None:
        self._fd = -1

    def open(self, resume: Resume) -> None:
        self._fd = own_stream(1, os.O_WRONLY)

    def native(self) -> NativeEnd:
        fd, self._fd = self._fd, -1
        return NativeEnd("stream", fd=fd, label="standard output")

    def write(self, records: Sequence[bytes]) -> None:
        """After a cut; a reader that is slow is waited for."""
        view = memoryview(b"".join(records))
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while view:
            poll.poll()
            try:
                view = view[os.write(self._fd, view[: select.PIPE_BUF]) :]
            except BlockingIOError:
                continue  # somebody else has filled the pipe meanwhile

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
