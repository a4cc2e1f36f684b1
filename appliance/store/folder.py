"""The folder of a store: made in one step, owned by one process, never deleted.

FORMAT        one line of text: the format's version and the name of the worker
data.mdb      the environment
lock.mdb      its readers
reserve       blocks of the disk for what makes room
quarantine/   what was found damaged
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from appliance.disk import sync_folder
from appliance.formats import STORE
from appliance.limits import (
    STORE_QUARANTINE_FILE_MAX_BYTES,
    STORE_QUARANTINE_MAX_BYTES,
    STORE_SET_ASIDE_MAX_COUNT,
)
from appliance.store.environment import DATA, LOCK
from appliance.store.failures import DiskFull, StoreFailed, StoreRefused
from appliance.store.reserve import RESERVE

STAMP, QUARANTINE = "FORMAT", "quarantine"
OURS = {STAMP, DATA, LOCK, RESERVE, QUARANTINE}

_STAMP = re.compile(r"bettong-store (\d+) (.*)\n", re.ASCII)


class Stamp(Struct, frozen=True):
    """The first line of the folder."""

    version: int
    identity: str

    def text(self) -> str:
        return f"bettong-store {self.version} {self.identity}\n"


def read_stamp(folder: Path) -> Stamp | None:
    """None when there is none, or none that can be read."""
    try:
        with (folder / STAMP).open("rb") as file:
            found = _STAMP.fullmatch(file.read(4096).decode("utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return Stamp(int(found[1][:9]), found[2]) if found else None


def write_stamp(folder: Path, identity: str) -> None:
    """Replace the stamp in one step."""
    write_synced(folder / f".{STAMP}", Stamp(STORE.version, identity).text().encode())
    os.replace(folder / f".{STAMP}", folder / STAMP)
    sync_folder(folder)


class Ownership:
    """A lock on the folder that ends with the process, whichever way that ends."""

    def __init__(self, folder: Path) -> None:
        """StoreRefused when somebody has it."""
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise StoreRefused(
                f"{folder}: another process uses this store; stop it, or give each worker a "
                "folder of its own"
            ) from error

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def is_store(folder: Path) -> bool:
    """Whether there is a store. False: the folder is missing or empty, and one may be made there.
    StoreRefused when the folder is somebody else's."""
    try:
        names = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreRefused(f"{folder}: cannot be used as a store: {error}") from error
    if names and not names & {STAMP, DATA}:
        strange = sorted(names - OURS)
        if strange:
            raise StoreRefused(
                f"{folder}: this is no store, and it holds other files ({strange[0]}); name a "
                "folder that is empty or does not exist"
            )
    return bool(names)


def check_access(folder: Path, *, to_write: bool) -> None:
    """StoreRefused when a file of the store is there and may not be used. That is no damage; what
    the disk cannot read is, and is found where it is read."""
    for name in (STAMP, DATA, LOCK) if to_write else (STAMP, DATA):
        flags = os.O_RDWR if to_write and name != STAMP else os.O_RDONLY
        try:
            os.close(os.open(folder / name, flags | os.O_CLOEXEC))
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno == errno.EIO:
                continue
            raise StoreRefused(
                f"{folder}: {name} cannot be used: {error.strerror}; nothing was changed: see "
                "whose file it is, and its disk"
            ) from error


def create(folder: Path, fill: Callable[[Path], None], replaced: bool = False) -> Path | None:
    """Make the folder with what `fill` writes: beside its place, synced, then renamed; so it is
    there whole or not at all. Leftovers of an earlier attempt are removed.

    `replaced`: there is one; it is set aside when the new one is ready, and its new name given."""
    parent, prefix = folder.parent, f".{folder.name}-new-"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for leftover in parent.glob(f"{prefix}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            temporary.chmod(0o755)
            fill(temporary)
            for path in temporary.iterdir():
                sync_file(path)
            sync_folder(temporary)
            aside = set_aside(folder) if replaced else None
            temporary.rename(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(parent)
    except OSError as error:
        raise refusal(folder, "cannot be made", error) from error
    return aside


def refusal(folder: Path, what: str, error: OSError) -> DiskFull | StoreFailed | StoreRefused:
    """What an error of the system means at this place."""
    text = f"{folder}: {what}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"{text}; make room on the disk")
    if error.errno == errno.EIO:
        return StoreFailed(f"{text}; the disk may be failing")
    return StoreRefused(text)


def set_aside(folder: Path) -> Path:
    """Rename the folder, to a name that says what it is and that nobody has."""
    for number in range(1, STORE_SET_ASIDE_MAX_COUNT + 1):
        aside = folder.with_name(f"{folder.name}.damaged-{number}")
        if not aside.exists():
            try:
                folder.rename(aside)
                sync_folder(folder.parent)
            except OSError as error:
                raise refusal(folder, f"cannot be set aside as {aside.name}", error) from error
            return aside
    raise StoreRefused(
        f"{folder}: damaged, and {STORE_SET_ASIDE_MAX_COUNT} damaged stores stand beside it "
        f"already; look at them (`{folder.name}.damaged-1` and on) and move them away"
    )


class Quarantine:
    """Files with what was found damaged, bounded one by one and in all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / QUARANTINE
        self._left: int | None = None

    def keep(self, name: str, data: bytes) -> str:
        """Write a file, synced; its path, or "" where there was no room or no bytes."""
        if self._left is None:
            self._left = STORE_QUARANTINE_MAX_BYTES - self._held()
        data = data[: min(STORE_QUARANTINE_FILE_MAX_BYTES, max(self._left, 0))]
        if not data:
            return ""
        try:
            self._folder.mkdir(exist_ok=True)
            path = self._free_name(re.sub(r"[^\w.-]", "_", name)[:100])
            write_synced(path, data)
            sync_folder(self._folder)
        except OSError:
            # On a full or read-only disk the damage is still named and counted.
            return ""
        self._left -= len(data)
        return str(path)

    def _held(self) -> int:
        if not self._folder.is_dir():
            return 0
        return sum(path.stat().st_size for path in self._folder.iterdir())

    def _free_name(self, name: str) -> Path:
        path, number = self._folder / name, 1
        while path.exists():
            number += 1
            path = self._folder / f"{name}-{number}"
        return path


def write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
