"""The tarball of a freeze, signed as its makers do, and brought to a box by the frozen program."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from appliance import __version__
from appliance.layout import Layout
from frozen.boxes import DIST, Box, environment, needs_a_box
from integration.processes import ROOT

pytestmark = needs_a_box


def sign(*words: str | Path) -> str:
    """packaging/sign.py; what it prints."""
    tool = [sys.executable, "-P", str(ROOT / "packaging/sign.py"), *map(str, words)]
    return subprocess.run(tool, capture_output=True, text=True, check=True).stdout


def installed(box: Box) -> tuple[Layout, str]:
    """A place below /job with an older version and a flow; the release's name in /job."""
    layout = Layout(box.job / "there")
    layout.program("0.0.1").parent.mkdir(parents=True)
    layout.program("0.0.1").touch()
    layout.switch("0.0.1")
    layout.flows.mkdir(parents=True)
    shutil.copy(ROOT / "config/flows/sensors/flow.toml", layout.flows)
    (release,) = DIST.glob("bettong-*.tar.gz")
    shutil.copy(release, box.job)
    key = sign("key", box.job / "makers.key")
    sign("sign", box.job / "makers.key", box.job / release.name)
    (box.job / "makers.key").unlink()
    layout.settings.write_text(f"version = 1\n[upgrade]\n{key}")
    return layout, release.name


def test_a_release_is_brought_to_a_box_and_runs_there(box: Box) -> None:
    layout, name = installed(box)
    ended = box.run("upgrade", f"/job/{name}", "--root", "/job/there")
    assert ended.returncode == 0, ended.stderr
    assert layout.current_version() == __version__
    assert f"version {__version__} is the current one; it was 0.0.1" in ended.stdout.decode()
    brought = box.command("version")
    brought[brought.index(box.program)] = "/job/there/opt/bettong/current/bettong"
    said = subprocess.run(brought, capture_output=True, check=True, env=environment(None)).stdout
    assert said.decode() == f"bettong {__version__}\n"


def test_a_release_that_was_changed_on_the_way_is_refused(box: Box) -> None:
    layout, name = installed(box)
    data = bytearray((box.job / name).read_bytes())
    data[len(data) // 2] ^= 1
    (box.job / name).write_bytes(data)
    ended = box.run("upgrade", f"/job/{name}", "--root", "/job/there")
    assert ended.returncode == 1 and b"does not fit" in ended.stderr
    assert layout.current_version() == "0.0.1" and layout.installed() == ["0.0.1"]
