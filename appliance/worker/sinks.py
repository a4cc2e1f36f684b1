"""The thread of a sink written in Python: it opens, writes and closes it.

The lane posts lists of encoded records and stops the flow's sources when too many bytes are out; a
list is reported back as taken only when `write` has returned. What `write` or `open` raises,
`Later` or anything else, means: not taken, the same records come again after a wait.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import Any, Protocol

from appliance.connect import Resume
from appliance.limits import SINK_QUEUE_MAX_COUNT
from appliance.logs import Logger
from appliance.worker.attempts import Attempts
from appliance.worker.opening import OpenEnd


class Taker(Protocol):
    """What a sink's thread needs of a lane."""

    def mail_taken(self, flow: int, sink: int) -> None: ...


class SinkThread(threading.Thread):
    """Serves one sink until `finish` or `abandon` is called."""

    def __init__(self, end: OpenEnd, flow: int, lane: Taker, log: Logger, fresh: bool) -> None:
        super().__init__(name=f"sink {end.flow}.{end.name}", daemon=True)
        self._end = end
        self._flow = flow
        self._lane = lane
        self._fresh = fresh
        self._queue: queue.Queue[Sequence[bytes] | None] = queue.Queue(SINK_QUEUE_MAX_COUNT)
        self._abandoned = threading.Event()
        self._ending = threading.Event()  # finished or abandoned: no more waiting for an empty open
        self._attempts = Attempts(end, log)

    @property
    def state(self) -> str:
        return self._attempts.state

    @property
    def trouble(self) -> str:
        return self._attempts.trouble

    def put(self, records: Sequence[bytes]) -> None:
        """Records to write. Called by the worker's main
        thread.

        The lane stops posting long before the queue is full, because it counts the bytes out.
        """
        self._queue.put_nowait(records)

    def finish(self) -> None:
        """Write what is queued, then close."""
        self._ending.set()
        self._queue.put(None)

    def abandon(self) -> None:
        """Give up what is left, then close."""
        self._abandoned.set()
        self._ending.set()
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            # The thread finds a list of records there instead, sees that it is abandoned and ends.
            return

    def run(self) -> None:
        self._open_early()
        while not self._abandoned.is_set():
            records = self._queue.get()
            if records is None:
                break
            if self._write(records):
                self._lane.mail_taken(self._flow, self._end.index)
        self._attempts.end()

    def _open_early(self) -> None:
        """Before there are records: one that never gets any still connects, or makes its file."""
        while not self._abandoned.is_set():
            try:
                self._make_ready()
            except (Exception, SystemExit) as error:
                if self._ending.wait(self._attempts.wait_after(error)):
                    return
            else:
                self._attempts.works()
                return

    def _write(self, records: Sequence[bytes]) -> bool:
        """Try until the sink has taken them; False when it was abandoned first."""
        while not self._abandoned.is_set():
            try:
                self._attempt(records)
                return True
            except (Exception, SystemExit) as error:
                self._abandoned.wait(self._attempts.wait_after(error))
        return False

    def _attempt(self, records: Sequence[bytes]) -> None:
        self._make_ready()
        connector: Any = self._end.connector
        connector.write(records)
        self._attempts.works()

    def _make_ready(self) -> None:
        if not self._attempts.is_open:
            connector: Any = self._end.connector
            connector.open(Resume(fresh=self._fresh))
            self._fresh = False
            self._attempts.opened()
