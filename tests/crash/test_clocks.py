"""A box that starts in 1970 and is told the time later: only labels change (S6–S8)."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from crash.images import build_shim
from integration.processes import READINGS, WINDOW_ONE, eventually, running, status_of, windows

DAY_S = 86_400

#: Records by the time at which they arrive.
ARRIVALS = """
version = 1
name = "arrivals"
[source.lines]
tcp = { listen = "127.0.0.1:0" }
[step.count]
window = { tumbling = "200ms" }
aggregate = { n = "count()" }
[sink.out]
stdout = {}
[sink.late]
from = "count.late"
file = { path = "late.jsonl" }
"""


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The clock is set when this file is there."""
    shim = build_shim(tmp_path, "fake_clock.c")
    found = tmp_path / "clock-is-set"
    monkeypatch.setenv("LD_PRELOAD", str(shim))
    monkeypatch.setenv("CLOCK_SET", str(found))
    monkeypatch.setenv("CLOCK_BEHIND", str(int(time.time()) - DAY_S))
    return found


def test_nothing_is_too_far_ahead_of_a_clock_that_is_not_set(tmp_path: Path, mark: Path) -> None:
    """S8: windows are those of the events; once the clock is known, the future is the future."""
    text = windows('tcp = { listen = "127.0.0.1:0" }', "stdout = {}")
    (tmp_path / "flow.toml").write_text(text)
    with running(tmp_path, "run", "flow.toml") as flow:
        assert flow.wait_for(" running ").startswith("1970-01-02")
        flow.send(READINGS)
        assert flow.line() == WINDOW_ONE
        mark.touch()
        flow.wait_for("the clock is set")
        ahead_ms = int((time.time() + 3 * DAY_S) * 1000)
        flow.send(json.dumps({"device": "d1", "ts": ahead_ms, "temp": 1.0, "status": "ok"}) + "\n")
        source = status_of(tmp_path)["flows"][0]["sources"][0]
        eventually(
            lambda: status_of(tmp_path)["flows"][0]["sources"][0]["future"] == 1,
            f"it is set aside: {source}",
        )
        assert flow.stop() == 0


def test_windows_by_arrival_do_not_jump(tmp_path: Path, mark: Path) -> None:
    """S6: the lane's clock runs on as it began; no record is late, no window is closed early."""
    (tmp_path / "flow.toml").write_text(ARRIVALS)
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.wait_for(" running ")
        flow.send('{"v":1}\n')
        before = json.loads(flow.line())
        mark.touch()
        flow.wait_for("the clock is set")
        flow.send('{"v":2}\n')
        after = json.loads(flow.line())
        assert before["n"] == after["n"] == 1
        minute_us = 60_000_000
        assert 0 < after["window_start"] - before["window_start"] < minute_us
        assert after["window_end"] < 3 * DAY_S * 1_000_000, "its labels are those of the start"
        assert flow.stop() == 0
    assert not (tmp_path / "late.jsonl").read_text()
