"""Writing a capture down: what the lane posts becomes a file that can be replayed.

The lane's entries come first, the state that they start from a commit later: they wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import IO

from msgspec.structs import replace

from appliance.worker import capture_form as form
from appliance.worker.cut_form import FlowCut, SinkRestore


class CaptureWriter:
    """One capture of one flow, used by one thread. OSError from `out` ends it."""

    def __init__(
        self, out: IO[bytes], program: bytes, sinks: Sequence[str], files: Mapping[str, bytes]
    ) -> None:
        self._out = out
        self._program = program
        self._files = files
        self._totals = form.SinkTotals(tuple(sinks))
        self._waiting: list[bytes] | None = []  # until the state is there
        self.size = 0  # bytes written
        self.entries = 0
        self.why = ""  # why it has ended

    @property
    def has_begun(self) -> bool:
        """Whether the state is there."""
        return self._waiting is None

    def begin(self, cut: FlowCut, rows: form.Rows) -> None:
        """The state at the cut that it begins with."""
        # What sinks had not taken yet is none of the capture's results.
        sinks = tuple(SinkRestore(i, b"", sink.started) for i, sink in enumerate(cut.sinks))
        positions = replace(cut.positions(), sinks=sinks).pack()
        head = form.Head(cut.name, self._program, positions, rows, self._files)
        self._write(form.MAGIC + form.framed(form.HEAD, head.pack()))
        waiting, self._waiting = self._waiting or [], None
        for data in waiting:
            self.add(data)

    def add(self, data: bytes) -> None:
        """What the lane has posted."""
        if self._waiting is not None:
            self._waiting.append(data)
            return
        for kind, members in form.from_lane(data):
            if kind == form.RESULTS:
                sink, found = form.results(members)
                self._totals.add(sink, found)
                members = self._totals.entry(sink)
            elif kind == form.END:
                self.why, _ = form.ending(members)
            self.entries += 1
            self._write(form.framed(kind, members))

    def end(self, rows: form.Rows | None) -> None:
        """The state at the cut that it ends with; None: it ends at none."""
        state = b"" if rows is None else form.state_digest(rows)
        digest = form.Digest(self.why, state, self._totals.digests())
        self._write(form.framed(form.DIGEST, digest.pack()))

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self.size += len(data)
