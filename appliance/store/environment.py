"""The LMDB environment: opening, short reads, whole transactions, growth.

Every transaction is synced, data before the page that makes it visible; there is no switch. Reads
are short and hold a lock, so the map never grows under one. A write transaction is a function that
can be run again: when the map is full it is thrown away, the map grown, and run once more.

One environment, one process: the folder is locked before (`folder.py`).
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, TypeVar

import lmdb
import lmdb.verify

from appliance import points
from appliance.limits import STORE_MAP_FIRST_BYTES, STORE_READER_MAX_COUNT
from appliance.store.failures import DiskFull, StoreFailed
from appliance.store.reserve import Reserve, free_bytes

DATA, LOCK = "data.mdb", "lock.mdb"
PAGE_BYTES = 4096

#: What the environment keeps of its readers: smaller than this, and the file must not have holes,
#: for it is written through a map, and on a full disk a hole there ends the process.
LOCK_BYTES = 64 << 10

#: A disk with less room than the transaction and so much is a full one.
ROOM_SPARE_BYTES = 1 << 20

Reading: TypeAlias = "lmdb.Transaction[memoryview]"
Writing: TypeAlias = "lmdb.Transaction[bytes]"
Result = TypeVar("Result")


def structure_faults(folder: Path) -> list[str]:
    """What is wrong with the structure of the environment's file: its two first pages, its trees,
    its list of free pages. Empty: it is sound, and the engine may open it.

    The file is read as any other, never mapped and never given to the engine: a corrupt one could
    end the process there.
    """
    try:
        found: list[str] = lmdb.verify.verify(str(folder))  # type: ignore[no-untyped-call]
    except (lmdb.verify.VerifyError, OSError) as error:
        return [str(error)]
    except (ValueError, IndexError, OverflowError, MemoryError, RecursionError) as error:
        # The verifier itself stumbled over what it read.
        return [f"{type(error).__name__}: {error}"]
    except Exception as error:  # struct.error and what else bytes can provoke
        return [f"{type(error).__name__}: {error}"]
    return found


@contextmanager
def reading_only(folder: Path) -> Iterator[Reading]:
    """Read a file whose structure was found sound and that nobody uses; nothing is written, the
    lock file neither. ValueError when a page makes no sense; StoreFailed when it cannot be read."""
    try:
        env = lmdb.open(str(folder), readonly=True, lock=False, create=False, lib_version=0)
    except (lmdb.Error, OSError) as error:
        raise StoreFailed(f"{folder}: cannot be read: {error}") from error
    try:
        with env.begin(buffers=True) as transaction:
            yield transaction
    except lmdb.Error as error:
        raise ValueError(f"the file is damaged: {error}") from error
    finally:
        env.close()


def reserve_lock_file(folder: Path) -> None:
    """Give the lock file all its blocks, so that no later write through its map needs room. OSError
    if there is none."""
    path = folder / LOCK
    if path.exists():
        status = path.stat()
        if status.st_size >= LOCK_BYTES and status.st_blocks * 512 >= LOCK_BYTES:
            return
    with path.open("wb") as file:
        file.write(bytes(LOCK_BYTES))


class Environment:
    """An open environment whose structure was found sound."""

    def __init__(self, folder: Path) -> None:
        """Open it, or make one in a folder that has none. DiskFull, StoreFailed."""
        self._folder = folder
        self._gate = threading.Lock()
        self._failed = ""
        self.reserve = Reserve(folder)
        try:
            reserve_lock_file(folder)
            size = (folder / DATA).stat().st_size if (folder / DATA).exists() else 0
            self._map_bytes = max(STORE_MAP_FIRST_BYTES, _grown(size))
            self._env = lmdb.open(
                str(folder),
                map_size=self._map_bytes,
                metasync=True,
                sync=True,
                writemap=False,
                max_readers=STORE_READER_MAX_COUNT,
                max_spare_txns=1,
                lib_version=0,
            )
            self._env.reader_check()
        except (lmdb.Error, OSError) as error:
            raise self._failure(error, 0) from error

    @property
    def map_bytes(self) -> int:
        return self._map_bytes

    @property
    def used_bytes(self) -> int:
        """The bytes of all pages that were ever used: the file's size, but for its last growth."""
        return (self._env.info()["last_pgno"] + 1) * PAGE_BYTES

    @property
    def data_path(self) -> Path:
        return self._folder / DATA

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """A short read transaction. What it gives is valid within the block only, and nothing in
        the block may wait: the map cannot grow meanwhile.

        StoreFailed after a failed write; ValueError when a page of the file makes no sense."""
        if self._failed:
            raise StoreFailed(self._failed)
        with self._gate:
            try:
                with self._env.begin(buffers=True) as transaction:
                    yield transaction
            except lmdb.Error as error:
                raise ValueError(f"the file is damaged: {error}") from error

    def write(
        self, work: Callable[[Writing], Result], payload_bytes: int, *, of_reserve: bool = False
    ) -> Result:
        """Run `work` in a write transaction and commit it. It is run again when the map had to
        grow, so it must not change anything but the transaction. `of_reserve`: it makes room, or
        writes very little: on a full disk it gets the reserve.

        DiskFull: nothing was committed and the store is good. StoreFailed: the process must end.
        """
        try:
            return self._write(work, payload_bytes)
        except DiskFull:
            if not of_reserve or not self.reserve.bytes:
                raise
        try:
            with self.reserve.lent():
                return self._write(work, payload_bytes)
        except OSError as error:
            raise self._failure(error, 0) from error

    def _write(self, work: Callable[[Writing], Result], payload_bytes: int) -> Result:
        if self._failed:
            raise StoreFailed(self._failed)
        while True:
            try:
                points.reach("transaction.before")
                with self._env.begin(write=True) as transaction:
                    points.reach("transaction.after")
                    result = work(transaction)
                return result
            except lmdb.MapFullError:
                self._grow()
            except (lmdb.Error, OSError) as error:
                raise self._failure(error, payload_bytes) from error

    def close(self) -> None:
        with self._gate:
            self._env.close()

    def _grow(self) -> None:
        with self._gate:
            self._map_bytes = _grown(self._map_bytes)
            try:
                self._env.set_mapsize(self._map_bytes)
            except (lmdb.Error, OSError) as error:
                raise self._failure(error, 0) from error

    def _failure(self, error: Exception, payload_bytes: int) -> DiskFull | StoreFailed:
        """What the engine's error means. A full disk shows as ENOSPC, or as EIO after a short
        write: then the disk itself is asked.

        MDB_TXN_FULL does not come: at 131,071 dirty values and pages the engine writes some of them
        before the commit, as no transaction here has children. 147,000 values of 8 KB in one (more
        than CUT_MAX_BYTES) were committed, and 153,000 deleted."""
        code = error.errno if isinstance(error, OSError) else getattr(error, "code", 0)
        is_full = code in (errno.ENOSPC, errno.EDQUOT) or isinstance(error, lmdb.DiskError)
        if not is_full and code in (errno.EIO, 0, None):
            is_full = self._is_full(payload_bytes)
        if is_full and not self._is_broken():
            return DiskFull(
                f"{self._folder}: the disk is full, nothing was committed: {error}; make room, "
                "and it goes on by itself"
            )
        self._failed = (
            f"{self._folder}: the disk refused a write or a sync: {error}; the process must start "
            "again from what the disk holds"
        )
        return StoreFailed(self._failed)

    def _is_full(self, payload_bytes: int) -> bool:
        try:
            return free_bytes(self._folder) < payload_bytes + ROOM_SPARE_BYTES
        except OSError:
            return False

    def _is_broken(self) -> bool:
        """Whether the engine takes no more transactions: it could not write the page that makes one
        visible, and does not know what the disk holds of it."""
        env = getattr(self, "_env", None)
        if env is None:
            return False
        try:
            env.begin(write=True).abort()
        except lmdb.Error:
            return True
        return False


def _grown(size: int) -> int:
    """The next size of a map of `size` bytes: twice that, in whole mebibytes."""
    return -(-size * 2 // (1 << 20)) << 20
