"""The table: one row a measure, with the figure, what it is held against and the limit."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """`value` and `limit` in `unit`; `detail` says what both sides took."""

    measure: str
    value: float
    limit: float
    unit: str
    detail: str = ""

    @property
    def is_within(self) -> bool:
        return self.value <= self.limit

    def cells(self) -> list[str]:
        verdict = "yes" if self.is_within else "**no**"
        return [
            self.measure,
            f"{self.value:.3g} {self.unit}",
            f"{self.limit:g} {self.unit}",
            verdict,
            self.detail,
        ]


HEADINGS = ["measure", "reached", "at most", "within", "both sides"]


def table(rows: Sequence[Row]) -> str:
    lines = [HEADINGS, ["---"] * len(HEADINGS), *(row.cells() for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def write(page: Path, text: str) -> None:
    """The page up to its first second-level heading; what stands below is others'."""
    below = page.read_text().partition("\n## ") if page.exists() else ("", "", "")
    page.write_text(text + "".join(below[1:]))


def write_section(page: Path, heading: str, text: str) -> None:
    """The section under this second-level heading, in its place or at the end."""
    first, *sections = page.read_text().split("\n## ")
    kept = [section for section in sections if section.partition("\n")[0] != heading]
    page.write_text("\n## ".join([first.rstrip("\n") + "\n", *kept, f"{heading}\n\n{text}"]))


def machine() -> str:
    """What the figures were taken on."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            model = line.partition(":")[2].strip()
            break
    compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=False)
    return (
        f"{os.cpu_count()} × {model}, {platform.machine()}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {compiler.stdout.splitlines()[0]}"
    )


def commit(root: Path) -> str:
    """The commit measured, and whether the tree differed from it."""
    asked = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
