"""Workers that start in a few milliseconds: a process that has imported all of the worker's code
forks a child for each, with a stand-in for the supervisor above it.

The child runs the worker's own `main`: job and channel, lane, recovery, committer, senders, store.
Only the import, the supervisor's page watch and its restarts are left out; whole trees are killed
in `test_kill_trees.py`.

Run as a program with a socket as standard input. `start` comes with two descriptors (the channel
and the page); `kill` ends what was started; `reap` waits until it is gone.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

from appliance import points

_PR_SET_CHILD_SUBREAPER = 36

#: With these, bases are merged every few cuts, and deltas dropped.
_SMALL_MERGES = {
    "STORE_MERGE_MIN_BYTES": 100,
    "STORE_DEAD_MIN_BYTES": 2000,
    "STORE_DELTA_MAX_COUNT": 6,
}

#: What a worker imports when it has work to do; not `link.upstream`, which draws a number for each
#: process that imports it.
_WORKER = (
    "appliance.worker.main",
    "appliance.worker.mailroom",
    "appliance.worker.recovery",
    "appliance.worker.loading",
    "appliance.worker.python_steps",
    "appliance.worker.user_logs",
    "appliance.link.receiver",
    "appliance.link.sockets",
    "appliance.store",
    "connectors.acknowledged_tcp",
    "connectors.file",
    "connectors.sqlite",
    "zmq",
)


def main() -> None:
    for name in _WORKER:
        importlib.import_module(name)
    for name, value in _SMALL_MERGES.items():
        setattr(importlib.import_module("appliance.store.index"), name, value)
    # A child whose stand-in is dead becomes ours.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    door = socket.socket(fileno=0)
    while True:
        data, fds, _, _ = socket.recv_fds(door, 65_536, 2)
        if not data:
            break
        order: dict[str, Any] = json.loads(data)
        if order["do"] == "start":
            _start(order, door, fds)
            for fd in fds:
                os.close(fd)
        elif order["do"] == "kill":
            _kill()
        door.sendall(json.dumps(_reap() if order["do"] == "reap" else []).encode())
    _kill()


def _start(order: dict[str, Any], door: socket.socket, fds: list[int]) -> None:
    if os.fork() != 0:
        return
    door.close()
    if os.fork() == 0:
        _work(order, fds)
    for fd in fds:
        os.close(fd)
    os.waitpid(-1, 0)
    os._exit(0)


def _work(order: dict[str, Any], fds: list[int]) -> NoReturn:
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(order["folder"])
    os.environ["BETTONG_CRASH_AT"] = order["crash_at"]
    os.environ["BETTONG_BREAK"] = order["broken"]
    importlib.reload(points)
    if order["hold_at"]:
        _hold(order["hold_at"], Path(order["log"] + ".held"))
    from appliance.worker.main import main as work

    work([str(fds[0]), str(fds[1]), str(os.getppid())])


def _hold(point: str, mark: Path) -> None:
    """Whoever gets to this point waits there, until the test has looked and kills it."""
    mark.unlink(missing_ok=True)

    def reach(reached: str) -> None:
        if reached == point:
            mark.touch()
            threading.Event().wait()

    points.reach = reach


def _children() -> list[int]:
    words = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(word) for word in words]


def _kill() -> None:
    """The stand-in and, before the kernel does it, the worker."""
    for child in _children():
        try:
            below = Path(f"/proc/{child}/task/{child}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            below = []
        os.kill(child, signal.SIGKILL)
        for worker in below:
            try:
                os.kill(int(worker), signal.SIGKILL)
            except ProcessLookupError:
                print("it was gone already", worker, file=sys.stderr)


def _reap() -> list[int]:
    """Exit codes as `os.waitstatus_to_exitcode` gives them, of all that was started."""
    codes = []
    while True:
        try:
            _, status = os.waitpid(-1, 0)
        except ChildProcessError:
            return codes
        codes.append(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
