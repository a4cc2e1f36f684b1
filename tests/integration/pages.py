"""Pages of the documentation as things to run: the files and the commands in their blocks.

A block whose first line names a file, `# words.py`, is that file. In a `console` block the lines
after `$` are typed and what follows is all that they print.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from integration.processes import PATIENCE_S

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE_NAME = re.compile(r"# ([\w-]+\.\w+)\n")


def blocks(page: Path, language: str) -> list[str]:
    """The blocks in this language, in the order of the page."""
    return [text for found, text in _BLOCK.findall(page.read_text()) if found == language]


def files(page: Path) -> dict[str, str]:
    """The files that the page writes, by name."""
    found = {}
    for _, text in _BLOCK.findall(page.read_text()):
        if named := _FILE_NAME.match(text):
            found[named[1]] = text[named.end() :]
    return found


def write_files(page: Path, folder: Path) -> None:
    for name, text in files(page).items():
        (folder / name).write_text(text)


def sessions(page: Path) -> Iterator[tuple[str, str]]:
    """The commands of a page's console blocks, and what each prints."""
    for text in blocks(page, "console"):
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            yield command, printed


def shell_environment() -> dict[str, str]:
    """Ours first on the path, so that `bettong` on a page is the one under test."""
    kept = {name: value for name, value in os.environ.items() if name != "BETTONG_DATA"}
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run what a page has after its `$`."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=shell_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
