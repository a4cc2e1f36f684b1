"""What a service manager is told, in the protocol of `sd_notify`: datagrams of `NAME=value` lines
to the socket that it names in the environment. Without such a socket nothing is said.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

from appliance.limits import NOTIFY_WAIT_S, WATCH_EVERY_S
from appliance.logs import Logger


class Notifier:
    """Takes its variables out of the environment: workers, and what user code starts, must not
    speak for the service.
    """

    def __init__(self, environ: MutableMapping[str, str], log: Logger) -> None:
        self._log = log
        self._address = environ.pop("NOTIFY_SOCKET", "")
        self._every_s = _watchdog_s(environ) / 2
        self._beat_at_s = 0.0
        self._status = ""
        self._is_ready = self._is_stopping = False

    @property
    def is_wanted(self) -> bool:
        """Whether a service manager listens."""
        return bool(self._address)

    def ready(self) -> None:
        """Every source is open and all state is restored; said once, and after each reload."""
        if not self._is_ready:
            self._is_ready = self._tell("READY=1")

    def reloading(self, now_ns: int) -> None:
        """A reload begins; `ready` ends it. `now_ns`: of the monotonic clock."""
        self._is_ready = False
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={now_ns // 1000}")

    def stopping(self) -> None:
        """The end has begun; said once."""
        if not self._is_stopping:
            self._is_stopping = True
            self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """How it goes, for people, in one line; said when it changes."""
        text = " ".join(text.split())
        if text != self._status:
            self._status = text
            self._tell(f"STATUS={text}")

    def beat(self, now_s: float, is_progressing: bool) -> None:
        """Keep the watchdog quiet, twice in its time; but only while there is progress."""
        if not self._every_s or now_s < self._beat_at_s:
            return
        if is_progressing:
            self._tell("WATCHDOG=1")
            self._beat_at_s = now_s + self._every_s
        else:
            self._beat_at_s = now_s + min(self._every_s, WATCH_EVERY_S)

    def next_s(self) -> float | None:
        """When `beat` is due."""
        return self._beat_at_s if self._every_s else None

    def _tell(self, text: str) -> bool:
        """False when it should be said again: the manager was too busy."""
        if not self._address:
            return True
        # A name that begins with @ is abstract: in no folder.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaking:
                speaking.settimeout(NOTIFY_WAIT_S)
                speaking.sendto(text.encode(), address)
        except TimeoutError:
            self._log.warning("the service manager does not listen", what=text)
            return False
        except OSError as error:
            self._log.warning("the service manager cannot be told", what=text, reason=error)
        return True


def _watchdog_s(environ: MutableMapping[str, str]) -> float:
    """How long the manager waits for a sign of life; 0 when it does not, or not for us. In the
    one-file build the process it started is our parent.
    """
    given, meant = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
    if not given.isdecimal() or meant not in ("", str(os.getpid()), str(os.getppid())):
        return 0.0
    return int(given) / 1e6
