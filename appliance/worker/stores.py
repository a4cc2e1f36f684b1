"""The stores of a data folder: one for each worker that has ever run with it."""

from __future__ import annotations

from pathlib import Path

STATE = "state"


def store_folders(data: Path) -> list[Path]:
    """The folders of all stores, by name; what an earlier repair set aside is none."""
    state = data / STATE
    if not state.is_dir():
        return []
    return sorted(
        path
        for path in state.iterdir()
        if path.is_dir() and not path.name.startswith(".") and ".damaged-" not in path.name
    )
