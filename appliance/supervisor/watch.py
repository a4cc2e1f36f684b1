"""Judging from the page whether a lane still makes progress."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.limits import LANE_STALL_S
from appliance.supervisor.page import Pulse


class Watch:
    """Looks at the pulses of one worker. `step_timeouts_s` are those of its flows, by index.

    Time counts from when this process first saw a value, on its own clock: so it does not matter
    which clock the lane wrote, and a box that was asleep does not find all its functions stuck.
    """

    def __init__(self, step_timeouts_s: Sequence[float]) -> None:
        self._step_timeouts_s = step_timeouts_s
        self._call = 0
        self._call_seen_s = 0.0
        self._ticks = -1
        self._ticks_seen_s = 0.0

    def look(self, pulse: Pulse, now_s: float) -> str:
        """Why the worker must be ended; "" when all is well. Called again and again."""
        if pulse.in_python_since_ns != self._call:
            self._call, self._call_seen_s = pulse.in_python_since_ns, now_s
        if pulse.ticks != self._ticks or pulse.waiting or self._ticks_seen_s == 0.0:
            self._ticks, self._ticks_seen_s = pulse.ticks, now_s
        if self._call:
            limit_s = self._limit_s(pulse.flow)
            if now_s - self._call_seen_s > limit_s:
                return f"a user function did not come back within {limit_s:g} s"
            # A turn that calls slow functions takes as long as they all take together.
            self._ticks_seen_s = now_s
        if now_s - self._ticks_seen_s > LANE_STALL_S:
            return f"its lane made no turn for {LANE_STALL_S:g} s"
        return ""

    def _limit_s(self, flow: int) -> float:
        if flow < len(self._step_timeouts_s):
            return self._step_timeouts_s[flow]
        return max(self._step_timeouts_s, default=LANE_STALL_S)
