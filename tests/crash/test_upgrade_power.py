"""The power fails, or the disk does, at any moment of an upgrade: the current version is whole."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance import points
from appliance.errors import BettongError, EnvironmentFailure
from appliance.upgrade import upgrade, versions
from integration.processes import PATIENCE_S, environment
from integration.releases import (
    PROMPT,
    ROOT,
    Acting,
    Box,
    release,
    upgraded,
    went_back,
)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@pytest.mark.parametrize("point", points.UPGRADE_POINTS)
def test_killed_at_any_point_the_current_version_is_whole(box: Box, point: str) -> None:
    box.place("1.1.0")  # of an attempt before: it is replaced
    file = box.signed(release("1.1.0"))
    ready = ["1.0.0"] if point == "upgrade.undone" else ["1.0.0", "1.1.0"]

    def run(*versions: str, **more: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-P", "-m", "integration.upgrading", str(box.layout.root)]
        words += [box.public_key.hex(), str(file), *versions]
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        return subprocess.run(
            words, env={**environment(), "PYTHONPATH": path, **more}, capture_output=True,
            text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip

    ended = run(*ready, BETTONG_CRASH_AT=point)
    assert ended.returncode == -signal.SIGKILL, ended.stdout + ended.stderr
    assert box.is_whole()
    again = run("1.0.0", "1.1.0")
    assert "Traceback" not in again.stderr
    assert box.layout.current_version() == "1.1.0" and box.is_whole(), again.stdout
    assert not box.leftovers()
    is_unwatched = point in ("upgrade.switched", "upgrade.ready")  # and not upgraded anew
    assert box.layout.unwatched.is_symlink() is is_unwatched


def cut_short(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """The power fails while the service starts with the new version."""

    class PowerCut(Exception):
        pass

    def cut(*_: object) -> None:
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(upgrade, "restart_and_watch", cut)
        patch.setattr(upgrade, "_take_back", lambda *_: None)
        with pytest.raises(PowerCut):
            upgraded(box, release("1.1.0"))
    assert box.layout.current_version() == "1.1.0"
    assert os.readlink(box.layout.unwatched) == "versions/1.0.0"


def test_after_a_power_cut_a_bad_version_is_taken_back(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_short(box, monkeypatch)
    acting = Acting(box.layout, "1.0.0")
    with pytest.raises(BettongError, match=r"(?s)not ready within.*1\.0\.0 again, and the service"):
        upgrade.resume(upgrade.Changing(box.layout, acting, box.said.append, PROMPT))
    went_back(box, acting)
    assert acting.restarts == ["1.0.0"] and not box.layout.unwatched.is_symlink()


def test_after_a_power_cut_a_good_version_stays(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_short(box, monkeypatch)
    acting = Acting(box.layout, "1.1.0")
    changing = upgrade.Changing(box.layout, acting, box.said.append, PROMPT)
    upgrade.resume(changing)
    assert box.layout.current_version() == "1.1.0" and acting.restarts == []
    assert versions.previous_version(box.layout) == "1.0.0"
    assert not box.layout.unwatched.is_symlink()
    upgrade.resume(changing)
    assert box.said[-1] == "no upgrade was cut short"


class Broken:
    """A system call that fails the n-th time, and from then on."""

    def __init__(self, real: Callable[..., Any], calls: list[int], fails_at: int) -> None:
        self.real, self.calls, self.fails_at = real, calls, fails_at

    def __call__(self, *args: Any, **named: Any) -> Any:
        self.calls[0] += 1
        if self.calls[0] >= self.fails_at:
            raise OSError(errno.EIO, "the disk is gone")
        return self.real(*args, **named)


def test_whichever_write_fails_the_current_version_is_whole(tmp_path: Path) -> None:
    names = ("fsync", "rename", "replace", "symlink", "mkdir", "fchmod")
    for fails_at in range(1, 200):
        box = Box(tmp_path / str(fails_at))
        file = box.signed(release("1.1.0"))
        acting, calls = Acting(box.layout, "1.0.0", "1.1.0"), [0]
        changing = upgrade.Changing(box.layout, acting, box.said.append, PROMPT)
        with pytest.MonkeyPatch.context() as patch:
            for name in names:
                patch.setattr(os, name, Broken(getattr(os, name), calls, fails_at))
            with contextlib.suppress(EnvironmentFailure):
                upgrade.upgrade(changing, file, box.public_key)
        assert box.is_whole(), fails_at
        if calls[0] < fails_at:
            break
    assert box.layout.current_version() == "1.1.0" and fails_at > 15


def test_all_of_a_version_is_synced_before_the_link_leads_to_it(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[tuple[int, int]] = set()
    order: list[str] = []
    real_sync, real_switch = os.fsync, type(box.layout).switch

    def sync(descriptor: int) -> None:
        real_sync(descriptor)
        status = os.fstat(descriptor)
        synced.add((status.st_dev, status.st_ino))

    def switch(self: Any, name: str) -> None:
        tree = [self.versions, self.version(name), *self.version(name).rglob("*")]
        statuses = [path.stat() for path in tree if not path.is_symlink()]
        assert {(one.st_dev, one.st_ino) for one in statuses} <= synced
        order.append(name)
        real_switch(self, name)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(type(box.layout), "switch", switch)
    upgraded(box, release("1.1.0"), "1.1.0")
    assert order == ["1.1.0"]
