"""A box that starts in 1970 and is told the time later: only labels change (S6–S8)."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from appliance.client import Client
from crash.images import build_shim
from integration.processes import (
    PATIENCE_S,
    READINGS,
    WINDOW_ONE,
    eventually,
    running,
    status_of,
    windows,
)  # fmt: skip
from unit.ports import free_port

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


#: Results that wait for somebody who is away, at most for an hour; ids that count for a minute; a
#: source that is left out after a silent hour.
WAITING = """
version = 1
name = "waiting"
[settings]
commit_every = "20ms"
[source.taken]
acknowledged_tcp = {{ listen = "127.0.0.1:{taken}" }}
id = "id"
id_within = "1m"
time = {{ field = "ts", unit = "ms", idle = "1h" }}
[step.windows]
window = {{ tumbling = "1s" }}
aggregate = {{ n = "count()" }}
[sink.windows]
file = {{ path = "windows.jsonl" }}
[sink.up]
from = "taken"
tcp = {{ connect = "127.0.0.1:{up}" }}
delivery = "at_least_once"
spool = {{ max_age = "1h" }}
"""


def test_no_result_ages_no_id_is_forgotten_and_nothing_is_idle_by_a_jump(
    tmp_path: Path, mark: Path
) -> None:
    """Fifty years pass in a moment: what waits was not committed fifty years ago, what was seen is
    still known, and nobody was silent for so long. Waits and back-off are not shorter either: the
    client keeps its connection, and its sink is tried until somebody is there."""
    taken, up = free_port(), free_port()
    (tmp_path / "flow.toml").write_text(WAITING.format(taken=taken, up=up))

    def message(n: int) -> bytes:
        return b'{"id":%d,"ts":%d}' % (n, 1_700_000_000_000 + n)

    def sink() -> dict[str, Any]:
        found = next(s for s in status_of(tmp_path)["flows"][0]["sinks"] if s["name"] == "up")
        assert isinstance(found, dict)
        return found

    with (
        running(tmp_path, "run", "flow.toml") as flow,
        Client(f"127.0.0.1:{taken}", "press") as client,
    ):
        for n in range(5):
            client.send(message(n))
        client.flush(PATIENCE_S)
        eventually(lambda: sink()["spool"]["blocks"] > 0, "results wait")
        assert sink()["spool"]["age_s"] is None, "nobody knows since when"
        mark.touch()
        flow.wait_for("the clock is set")
        for n in (3, 4, 5):  # two of them again
            client.send(message(n))
        client.flush(PATIENCE_S)
        assert client.trouble == ""
        source = status_of(tmp_path)["flows"][0]["sources"][0]
        assert (source["records"], source["repeated"], source["future"]) == (8, 2, 0), source
        assert sink()["spool"]["dropped"] == 0
        with socket.create_server(("127.0.0.1", up)) as server:
            server.settimeout(PATIENCE_S)
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as lines:
                found = [json.loads(lines.readline())["id"] for _ in range(6)]
        assert found == [0, 1, 2, 3, 4, 5]
        assert not (tmp_path / "windows.jsonl").read_text(), "no window was closed by the jump"
        assert flow.stop() == 0
