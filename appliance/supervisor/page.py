"""The page a lane shares with its supervisor: what it says without being asked.

A hung user function holds the GIL, so a worker cannot be asked how it is. The lane writes plain
words into this page, the supervisor reads them; each is read on its own, so one that is being
written shows the turn before, which does no harm. What stands about the event in a user's hands is
read only after the worker has been ended, when nobody writes any more. The layout is that of
`native/include/page.h`.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass

MAGIC = 0x42544E47
PARTITION_MAX_BYTES = 184
RAW_MAX_BYTES = 65_280
SIZE = 4096 + 65_536

_WORDS = struct.Struct("=6Q")  # magic, ticks, events, pending, in Python since, waiting
_EVENT = struct.Struct("=IIQII")  # flow, source, position, raw size, partition size
_EVENT_AT = _WORDS.size
_PARTITION_AT = _EVENT_AT + _EVENT.size
_RAW_AT = 256

#: The `source` of a call that no single record caused, such as a timer.
NO_SOURCE = 0xFFFF_FFFF


@dataclass(frozen=True)
class Pulse:
    """What a lane says of itself, at one look."""

    ticks: int
    events: int
    pending_bytes: int
    in_python_since_ns: int  # 0: not in a user function
    waiting: bool  # for input, or for room in a sink: that is progress
    flow: int = 0  # whose function is being called


@dataclass(frozen=True)
class EventInHand:
    """The event that a user function was working on. `raw` only where its source cannot replay."""

    flow: int
    source: int
    partition: bytes
    position: int
    raw: bytes


class Page:
    """One shared page, as the supervisor has it."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("bettong-page", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, SIZE)
        self._map = mmap.mmap(self.fd, SIZE)

    def pulse(self) -> Pulse | None:
        """How the lane is; None as long as it has not begun."""
        magic, ticks, events, pending, since, waiting = _WORDS.unpack_from(self._map, 0)
        if magic != MAGIC:
            return None
        flow: int = _EVENT.unpack_from(self._map, _EVENT_AT)[0]
        return Pulse(ticks, events, pending, since, bool(waiting), flow)

    def event_in_hand(self) -> EventInHand | None:
        """What a user function had in hand when its worker died; None when it was in none."""
        pulse = self.pulse()
        if pulse is None or pulse.in_python_since_ns == 0:
            return None
        flow, source, position, raw_size, name_size = _EVENT.unpack_from(self._map, _EVENT_AT)
        if source == NO_SOURCE:
            return None
        partition = self._bytes(_PARTITION_AT, min(name_size, PARTITION_MAX_BYTES))
        raw = self._bytes(_RAW_AT, min(raw_size, RAW_MAX_BYTES))
        return EventInHand(flow, source, partition, position, raw)

    def _bytes(self, start: int, size: int) -> bytes:
        return bytes(self._map[start : start + size])

    def close(self) -> None:
        """Give the memory back."""
        self._map.close()
        os.close(self.fd)
