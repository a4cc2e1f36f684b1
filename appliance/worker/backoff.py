"""Waiting longer after every failure, never the same for all, never for ever; saying why once."""

from __future__ import annotations

import os

from appliance.limits import REASON_MAX_COUNT


class Backoff:
    """The waits after failures in a row: doubling from `first_s` to `max_s`, each with jitter."""

    def __init__(self, first_s: float, max_s: float) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self.failures = 0

    def next_s(self) -> float:
        """How long to wait after one more failure, in seconds: half to all of the doubled wait."""
        # The exponent is held down so that a year of failures is no overflow.
        wait_s = min(self._first_s * 2.0 ** min(self.failures, 32), self._max_s)
        self.failures += 1
        share = int.from_bytes(os.urandom(2), "big") / 65_535
        return float(wait_s * (0.5 + share / 2))

    def reset(self) -> None:
        """It works again."""
        self.failures = 0


class Reasons:
    """Why something fails and fails again. `now` is the newest reason, empty while it works."""

    def __init__(self) -> None:
        self.now = ""
        self._known: set[str] = set()

    def is_new(self, reason: str) -> bool:
        """Whether this one is to be said: the first time, and while they are few. A line at every
        try, because two reasons take turns or one names a new number each time, helps nobody.
        """
        self.now = reason
        if reason in self._known or len(self._known) == REASON_MAX_COUNT:
            return False
        self._known.add(reason)
        return True

    def forget(self) -> None:
        """It works again."""
        self.now = ""
        self._known.clear()
