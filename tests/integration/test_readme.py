"""The README, followed as it stands: its flow, its client, its windows, its commands."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from appliance import clock
from integration.pages import blocks, write_files
from integration.processes import PATIENCE_S, ROOT, Running, run, running, status_of

README = ROOT / "README.md"

#: When the last window is due: its size, `late` and `idle`, as the flow on the page has them.
SIZE_S, LATE_S, IDLE_S = 10, 2, 10


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[Running]:
    """The flow of the page, run as the page says, but on a port that is free."""
    write_files(README, tmp_path)
    path = tmp_path / "sensors.toml"
    path.write_text(path.read_text().replace("127.0.0.1:9000", "127.0.0.1:0"))
    (command,) = (text for text in blocks(README, "sh") if text.startswith(".venv/bin/bettong"))
    program, *words = command.split()
    assert program == ".venv/bin/bettong"
    with running(tmp_path, *words) as found:
        yield found


@contextmanager
def netcat(address: tuple[str, int]) -> Iterator[IO[bytes]]:
    """What is written here arrives there, as if it were typed into `nc`."""
    words = ("nc", address[0], str(address[1]))
    if shutil.which("nc") is None:
        with socket.create_connection(address, PATIENCE_S) as client, client.makefile("wb") as file:
            yield file
        return
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        try:
            yield process.stdin
        finally:
            process.kill()


def test_three_lines_typed_into_nc_give_their_windows(flow: Running) -> None:
    """The first window at once; the second within its size + late + idle, by itself."""
    (typed,) = (text for text in blocks(README, "sh") if text.startswith("nc "))
    command, *lines = typed.splitlines(keepends=True)
    assert command == "nc 127.0.0.1 9000\n"
    (window,) = blocks(README, "json")
    with netcat(flow.address()) as client:
        for line in lines:
            client.write(line.encode())
            client.flush()
        assert flow.line() == window
        begun_s = clock.monotonic_s()
        assert flow.line() == (
            '{"device":"d1","window_start":1700000010000,"window_end":1700000020000,'
            '"n":1,"mean":20.0,"low":20.0,"high":20.0}\n'
        )
        assert clock.monotonic_s() - begun_s < SIZE_S + LATE_S + IDLE_S
    assert flow.stop() == 0


def test_a_line_that_is_no_reading_is_counted_and_kept(flow: Running, tmp_path: Path) -> None:
    flow.send("hello?\n" + "".join(blocks(README, "sh")[-1].splitlines(keepends=True)[1:]))
    assert flow.line() == blocks(README, "json")[0]
    (found,) = status_of(tmp_path)["flows"]
    assert found["reasons"] == {"decode": 1}
    assert [error["reason"] for error in found["last_errors"]] == ["decode"]
    assert flow.stop() == 0


def test_its_commands_take_its_flow(tmp_path: Path) -> None:
    write_files(README, tmp_path)
    commands = re.findall(r"`bettong (check|explain) (sensors\.toml)`", README.read_text())
    assert len(commands) == 2
    for command, name in commands:
        ended = run(tmp_path, command, name)
        assert ended.returncode == 0, ended.stderr
        assert b"sensors" in ended.stdout


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text())
    assert len(links) >= 6
    by_bench = {"benchmarks/RESULTS.md"}  # written anew on each machine
    pages = {link for link in links if not link.startswith("http")} - by_bench
    assert [link for link in pages if not (ROOT / link).exists()] == []


def test_its_doors_are_those_of_the_makefile() -> None:
    named = set(re.findall(r"make (\w+)", README.read_text()))
    doors = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "build", "check", "bench"} <= named <= doors
