"""Reading what the system says of itself, from its files; a test gives a root of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from appliance.limits import DOCTOR_FACT_MAX_BYTES

ROOT = Path("/")


def text_of(path: Path) -> str:
    """The text of a small file, without blanks around it; "" when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(DOCTOR_FACT_MAX_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def number_of(path: Path) -> int | None:
    """The number in such a file; None when there is none (also for the word "max")."""
    text = text_of(path)
    return int(text) if text.isascii() and text.isdigit() else None


def limit_of(name: str, pid: str = "self", root: Path = ROOT) -> tuple[float, float] | None:
    """The soft and the hard limit of a process as `/proc/PID/limits` names it: "Max open files"."""
    for line in text_of(root / "proc" / pid / "limits").splitlines():
        if line.startswith(name):
            soft, hard = line[len(name) :].split()[:2]
            return _limit(soft), _limit(hard)
    return None


def _limit(word: str) -> float:
    return float("inf") if word == "unlimited" else int(word)


def environ_of(pid: str, root: Path = ROOT) -> dict[str, str]:
    """The variables that a process was started with; none when we may not see them."""
    words = text_of(root / "proc" / pid / "environ").split("\0")
    return {name: value for name, equals, value in (one.partition("=") for one in words) if equals}


@dataclass(frozen=True)
class Mount:
    """Where a path is mounted, from what, and how."""

    point: str
    kind: str
    source: str


def mount_of(path: Path, root: Path = ROOT) -> Mount | None:
    """The mount that holds a path; None when the system does not say."""
    found = None
    wanted = str(path.resolve())
    for line in text_of(root / "proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        words, about = left.split(), right.split()
        if len(words) < 5 or len(about) < 2:
            continue
        point = words[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        inside = wanted == point or wanted.startswith(point.rstrip("/") + "/")
        if inside and (found is None or len(point) >= len(found.point)):
            found = Mount(point, about[0], about[1])
    return found


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    path = path.absolute()
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path
