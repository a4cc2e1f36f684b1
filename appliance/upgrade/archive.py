"""Unpacking a release: a gzipped tar with one folder at its top.

Where files go is argued here. Only folders, files and symbolic links are taken, under plain
relative names, each name once. All files are written before the first link is made, so no write
can be led out of the folder by one; and a link is accepted only if it ends inside. What is written
is synced on the way.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from appliance.disk import sync_folder
from appliance.errors import BettongError
from appliance.limits import UPGRADE_FILE_MAX_COUNT, UPGRADE_UNPACKED_MAX_BYTES

_COPY_BYTES = 1 << 20
_NAME_MAX_BYTES = 255  # of one part, as file systems have it
_DEPTH_MAX_COUNT = 32


class ReleaseRefused(BettongError):
    """What is in the release is not what belongs there, or does not fit this box."""


class _Hashed(io.RawIOBase):
    """A stream that is hashed as it is read."""

    def __init__(self, inner: BinaryIO) -> None:
        self._inner = inner
        self.digest = hashlib.sha512()

    def read(self, size: int = -1) -> bytes:
        data = self._inner.read(size)
        self.digest.update(data)
        return data


class _Bounded(io.RawIOBase):
    """A stream that ends with ReleaseRefused at its bound."""

    def __init__(self, inner: gzip.GzipFile, most_bytes: int) -> None:
        self._inner = inner
        self._left = most_bytes

    def read(self, size: int = -1) -> bytes:
        data = self._inner.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise _too_large()
        return data


def unpack(file: BinaryIO, folder: Path) -> bytes:
    """Unpack into an empty folder, without the top folder's name; the SHA-512 of all that was read,
    to the end of the file. ReleaseRefused, OSError: what is in the folder then is worth nothing."""
    raw = _Hashed(file)
    try:
        with gzip.GzipFile(fileobj=raw) as inflated:
            # Twice what files may take: headers and padding of as many small ones.
            plain = _Bounded(inflated, 2 * UPGRADE_UNPACKED_MAX_BYTES)
            with tarfile.open(fileobj=plain, mode="r|") as archive:
                _Unpacking(folder).all(archive)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ReleaseRefused(f"this is no gzipped tar, or it is cut short: {error}") from error
    while raw.read(_COPY_BYTES):  # the digest is of the whole file
        pass
    return raw.digest.digest()


class _Unpacking:
    """One archive on its way into one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._top = ""
        self._seen: set[PurePosixPath] = set()
        self._links: list[tuple[PurePosixPath, str]] = []
        self._left_bytes = UPGRADE_UNPACKED_MAX_BYTES

    def all(self, archive: tarfile.TarFile) -> None:
        for member in archive:
            self._one(archive, member)
        for name, target in self._links:
            (self._folder / name).symlink_to(target)
        for name, target in self._links:
            self._check_link(name, target)
        sync_tree(self._folder)

    def _one(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        name = self._inside(member.name)
        if name in self._seen:
            raise ReleaseRefused(f"{member.name!r} is in the release twice")
        self._seen.add(name)
        if len(self._seen) > UPGRADE_FILE_MAX_COUNT:
            raise ReleaseRefused(f"more than {UPGRADE_FILE_MAX_COUNT} files in the release")
        path = self._folder / name
        if member.isdir():
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
            return
        if not name.parts:
            raise ReleaseRefused("the release has no folder at its top")
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if member.isreg():
            self._file(archive, member, path)
        elif member.issym():
            self._links.append((name, member.linkname))
        else:
            raise ReleaseRefused(f"{member.name!r} is neither a file nor a folder nor a link")

    def _inside(self, text: str) -> PurePosixPath:
        """The name below the top folder."""
        parts = text.rstrip("/").split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise ReleaseRefused(f"{text!r} in the release leads out of it")
        if len(parts) > _DEPTH_MAX_COUNT or any(
            len(os.fsencode(p)) > _NAME_MAX_BYTES for p in parts
        ):
            raise ReleaseRefused(f"the name {text[:80]!r}… in the release is too long")
        self._top = self._top or parts[0]
        if parts[0] != self._top:
            raise ReleaseRefused(
                f"{parts[0]!r} stands beside {self._top!r}: one folder is expected"
            )
        return PurePosixPath(*parts[1:])

    def _file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
        self._left_bytes -= member.size
        if self._left_bytes < 0:
            raise _too_large()
        content = archive.extractfile(member)
        assert content is not None
        mode = 0o755 if member.mode & 0o100 else 0o644
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, mode), "wb") as made:
            while data := content.read(_COPY_BYTES):
                made.write(data)
            made.flush()
            os.fchmod(made.fileno(), mode)  # whatever the umask is
            os.fsync(made.fileno())

    def _check_link(self, name: PurePosixPath, target: str) -> None:
        """All files are there: a link that leads out, or nowhere, is refused."""
        top = self._folder.resolve()
        try:
            ends = (self._folder / name).resolve(strict=True)
        except (OSError, RuntimeError) as error:  # nowhere, or round in circles
            raise ReleaseRefused(f"the link {name} in the release leads nowhere") from error
        if target.startswith("/") or top not in (ends, *ends.parents):
            raise ReleaseRefused(f"the link {name} in the release leads out of it, to {target!r}")


def sync_tree(folder: Path) -> None:
    """All folders of a tree are on the disk: the names of what is in them."""
    for path, _, _ in os.walk(folder):
        os.chmod(path, 0o755)
        sync_folder(Path(path))


def _too_large() -> ReleaseRefused:
    most = UPGRADE_UNPACKED_MAX_BYTES >> 20
    return ReleaseRefused(f"unpacked it is larger than {most} MiB: this is no release of bettong")
