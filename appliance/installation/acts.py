"""What is to be done to a box, as a list that is shown, or carried out in order."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import EnvironmentFailure
from appliance.layout import replace_link


@dataclass(frozen=True)
class Act:
    """One thing to do, in words; `do` raises OSError."""

    words: str
    do: Callable[[], None]


def carry_out(acts: Sequence[Act]) -> None:
    """All of it, in order. EnvironmentFailure says what could not be done."""
    for act in acts:
        try:
            act.do()
        except OSError as error:
            why = error.strerror or str(error)
            remedy = "; run it as root" if isinstance(error, PermissionError) else ""
            raise EnvironmentFailure(f"cannot {act.words}: {why}{remedy}") from error
    os.sync()  # what was copied is there after a power cut


def make_folder(path: Path, mode: int, owner: str | None = None) -> Act:
    """A folder, and those above it; its mode and owner are set only when it is new."""

    def do() -> None:
        if path.is_dir():
            return
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.mkdir()
        path.chmod(mode)
        if owner is not None:
            shutil.chown(path, owner, owner)

    return Act(f"make {path}", do)


def write_file(path: Path, text: str, *, keep: bool = False) -> Act:
    """A file with this text; `keep`: one that is there already stays as it is."""

    def do() -> None:
        if keep and path.exists():
            return
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(0o644)
        fresh.replace(path)

    return Act(f"write {path}" + " unless it is there" * keep, do)


def make_link(link: Path, target: Path) -> Act:
    """A link, in one step; OSError when there is something else in its place."""

    def do() -> None:
        if link.exists() and not link.is_symlink():
            raise FileExistsError(0, "there is a file that is not ours")
        link.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        replace_link(link, target)

    return Act(f"link {link} to {target}", do)


def remove(path: Path) -> Act:
    """A file, a link, or a folder with all that is in it."""

    def do() -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    return Act(f"remove {path}", do)


def call(*words: str) -> Act:
    """Another program, which must succeed."""

    def do() -> None:
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise OSError(0, ended.stderr.strip() or f"exit code {ended.returncode}")

    return Act(f"run {' '.join(words)}", do)
