"""The frozen programs on a box with nothing but the C library: what a user does first, the
examples, Python steps and connectors of their own, kills and signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
from pathlib import Path

import pytest

from appliance import __version__
from frozen.boxes import Box, descendants, needs_a_box
from integration.processes import PATIENCE_S, ROOT, eventually, is_alive
from integration.stateful import append, lines, prepare, readings

pytestmark = needs_a_box

EXAMPLES = ROOT / "config" / "flows"


def bring(box: Box, example: str) -> dict[str, bytes]:
    """An example flow into /job; what it is expected to give."""
    for path in (EXAMPLES / example).iterdir():
        if path.is_file() and not path.name.startswith("out-"):
            shutil.copy(path, box.job)
    return {path.name: path.read_bytes() for path in (EXAMPLES / example / "expected").iterdir()}


def given(box: Box, stdout: bytes) -> dict[str, bytes]:
    return {"stdout": stdout, **{path.name: path.read_bytes() for path in box.job.glob("out-*")}}


def test_it_says_its_version(box: Box) -> None:
    ended = box.run("version")
    assert ended.stdout.decode() == f"bettong {__version__}\n", ended.stderr
    assert box.unpacked == []


def test_the_demo_and_what_it_says_to_try_next(box: Box) -> None:
    ended = box.run("demo", "--count", "3000", "--rate", "1000000/s")
    assert ended.returncode == 0, ended.stderr
    assert sum(json.loads(line)["n"] for line in ended.stdout.splitlines()) > 1500
    assert f"{box.program} demo --show > my.toml" in ended.stderr.decode()
    (box.job / "my.toml").write_bytes(box.run("demo", "--show").stdout)
    for command in ("check", "explain"):
        assert box.run(command, "/job/my.toml").returncode == 0


@pytest.mark.parametrize("example", ["sensors", "word_count", "market_spread"])
def test_an_example_gives_its_complete_output(box: Box, example: str) -> None:
    expected = bring(box, example)
    ended = box.run("run", "--once", "/job/flow.toml")
    assert ended.returncode == 0, ended.stderr
    assert given(box, ended.stdout) == expected


def test_the_sensors_example_over_tcp(box: Box) -> None:
    """The same windows from a socket, which has no end: they are closed by the drain."""
    expected = bring(box, "sensors")["stdout"]
    flow = (box.job / "flow.toml").read_text()
    by_file = 'file = { path = "readings.jsonl" }'
    assert by_file in flow
    (box.job / "flow.toml").write_text(
        flow.replace(by_file, 'tcp = { listen = "127.0.0.1:0" }').replace(
            "stdout = {}", 'file = { path = "out.jsonl" }'
        )
    )
    with box.running("run", "/job/flow.toml") as running:
        data = (box.job / "readings.jsonl").read_bytes()
        running.send(data)
        drained = box.run("drain", "/job/flow.toml", "--close")
        assert drained.returncode == 0, drained.stderr
        assert running.end() == 0, running.log
    assert (box.job / "out.jsonl").read_bytes() == expected


PYTHON_STEP = """
version = 1
name = "own"
[source.numbers]
connector = { path = "numbers_source.py:Numbers", count = 3 }
[step.looked]
python = "look.py:look"
[sink.out]
stdout = {}
"""

CONNECTOR = """
from appliance.connect import Chunk, EndOfInput, source

@source("numbers")
class Numbers:
    count: int

    def open(self, positions):
        self._next = int(positions.get("numbers", b"0"))

    def read(self, limit):
        if self._next == self.count:
            raise EndOfInput
        self._next += 1
        data = b'{"n":%d}\\n' % self._next
        return Chunk(data, partition="numbers", position=b"%d" % self._next)

    def bounded(self):
        return True

    def close(self):
        pass
"""

LOOK = """
import importlib, os, subprocess, sys

from helpers.deep import doubled

NAMES = {names!r}.split()

def failing():
    for name in NAMES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            yield f"{{name}}: {{error}}"

def look(event):
    if event.n > 1:
        return {{"doubled": doubled(event.n)}}
    said = subprocess.run([{program!r}, "version"], capture_output=True, text=True)
    return {{
        "doubled": doubled(event.n),
        "failing": "; ".join(failing()),
        "said": said.stdout + said.stderr,
        "environment": " ".join(f"{{k}}={{v}}" for k, v in os.environ.items() if k[0] in "_L"),
        "grüße": "ß",
    }}
