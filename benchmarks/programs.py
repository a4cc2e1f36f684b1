"""What is run: our command, and the C programs beside it, compiled when they are out of date."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FLOWS = HERE / "flows"
BUILT = ROOT / "build" / "bench"
COMPILER = shlex.split(os.environ.get("CC", "cc"))
FLAGS = ["-std=c11", "-O3", "-D_GNU_SOURCE", "-Wall", "-Wextra"]
SOURCES = {
    "limit": ["limit.c", "reading.c"],
    "echo": ["echo.c", "reading.c"],
    "client": ["client.c"],
}

PYTHON = sys.executable
BETTONG = str(Path(sys.executable).with_name("bettong"))


def program(name: str) -> str:
    """The path of a C program, compiled with the flags that our native module is compiled with."""
    sources = [HERE / source for source in SOURCES[name]]
    target = BUILT / name
    newest = max(path.stat().st_mtime for path in [*sources, HERE / "reading.h"])
    if not target.exists() or target.stat().st_mtime < newest:
        BUILT.mkdir(parents=True, exist_ok=True)
        command = [*COMPILER, *FLAGS, *map(str, sources), "-o", str(target), "-lm", "-pthread"]
        subprocess.run(command, check=True)
    return str(target)


def flow_once(name: str) -> list[str]:
    """Our command for a bounded flow."""
    return [BETTONG, "run", str(FLOWS / f"{name}.toml"), "--once"]


def loop(name: str, source: Path, target: Path) -> list[str]:
    """The plain Python loop of that name."""
    return [PYTHON, str(HERE / "loops.py"), name, str(source), str(target)]
