"""Where in the user's code a call stands, and how a user's function is referred to."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from appliance.errors import Place

_OURS = "appliance.flow"


def caller_frame() -> FrameType | None:
    """The innermost frame that is not of this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith(_OURS):
        frame = frame.f_back
    return frame


def caller_place() -> Place:
    """File and line of the user's call."""
    frame = caller_frame()
    if frame is None:
        return Place("flow")
    file = frame.f_code.co_filename
    text = linecache.getline(file, frame.f_lineno).rstrip("\n")
    return Place(_shown(file), frame.f_lineno, 0, text)


def caller_folder() -> str:
    """The folder of the user's file; the current one where there is no file."""
    frame = caller_frame()
    file = frame.f_globals.get("__file__") if frame is not None else None
    return os.path.dirname(os.path.realpath(file)) if isinstance(file, str) else os.getcwd()


def reference_of(target: Callable[..., Any], base: str) -> str:
    """`"score.py:Score"` for what lives below `base`, as a flow file beside it would say; else
    `"module:name"`."""
    named = target if hasattr(target, "__qualname__") else type(target)
    name = str(getattr(named, "__qualname__", type(target).__name__))
    module = str(getattr(named, "__module__", ""))
    file = getattr(sys.modules.get(module), "__file__", None)
    if isinstance(file, str):
        relative = os.path.relpath(os.path.realpath(file), base)
        if not relative.startswith(os.pardir):
            return f"{relative}:{name}"
    return f"{module}:{name}"


def _shown(file: str) -> str:
    """A path as short as it can be said from the current folder."""
    relative = os.path.relpath(file)
    return file if relative.startswith(os.pardir) else relative
