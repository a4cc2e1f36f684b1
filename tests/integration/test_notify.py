"""What a service manager hears of a real run, on a socket as it has one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.manager import Manager
from integration.processes import Running, eventually, run, start, windows, worker_pid

LOADING = """
import os, threading

with open("environment", "w") as out:
    out.write(" ".join(name for name in os.environ if name.startswith(("NOTIFY", "WATCHDOG"))))
while not os.path.exists("go"):
    threading.Event().wait(0.01)

def same(event):
    return event
"""

FLOW = windows(
    'tcp = { listen = "127.0.0.1:0" }',
    'file = { path = "out.json" }\nfrom = "same"',
    '[step.same]\nfrom = "average"\npython = "same.py:same"',
)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.close()


@pytest.fixture
def flow(tmp_path: Path, manager: Manager) -> Iterator[Running]:
    (tmp_path / "flow.toml").write_text(FLOW)
    (tmp_path / "same.py").write_text(LOADING)
    told = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "400000"}
    made = start(tmp_path, "run", "flow.toml", "--data", "data", more=told)
    yield made
    made.remove()


def test_a_manager_hears_how_the_run_is(flow: Running, manager: Manager, tmp_path: Path) -> None:
    eventually((tmp_path / "environment").exists, "user code is being loaded")
    manager.hear("STATUS=starting")
    assert "READY=1" not in manager.all  # nothing is open yet
    (tmp_path / "go").touch()
    manager.hear("READY=1")
    flow.address()  # it listens, as it said
    manager.hear("STATUS=running sensors")
    manager.hear("WATCHDOG=1")
    assert (tmp_path / "environment").read_text() == ""  # user code cannot speak for the service

    os.kill(worker_pid(flow), signal.SIGKILL)
    manager.hear("STATUS=starting")
    manager.hear("STATUS=running sensors")

    heard = len(manager.all)
    assert run(tmp_path, "reload", "--data", "data").returncode == 0
    manager.hear("RELOADING=1\nMONOTONIC_USEC=")
    manager.hear("READY=1")
    assert manager.all[heard:].count("READY=1") == 1
    flow.signal(signal.SIGTERM)
    manager.hear("STOPPING=1")
    assert flow.end() == 0
    assert manager.all.count("READY=1") == 2


def test_no_progress_is_no_sign_of_life(flow: Running, manager: Manager, tmp_path: Path) -> None:
    """A worker that dies at every start: the supervisor turns, and yet nothing comes of it."""
    (tmp_path / "go").touch()
    manager.hear("WATCHDOG=1")
    (tmp_path / "same.py").write_text("import os\nos._exit(9)\n")
    os.kill(worker_pid(flow), signal.SIGKILL)
    manager.hear("STATUS=worker shared has died")
    heard = manager.all.index("STATUS=worker shared has died and is started again")
    flow.wait_for("worker died; starting it again", 4)
    assert "WATCHDOG=1" not in manager.all[heard:]
