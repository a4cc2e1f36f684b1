"""Every example in the documents is run: files are made from their blocks, commands give what the
page says, and the README's first client gets its window."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = sorted((ROOT / "docs" / "tutorial").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE_NAME = re.compile(r"# ([\w-]+\.\w+)\n")
PATIENCE_S = 60


def environment() -> dict[str, str]:
    """Ours first on the path, so that `bettong` on a page is the one under test."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text())


def write_files(page: Path, folder: Path) -> None:
    for _, text in blocks(page):
        if named := FILE_NAME.match(text):
            (folder / named[1]).write_text(text[named.end() :])


def sessions(page: Path) -> Iterator[tuple[str, str]]:
    """The commands of a page's console blocks, and what each prints."""
    for language, text in blocks(page):
        if language == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, printed = part.partition("\n")
                yield command, printed


@pytest.mark.parametrize("page", TUTORIAL, ids=lambda page: page.name)
def test_a_tutorial_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    write_files(page, tmp_path)
    for command, printed in sessions(page):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.stdout == printed, f"{command}\n{done.stderr}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def connect(port: int, child: subprocess.Popen[str]) -> socket.socket:
    """As soon as the flow listens; it says so by accepting."""
    while True:
        assert child.poll() is None, "the flow ended before it listened"
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        except ConnectionRefusedError:
            continue


def test_the_first_client_of_the_readme_gets_its_window(tmp_path: Path) -> None:
    page = ROOT / "README.md"
    write_files(page, tmp_path)
    (typed,) = (text for _, text in blocks(page) if text.startswith("nc "))
    (window,) = (text for language, text in blocks(page) if language == "json")
    port = free_port()
    flow = tmp_path / "sensors.toml"
    flow.write_text(flow.read_text().replace("127.0.0.1:9000", f"127.0.0.1:{port}"))
    with subprocess.Popen(
        ["bettong", "run", flow.name],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        try:
            with connect(port, child) as client:
                client.sendall(typed.partition("\n")[2].encode())
                assert child.stdout is not None
                assert child.stdout.readline() == window
        finally:
            child.send_signal(signal.SIGTERM)
