"""The frozen program as a service of a box: installed by itself or by its package, asked by a
service manager's socket, reloaded.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.layout import Layout
from frozen.boxes import DIST, Box, needs_a_box
from integration.manager import Manager
from integration.processes import PATIENCE_S, eventually
from integration.stateful import append, lines, prepare

pytestmark = needs_a_box

needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="there is no dpkg-deb here")


def serve(box: Box, manager: Manager) -> None:
    """As the unit does it: ready, reloaded by its flows' text, stopped, and heard of each."""
    flows = Layout(box.root).flows
    prepare(flows)
    append(flows, 0, 10)
    told = {"NOTIFY_SOCKET": "/job/notify", "WATCHDOG_USEC": "2000000"}
    data = ("--data", "/var/lib/bettong")
    with box.running("run", "/etc/bettong/flows", *data, more=told) as running:
        manager.hear("READY=1")
        manager.hear("WATCHDOG=1")
        eventually(lambda: len(lines(flows / "times.jsonl")) == 10, "ten results")
        path = flows / "flow.toml"
        path.write_text(path.read_text().replace("follow", "folow"))
        assert box.run("reload", *data).returncode == 78
        path.write_text(path.read_text().replace("folow", "follow"))
        ended = box.run("reload", *data)
        assert ended.returncode == 0, ended.stderr
        manager.hear("RELOADING=1")
        manager.hear("READY=1")
        append(flows, 10, 20)
        eventually(lambda: len(lines(flows / "times.jsonl")) == 20, "twenty results")
        assert '"times":4' in lines(flows / "times.jsonl")[-1]
        assert running.stop() == 0
        manager.hear("STOPPING=1")


def test_it_installs_itself_and_serves(box: Box) -> None:
    ended = box.run("install", "--root", "/job/there")
    assert ended.returncode == 0, ended.stderr
    made = Layout(box.job / "there")
    installed = Box.__new__(Box)
    installed.root, installed.is_one_file = box.root, box.is_one_file
    installed.program = f"/job/there/opt/bettong/versions/{made.current_version()}/bettong"
    for name in ("etc", "var"):
        shutil.rmtree(box.root / name, ignore_errors=True)
        shutil.copytree(made.root / name, box.root / name)
    manager = Manager(str(box.job / "notify"))
    try:
        serve(installed, manager)
    finally:
        manager.close()
    assert box.run("uninstall", "--root", "/job/there", "--purge").returncode == 0
    assert not [path for path in made.root.rglob("*") if path.is_file()]


@needs_dpkg
def test_its_package_serves(tmp_path: Path) -> None:
    package = max(DIST.glob("bettong_*.deb"), key=lambda path: path.stat().st_mtime)
    root = tmp_path / "box"
    root.mkdir()
    box = Box(root, "/bettong-folder/bettong")
    shutil.rmtree(root / "bettong-folder")
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    forces = ("--force-script-chrootless", "--force-depends")
    ended = subprocess.run(
        ["dpkg", f"--root={root}", "--log=/dev/null", *forces, "--install", package],
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    box.program = "/usr/bin/bettong"
    manager = Manager(str(root / "job/notify"))
    try:
        serve(box, manager)
    finally:
        manager.close()
