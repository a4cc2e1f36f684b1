"""The folder to which a one-file program has unpacked itself: its own, and those that killed ones
have left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from appliance import clock
from appliance.limits import SWEEP_ENTRY_MAX_COUNT, SWEEP_FOLDER_MAX_COUNT, SWEEP_MIN_AGE_S
from appliance.parent import die_with

#: A file of every build of ours, at its top: which folder is ours, and, locked, that somebody
#: lives in it.
MARKER = "bettong.unpacked"

_held: list[int] = []


def live_in(folder: str | Path) -> None:
    """This process runs what was unpacked here: it ends with the bootloader that waits for it, and
    removes folders beside this one in which nobody lives."""
    folder = Path(folder)
    bootloader = bootloader_of(folder.name)
    if bootloader is not None:
        # If the bootloader is killed, nobody is left who would pass signals on to us.
        die_with(bootloader)
    hold(folder)
    sweep(folder.parent)


def bootloader_of(name: str) -> int | None:
    """The process that unpacked to a folder of this name; None if none did."""
    if not name.startswith("_MEI") or len(name) != len("_MEI") + 8 + 6:
        return None
    try:
        return int(name[4:12], 16)
    except ValueError:
        return None


def hold(folder: Path) -> None:
    """Lock the marker of a folder as long as this process lives; no child inherits the lock."""
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
