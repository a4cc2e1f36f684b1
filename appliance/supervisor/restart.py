"""When a dead worker is started again: soon at first, then later and later, never given up."""

from __future__ import annotations

from appliance.limits import RESTART_FIRST_S, RESTART_FORGIVE_S, RESTART_MAX_S
from appliance.worker.backoff import Backoff


class RestartPolicy:
    """The restarts of one worker. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._backoff = Backoff(RESTART_FIRST_S, RESTART_MAX_S)
        self._ready_s: float | None = None
        self.count = 0

    def ready(self, now_s: float) -> None:
        """The worker runs."""
        self._ready_s = now_s

    def died(self, now_s: float) -> float:
        """The worker has died; when to start the next one."""
        if self._ready_s is not None and now_s - self._ready_s >= RESTART_FORGIVE_S:
            self._backoff.reset()
        self._ready_s = None
        self.count += 1
        return now_s + self._backoff.next_s()
