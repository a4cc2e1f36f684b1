"""The thread that writes a capture to its file: neither the lane nor the committer waits for it.

What the lane posts waits in a queue that the lane itself bounds: it ends the capture when more has
been posted than is written.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from appliance.native import lib
from appliance.store import Store
from appliance.worker.capture import CaptureWriter
from appliance.worker.capture_form import Rows
from appliance.worker.committer import Committer
from appliance.worker.cut_form import FlowCut
from appliance.worker.durable import Durable
from appliance.worker.lane import Lane, Post

_STATEFUL = ("window", "running", "python")


class Recorder(threading.Thread):
    """One capture of one flow. `posted` is called by the worker's main thread; `said` by this one,
    with the fields of a message to whoever asked.
    """

    def __init__(
        self,
        path: Path,
        index: int,
        flow: Durable,
        program: bytes,
        files: Mapping[str, bytes],
        lane: Lane,
        store: Store,
        committer: Committer,
        said: Callable[[dict[str, Any]], None],
    ) -> None:
        """Raises OSError when the file cannot be made, or is there already."""
        super().__init__(name=f"capture {flow.name}", daemon=True)
        self._path = path
        self._file = path.open("xb")
        self._writer = CaptureWriter(self._file, program, [e.name for e in flow.open.sinks], files)
        self._index = index
        self._flow = flow
        self._lane = lane
        self._store = store
        self._committer = committer
        self._said = said
        self._queue: queue.SimpleQueue[Callable[[], bool] | None] = queue.SimpleQueue()
        self._ends_at: int | None = None  # the cut that it ends with
        self._failed = False

    def posted(self, post: Post) -> None:
        """A POST_CAPTURE of the lane."""
        if post.index == lib.CAPTURE_BEGINS:
            self._committer.after(post.number, self._begin)
        self._queue.put(lambda: self._add(post.data))
        if post.index == lib.CAPTURE_ENDS:
            self._ends_at = post.number
            if post.number == 0:
                self._queue.put(lambda: self._end(None))
            elif post.number > self._committer.number:
                self._committer.after(post.number, self._finish)
            else:
                self.finish()

    def finish(self) -> None:
        """Nothing is committed any more: what has not come will not."""
        rows = self._rows() if self._ends_at == self._committer.number else None
        self._queue.put(lambda: self._end(rows))

    def run(self) -> None:
        more = True
        while more:
            work = self._queue.get()
            assert work is not None
            try:
                more = work()
            except OSError as error:
                more = self._fail(error)
        self._file.close()

    # ---- on the committer's thread, after the commit: the store holds just this cut ----

    def _begin(self, cuts: Sequence[FlowCut]) -> None:
        cut, rows = cuts[self._index], self._rows()
        self._queue.put(lambda: self._start(cut, rows))

    def _finish(self, cuts: Sequence[FlowCut]) -> None:
        rows = self._rows()
        self._queue.put(lambda: self._end(rows))

    def _rows(self) -> Rows:
        document, names = self._flow.open.document, self._flow.names
        operators = {
            names.steps[op]: op
            for op, entry in enumerate(document["ops"])
            if entry["op"] in _STATEFUL
        }
        found: dict[int, tuple[str, list[bytes]]] = {}
        for part in self._store.rows(self._flow.name):
            if part.step in operators:
                found.setdefault(operators[part.step], (part.kind, []))[1].append(part.rows)
        return {op: (kind, b"".join(rows)) for op, (kind, rows) in found.items()}

    # ---- on this thread; False: nothing follows ----

    def _start(self, cut: FlowCut, rows: Rows) -> bool:
        self._writer.begin(cut, rows)
        self._file.flush()
        self._said({"state": "began", "path": str(self._path)})
        return True

    def _add(self, data: bytes) -> bool:
        if not self._failed:
            self._writer.add(data)
            self._file.flush()
        self._lane.capture_written(len(data))
        return True

    def _end(self, rows: Rows | None) -> bool:
        if not self._writer.has_begun:
            self._path.unlink(missing_ok=True)
            self._said({"state": "failed", "text": "the run ended before a cut to begin with"})
            return False
        self._writer.end(rows)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._said(
            {
                "state": "done",
                "why": self._writer.why or "the run ended",
                "path": str(self._path),
                "bytes": self._writer.size,
                "entries": self._writer.entries,
                "state_kept": rows is not None,
            }
        )
        return False

    def _fail(self, error: OSError) -> bool:
        self._lane.mail_capture(self._index, 0)
        self._said({"state": "failed", "text": f"cannot write {self._path}: {error.strerror}"})
        return False
