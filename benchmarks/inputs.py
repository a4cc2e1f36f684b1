"""The benchmarks' inputs: made once, the same on every machine, kept outside the repository.

The sensors job reads 2,000,000 lines from 1,000 devices, 10,000 events a second of event time, out
of order by less than 2 s: about 100 readings a device and window, 200 s in all. The Fahrenheit job
reads 2,000,000 frames of one big-endian f32, each behind its length as u32.
"""

from __future__ import annotations

import os
import random
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

EVENTS = 2_000_000
DEVICES = 1_000
EVENTS_PER_MS = 10
DISORDER_MS = 2_000
START_MS = 1_700_000_000_000
SEED = 20260

# A new number when what is generated changes, so that no old file is taken for it.
VERSION = 1


def folder() -> Path:
    """Where inputs and outputs go: $BETTONG_BENCH_DIR, or a folder in the system's own for such."""
    path = Path(
        os.environ.get("BETTONG_BENCH_DIR") or Path(tempfile.gettempdir()) / "bettong-bench"
    )
    path.mkdir(parents=True, exist_ok=True)
    return path


def sensors(count: int = EVENTS) -> Path:
    """The sensors job's lines."""
    return made(f"sensors-{count}-v{VERSION}.jsonl", lambda: sensor_lines(count))


def celsius(count: int = EVENTS) -> Path:
    """The Fahrenheit job's frames."""
    return made(f"celsius-{count}-v{VERSION}.bin", lambda: celsius_frames(count))


def made(name: str, chunks: Callable[[], Iterator[bytes]]) -> Path:
    """The file of that name; written in whole before it gets its name."""
    path = folder() / name
    if not path.exists():
        fresh = path.with_suffix(f".{os.getpid()}.new")
        with fresh.open("wb") as file:
            for chunk in chunks():
                file.write(chunk)
        fresh.replace(path)
    return path


def sensor_lines(count: int) -> Iterator[bytes]:
    draw = random.Random(SEED)
    for first in range(0, count, 10_000):
        lines = []
        for index in range(first, min(first + 10_000, count)):
            device = int(draw.random() * DEVICES)
            ts = START_MS + index // EVENTS_PER_MS - int(draw.random() * DISORDER_MS)
            temp, hum = draw.gauss(20.0, 5.0), 20.0 + 60.0 * draw.random()
            status = "ok" if draw.random() < 0.95 else "fault"
            lines.append(
                f'{{"device":"d{device:04d}","ts":{ts},"temp":{temp:.2f},"hum":{hum:.1f},'
                f'"status":"{status}"}}\n'
            )
        yield "".join(lines).encode()


def celsius_frames(count: int) -> Iterator[bytes]:
    draw = random.Random(SEED)
    pack = struct.Struct(">If").pack
    for first in range(0, count, 10_000):
        size = min(10_000, count - first)
        yield b"".join(pack(4, draw.gauss(20.0, 5.0)) for _ in range(size))
