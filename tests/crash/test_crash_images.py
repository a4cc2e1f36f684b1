"""A store after a loss of power, at every operation of three recorded traces: it always opens,
nothing that was acknowledged is missing, and nothing is there by half.

5,000 random images come on top; with BETTONG_SOAK=1 so many of each trace.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from unittest.mock import patch

import pytest

from appliance.store import Store
from crash.images import build_shim, images, read_trace, run
from crash.workload import FLOWS, SMALL_MERGES, TRACES, histories
from unit.stores import Model, assert_like

RANDOM_COUNT = 5000 if os.environ.get("BETTONG_SOAK") == "1" else 1667


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.mark.parametrize("name", TRACES)
def test_every_crash_image_opens_with_what_was_acknowledged(
    name: str, shim: Path, quick_path: Path
) -> None:
    run(shim, ["trace", str(quick_path / "traced"), name], quick_path / "trace")
    models = expected(name, quick_path)
    operations = read_trace(quick_path / "trace")
    folder = quick_path / "image"
    count = 0
    for image in images(operations, RANDOM_COUNT, seed=4):
        shutil.copytree(quick_path / "traced", folder)
        (folder / "data.mdb").write_bytes(image.data)
        what = f"{name}, operation {image.point}, {image.how}"
        check(folder, models[image.done : image.done + 2], what)
        shutil.rmtree(folder)
        count += 1
    assert count > 2 * len(models)


def expected(name: str, quick_path: Path) -> list[Model]:
    with patch.multiple("appliance.store.index", **SMALL_MERGES):
        return histories(name, quick_path / "undisturbed")


def check(folder: Path, models: list[Model], what: str) -> None:
    """The store opens without damage, holds what one of the models does, and takes another cut."""
    store = Store.open(folder)
    assert not store.damage, (what, store.damage)
    matching = [model for model in models if model.cut == store.cut]
    assert matching, what
    for model in matching:
        try:
            assert_like(store, model, FLOWS)
            break
        except AssertionError:
            if model is matching[-1]:
                raise
    store.close()


def test_every_write_and_sync_may_fail(shim: Path, quick_path: Path) -> None:
    """ENOSPC is a full disk, tried again; EIO and short writes end the store, which opens again."""
    assert "full" in run(shim, ["fail", str(quick_path)])
