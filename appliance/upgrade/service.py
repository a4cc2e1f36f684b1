"""The service while its version is changed: restarting it, and watching whether it becomes ready.

Who asks and restarts is given: systemd on a box, something that plays a part in a test.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from appliance import clock
from appliance.errors import BettongError, EnvironmentFailure
from appliance.layout import SERVICE
from appliance.limits import (
    UPGRADE_LOOK_S,
    UPGRADE_ORDER_S,
    UPGRADE_READY_S,
    UPGRADE_RESTART_MAX_COUNT,
    UPGRADE_SETTLED_S,
)

#: The document of `bettong status`, or None while nobody answers.
Status = Mapping[str, Any]


class NotReady(BettongError):
    """The service did not become ready in time, or did not stay so."""


class Service(Protocol):
    """What runs the flows of this box."""

    def runs(self) -> bool:
        """Whether it runs, or tries to: a service that was stopped on purpose is left so."""

    def restart(self) -> None:
        """Have it end and start again; not waited for. EnvironmentFailure."""

    def failure(self) -> str:
        """Why it will not become ready any more, or nothing."""

    def status(self) -> Status | None:
        """What it says of itself."""


@dataclass(frozen=True)
class Patience:
    """How long a restarted service is watched, in seconds."""

    ready_s: float = UPGRADE_READY_S
    settled_s: float = UPGRADE_SETTLED_S
    look_s: float = UPGRADE_LOOK_S


def restart_and_watch(service: Service, patience: Patience) -> None:
    """Restart the service and return when it has been ready for the settled time, in one process
    that is not the one before. NotReady; EnvironmentFailure when it cannot be restarted."""
    before = service.status()
    service.restart()
    watch_start(service, patience, None if before is None else before.get("pid"))


def watch_start(service: Service, patience: Patience, old_pid: object = None) -> None:
    """The same of a service that is starting already."""
    watch = _Watch(old_pid, patience)
    pause = threading.Event()
    while not watch.is_settled(service.status(), service.failure(), clock.monotonic_s()):
        pause.wait(patience.look_s)


class _Watch:
    """What was seen of the service so far."""

    def __init__(self, old_pid: object, patience: Patience) -> None:
        self._old_pid = old_pid
        self._patience = patience
        self._until_s = clock.monotonic_s() + patience.ready_s
        self._seen: tuple[object, int] | None = None  # process and restarts of its workers
        self._ready_s = 0.0  # since when that has been so

    def is_settled(self, status: Status | None, failure: str, now_s: float) -> bool:
        if failure:
            raise NotReady(failure)
        seen = None if status is None else self._ready(status)
        if status is None:
            self._ready_s = now_s  # gone, or too busy to answer: it must settle anew
        elif self._seen is not None and status.get("pid") != self._seen[0]:
            raise NotReady(f"process {self._seen[0]} ended after it had been ready")
        if seen is not None and seen == self._seen:
            return now_s - self._ready_s >= self._patience.settled_s
        if seen is not None:
            self._seen, self._ready_s = seen, now_s
        elif now_s >= self._until_s:
            within = f"it was not ready within {self._patience.ready_s:g} s"
            raise NotReady(f"{within}: {_words(status)}")
        return False

    def _ready(self, status: Status) -> tuple[object, int] | None:
        """The process and the restarts of its workers, if all of them run. A version yet to come
        may say more of itself, or less."""
        pid = status.get("pid")
        if pid == self._old_pid:
            return None
        restarts = sum(int(worker.get("restarts", 0)) for worker in status.get("workers", ()))
        if restarts >= UPGRADE_RESTART_MAX_COUNT:
            raise NotReady(f"its workers had to be started again {restarts} times")
        return (pid, restarts) if status.get("state") == "running" else None


def _words(status: Status | None) -> str:
    if status is None:
        return "nobody answers on the admin socket"
    workers = [f"worker {one.get('name')} {one.get('state')}" for one in status.get("workers", ())]
    return f"process {status.get('pid')} is {status.get('state')} ({', '.join(workers)})"


class Systemd:
    """The service as systemd has it."""

    def __init__(self, ask_status: Callable[[], Status | None]) -> None:
        self._ask_status = ask_status

    @staticmethod
    def is_there() -> bool:
        """Whether systemd runs this box and knows the service."""
        if not os.path.isdir("/run/systemd/system"):
            return False
        return _systemctl("show", "-p", "LoadState", "--value", SERVICE) == "loaded"

    def runs(self) -> bool:
        return self._property("ActiveState") != "inactive"

    def restart(self) -> None:
        _systemctl("reset-failed", SERVICE)
        _systemctl("restart", "--no-block", SERVICE)

    def failure(self) -> str:
        if self._property("ActiveState") == "failed":
            return (
                f"{SERVICE} failed ({self._property('Result')}); `journalctl -u {SERVICE}` has more"
            )
        again = self._property("NRestarts")
        if again.isdigit() and int(again) >= UPGRADE_RESTART_MAX_COUNT:
            return f"{SERVICE} had to be started again {again} times; see `journalctl -u {SERVICE}`"
        return ""

    def status(self) -> Status | None:
        return self._ask_status()

    def _property(self, name: str) -> str:
        return _systemctl("show", "-p", name, "--value", SERVICE)


class ByHand:
    """A service that something else keeps running, or nobody: it is asked to end."""

    def __init__(self, ask_status: Callable[[], Status | None], say: Callable[[str], None]) -> None:
        self._ask_status = ask_status
        self._say = say

    def runs(self) -> bool:
        return self._ask_status() is not None

    def restart(self) -> None:
        status = self._ask_status()
        if status is None:
            self._say("nothing runs now: whatever keeps bettong running must start it again")
            return
        pid = int(status["pid"])
        self._say(f"process {pid} is asked to end; whatever keeps it running must start it again")
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            return  # it has just ended
        except PermissionError as error:
            raise EnvironmentFailure(f"process {pid} cannot be asked to end: {error}") from error

    def failure(self) -> str:
        return ""

    def status(self) -> Status | None:
        return self._ask_status()


def _systemctl(*words: str) -> str:
    """What `systemctl` prints. EnvironmentFailure when it refuses or takes too long."""
    try:
        ended = subprocess.run(
            ["systemctl", *words],
            capture_output=True,
            timeout=UPGRADE_ORDER_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentFailure(f"`systemctl {' '.join(words)}` failed: {error}") from error
    if ended.returncode != 0:
        said = ended.stderr.decode(errors="replace").strip()
        raise EnvironmentFailure(f"`systemctl {' '.join(words)}` failed: {said}")
    return ended.stdout.decode(errors="replace").strip()
