"""A place for many small stores."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.workers import Nursery, nursery


@pytest.fixture
def quick_path() -> Iterator[Path]:
    """A folder in memory where there is one: these tests are about what is written and synced, not
    about how long a disk takes to do it."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def workers() -> Iterator[Nursery]:
    with nursery() as made:
        yield made
