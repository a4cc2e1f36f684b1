"""What a check has found."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Level(enum.StrEnum):
    """How bad it is: a fault stops flows or loses something, a warning may do so one day."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: in which group, how it is, and what to do about it."""

    group: str
    subject: str
    level: Level
    found: str
    remedy: str = ""


def ok(group: str, subject: str, found: str) -> Finding:
    """As it should be."""
    return Finding(group, subject, Level.OK, found)


def warning(group: str, subject: str, found: str, remedy: str) -> Finding:
    """Works, but not for ever or not as well as it could."""
    return Finding(group, subject, Level.WARNING, found, remedy)


def fault(group: str, subject: str, found: str, remedy: str) -> Finding:
    """Flows do not start, stop, or lose something."""
    return Finding(group, subject, Level.FAULT, found, remedy)


def count(findings: Iterable[Finding], level: Level) -> int:
    """How many of this level."""
    return sum(finding.level is level for finding in findings)
