"""The service while it is upgraded: when it counts as ready, when not, and going back by itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import BettongError, EnvironmentFailure
from appliance.upgrade import service, versions
from appliance.upgrade.service import NotReady, Patience, Systemd
from integration.processes import PATIENCE_S
from integration.releases import (
    Acting,
    Box,
    release,
    upgraded,
    went_back,
)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_a_version_that_never_becomes_ready_is_given_up(box: Box) -> None:
    acting = Acting(box.layout, "1.0.0")
    with pytest.raises(BettongError, match=r"(?s)not ready within.*1\.0\.0 again, and the service"):
        upgraded(box, release("1.1.0"), acting=acting)
    went_back(box, acting)
    assert acting.restarts == ["1.1.0", "1.0.0"]
    assert not box.layout.previous.is_symlink()


def test_going_back_remembers_the_version_before(box: Box) -> None:
    upgraded(box, release("1.1.0"), "1.1.0")
    with pytest.raises(BettongError, match="not ready within"):
        upgraded(box, release("1.2.0"), "1.1.0")
    assert box.layout.current_version() == "1.1.0"
    assert versions.previous_version(box.layout) == "1.0.0"
    upgraded(box, release("1.2.0"), "1.1.0", "1.2.0")  # mended, it may come again
    assert box.layout.current_version() == "1.2.0" and box.is_whole()


def test_a_service_that_says_that_it_failed_is_not_waited_for(box: Box) -> None:
    acting = Acting(box.layout, "1.0.0")
    acting.fails = "bettong.service failed (exit-code)"
    with pytest.raises(BettongError, match=r"failed \(exit-code\)"):
        upgraded(box, release("1.1.0"), acting=acting)
    went_back(box, acting)


def test_a_service_that_is_ready_with_no_version(box: Box) -> None:
    acting = Acting(box.layout)
    with pytest.raises(BettongError, match=r"(?s)1\.0\.0 again, but the service is not ready"):
        upgraded(box, release("1.1.0"), acting=acting)
    went_back(box, acting)


def test_an_interrupted_watch_goes_back(box: Box) -> None:
    acting = Acting(box.layout, "1.0.0")
    failure = acting.failure

    def interrupted() -> str:
        if acting.version == "1.1.0":
            raise KeyboardInterrupt
        return failure()

    acting.failure = interrupted  # type: ignore[method-assign]
    with pytest.raises(BettongError, match="interrupted"):
        upgraded(box, release("1.1.0"), acting=acting)
    went_back(box, acting)


def statuses(*given: dict[str, Any] | None) -> Callable[[], dict[str, Any] | None]:
    left = list(given)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def seen(pid: int, state: str = "running", restarts: int = 0) -> dict[str, Any]:
    worker = {"name": "shared", "state": state, "restarts": restarts}
    return {"state": state, "pid": pid, "workers": [worker]}


class Scripted(Acting):
    """Says one thing after the other, and the last for ever."""

    def __init__(self, *given: dict[str, Any] | None) -> None:
        self.status = statuses(*given)  # type: ignore[method-assign]

    def restart(self) -> None:
        pass

    def failure(self) -> str:
        return ""


def test_a_service_too_busy_to_answer_for_a_moment_is_not_given_up() -> None:
    ready = seen(2)
    patience = Patience(PATIENCE_S, 0, 0.001)
    service.restart_and_watch(Scripted(seen(1), ready, None, ready), patience)


def test_a_status_of_other_words_than_ours_is_no_fault() -> None:
    bare = {"state": "running", "pid": 2}
    service.restart_and_watch(Scripted(seen(1), bare), Patience(PATIENCE_S, 0, 0.001))
    with pytest.raises(NotReady, match="is None"):
        service.restart_and_watch(Scripted(seen(1), {"pid": 2}), Patience(0, 0, 0.001))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((seen(1), seen(1)), "process 1 is running"),  # the old one, which does not end
        ((seen(1), None), "nobody answers"),
        ((seen(1), seen(2, "starting")), "process 2 is starting"),
        ((seen(1), seen(2), None), "nobody answers"),
        ((seen(1), seen(2), seen(3)), "process 2 ended after it had been ready"),
        ((seen(1), seen(2), *(seen(2, "running", n) for n in (1, 2, 3))), "again 3 times"),
    ],
)
def test_what_is_not_ready(given: tuple[dict[str, Any] | None, ...], words: str) -> None:
    settled_s = PATIENCE_S if seen(2) in given else 0
    with pytest.raises(NotReady, match=words):
        service.restart_and_watch(Scripted(*given), Patience(0.05, settled_s, 0.001))


SYSTEMCTL = """#!/bin/sh
echo "$@" >> {log}
case "$3" in
ActiveState) echo {active} ;;
Result) echo exit-code ;;
NRestarts) echo {again} ;;
esac
exit {code}
"""


@pytest.mark.parametrize(
    ("active", "again", "runs", "failure"),
    [
        ("active", 0, True, ""),
        ("inactive", 0, False, ""),
        ("failed", 0, True, "bettong.service failed (exit-code)"),
        ("activating", 3, True, "started again 3 times"),
    ],
)
def test_what_systemd_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, active: str, again: int, runs: bool,
    failure: str,
) -> None:  # fmt: skip
    log = tmp_path / "log"
    fake = tmp_path / "systemctl"
    fake.write_text(SYSTEMCTL.format(log=log, active=active, again=again, code=0))
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    systemd = Systemd(lambda: None)
    assert systemd.runs() is runs
    assert failure in systemd.failure() and bool(failure) is bool(systemd.failure())
    log.unlink()
    systemd.restart()
    orders = log.read_text().splitlines()
    assert orders == ["reset-failed bettong.service", "restart --no-block bettong.service"]
    fake.write_text(SYSTEMCTL.format(log=log, active=active, again=again, code=1))
    with pytest.raises(EnvironmentFailure, match="systemctl"):
        systemd.restart()
