"""A place for many small stores."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.workers import Nursery, nursery

#: The largest of them, a week of results, has a quarter of it; its longer form a half.
ROOM_BYTES = (4 << 30) if os.environ.get("BETTONG_SOAK") == "1" else 1 << 30


@pytest.fixture
def quick_path() -> Iterator[Path]:
    """A folder in memory where there is room for one: these tests are about what is written and
    synced, not about how long a disk takes to do it."""
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and shutil.disk_usage(memory).free >= ROOM_BYTES
    with tempfile.TemporaryDirectory(dir=memory if has_room else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def workers() -> Iterator[Nursery]:
    with nursery() as made:
        yield made
