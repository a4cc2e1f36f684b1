"""`bettong status` on a run that is under way."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from appliance import clock
from appliance.limits import BUDGET_WAIT_MAX_S
from integration.processes import (
    READINGS,
    WINDOW_ONE,
    eventually,
    run,
    running,
    status_of,
    windows,
)
from unit.ports import free_port

BUDGET = """
version = 1
[settings]
commit_every = "1ms"
write_budget = "24KiB"
[source.lines]
file = { path = "in.jsonl", follow = true }
[sink.out]
file = { path = "out.jsonl" }
"""

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
        (promise,) = found["promises"]
        assert (promise["source"], promise["sink"]) == ("readings", "out")
        assert (promise["class"], promise["delivery"]) == ("fire and forget", "immediate")
        assert (promise["loss_window_s"], promise["latency_s"]) == (1.0, 0.0)
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
        promised = (
            "readings → out: fire and forget, immediate: "
            "what was received since the last cut, up to 1s, can be lost; at once"
        )
        assert promised in words
        explained = run(tmp_path, "explain", "flow.toml").stdout.decode()
        assert promised.replace("fire and forget, immediate: ", "") in explained
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


def test_what_cuts_take_and_write_is_told(tmp_path: Path) -> None:
    """Durations, the interval, the bytes of a day at this pace, and what waits in a spool."""
    away = f"127.0.0.1:{free_port()}"
    text = windows(
        'tcp = { listen = "127.0.0.1:0" }',
        f'tcp = {{ connect = "{away}" }}\ndelivery = "at_least_once"',
    )
    (tmp_path / "flow.toml").write_text(
        text.replace("[source", '[settings]\ncommit_every = "20ms"\n[source', 1)
    )
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.send(READINGS)
        eventually(
            lambda: status_of(tmp_path)["flows"][0]["sinks"][0]["spool"]["age_s"] is not None,
            "results wait",
        )
        flow.send(READINGS.replace("1700000", "1800000"))
        eventually(lambda: status_of(tmp_path)["stores"][0]["bytes_a_day"], "it runs for a second")
        status = status_of(tmp_path)
        (store,), spool = status["stores"], status["flows"][0]["sinks"][0]["spool"]
        assert store["cuts"] > 1
        assert 0 < store["last_s"] <= store["longest_s"]
        assert store["interval_s"] > 0
        assert store["bytes"] > 0
        assert status["pause_us"]["count"] > 1 and status["pause_us"]["p99"] > 0
        assert spool["bytes"] > 0 and spool["blocks"] > 0
        words = run(tmp_path, "status").stdout.decode()
        for some in ("last cut", "after the one before", "a day at this pace", "cut pause"):
            assert some in words
        assert re.search(r"sink out: .* wait in its spool, the oldest for \d+ s", words), words
        assert flow.stop() == 0


def test_a_write_budget_makes_cuts_wait_but_not_the_end(tmp_path: Path) -> None:
    """An hour's worth may be written at once, which is what the first cut takes; the end of the run
    waits for no budget, and nothing is missing then."""
    (tmp_path / "in.jsonl").write_text("")
    (tmp_path / "flow.toml").write_text(BUDGET)
    fed = 0

    def source() -> dict[str, Any]:
        (found,) = status_of(tmp_path)["flows"][0]["sources"]
        assert isinstance(found, dict)
        return found

    def fed_until_it_waits() -> bool:
        nonlocal fed
        with (tmp_path / "in.jsonl").open("a") as out:
            out.write(f'{{"n":{fed}}}\n')
        fed += 1
        return bool(status_of(tmp_path)["stores"][0]["stretched_s"])

    with running(tmp_path, "run", "flow.toml") as flow:
        flow.wait_for(" running ")
        eventually(fed_until_it_waits, "a cut waits for the budget")
        eventually(lambda: source()["records"] == fed, "the lane goes on")
        assert (tmp_path / "out.jsonl").read_text().count("\n") < fed
        assert "for the write budget" in run(tmp_path, "status").stdout.decode()
        begun_s = clock.monotonic_s()
        assert flow.stop() == 0
        assert clock.monotonic_s() - begun_s < BUDGET_WAIT_MAX_S / 2
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "in.jsonl").read_bytes()
