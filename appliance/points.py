"""Named points at which a test may end a run for good, and rules that a test may have broken.

Nothing happens here unless the environment says so. `BETTONG_CRASH_AT=commit.after:3` ends the
worker and its supervisor the third time that the point is reached, as a power cut would: without a
word. `BETTONG_BREAK=numbers-restored` breaks one rule on purpose, so that a suite can show that it
would notice.
"""

from __future__ import annotations

import os
import signal
import threading

#: Every point, in the order in which a worker reaches them.
POINTS = (
    "create.before",
    "create.after",
    "epoch.before",
    "epoch.after",
    "freeze.before",
    "freeze.after",
    "transaction.before",
    "transaction.after",
    "merge.before",
    "merge.after",
    "commit.before",
    "commit.after",
    "release.before",
    "release.after",
    "ack.before",
    "ack.after",
    "send.before",
    "send.after",
    "trim.before",
    "trim.after",
)

#: Every rule that can be broken, and what becomes of it.
RULES = {
    "ack-after-commit": "sources are acknowledged before the cut is committed",
    "release-after-commit": "results leave before the cut is committed",
    "one-transaction": "positions are committed in a transaction before that of the state",
    "numbers-restored": "numbers of results begin at 1 again after a restart",
    "epoch-raised": "a restart keeps the epoch of the run before",
    "unfinished-kept": "an unfinished frame is lost with a restart",
    "merge-committed": "where a merge is due, rows are there for it ahead of their positions",
}

#: Those of an upgrade, which is one process.
UPGRADE_POINTS = (
    "upgrade.verified",
    "upgrade.unpacked",
    "upgrade.tried",
    "upgrade.replaced",
    "upgrade.installed",
    "upgrade.noted",
    "upgrade.remembered",
    "upgrade.switched",
    "upgrade.undone",
    "upgrade.ready",
)

_crash_at, _, _count = os.environ.get("BETTONG_CRASH_AT", "").partition(":")
_left = int(_count or "1")
_broken = frozenset(os.environ.get("BETTONG_BREAK", "").split())
_lock = threading.Lock()


def reach(point: str, *, alone: bool = False) -> None:
    """This point is reached now: here the run may end for good, `alone`: without
    its supervisor."""
    global _left
    if point != _crash_at:
        return
    with _lock:
        _left -= 1
        if _left == 0:
            if not alone:
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)


def count_at(point: str) -> int:
    """Which time that this point is reached ends the run, counted from 1; 0: none. For a point in
    C, where nobody calls `reach`."""
    return _left if point == _crash_at else 0


def is_broken(rule: str) -> bool:
    """Whether a test wants this rule broken."""
    return rule in _broken
