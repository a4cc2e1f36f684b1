"""What only the frozen program does: its environment, its parent, and where it is unpacked.

PyInstaller's bootloader starts us in an environment of its own making: its `_PYI_…` variables, and
LD_LIBRARY_PATH, by which our extension modules find the libraries that are packed with them.
Programs that user code starts must see neither, our own workers need both. So they are taken out
of `os.environ` at the start and given to workers alone.

The one file is two processes: the bootloader, which unpacks to a folder `_MEI<its pid><random>`
beside other temporary files, waits, and removes it; and its child, us.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import sys
from collections.abc import Iterator, MutableMapping
from itertools import islice
from pathlib import Path

from appliance import clock
from appliance.limits import SWEEP_ENTRY_MAX_COUNT, SWEEP_FOLDER_MAX_COUNT, SWEEP_MIN_AGE_S
from appliance.parent import die_with

_LIBRARIES, _LIBRARIES_BEFORE = "LD_LIBRARY_PATH", "LD_LIBRARY_PATH_ORIG"
_BOOTLOADERS = "_PYI_"

#: A file of every build of ours, at its top: which folder is ours, and, locked, that somebody
#: lives in it.
MARKER = "bettong.unpacked"

_taken: dict[str, str] = {}
_held: list[int] = []


def is_frozen() -> bool:
    """Whether this is the frozen program, of one file or of a folder."""
    return bool(getattr(sys, "frozen", False))


def begin() -> None:
    """Put right what the start has left; to be called before anything else of ours."""
    folder = Path(getattr(sys, "_MEIPASS"))  # noqa: B009  # the bootloader's word for it
    _take_environment(os.environ)
    unpacked_by = bootloader_of(folder.name)
    if unpacked_by is None or sys.argv[1:2] == ["worker"]:
        return
    # If the bootloader is killed, nobody is left who would pass signals on to us.
    die_with(unpacked_by)
    _live_in(folder)
    sweep(folder.parent)


def _take_environment(environ: MutableMapping[str, str]) -> None:
    for name in [name for name in environ if name.startswith(_BOOTLOADERS)]:
        _taken[name] = environ.pop(name)
    for name in (_LIBRARIES, _LIBRARIES_BEFORE):
        if name in environ:
            _taken[name] = environ.pop(name)
    if _LIBRARIES_BEFORE in _taken:
        environ[_LIBRARIES] = _taken[_LIBRARIES_BEFORE]


def worker_environment() -> dict[str, str]:
    """What a worker of ours is started with: the environment, and what `begin` took from it."""
    return {**os.environ, **_taken}


def bootloader_of(name: str) -> int | None:
    """The process that unpacked a folder of this name; None if nobody did."""
    if not name.startswith("_MEI") or len(name) != len("_MEI") + 8 + 6:
        return None
    try:
        return int(name[4:12], 16)
    except ValueError:
        return None


# ---- folders that were left behind ----


def _live_in(folder: Path) -> None:
    """Hold the marker of our own folder as long as this process lives; no child inherits it."""
    fd = os.open(folder / MARKER, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_SH)
    _held.append(fd)


def sweep(parent: Path) -> int:
    """Remove folders that killed programs of ours have left here; how many there were.

    Ours is what has our marker and belongs to this user. Left is what nobody has locked, whose
    bootloader is gone (of this system: another container's has its own process numbers), and that
    is not so young that it may still be being unpacked.
    """
    left = list(islice(filter(_is_left, _unpacked(parent)), SWEEP_FOLDER_MAX_COUNT))
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)  # another start may be at it, too
    return len(left)


def _unpacked(parent: Path) -> Iterator[Path]:
    """Folders with a name that a bootloader gives, among the first entries of `parent`."""
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in islice(entries, SWEEP_ENTRY_MAX_COUNT):
            if bootloader_of(entry.name) is not None and entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)


def _is_left(folder: Path) -> bool:
    try:
        fd = os.open(folder / MARKER, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid() or not stat.S_ISREG(found.st_mode):
            return False
        if clock.wall_us() / 1e6 - found.st_mtime < SWEEP_MIN_AGE_S:
            return False
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # locked: somebody lives there
        return False
    finally:
        os.close(fd)
    return not _is_alive(bootloader_of(folder.name) or 0)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
