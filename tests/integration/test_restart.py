"""Workers that die or hang: started again, and the event that did it is set aside, once."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from integration.processes import (
    READINGS,
    WINDOW_ONE,
    Running,
    eventually,
    is_alive,
    run,
    running,
    status_of,
    windows,
)

FLOW = """
version = 1
name = "poison"
[settings]
step_timeout = "1s"
[source.numbers]
{source}
[step.work]
python = "work.py:work"
[sink.out]
from = "work"
file = {{ path = "out.json" }}
[sink.bad]
from = "errors"
file = {{ path = "bad.json" }}
"""

DEATHS = {
    "hangs": "threading.Event().wait()",
    "spins": "while True: pass",
    "exits": "os._exit(7)",
    "crashes": "ctypes.string_at(0)",
}


def poison(folder: Path, source: str, death: str) -> None:
    """A flow whose function dies of the record with n = 2."""
    (folder / "flow.toml").write_text(FLOW.format(source=source))
    (folder / "work.py").write_text(
        "import ctypes, os, threading\n\n"
        "def work(event):\n"
        "    if event.n == 2:\n"
        f"        {DEATHS[death]}\n"
        '    return {"n": event.n}\n'
    )


@pytest.mark.parametrize("death", DEATHS)
def test_the_event_that_a_function_does_not_survive_is_set_aside_once(
    tmp_path: Path, death: str
) -> None:
    """A file comes again from its start, so the run after it has all results but that one."""
    poison(tmp_path, 'file = { path = "in.json" }', death)
    (tmp_path / "in.json").write_text("".join(f'{{"n":{n}}}\n' for n in range(5)))
    ended = run(tmp_path, "run", "flow.toml", "--once")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count(b"worker died; starting it again") == 1
    assert (tmp_path / "out.json").read_text() == '{"n":0}\n{"n":1}\n{"n":3}\n{"n":4}\n'
    (bad,) = [json.loads(line) for line in (tmp_path / "bad.json").read_text().splitlines()]
    assert (bad["reason"], bad["source"], bad["position"]) == ("stuck", "numbers", 16)


def test_every_event_that_kills_a_worker_is_set_aside(tmp_path: Path) -> None:
    poison(tmp_path, 'file = { path = "in.json" }', "exits")
    numbers = [0, 2, 1, 2, 3, 2]
    (tmp_path / "in.json").write_text("".join(f'{{"n":{n}}}\n' for n in numbers))
    ended = run(tmp_path, "run", "flow.toml", "--once")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count(b"worker died; starting it again") == 3
    assert (tmp_path / "out.json").read_text() == '{"n":0}\n{"n":1}\n{"n":3}\n'
    assert len((tmp_path / "bad.json").read_text().splitlines()) == 3


def test_what_cannot_be_read_again_is_set_aside_with_its_bytes(tmp_path: Path) -> None:
    poison(tmp_path, "stdin = {}", "exits")
    ended = run(tmp_path, "run", "flow.toml", "--once", stdin='{"n":1}\n{"n":2}\n')
    assert ended.returncode == 0, ended.stderr
    (bad,) = [json.loads(line) for line in (tmp_path / "bad.json").read_text().splitlines()]
    assert bad["reason"] == "stuck"


TCP = windows('tcp = { listen = "127.0.0.1:0" }', "stdout = {}")


def kill_worker(flow: Running) -> None:
    (worker,) = flow.worker_pids()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not is_alive(worker), "the worker is dead")


def test_a_killed_worker_is_started_again_and_works(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text(TCP)
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.wait_for(" running ")
        kill_worker(flow)
        assert "SIGKILL" in flow.wait_for("worker died; starting it again")
        flow.wait_for(" running ", count=2)
        flow.send(READINGS, start=2)
        assert flow.line() == WINDOW_ONE
        assert status_of(tmp_path)["workers"][0]["restarts"] == 1
        assert flow.stop() == 0


def test_a_stop_while_the_worker_waits_to_be_started_again_ends(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text(TCP)
    with running(tmp_path, "run", "flow.toml") as flow:
        for count in range(1, 4):
            flow.wait_for(" running ", count=count)
            kill_worker(flow)
            flow.wait_for("worker died", count=count)
        flow.signal(signal.SIGTERM)
        assert flow.end() in (0, 1)  # whether it had been started again by then


def test_what_got_broken_meanwhile_is_tried_again_until_it_is_mended(tmp_path: Path) -> None:
    """A function is read at each start; the flow file only when it is reloaded."""
    poison(tmp_path, 'tcp = { listen = "127.0.0.1:0" }', "hangs")
    path = tmp_path / "work.py"
    sound = path.read_text()
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.wait_for(" running ")
        path.write_text("nonsense")
        (tmp_path / "flow.toml").write_text("nonsense")
        kill_worker(flow)
        flow.wait_for("has no 'work'")
        path.write_text(sound)
        flow.wait_for(" running ", count=2)
        assert flow.stop() == 0
