"""`bettong status` on a run that is under way."""

from __future__ import annotations

import re
from pathlib import Path

from integration.processes import (
    READINGS,
    WINDOW_ONE,
    eventually,
    run,
    running,
    status_of,
    windows,
)

TCP = windows('tcp = { listen = "127.0.0.1:0" }', "stdout = {}")


def test_a_running_flow_tells_its_figures(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text(TCP)
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.send(READINGS + "nonsense\n")
        assert flow.line() == WINDOW_ONE
        eventually(lambda: status_of(tmp_path)["events"] == 4, "all four are counted")
        status = status_of(tmp_path)
        (found,) = status["flows"]
        (source,), (step,), (sink,) = found["sources"], found["steps"], found["sinks"]
        assert (source["name"], source["kind"], source["records"]) == ("readings", "tcp", 4)
        assert source["bytes"] == len(READINGS) + 9
        assert source["label"].startswith("127.0.0.1:")
        assert source["guarantee"] == "fire and forget"
        assert (step["name"], step["in"], step["out"], step["keys"]) == ("average", 3, 1, 1)
        assert (sink["name"], sink["records"], sink["queued"]) == ("out", 1, 0)
        assert found["reasons"] == {"decode": 1}
        (error,) = found["last_errors"]
        assert (error["reason"], error["source"], error["raw"]) == (
            "decode",
            "readings",
            "bm9uc2Vuc2U=",
        )
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", error["time"])
        assert status["state"] == "running"
        assert status["latency_us"]["count"] >= 3
        assert status["workers"][0]["pid"] in flow.worker_pids()
        assert flow.stop() == 0


def test_the_table_is_for_people(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text(TCP)
    with running(tmp_path, "run", "flow.toml", "--data", "data") as flow:
        flow.wait_for(" running ")
        ended = run(tmp_path, "status", "--data", "data")
        words = ended.stdout.decode()
        assert "flow sensors" in words
        assert "source readings (tcp)" in words
        assert flow.stop() == 0


def test_the_flow_is_enough_to_find_its_run(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text(TCP)
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.wait_for(" running ")
        ended = run(tmp_path.parent, "status", str(tmp_path / "flow.toml"))
        assert ended.returncode == 0, ended.stderr
        assert flow.stop() == 0


def test_where_nothing_runs_it_says_so(tmp_path: Path) -> None:
    ended = run(tmp_path, "status")
    assert ended.returncode == 1
    assert ended.stderr == b"nothing runs with the data folder .bettong\n"


def test_a_worker_in_a_stuck_function_does_not_keep_the_status_waiting(tmp_path: Path) -> None:
    """The supervisor reads the page; it need not ask."""
    (tmp_path / "wait.py").write_text("def wait(event):\n    while True: pass\n")
    more = """
[step.wait]
from = "readings"
python = "wait.py:wait"
[sink.other]
from = "wait"
blackhole = {}
"""
    flow_text = TCP.replace("[sink.out]", '[sink.out]\nfrom = "average"')
    (tmp_path / "flow.toml").write_text(flow_text + more)
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.send(READINGS)
        flow.wait_for(" running ")
        worker = status_of(tmp_path)["workers"][0]
        assert worker["state"] == "running"
        assert "events" in worker
