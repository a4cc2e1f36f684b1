"""The data folder of a run: who holds it, and the socket through which it is asked how it is."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import EnvironmentFailure

FOLDER_NAME = ".bettong"
_LOCK, _SOCKET = "lock", "admin.sock"


def data_folder(option: str | None, first_flow: str | None) -> Path:
    """Where data is: `--data`, else `$BETTONG_DATA`, else `.bettong` beside the flow."""
    given = option or os.environ.get("BETTONG_DATA")
    if given:
        return Path(given)
    beside = Path(first_flow) if first_flow else Path()
    return (beside if beside.is_dir() else beside.parent) / FOLDER_NAME


class DataFolder:
    """A data folder that this process holds alone.

    `path` None: a temporary one, removed at the end.
    """

    def __init__(self, path: Path | None) -> None:
        self._temporary = path is None
        try:
            if path is None:
                self.path = Path(tempfile.mkdtemp(prefix="bettong-"))
            else:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
                self.path = path
            # Everything below goes through this descriptor: the folder's path may be longer than
            # the 107 bytes that a socket's address has room for.
            self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._lock_fd = self._lock()
        except OSError as error:
            why = "it is a file" if isinstance(error, FileExistsError) else error.strerror
            raise EnvironmentFailure(f"cannot use the data folder {path}: {why}") from error

    def _lock(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(_LOCK, flags, 0o600, dir_fd=self._fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            refusal = _in_use(self.path, fd, "give this run another folder with --data")
            os.close(fd)
            os.close(self._fd)
            raise refusal from error
        holder = b"%d\n" % os.getpid()
        os.pwrite(fd, holder, 0)  # over the one before: a full disk has room for that
        os.ftruncate(fd, len(holder))
        return fd

    def listen(self) -> socket.socket:
        """The admin socket, listening.

        What an earlier run left behind is removed: the lock is ours.
        """
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if os.path.lexists(_address(self._fd)):
                os.unlink(_SOCKET, dir_fd=self._fd)
            made.bind(_address(self._fd))
            os.chmod(_SOCKET, 0o600, dir_fd=self._fd)
            made.listen()
            made.setblocking(False)
        except OSError as error:
            made.close()
            raise EnvironmentFailure(
                f"cannot make the admin socket in {self.path}: {error.strerror}"
            ) from error
        return made

    def close(self) -> None:
        """Let go of the folder; a temporary one goes."""
        if self._temporary:
            shutil.rmtree(self.path, ignore_errors=True)
        elif os.path.lexists(_address(self._fd)):
            os.unlink(_SOCKET, dir_fd=self._fd)
        os.close(self._lock_fd)
        os.close(self._fd)


@contextmanager
def quiet(path: Path) -> Iterator[Path]:
    """A data folder that exists, while nobody runs with it; nothing is written to it.

    EnvironmentFailure when there is none, or a run has it.
    """
    if not path.is_dir():
        why = "it is a file" if path.exists() else "there is none"
        raise EnvironmentFailure(f"cannot use the data folder {path}: {why}")
    try:
        fd = os.open(path / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield path  # nobody has ever run with it
        return
    except OSError as error:
        raise EnvironmentFailure(f"cannot use the data folder {path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _in_use(path, fd, "ask it with `bettong status`") from error
        yield path
    finally:
        os.close(fd)


def _in_use(path: Path, lock_fd: int, otherwise: str) -> EnvironmentFailure:
    holder = os.pread(lock_fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
    return EnvironmentFailure(
        f"the data folder {path} is in use by process {holder}; stop it, or {otherwise}"
    )


def connect(path: Path) -> socket.socket | None:
    """A connection to whoever runs with this data folder; None when nobody does."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.connect(_address(fd))
    except OSError:
        made.close()
        return None
    finally:
        os.close(fd)
    return made


def _address(folder_fd: int) -> str:
    return f"/proc/self/fd/{folder_fd}/{_SOCKET}"
