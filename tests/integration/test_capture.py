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
        return self.finish()

    def finish(self) -> tuple[int, bytes]:
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
    assert_parts(tmp_path)


def assert_parts(folder: Path) -> None:
    """The same capture in other ways: its own copy of the flow, part of it, a torn file, another
    flow."""
    (folder / "flow.toml").write_text(FLOW.replace("mean(temp)", "max(temp)"))
    refused = run(folder, "replay", "one.capture", "flow.toml")
    assert refused.returncode == 1 and b"the flow has changed" in refused.stderr
    copied = run(folder, "replay", "one.capture")
    assert copied.returncode == 0 and b"the same state" in copied.stdout, copied.stderr
    part = run(folder, "replay", "one.capture", "--until", "10")
    assert part.returncode == 0 and b"the same so far" in part.stdout
    assert 10 <= int(part.stdout.split(b" events in")[0].split()[-1]) < 40
    line = len(reading("d1", 30))
    place = run(folder, "replay", "one.capture", "--until", f"readings@{2 * line + 5}")
    assert b"the same so far" in place.stdout, place.stdout + place.stderr
    assert 2 <= int(place.stdout.split(b" events in")[0].split()[-1]) < 40
    wrong = run(folder, "replay", "one.capture", "--until", "readings@here")
    assert wrong.returncode == 2 and b"a number of bytes" in wrong.stderr
    data = (folder / "one.capture").read_bytes()
    (folder / "torn.capture").write_bytes(data[: len(data) * 3 // 4])
    torn = run(folder, "replay", "torn.capture")
    assert torn.returncode == 0 and b"cut short" in torn.stdout, torn.stderr
    for name in ("flow.toml", "none.capture"):
        wrong = run(folder, "replay", name)
        assert wrong.returncode in (1, 3) and len(wrong.stderr.splitlines()) == 1


MIXED = """
version = 1
name = "sensors"
[settings]
commit_every = "100ms"
[source.written]
file = { path = "in.jsonl", follow = true }
[source.made]
generate = { rate = "200/s", fields = { device = "choice(3)", temp = "counter()" } }
[source.thrown]
udp = { listen = "127.0.0.1:0" }
[step.scores]
from = ["written", "made", "thrown"]
key_by = "device"
python = "score.py:score"
state = "score.py:Seen"
[step.sums]
from = "scores"
key_by = "device"
window = { tumbling = "200ms" }
aggregate = { n = "count()", most = "max(count)" }
[sink.out]
from = "scores"
file = { path = "out.jsonl" }
[sink.sums]
from = "sums"
stdout = {}
[sink.bad]
from = "errors"
blackhole = {}
"""

SCORE = """
class Seen:
    def __init__(self) -> None:
        self.count = 0


def score(state, event):
    state.count += 1
    if "temp" not in event:
        raise ValueError("no temperature")
    return {"device": event["device"], "count": state.count}
"""


def test_files_datagrams_and_python_happen_again(tmp_path: Path) -> None:
    """Two rotations among them, and a stop while it is captured."""
    (tmp_path / "flow.toml").write_text(MIXED)
    (tmp_path / "score.py").write_text(SCORE)
    path = tmp_path / "in.jsonl"
    path.write_bytes(reading("f1", 1))
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.wait_for("running")
        capture = Capture(tmp_path, "--out", "two.capture")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for at_s in range(20):
                sender.sendto(reading("u1", at_s).strip(), flow.address())
        for turn in range(2):
            with path.open("ab") as out:
                out.write(reading("f1", 2) + b'{"device":"f1"}\n{"devi')
            path.rename(tmp_path / f"in.{turn}")
            path.write_bytes(reading("f2", turn))
        before = seen(tmp_path)
        eventually(lambda: seen(tmp_path) > before + 100, "more events")
        assert flow.stop() == 0
        code, said = capture.finish()
    assert code == 0 and b"(the run ended)" in said
    ended = run(tmp_path, "replay", "two.capture", "--out", "again")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert b"the same results and the same state" in ended.stdout
    again = (tmp_path / "again" / "out").read_bytes()
    assert again.count(b"u1") == 20 and again in (tmp_path / "out.jsonl").read_bytes()
    (tmp_path / "score.py").write_text(SCORE.replace("+= 1", "+= 2"))
    other = run(tmp_path, "replay", "two.capture")
    assert other.returncode == 1 and b"DIFFERENT: sink " in other.stdout


def test_what_cannot_be_captured_is_said(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text(FLOW)
    nothing = run(tmp_path, "capture", "flow.toml")
    assert nothing.returncode == 1 and b"nothing runs" in nothing.stderr
    (tmp_path / "there").write_text("kept")
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.wait_for("running")
        for words, why in (
            (("flow.toml", "--out", "there"), b"it is there already"),
            (("flow.toml", "--out", "no/such/folder"), b"cannot make"),
            (("others", "--data", ".bettong"), b"no flow others runs"),
        ):
            refused = run(tmp_path, "capture", *words)
            assert refused.returncode in (1, 2) and why in refused.stderr, refused.stderr
        assert (tmp_path / "there").read_text() == "kept"
        short = run(tmp_path, "capture", "flow.toml", "--for", "200ms")
        assert short.returncode == 0 and b"(asked)" in short.stdout, short.stderr
        assert flow.stop() == 0
    again = run(tmp_path, "replay", "flow.capture")
    assert again.returncode == 0 and b"the same state" in again.stdout
