"""The file of `bettong export`: frames with a checksum each, between a stamp and a digest of all.
Its form is docs/formats/export.md.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgpack

from appliance.disk import sync_folder
from appliance.errors import EnvironmentFailure
from appliance.formats import EXPORT
from appliance.limits import EXPORT_FRAME_MAX_BYTES

_STAMP = b"bettong-export %d\n"
_STAMP_MAX_BYTES = 32
_FRAME = struct.Struct("<II")  # bytes, checksum
_DIGEST_BYTES = 16

#: Kind of a frame → the types of what follows it.
FORMS: dict[str, tuple[type, ...]] = {
    "node": (int,),
    "store": (str,),
    "rows": (str, str, str, int, bytes),
    "block": (str, str, bytes),
    "record": (str, bytes),
    "lost": (str, str),
    "end": (int, bytes),
}


class ExportRefused(EnvironmentFailure):
    """A file that is no export, is damaged, or is of a newer version. Nothing was changed."""


class ExportWriter:
    """Writes the file beside its place; it is there whole after `finish`, or not at all."""

    def __init__(self, path: Path) -> None:
        """EnvironmentFailure if there is a file of that name, or none can be made."""
        self.path = path
        self._temporary = path.with_name(f".{path.name}.new")
        self._digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        self._count = 0
        if path.exists():
            raise EnvironmentFailure(f"{path} is there already; name a new file, or remove it")
        try:
            self._file: BinaryIO = self._temporary.open("wb")
            self._write(_STAMP % EXPORT.version)
        except OSError as error:
            raise self._refusal(error) from error

    def add(self, kind: str, *values: int | str | bytes) -> None:
        """One frame."""
        payload: bytes = msgpack.packb([kind, *values], use_bin_type=True)
        if len(payload) > EXPORT_FRAME_MAX_BYTES:
            raise EnvironmentFailure(f"{kind} of {len(payload)} bytes is too large for an export")
        self._count += 1
        try:
            self._write(_FRAME.pack(len(payload), zlib.crc32(payload)) + payload)
        except OSError as error:
            raise self._refusal(error) from error

    def finish(self) -> None:
        """Sync it, and give it its name."""
        self.add("end", self._count, self._digest.digest())
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.rename(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise self._refusal(error) from error

    def abandon(self) -> None:
        """Leave nothing behind."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)

    def _refusal(self, error: OSError) -> EnvironmentFailure:
        return EnvironmentFailure(f"{self.path}: cannot be written: {error.strerror or error}")


def read_export(path: Path) -> Iterator[tuple[Any, ...]]:
    """The frames of a file: their kind and values, "end" left out. ExportRefused as soon as
    something is wrong: read it to the end before you believe it."""
    try:
        with path.open("rb") as file:
            yield from _frames(path, file)
    except OSError as error:
        raise ExportRefused(f"{path}: cannot be read: {error.strerror or error}") from error


def _frames(path: Path, file: BinaryIO) -> Iterator[tuple[Any, ...]]:
    size = os.fstat(file.fileno()).st_size
    digest = hashlib.blake2b(_read_stamp(path, file), digest_size=_DIGEST_BYTES)
    count = 0
    while True:
        at, before = file.tell(), digest.digest()
        header = file.read(_FRAME.size)
        length, checksum = _FRAME.unpack(header) if len(header) == _FRAME.size else (0, 0)
        if not 0 < length <= min(size - file.tell(), EXPORT_FRAME_MAX_BYTES):
            raise _damaged(path, at, "it is cut off here, or its lengths are wrong")
        payload = file.read(length)
        if zlib.crc32(payload) != checksum:
            raise _damaged(path, at, "a checksum does not hold")
        kind, *values = _unpack(path, at, payload)
        if kind == "end":
            if values != [count, before] or file.read(1):
                raise _damaged(path, at, "its end does not fit to what is before it")
            return
        digest.update(header + payload)
        count += 1
        yield (kind, *values)


def _read_stamp(path: Path, file: BinaryIO) -> bytes:
    line = file.readline(_STAMP_MAX_BYTES)
    word, _, number = line.rstrip(b"\n").partition(b" ")
    if word != b"bettong-export" or not number.isdigit() or not line.endswith(b"\n"):
        raise ExportRefused(f"{path}: this is no file of `bettong export` (nothing was changed)")
    refusal = EXPORT.refusal(int(number))
    if refusal:
        raise ExportRefused(f"{path}: {refusal}")
    return line


def _unpack(path: Path, at: int, payload: bytes) -> list[Any]:
    try:
        found = msgpack.unpackb(
            payload, max_bin_len=len(payload), max_str_len=len(payload), max_array_len=8
        )
        kind, *values = found
        forms = FORMS[kind]
        fits = len(values) == len(forms) and all(map(isinstance, values, forms))
    except (ValueError, TypeError, KeyError, msgpack.exceptions.UnpackException) as error:
        raise _damaged(path, at, f"there is no frame here: {error!r}") from error
    if not fits:
        raise _damaged(path, at, f"{kind} has not the parts it should have")
    assert isinstance(found, list)
    return found


def _damaged(path: Path, at: int, why: str) -> ExportRefused:
    return ExportRefused(
        f"{path}: damaged at byte {at}: {why}; take another copy of it (nothing was changed)"
    )
