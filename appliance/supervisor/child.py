"""One worker process as its supervisor has it: started, talked to, reaped."""

from __future__ import annotations

import os
import signal
import socket
import sys

from appliance.frozen import is_frozen, worker_environment
from appliance.supervisor.page import Page
from appliance.supervisor.watch import Watch
from appliance.worker.control import Channel

#: Held back in a worker until it has handlers of its own: Ctrl-C reaches it from its first moment.
_HELD_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Child:
    """A worker that has been started. Only the supervisor's main thread makes one: the kernel ends
    a worker when the *thread* that spawned it ends.
    """

    def __init__(self, stdout_fd: int | None) -> None:
        self.page = Page()
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        self.ready = False
        self.ended = False  # it said so itself
        self.failure: tuple[int, str] | None = None  # code and text, when it said why it cannot run
        self.waits = False  # it cannot run yet, for the disk is full
        self.flows: list[str] = []
        self.watch: Watch | None = None
        self.kill_reason = ""
        passed = (theirs.fileno(), self.page.fd)
        for fd in passed:
            os.set_inheritable(fd, True)
        actions = []
        if stdout_fd is not None:
            actions.append((os.POSIX_SPAWN_DUP2, stdout_fd, 1))
        command = [*worker_command(), *(str(fd) for fd in passed), str(os.getpid())]
        try:
            self.pid = os.posix_spawn(
                command[0],
                command,
                worker_environment(),
                file_actions=actions,
                setsigmask=_HELD_SIGNALS,
            )
        finally:
            os.set_inheritable(self.page.fd, False)
            theirs.close()

    def reap(self) -> int | None:
        """The exit status as `os.waitstatus_to_exitcode` gives it, once it has died; else None."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def kill(self, reason: str) -> None:
        """End it now; the supervisor hears of its death like of any other."""
        self.kill_reason = self.kill_reason or reason
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let go of what belonged to it, after it was reaped."""
        self.channel.close()
        self.page.close()


def worker_command() -> list[str]:
    """How a worker is started: our own binary again, or this Python with this package.

    `-P` keeps the present folder off the module path: a user's `connectors/` must not shadow ours.
    """
    if is_frozen():
        return [sys.executable, "worker"]
    return [sys.executable, "-P", "-m", "appliance", "worker"]


def death_words(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
