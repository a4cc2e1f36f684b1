"""A box with nothing on it: a folder that becomes the root of a process, with one of the frozen
programs, the C library, and empty folders. No shell, no Python.

The process sees them through mounts of its own, which end with it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from integration.processes import PATIENCE_S, ROOT, Running

DIST = ROOT / "dist"

#: What the C library consists of, for all its versions.
_LIBC = "ld-linux.* libc libm libdl libpthread librt libutil libresolv libnss_files libnss_dns"

#: In the mounts of its own: what a kernel gives to every box, then the program instead of us.
_ENTER = """
set -e
root=$1; shift
mount -t proc proc "$root/proc"
for device in null zero urandom; do mount --bind "/dev/$device" "$root/dev/$device"; done
[ -z "$TMP_OPTIONS" ] || mount -t tmpfs -o "$TMP_OPTIONS" tmpfs "$root/tmp"
unset TMP_OPTIONS
exec chroot "$root" "$@"
"""


def why_not() -> str:
    """Why there can be no such box here; empty if there can."""
    if not (DIST / "bettong").exists():
        return "there is no frozen program (make freeze)"
    if os.geteuid() != 0:
        return "only root may change the root of a process"
    probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return "" if probe.returncode == 0 else "this system allows no mounts of one's own"


class Box:
    """`program`: its path inside; `job`: the folder outside that is /job inside."""

    def __init__(self, root: Path, program: str) -> None:
        self.root, self.program = root, program
        self.is_one_file = program == "/bettong"
        for name in ("dev", "proc", "tmp", "job"):
            (root / name).mkdir()
        for device in ("null", "zero", "urandom"):
            (root / "dev" / device).touch()
        for library in c_library(DIST / "bettong"):
            target = root / library.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
        if self.is_one_file:
            shutil.copy(DIST / "bettong", root / "bettong")
        else:
            shutil.copytree(DIST / "bettong-folder", root / "bettong-folder", symlinks=True)

    @property
    def job(self) -> Path:
        return self.root / "job"

    @property
    def unpacked(self) -> list[Path]:
        """The folders to which a one-file program has unpacked itself."""
        return sorted((self.root / "tmp").glob("_MEI*"))

    def command(self, *words: str) -> list[str]:
        enter = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER, "enter"]
        return [*enter, str(self.root), self.program, *words]

    def run(
        self, *words: str, stdin: bytes = b"", more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end; `more`: in its environment, which is empty but for a path."""
        return subprocess.run(
            self.command(*words),
            input=stdin,
            capture_output=True,
            timeout=PATIENCE_S,
            env=environment(more),
            check=False,
        )

    @contextmanager
    def running(self, *words: str, more: Mapping[str, str] | None = None) -> Iterator[Running]:
        """A command that goes on, in a process group of its own; gone when the block ends."""
        found = Running(
            subprocess.Popen(
                self.command(*words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(more),
                start_new_session=True,
            )
        )
        try:
            yield found
        finally:
            found.remove()


def environment(more: Mapping[str, str] | None) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "TMP_OPTIONS": "", **(more or {})}


def c_library(program: Path) -> list[Path]:
    """The files of the C library that this program is run with, the loader among them."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    paths = [Path(word) for word in re.findall(r"(/\S+)", said)]
    pattern = re.compile(rf"({'|'.join(_LIBC.split())})\.so\.\d+")
    assert all(pattern.fullmatch(path.name) for path in paths), f"more than the C library: {said}"
    folder = next(path for path in paths if path.name.startswith("libc.")).parent
    beside = [path for path in sorted(folder.iterdir()) if pattern.fullmatch(path.name)]
    return [*(path for path in paths if path.parent != folder), *beside]


def descendants(pid: int) -> list[int]:
    """All processes below this one."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *descendants(child)]
    return found


needs_a_box = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can be")
