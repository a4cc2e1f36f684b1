"""What can go wrong, and how it is said.

    BettongError            what happened, where, what to do; `code` is the process's exit code
    ├── FlowError           faults in a flow (all of them at once); exit 78
    ├── UsageError          the command was called wrongly; exit 2
    └── EnvironmentFailure  a port, a disk, a permission; exit 3

A `Fault` is one thing wrong at one place. Errors of single records are not exceptions: the lane
counts them and writes them to the flow's error output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from appliance.limits import SHOWN_LINE_MAX_COUNT

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_ENVIRONMENT, EXIT_FLOW = 0, 1, 2, 3, 78


@dataclass(frozen=True)
class Place:
    """Where something stands: line and column count from 1, 0 is unknown; `text` is the line."""

    file: str = ""
    line: int = 0
    column: int = 0
    text: str = ""

    def __str__(self) -> str:
        parts = [self.file or "flow"]
        if self.line:
            parts.append(str(self.line))
            if self.column:
                parts.append(str(self.column))
        return ":".join(parts)

    def moved(self, columns: int) -> Place:
        """The same place, `columns` further to the right."""
        return replace(self, column=self.column + columns) if self.column else self


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a flow."""

    place: Place
    message: str
    remedy: str = ""

    def render(self) -> str:
        """Three or four lines: place and cause, the text, a caret below it, the remedy."""
        lines = [f"{self.place}: {self.message}"]
        if self.place.text:
            text, column = _in_view(self.place.text, self.place.column)
            lines.append(f"    {text}")
            if column:
                lines.append("    " + " " * (column - 1) + "^")
        if self.remedy:
            lines.append(f"  = {self.remedy}")
        return "\n".join(lines)


def _in_view(text: str, column: int) -> tuple[str, int]:
    """The part of a long line that is around the column, and the column within it. A tab takes one
    column, as it is counted."""
    text = text.replace("\t", " ")
    if len(text) <= SHOWN_LINE_MAX_COUNT:
        return text, column
    start = max(0, column - 1 - SHOWN_LINE_MAX_COUNT // 2)
    end = start + SHOWN_LINE_MAX_COUNT
    before, after = "…" * (start > 0), "…" * (end < len(text))
    return before + text[start:end] + after, column and column - start + len(before)


class BettongError(Exception):
    """The base of all our errors."""

    code = EXIT_FAILED


class FlowError(BettongError):
    """A flow that cannot run: every fault that was found."""

    code = EXIT_FLOW

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(fault.render() for fault in faults))
        self.faults = tuple(faults)


class UsageError(BettongError):
    """The command was called wrongly."""

    code = EXIT_USAGE


class EnvironmentFailure(BettongError):
    """The world outside refused: a port in use, a full disk, a missing permission."""

    code = EXIT_ENVIRONMENT
