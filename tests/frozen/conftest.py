"""The boxes: one with the one file, one with the one folder; each test finds /job empty."""

from __future__ import annotations

import shutil

import pytest

from frozen.boxes import Box

PROGRAMS = {"one-file": "/bettong", "one-folder": "/bettong-folder/bettong"}


@pytest.fixture(scope="session", params=PROGRAMS)
def any_box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Box:
    return Box(tmp_path_factory.mktemp(request.param), PROGRAMS[request.param])


@pytest.fixture(scope="session")
def one_file_box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    return Box(tmp_path_factory.mktemp("one-file"), PROGRAMS["one-file"])


def emptied(box: Box) -> Box:
    for name in ("job", "tmp"):
        shutil.rmtree(box.root / name)
        (box.root / name).mkdir()
    return box


@pytest.fixture
def box(any_box: Box) -> Box:
    return emptied(any_box)


@pytest.fixture
def one_file(one_file_box: Box) -> Box:
    return emptied(one_file_box)
