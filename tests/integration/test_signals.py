"""How a run is stopped: once politely, twice at once; and that nothing stays behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from appliance.limits import SIGNAL_AGAIN_S
from integration.processes import (
    BETTONG,
    PATIENCE_S,
    READINGS,
    WINDOW_ONE,
    Running,
    environment,
    eventually,
    is_alive,
    running,
    status_of,
    windows,
)

TCP_TO_FILE = windows('tcp = { listen = "127.0.0.1:0" }', 'file = { path = "out.json" }')


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_reading_finishes_what_is_read_and_ends_with_zero(
    tmp_path: Path, number: int
) -> None:
    """The window that is open stays open: a stop is not the end of the input."""
    (tmp_path / "flow.toml").write_text(TCP_TO_FILE)
    with (
        running(tmp_path, "run", "flow.toml") as flow,
        socket.create_connection(flow.address(), PATIENCE_S) as connection,
    ):
        connection.sendall(READINGS.encode())
        eventually(lambda: _records(tmp_path) == 3, "three records read")
        workers = flow.worker_pids()
        flow.signal(number)
        assert flow.end() == 0
    assert (tmp_path / "out.json").read_text() == WINDOW_ONE
    assert not any(is_alive(pid) for pid in workers)


def test_a_terminal_that_goes_stops_the_run(tmp_path: Path) -> None:
    """Without one, SIGHUP is a reload: see test_reload.py."""
    (tmp_path / "flow.toml").write_text(TCP_TO_FILE)
    terminal, end = os.openpty()
    try:
        flow = Running(
            subprocess.Popen(
                ["setsid", "--ctty", *BETTONG, "run", "flow.toml"],
                cwd=tmp_path,
                stdin=end,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(),
            )
        )
        os.close(end)
        flow.wait_for(" running ")
    finally:
        os.close(terminal)
    assert "SIGHUP" in flow.wait_for("stopping")
    assert flow.end() == 0
    flow.remove()


def _records(folder: Path) -> int:
    records = status_of(folder)["flows"][0]["sources"][0]["records"]
    assert isinstance(records, int)
    return records


def test_ctrl_c_reaches_both_processes_and_is_one_polite_stop(tmp_path: Path) -> None:
    """A terminal sends SIGINT to the whole group: the worker leaves it to its supervisor."""
    (tmp_path / "flow.toml").write_text(TCP_TO_FILE)
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.wait_for(" running ")
        for pid in (*flow.worker_pids(), flow.process.pid):
            os.kill(pid, signal.SIGINT)
        assert flow.end() == 0
        assert not any("Traceback" in line for line in flow.log)


STUCK = """
version = 1
name = "stuck"
[source.numbers]
stdin = {}
[step.wait]
python = "wait.py:wait"
[sink.out]
stdout = {}
"""

WAIT = "import threading\n\ndef wait(event):\n    threading.Event().wait()\n"


def test_a_second_signal_aborts_and_an_immediate_repetition_does_not(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text(STUCK)
    (tmp_path / "wait.py").write_text(WAIT)
    reading, writing = os.pipe()
    with running(tmp_path, "run", "flow.toml", stdin=reading) as flow:
        flow.wait_for(" running ")
        os.write(writing, b'{"n":1}\n')
        flow.signal(signal.SIGTERM)
        flow.wait_for("stopping")
        flow.signal(signal.SIGTERM)  # too soon to mean "at once"
        pause = threading.Event()
        pause.wait(SIGNAL_AGAIN_S)  # the rule itself is about time
        assert flow.process.poll() is None
        workers = flow.worker_pids()
        flow.signal(signal.SIGTERM)
        assert flow.end() == 1
        assert not any(is_alive(pid) for pid in workers)
    os.close(reading)
    os.close(writing)


def test_a_stop_while_everything_is_still_being_loaded_is_a_stop(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text(STUCK)
    (tmp_path / "wait.py").write_text(
        "import os, threading\n"
        f"open({str(tmp_path / 'loading')!r}, 'w').close()\n"
        f"while not os.path.exists({str(tmp_path / 'go')!r}):\n"
        "    threading.Event().wait(0.01)\n" + WAIT
    )
    with running(tmp_path, "run", "flow.toml") as flow:
        eventually((tmp_path / "loading").exists, "the function is being loaded")
        flow.signal(signal.SIGTERM)
        flow.wait_for("stopping")
        (tmp_path / "go").touch()
        assert flow.end() == 0


def test_a_worker_dies_with_its_supervisor(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text(TCP_TO_FILE)
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.wait_for(" running ")
        (worker,) = flow.worker_pids()
        flow.signal(signal.SIGKILL)
        flow.end()
        eventually(lambda: not is_alive(worker), "the worker is gone")


def test_a_run_can_follow_a_killed_one_in_the_same_folder(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text(TCP_TO_FILE)
    for _ in range(2):
        with running(tmp_path, "run", "flow.toml") as flow:
            flow.wait_for(" running ")
            flow.signal(signal.SIGKILL)
            flow.end()


def test_results_that_nobody_takes_are_given_up_after_a_bounded_time_and_said(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    sink = f'tcp = {{ connect = "127.0.0.1:{port}" }}'
    (tmp_path / "flow.toml").write_text(windows('tcp = { listen = "127.0.0.1:0" }', sink))
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.send(READINGS)
        flow.wait_for("no connection")
        eventually(lambda: _records(tmp_path) == 3, "three records read")
        assert flow.stop() == 0
        assert "sink=out" in flow.wait_for("results were not delivered")
