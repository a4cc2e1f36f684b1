"""A process that does not outlive its parent."""

from __future__ import annotations

import ctypes
import os
import signal

from appliance.errors import EXIT_FAILED

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Ask the kernel to end us when the parent's thread that started us ends; it may have already.

    `parent`: its process id, as it was when it started us.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(EXIT_FAILED)
