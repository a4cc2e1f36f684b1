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
PASSING_BYTES = 100

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


def sensors_for(copies: int) -> Path:
    """The sensors job's lines so many times over, each time a day and more later."""
    return made(f"sensors-{copies}x{EVENTS}-v{VERSION}.jsonl", lambda: later_lines(copies))


def keyed(keys: int, count: int) -> Path:
    """Readings within some minutes of so many devices, each at least once if `count` allows it."""
    name = f"keyed-{keys}-{count}-v{VERSION}.jsonl"
    return made(name, lambda: keyed_lines(keys, count))


def probe() -> Path:
    """One reading that has nothing to do with the others."""
    line = f'{{"device":"probe","ts":{START_MS},"temp":0,"hum":0,"status":"probe"}}\n'
    return made(f"probe-v{VERSION}.jsonl", lambda: iter([line.encode()]))


def passing(count: int) -> Path:
    """Lines of 100 bytes."""
    return made(f"passing-{count}-v{VERSION}.txt", lambda: passing_lines(count))


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


def later_lines(copies: int) -> Iterator[bytes]:
    """Times begin with 170000 or, of those before START_MS, with 169999."""
    for copy in range(copies):
        with sensors().open("rb") as file:
            while lines := file.readlines(1 << 20):
                chunk = b"".join(lines)
                for first in (170_000, 169_999):
                    chunk = chunk.replace(b'"ts":%d' % first, b'"ts":%d' % (first + 10 * copy))
                yield chunk


def keyed_lines(keys: int, count: int) -> Iterator[bytes]:
    draw = random.Random(SEED)
    order = draw.sample(range(keys), keys)
    for first in range(0, count, 10_000):
        yield "".join(
            f'{{"device":"d{order[index % keys]:06d}","ts":{START_MS + index // EVENTS_PER_MS},'
            f'"temp":{20 + draw.random():.2f},"hum":40.1,"status":"ok"}}\n'
            for index in range(first, min(first + 10_000, count))
        ).encode()


def passing_lines(count: int) -> Iterator[bytes]:
    for first in range(0, count, 10_000):
        last = min(first + 10_000, count)
        yield b"".join(b"%0*d\n" % (PASSING_BYTES - 1, index) for index in range(first, last))


def celsius_frames(count: int) -> Iterator[bytes]:
    draw = random.Random(SEED)
    pack = struct.Struct(">If").pack
    for first in range(0, count, 10_000):
        size = min(10_000, count - first)
        yield b"".join(pack(4, draw.gauss(20.0, 5.0)) for _ in range(size))
