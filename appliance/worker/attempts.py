"""How a sink fares: whether it is open, and what is said and waited for when a verb raises.

A sink that breaks is closed and tried again, each time after a longer wait; one line says that it
broke, another one when it is for a new reason, one that it works again. One that says `Later` has
not broken: it stays open, nothing is said, and its waits are counted by themselves.
"""

from __future__ import annotations

from appliance.connect import Later
from appliance.limits import SINK_RETRY_FIRST_S, SINK_RETRY_MAX_S
from appliance.logs import Logger
from appliance.worker.backoff import Backoff, Reasons
from appliance.worker.opening import OpenEnd


class Attempts:
    """What the thread of one sink knows of its tries. `state` is a word for `status`."""

    def __init__(self, end: OpenEnd, log: Logger) -> None:
        self._end = end
        self._log = log
        self._broken = Backoff(SINK_RETRY_FIRST_S, SINK_RETRY_MAX_S)
        self._later = Backoff(SINK_RETRY_FIRST_S, SINK_RETRY_MAX_S)
        self.is_open = False
        self.state = "opening"
        self._reasons = Reasons()

    @property
    def trouble(self) -> str:
        """Why it has failed, until it works again."""
        return self._reasons.now

    def opened(self) -> None:
        """`open` has returned. Whether a sink that had broken works is seen when it has taken
        something."""
        self.is_open = True
        if not self._broken.failures:
            self.state = "open"

    def works(self) -> None:
        """A verb has done what it is for."""
        self.state = "open"
        self._later.reset()
        if self._broken.failures:
            self._log.info("sink works again", flow=self._end.flow, sink=self._end.name)
            self._broken.reset()
            self._reasons.forget()

    def wait_after(self, error: Exception | SystemExit) -> float:
        """What a verb has raised: how long to wait before the next try, in seconds."""
        if isinstance(error, Later):
            self.state = "pushing back"
            wait_s = self._later.next_s()
            return wait_s if error.after_s is None else min(error.after_s, SINK_RETRY_MAX_S)
        self.state = "failed"
        if self._reasons.is_new(f"{type(error).__name__}: {error}"):
            self.say("sink failed; it is tried again", error)
        if self.is_open:
            self.close()
        return self._broken.next_s()

    def close(self) -> None:
        """Close the sink; what that raises is said."""
        self.is_open = False
        try:
            self._end.connector.close()
        except (Exception, SystemExit) as error:
            self.say("sink could not be closed", error)

    def end(self) -> None:
        """The last thing that is done with it."""
        self.state = "closed"
        if self.is_open:
            self.close()

    def say(self, message: str, error: object) -> None:
        """A warning about this sink."""
        text = str(error)
        if isinstance(error, BaseException):
            text = f"{type(error).__name__}: {error}"
        self._log.warning(message, flow=self._end.flow, sink=self._end.name, error=text)
