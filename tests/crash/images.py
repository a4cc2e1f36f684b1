"""Crash images: what the disk may hold when the power goes, built from a recorded trace.

A crash point is an operation that was begun. Everything before the last sync is on the disk; of
what was written since, any part may be: nothing, all, some pages, some sectors.
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parent

_RECORD = struct.Struct("<IIQQ")
_WRITE, _SYNC, _TRUNCATE, _MARK = 1, 2, 3, 4

PAGE, SECTOR = 4096, 512


@dataclass(frozen=True)
class Operation:
    kind: int
    synced: bool
    offset: int
    data: bytes


@dataclass(frozen=True)
class Image:
    """The bytes of data.mdb after a crash at operation `point`; `done` acts were acknowledged."""

    point: int
    how: str
    done: int
    data: bytes


def build_shim(folder: Path, source: str = "shim.c") -> Path:
    """Compile the shim."""
    shim = folder / "shim.so"
    compiler = os.environ.get("CC", "gcc").split()
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE"]
    subprocess.run([*compiler, *flags, "-o", shim, HERE / source, "-ldl"], check=True)
    return shim


def run(shim: Path, arguments: list[str], trace: Path | None = None) -> str:
    """Run the workload under the shim."""
    environment = os.environ | {
        "LD_PRELOAD": str(shim),
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
    }
    if trace is not None:
        environment["STORE_TRACE"] = str(trace)
    command = [sys.executable, str(HERE / "workload.py"), *arguments]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_trace(path: Path) -> list[Operation]:
    data, offset, found = path.read_bytes(), 0, []
    while offset < len(data):
        kind, synced, place, size = _RECORD.unpack_from(data, offset)
        offset += _RECORD.size
        found.append(Operation(kind, bool(synced), place, data[offset : offset + size]))
        offset += size
    return found


def images(operations: list[Operation], random_count: int, seed: int) -> Iterator[Image]:
    """Two images for each operation after the store was made, and so many random ones besides."""
    chance = random.Random(seed)
    first = next(i for i, one in enumerate(operations) if one.kind == _MARK)
    points = range(first, len(operations))
    extra: dict[int, int] = {}
    for _ in range(random_count):
        point = chance.choice(points)
        extra[point] = extra.get(point, 0) + 1
    disk, pending, done = bytearray(), list[Operation](), 0
    for point, one in enumerate(operations):
        if one.kind == _WRITE:
            pending.append(one)
        if point >= first:
            yield Image(point, "none", done, bytes(disk))
            yield Image(point, "all", done, _with(disk, pending))
            for _ in range(extra.get(point, 0)):
                yield Image(point, "some", done, _with(disk, _some(chance, pending)))
        if one.kind == _WRITE and one.synced:
            _put(disk, pending.pop())
        elif one.kind == _SYNC:
            for write in pending:
                _put(disk, write)
            pending = []
        elif one.kind == _TRUNCATE:
            disk.extend(bytes(max(0, one.offset - len(disk))))
        elif one.kind == _MARK:
            done = one.offset


def _some(chance: random.Random, pending: list[Operation]) -> list[Operation]:
    """A part of what is not synced, in pages or in sectors."""
    step = chance.choice((PAGE, PAGE, SECTOR))
    share = chance.choice((0.1, 0.5, 0.9, chance.random()))
    return [
        Operation(_WRITE, False, one.offset + at, one.data[at : at + step])
        for one in pending
        for at in range(0, len(one.data), step)
        if chance.random() < share
    ]


def _with(disk: bytearray, writes: list[Operation]) -> bytes:
    image = bytearray(disk)
    for one in writes:
        _put(image, one)
    return bytes(image)


def _put(disk: bytearray, one: Operation) -> None:
    end = one.offset + len(one.data)
    if len(disk) < end:
        disk.extend(bytes(end - len(disk)))
    disk[one.offset : end] = one.data