"""

#: Of the standard library that this Python has, what a frozen program leaves out on purpose.
LEFT_OUT = {
    *("_crypt", "_dbm", "_gdbm", "_tkinter", "antigravity", "crypt", "distutils", "ensurepip"),
    *("idlelib", "lib2to3", "nis", "readline", "test", "this", "tkinter", "turtle", "turtledemo"),
    "venv",
}


def importable() -> list[str]:
    import importlib.util

    names = sorted(sys.stdlib_module_names - LEFT_OUT)
    return [name for name in names if name != "__main__" and importlib.util.find_spec(name)]


def test_a_users_connector_and_step_with_the_standard_library_and_a_package_of_their_own(
    box: Box,
) -> None:
    (box.job / "flow.toml").write_text(PYTHON_STEP)
    (box.job / "numbers_source.py").write_text(CONNECTOR)
    text = LOOK.format(names=" ".join(importable()), program=box.program)
    (box.job / "look.py").write_text(text)
    (box.job / "helpers").mkdir()
    (box.job / "helpers" / "__init__.py").touch()
    (box.job / "helpers" / "deep.py").write_text("def doubled(n):\n    return 2 * n\n")
    more = {"LD_LIBRARY_PATH": "/somewhere"}
    ended = box.run("run", "--once", "/job/flow.toml", more=more)
    assert ended.returncode == 0, ended.stderr
    first, *rest = (json.loads(line) for line in ended.stdout.splitlines())
    assert rest == [{"doubled": 4}, {"doubled": 6}]
    assert first == {
        "doubled": 2,
        "failing": "",
        "said": f"bettong {__version__}\n",
        "environment": "LD_LIBRARY_PATH=/somewhere",
        "grüße": "ß",
    }


def test_the_client_of_the_mqtt_example_is_there(box: Box) -> None:
    for path in (EXAMPLES / "mqtt").glob("*.*"):
        shutil.copy(path, box.job)
    ended = box.run("check", "/job/flow.toml")
    assert ended.returncode == 0, ended.stdout


def expected_of(count: int) -> tuple[list[str], list[str]]:
    """What the running count and the stateful function give for so many readings."""
    out, times = [], []
    for n, line in enumerate(readings(0, count).splitlines()):
        seen = n // 5 + 1
        out.append(json.dumps({**json.loads(line), "n": seen}, separators=(",", ":")))
        times.append(f'{{"device":"d{n % 5}","times":{seen}}}')
    return out, times


def results(job: Path) -> tuple[list[str], list[str]]:
    return lines(job / "out.jsonl"), lines(job / "times.jsonl")


def test_after_kills_everything_goes_on_exactly_where_it_was(box: Box) -> None:
    prepare(box.job)
    run = ("run", "/job/flow.toml", "--data", "/job/data")

    def grown(count: int) -> None:
        append(box.job, count - 20, count)
        eventually(lambda: results(box.job) == expected_of(count), f"{count} results of each")

    with box.running(*run) as running:
        grown(20)
        worker = descendants(running.process.pid)[-1]
        os.kill(worker, signal.SIGKILL)
        running.wait_for(" running ", 2)
        grown(40)
        tree = [running.process.pid, *descendants(running.process.pid)]
        assert len(tree) == (3 if box.is_one_file else 2)
        running.signal(signal.SIGKILL)
        eventually(lambda: not any(map(is_alive, tree)), "nobody of them is left")
    with box.running(*run) as running:
        grown(60)
        supervisor = [running.process.pid, *descendants(running.process.pid)][-2]
        os.kill(supervisor, signal.SIGKILL)
        running.end()
    with box.running(*run) as running:
        grown(80)
        assert running.stop() == 0


TCP = """
version = 1
name = "idle"
[source.readings]
tcp = { listen = "127.0.0.1:0" }
[sink.out]
blackhole = {}
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heard_once(box: Box, number: int) -> None:
    """Ctrl-C reaches the whole group, and in one file the bootloader passes it on once more."""
    (box.job / "flow.toml").write_text(TCP)
    with box.running("run", "/job/flow.toml") as running:
        with socket.create_connection(running.address(), PATIENCE_S):
            os.killpg(running.process.pid, number)
            assert running.end() == 0, running.log
        assert sum(" stopping " in line for line in running.log) == 1
        assert not any("abort" in line or "Traceback" in line for line in running.log)
    assert box.unpacked == []


def test_an_exit_code_is_passed_on(box: Box) -> None:
    (box.job / "flow.toml").write_text(TCP.replace("listen", "lisen"))
    ended = box.run("run", "/job/flow.toml")
    assert ended.returncode == 78, ended.stderr
    assert b"listen" in ended.stderr
