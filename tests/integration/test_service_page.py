"""The page about the service: its commands exist, its paths are ours, systemd takes its words."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from appliance.cli.commands import commands
from appliance.layout import Layout
from integration.pages import blocks
from integration.processes import PATIENCE_S, ROOT

PAGE = ROOT / "docs/service.md"
UNIT = ROOT / "appliance/installation/bettong.service"


def test_its_commands_are_ours() -> None:
    text = PAGE.read_text()
    lines = [line for block in blocks(PAGE, "sh") for line in block.splitlines()]
    lines += re.findall(r"`(bettong [^`]+)`", text)
    ours = [shlex.split(line.removeprefix("./")) for line in lines]
    ours = [words[1:] for words in ours if words[0] == "bettong"]
    assert len(ours) >= 8
    for words in ours:
        context = click.Context(commands)
        command = commands.get_command(context, words[0])
        assert command is not None, words
        # Parsed, not run.
        arguments = [*words[1:], *(["flow.toml"] if words[0] == "run" else [])]
        command.make_context(words[0], arguments, parent=context)


def test_its_paths_are_those_of_the_layout() -> None:
    text, layout = PAGE.read_text(), Layout()
    for path in (layout.flows, layout.settings, layout.data, layout.current, layout.command):
        assert f"`{path}" in text


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze here")
def test_systemd_takes_what_it_says_may_be_added(tmp_path: Path) -> None:
    program = shutil.which("true")
    assert program is not None
    (more,) = blocks(PAGE, "ini")
    unit = tmp_path / "bettong.service"
    unit.write_text(UNIT.read_text().replace("/usr/bin/bettong", program))
    (tmp_path / "bettong.service.d").mkdir()
    (tmp_path / "bettong.service.d/override.conf").write_text(more)
    ended = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    said = [line for line in ended.stderr.splitlines() if "bettong.service" in line]
    assert ended.returncode == 0 and not said, ended.stderr
