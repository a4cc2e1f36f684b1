"""Freed memory, back to the system."""

from __future__ import annotations

import ctypes

#: glibc's. Other C libraries do without: they keep less.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


def give_back() -> None:
    """Return what is free but kept for later. It takes a millisecond or two, and what is asked for
    next is slower to come: for after something large and rare."""
    if _trim is not None:
        _trim(0)
