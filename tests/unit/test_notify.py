"""What a service manager hears, on a socket like its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.logs import Logger
from appliance.supervisor import notify
from appliance.supervisor.notify import Notifier


class Manager:
    """A socket as a service manager has it."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0"))
        self.socket.setblocking(False)
        self.environ = {"NOTIFY_SOCKET": address, "OTHER": "stays"}

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return found


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    is_path = request.param == "path"
    made = Manager(str(tmp_path / "notify") if is_path else f"@bettong-test-{os.getpid()}")
    yield made
    made.socket.close()


def test_each_thing_is_said_once(manager: Manager) -> None:
    notifier = Notifier(manager.environ, Logger("test"))
    for _ in range(2):
        notifier.status("two\nflows")
        notifier.ready()
        notifier.stopping()
    assert manager.heard() == ["STATUS=two flows", "READY=1", "STOPPING=1"]
    assert manager.environ == {"OTHER": "stays"}  # workers hear of none of it


def test_a_reload_ends_with_ready(manager: Manager) -> None:
    notifier = Notifier(manager.environ, Logger("test"))
    notifier.ready()
    notifier.reloading(1_234_567)
    notifier.ready()
    assert manager.heard() == ["READY=1", "RELOADING=1\nMONOTONIC_USEC=1234", "READY=1"]


def test_the_watchdog_hears_of_progress_only_twice_in_its_time(manager: Manager) -> None:
    manager.environ["WATCHDOG_USEC"] = "10000000"
    manager.environ["WATCHDOG_PID"] = str(os.getpid())
    notifier = Notifier(manager.environ, Logger("test"))
    for now_s in (100.0, 101.0, 104.9, 105.0):
        notifier.beat(now_s, True)
    assert manager.heard() == ["WATCHDOG=1"] * 2
    for now_s in (110.0, 115.0, 119.0):
        notifier.beat(now_s, False)
    assert manager.heard() == []
    notifier.beat(119.5, True)  # soon after it goes on
    assert manager.heard() == ["WATCHDOG=1"]
    assert notifier.next_s() == 124.5


@pytest.mark.parametrize("changed", [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}])
def test_a_watchdog_of_somebody_else_hears_nothing(
    manager: Manager, changed: dict[str, str]
) -> None:
    manager.environ |= {"WATCHDOG_USEC": "10000000"} | changed
    notifier = Notifier(manager.environ, Logger("test"))
    notifier.beat(100.0, True)
    assert manager.heard() == [] and notifier.next_s() is None


def test_without_a_manager_nothing_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    notifier = Notifier({}, Logger("test"))
    notifier.ready()
    notifier.status("running")
    notifier.beat(1.0, True)
    assert not notifier.is_wanted and capfd.readouterr().err == ""


def test_a_manager_that_is_too_busy_is_told_later(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "NOTIFY_WAIT_S", 0.01)
    full = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    full.setblocking(False)
    with full, pytest.raises(BlockingIOError):
        while True:
            full.sendto(b"x", manager.socket.getsockname())
    notifier = Notifier(manager.environ, Logger("test"))
    notifier.ready()
    assert "READY=1" not in manager.heard()
    notifier.ready()
    notifier.ready()
    assert manager.heard() == ["READY=1"]


def test_a_manager_that_has_gone_ends_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}, Logger("test"))
    notifier.ready()
    assert "the service manager cannot be told" in capfd.readouterr().err
