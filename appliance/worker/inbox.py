"""The thread of a source written in Python: it opens, reads and closes it, and mails its chunks.

The lane's inbox is bounded. A chunk that it refuses is kept and offered again after a wait that
doubles up to a bound, so a source is pushed back without spinning; nothing is read meanwhile.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Mapping
from typing import Any, Protocol

from appliance import clock, connect
from appliance.connect import Chunk, EndOfInput
from appliance.limits import (
    CHUNK_MAX_BYTES,
    INBOX_WAIT_FIRST_S,
    INBOX_WAIT_MAX_S,
    READ_WAIT_MAX_S,
    SOURCE_FORGIVE_S,
    SOURCE_RETRY_FIRST_S,
    SOURCE_RETRY_MAX_S,
)
from appliance.logs import Logger
from appliance.worker.backoff import Backoff, Reasons
from appliance.worker.opening import OpenEnd

_LENGTH = struct.Struct(">I")


class Inbox(Protocol):
    """What a source's thread needs of a lane."""

    def mail_chunk(
        self, flow: int, source: int, partition: bytes, position: bytes, data: bytes
    ) -> bool: ...

    def mail_end(self, flow: int, source: int) -> None: ...


class SourceThread(threading.Thread):
    """Serves one source until it ends or `stop` is called, and then until `finish` if it has to
    hear of the last cut."""

    def __init__(
        self,
        end: OpenEnd,
        flow: int,
        lane: Inbox,
        log: Logger,
        positions: Mapping[str, bytes] | None = None,
    ) -> None:
        super().__init__(name=f"source {end.flow}.{end.name}", daemon=True)
        self._end = end
        self._flow = flow
        self._lane = lane
        self._log = log
        self._stopping = threading.Event()
        self._finishing = threading.Event()
        # After the last chunk handed over; at first, where an earlier run has left off.
        self._positions: dict[str, bytes] = dict(positions or {})
        self._lock = threading.Lock()
        self._committed: dict[str, bytes] = {}
        self._ended = False
        self.state = "opening"
        self._reasons = Reasons()
        if isinstance(end.connector, connect.Telling):
            end.connector.tell(log)

    @property
    def trouble(self) -> str:
        """Why it has failed, until it works again."""
        return self._reasons.now

    @property
    def acknowledges(self) -> bool:
        """Whether the source wants to know what is committed."""
        return isinstance(self._end.connector, connect.Acknowledging)

    def stop(self) -> None:
        """Read no more, as soon as `read` returns. A source that wants to know what is committed
        stays open until `finish`: the last cut is still to come.
        """
        self._stopping.set()

    def finish(self) -> None:
        """The last cut is committed: tell the source, close it and end."""
        self._stopping.set()
        self._finishing.set()

    def committed(self, positions: Mapping[str, bytes]) -> None:
        """A cut covers these positions: the source hears it on its own thread, before a read."""
        with self._lock:
            self._committed.update(positions)

    def run(self) -> None:
        backoff = Backoff(SOURCE_RETRY_FIRST_S, SOURCE_RETRY_MAX_S)
        connector = self._end.connector
        while not self._stopping.is_set():
            try:
                connector.open(dict(self._positions))
                try:
                    self._serve(connector, backoff)
                    self._see_off(connector)
                finally:
                    connector.close()
                break
            except (Exception, SystemExit) as error:
                self._failed(error, backoff)
        self.state = "ended" if self._ended else "stopped"

    def _serve(self, connector: Any, backoff: Backoff) -> None:
        """Read until the end of the input or `stop`."""
        since_s: float | None = None  # its first good read after a failure
        while not self._stopping.is_set():
            self._acknowledge(connector)
            try:
                chunk = connector.read(CHUNK_MAX_BYTES)
            except EndOfInput:
                self._ended = True
                self._works_again(backoff)
                # A source that was stopped has not ended: its open windows stay open.
                self._lane.mail_end(self._flow, self._end.index)
                return
            data = None if chunk is None else _data_of(chunk)
            if backoff.failures:
                now_s = clock.monotonic_s()
                since_s = now_s if since_s is None else since_s
                if now_s - since_s >= SOURCE_FORGIVE_S:
                    self._works_again(backoff)
            self.state = "open"
            if chunk is not None and data is not None:
                self._hand_over(chunk, data)

    def _see_off(self, connector: Any) -> None:
        """Nothing more is read; what was is acknowledged as it is committed, to the last."""
        if self.acknowledges:
            while not self._finishing.wait(READ_WAIT_MAX_S):
                self._acknowledge(connector)
        self._acknowledge(connector)

    def _hand_over(self, chunk: Chunk, data: bytes) -> None:
        """Mail one chunk; wait as long as the lane has no room for it."""
        wait_s = INBOX_WAIT_FIRST_S
        while not self._lane.mail_chunk(
            self._flow, self._end.index, chunk.partition.encode(), chunk.position, data
        ):
            self.state = "pushed back"
            if self._stopping.wait(wait_s):
                return  # not handed over, so its position is not taken either
            wait_s = min(wait_s * 2, INBOX_WAIT_MAX_S)
        self._positions[chunk.partition] = chunk.position

    def _acknowledge(self, connector: Any) -> None:
        if not isinstance(connector, connect.Acknowledging):
            return
        with self._lock:
            positions, self._committed = self._committed, {}
        if positions:
            connector.committed(positions)

    def _works_again(self, backoff: Backoff) -> None:
        if backoff.failures:
            self._log.info("source works again", flow=self._end.flow, source=self._end.name)
            backoff.reset()
            self._reasons.forget()

    def _failed(self, error: Exception | SystemExit, backoff: Backoff) -> None:
        """A line when it breaks and for each new reason, else quiet tries, until it works again."""
        self.state = "failed"
        trouble = f"{type(error).__name__}: {error}"
        if self._reasons.is_new(trouble):
            where = {"flow": self._end.flow, "source": self._end.name}
            self._log.warning("source failed; it is tried again", **where, error=trouble)
        self._stopping.wait(backoff.next_s())


def _data_of(chunk: object) -> bytes:
    """The bytes for the lane. TypeError when `read` gave something that the contract does not know:
    then it has not worked."""
    if not isinstance(chunk, Chunk):
        raise TypeError(f"read() gave a {type(chunk).__name__}, not a Chunk or None")
    if not isinstance(chunk.position, bytes) or not isinstance(chunk.partition, str):
        raise TypeError("a Chunk's position is bytes and its partition a str")
    data: Any = chunk.data
    if isinstance(data, str):
        raise TypeError("a Chunk's data is bytes, not a str")
    return data if isinstance(data, bytes) else frame_messages(data)


def frame_messages(messages: Any) -> bytes:
    """Whole messages as one chunk: each behind its length, 32 bits, big-endian."""
    parts: list[bytes] = []
    for message in messages:
        parts.append(_LENGTH.pack(len(message)))
        parts.append(bytes(message))
    return b"".join(parts)
