"""The only place that reads a clock. Everything else is given the time, or asks here.

A lane reads its own clock once a turn; this one is for the threads and processes around it. Waiting
is never done here: threads wait on what they wait for, with a limit.
"""

from __future__ import annotations

import time

#: 2026-11-01: no clock of a box that runs this is right before.
_BUILT_S = 1_793_491_200


def monotonic_ns() -> int:
    """Nanoseconds that never go back; the same clock as the lane's and the same in every process of
    the box.
    """
    return time.monotonic_ns()


def monotonic_s() -> float:
    """The same in seconds."""
    return time.monotonic()


def wall_us() -> int:
    """Microseconds since 1970-01-01 UTC, as the box believes; it may jump."""
    return time.time_ns() // 1000


def known_s() -> int:
    """Seconds since 1970, or 0 while the box cannot know the time: before this software was built,
    no clock is right.
    """
    now_s = int(time.time())
    return now_s if now_s >= _BUILT_S else 0


def cpu_s() -> float:
    """Seconds of processor time this process has used."""
    return time.process_time()


def utc_text(at_us: int) -> str:
    """`2026-11-23T08:20:00.123Z` for microseconds since 1970."""
    seconds, rest = divmod(at_us, 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1000:03d}Z"
