"""`bettong capture` and `bettong replay`, as users run them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from pathlib import Path

from integration.processes import (
    BETTONG,
    PATIENCE_S,
    Running,
    environment,
    eventually,
    run,
    running,
    status_of,
    windows,
)

FLOW = windows('tcp = { listen = "127.0.0.1:0" }', 'file = { path = "out.jsonl" }')


def reading(device: str, at_s: int) -> bytes:
    ts = 1_700_000_000_000 + at_s * 1000
    record = {"device": device, "ts": ts, "temp": 20.5, "status": "ok"}
    return json.dumps(record).encode() + b"\n"


class Capture:
    """`bettong capture` in the background, begun."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            [*BETTONG, "capture", "flow.toml", *words],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        assert self.process.stderr is not None
        assert b"capturing sensors" in self.process.stderr.readline()

    def end(self, number: int = signal.SIGINT) -> tuple[int, bytes]:
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out


def seen(folder: Path) -> int:
    return int(status_of(folder)["events"])


def feed(folder: Path, flow: Running, first_s: int, until: int) -> None:
    """Two clients, interleaved, one leaving in the middle of a line."""
    with (
        socket.create_connection(flow.address()) as one,
        socket.create_connection(flow.address()) as two,
    ):
        for at_s in range(first_s, first_s + 30, 3):
            one.sendall(reading("d1", at_s))
            line = reading("d2", at_s)
            two.sendall(line[:20])
            two.sendall(line[20:])
        eventually(lambda: seen(folder) == until, f"{until} events")


def test_a_run_over_tcp_happens_again(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text(FLOW)
    with running(tmp_path, "run", "flow.toml") as flow:
        feed(tmp_path, flow, 0, 20)
        capture = Capture(tmp_path, "--out", "one.capture")
        feed(tmp_path, flow, 30, 40)
        feed(tmp_path, flow, 60, 60)
        code, said = capture.end()
        assert code == 0 and b"entries" in said and b"(asked)" in said
        assert flow.stop() == 0
    ended = run(tmp_path, "replay", "one.capture", "flow.toml", "--out", "again")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert b"40 events" in ended.stdout
    assert b"the same results and the same state" in ended.stdout
    again = (tmp_path / "again" / "out").read_bytes()
    assert again and again in (tmp_path / "out.jsonl").read_bytes()
