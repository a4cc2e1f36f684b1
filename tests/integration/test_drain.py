"""`bettong drain`: everything is delivered and the run ends; and what happens when it cannot be."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from appliance.client import Client
from integration.processes import PATIENCE_S, run, running, status_of, wait_for_text
from unit.ports import free_port

FLOW = """
version = 1
name = "box"
[settings]
commit_every = "20ms"
[source.taken]
acknowledged_tcp = {{ listen = "127.0.0.1:{taken}" }}
time = {{ field = "ts", unit = "s", idle = "never" }}
[step.windows]
window = {{ tumbling = "10s" }}
aggregate = {{ n = "count()" }}
[sink.windows]
file = {{ path = "windows.jsonl" }}
"""

#: Somebody who is away to begin with.
UP = """
[sink.up]
from = "taken"
upstream = {{ to = "tcp://127.0.0.1:{up}" }}
"""

THERE = """
version = 1
name = "there"
[source.boxes]
upstream = {{ listen = "tcp://127.0.0.1:{up}" }}
[sink.out]
file = {{ path = "there.jsonl" }}
"""

SENT = [b'{"ts":1}', b'{"ts":2}']
WINDOW = '{"window_start":0,"window_end":10,"n":2}\n'


@pytest.fixture
def ports(tmp_path: Path) -> dict[str, int]:
    found = {"taken": free_port(), "up": free_port()}
    (tmp_path / "flow.toml").write_text(FLOW.format(**found))
    (tmp_path / "away.toml").write_text((FLOW + UP).format(**found))
    (tmp_path / "there.toml").write_text(THERE.format(**found))
    return found


def send(port: int) -> None:
    with Client(f"127.0.0.1:{port}", "press") as client:
        for message in SENT:
            client.send(message)
        client.flush(PATIENCE_S)


@pytest.mark.parametrize("close", [False, True])
def test_open_windows_are_kept_or_closed(
    close: bool, tmp_path: Path, ports: dict[str, int]
) -> None:
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.wait_for(" running ")
        send(ports["taken"])
        assert run(tmp_path, "drain", *["--close"] * close).returncode == 0
        assert flow.end() == 0
    assert (tmp_path / "windows.jsonl").read_text() == WINDOW * close
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.wait_for(" running ")
        assert run(tmp_path, "drain", "--close").returncode == 0
        assert flow.end() == 0
    assert (tmp_path / "windows.jsonl").read_text() == WINDOW, "each is closed once"


def test_it_waits_for_whom_it_may_concern_as_long_as_it_is_told(
    tmp_path: Path, ports: dict[str, int]
) -> None:
    with running(tmp_path, "run", "away.toml") as box:
        box.wait_for(" running ")
        send(ports["taken"])
        ended = run(tmp_path, "drain", "--timeout", "100ms")
        assert ended.returncode == 1
        assert b"not everything is delivered yet; the run goes on draining" in ended.stderr
        assert status_of(tmp_path)["state"] == "stopping"
        assert run(tmp_path, "drain", "--timeout", "100ms").returncode == 1
        box.wait_for("draining already")
        with running(tmp_path, "run", "there.toml", "--data", "there") as there:
            assert run(tmp_path, "drain").returncode in (0, 1)  # it may have ended already
            assert box.end() == 0
            assert run(tmp_path, "drain", "--data", "there").returncode == 0
            assert there.end() == 0
    assert (tmp_path / "there.jsonl").read_bytes() == b"".join(line + b"\n" for line in SENT)


def test_a_run_that_drains_can_still_be_stopped(tmp_path: Path, ports: dict[str, int]) -> None:
    """As ever: it ends soon, without a failure, and the spool keeps the rest for the next run."""
    with running(tmp_path, "run", "away.toml") as box:
        box.wait_for(" running ")
        send(ports["taken"])
        assert run(tmp_path, "drain", "--timeout", "100ms").returncode == 1
        box.signal(signal.SIGTERM)
        assert box.end() == 0
        assert any("results wait in the spool" in line for line in box.log), box.log
    with (
        running(tmp_path, "run", "away.toml") as box,
        running(tmp_path, "run", "there.toml", "--data", "there") as there,
    ):
        there.wait_for(" running ")
        wait_for_text(tmp_path / "there.jsonl", "".join(line.decode() + "\n" for line in SENT))
        assert box.stop() == 0
        assert there.stop() == 0


def test_nothing_runs_or_the_time_is_none(tmp_path: Path) -> None:
    ended = run(tmp_path, "drain")
    assert ended.returncode == 1 and b"nothing runs" in ended.stderr
    ended = run(tmp_path, "drain", "--timeout", "soon")
    assert ended.returncode == 2 and b"is not a duration" in ended.stderr
