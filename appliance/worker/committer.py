"""The thread that commits cuts.

State is in memory only: the blocks of a cut are dropped, and the cut counts as committed at once.
The seam is the store's all the same: one cut in flight, the lane goes on meanwhile, and only after
the commit are sources acknowledged and may exact sinks send.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

import msgpack

#: Called with (number, blocks) after the commit, on the committer's thread.
Committed = Callable[[int, bytes], None]


class Committer(threading.Thread):
    """Commits what `put` brings, in order, and calls `committed` after each."""

    def __init__(self, committed: Committed) -> None:
        super().__init__(name="committer", daemon=True)
        self._committed = committed
        # One cut is in flight at a time; the other place is for the end.
        self._queue: queue.Queue[tuple[int, bytes] | None] = queue.Queue(2)

    def put(self, number: int, blocks: bytes) -> None:
        """A frozen cut. The lane makes the next only when this one is committed."""
        self._queue.put_nowait((number, blocks))

    def finish(self) -> None:
        """End after what was put."""
        self._queue.put(None)

    def run(self) -> None:
        while (cut := self._queue.get()) is not None:
            self._committed(*cut)


def cut_positions(blocks: bytes) -> dict[tuple[int, int], dict[str, bytes]]:
    """How far a cut has got, for sources that give positions of their own: by (flow, source), by
    partition. The form is that of `docs/formats/cut.md`; states are passed over, not unpacked.
    """
    found: dict[tuple[int, int], dict[str, bytes]] = {}
    unpacker = msgpack.Unpacker(max_buffer_size=0, unicode_errors="surrogateescape")
    unpacker.feed(blocks)
    for flow in range(unpacker.read_array_header()):
        for _ in range(unpacker.read_map_header()):
            if unpacker.unpack() != "partitions":
                unpacker.skip()
                continue
            for source, partition, position, *_ in unpacker.unpack():
                if isinstance(position, bytes) and isinstance(partition, str):
                    found.setdefault((flow, source), {})[partition] = position
    return found
