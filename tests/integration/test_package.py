"""The Debian package: made of a frozen folder, installed into a scratch root and taken away again;
and the service that it brings.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from appliance import __version__
from appliance.layout import Layout
from integration.processes import PATIENCE_S, ROOT

UNIT = ROOT / "appliance/installation/bettong.service"

needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="there is no dpkg-deb here")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="dpkg installs as root only")
needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="there is no systemd-analyze here"
)


def call(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def build(folder: Path, *, mode: int = 0o755) -> Path:
    """The package of a made-up frozen program."""
    frozen = folder / "frozen"
    (frozen / "_internal").mkdir(parents=True)
    (frozen / "bettong").write_text("#!/bin/sh\necho bettong\n")
    (frozen / "bettong").chmod(mode)
    (frozen / "_internal/library.so").write_bytes(b"library")
    ended = call(sys.executable, ROOT / "packaging/deb/build.py", frozen, folder)
    assert ended.returncode == 0, ended.stderr
    (package,) = folder.glob(f"bettong_{__version__}_*.deb")
    return package


@needs_dpkg
def test_the_same_folder_gives_the_same_package(tmp_path: Path) -> None:
    """Whoever builds it, and whenever."""
    before = os.umask(0o022)
    try:
        one = build(tmp_path / "one")
        os.umask(0o077)
        other = build(tmp_path / "other", mode=0o700)
    finally:
        os.umask(before)
    assert one.read_bytes() == other.read_bytes()


@needs_dpkg
def test_the_package_belongs_to_root_and_names_its_settings(tmp_path: Path) -> None:
    package = build(tmp_path)
    listed = call("dpkg-deb", "--contents", package).stdout.splitlines()
    assert all(line.split()[1] == "root/root" for line in listed)
    link = "./usr/bin/bettong -> /opt/bettong/current/bettong"
    assert any(line.endswith(link) for line in listed)
    assert call("dpkg-deb", "--info", package, "conffiles").stdout == "/etc/bettong/bettong.toml\n"
    assert call("dpkg-deb", "--field", package, "Version").stdout.strip() == __version__


def dpkg(root: Path, *words: str | Path) -> None:
    forces = ("--force-script-chrootless", "--force-depends", "--force-architecture")
    ended = call("dpkg", f"--root={root}", "--log=/dev/null", *forces, *words)
    assert ended.returncode == 0, ended.stderr


@needs_dpkg
@needs_root
def test_it_installs_upgrades_and_goes(tmp_path: Path) -> None:
    package = build(tmp_path)
    layout = Layout(tmp_path / "root")
    (layout.root / "var/lib/dpkg").mkdir(parents=True)
    (layout.root / "var/lib/dpkg/status").touch()
    dpkg(layout.root, "--install", package)
    assert layout.current_version() == __version__
    assert os.readlink(layout.command) == "/opt/bettong/current/bettong"
    assert call(layout.current / "bettong").stdout == "bettong\n"
    assert layout.flows.is_dir() and layout.settings.is_file() and layout.data.is_dir()
    unit = layout.root / "usr/lib/systemd/system/bettong.service"
    assert unit.read_text() == UNIT.read_text()
    assert unit.with_name("bettong-upgrade.service").is_file()

    (layout.flows / "flow.toml").write_text("version = 1\n")
    layout.settings.write_text("version = 1 # ours\n")
    (layout.data / "state").touch()
    layout.version("9.9.9").mkdir()  # brought by `bettong upgrade`
    layout.switch("9.9.9")
    dpkg(layout.root, "--install", package)
    assert layout.current_version() == __version__
    assert layout.settings.read_text() == "version = 1 # ours\n"

    dpkg(layout.root, "--remove", "bettong")
    assert not layout.home.exists() and not layout.command.is_symlink() and not unit.exists()
    assert (layout.flows / "flow.toml").exists() and (layout.data / "state").exists()
    dpkg(layout.root, "--purge", "bettong")
    assert not layout.settings_folder.exists() and not layout.data.exists()


@needs_systemd
def test_systemd_understands_the_service(tmp_path: Path) -> None:
    """Its program is made up, so that it is there."""
    program = shutil.which("true")
    assert program is not None
    for ours in UNIT.parent.glob("*.service"):
        text = re.sub(r"/(usr/bin|opt/bettong/unwatched)/bettong", program, ours.read_text())
        unit = tmp_path / ours.name
        unit.write_text(text)
        ended = call("systemd-analyze", "verify", "--man=no", unit)
        said = [line for line in ended.stderr.splitlines() if ours.name in line]
        assert ended.returncode == 0 and not said, ended.stderr


def test_the_service_may_ask_whether_the_clock_is_set() -> None:
    """A start, a reload and an end were traced: all else is in @system-service. If this one call
    failed, a clock that was never set would count as right."""
    assert "adjtimex" in (ROOT / "native/src/clock.c").read_text()
    (allowed,) = [line for line in UNIT.read_text().splitlines() if "SystemCallFilter" in line]
    assert {"@system-service", "adjtimex", "clock_adjtime"} <= set(allowed[17:].split())


def test_the_service_waits_as_long_as_we_may_take() -> None:
    """Its times against ours."""
    from appliance import limits
    from appliance.units import parse_duration

    settings = dict(
        line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line[:30]
    )
    seconds = {
        name: parse_duration(settings[name].replace("min", "m")) / 1e6
        for name in ("TimeoutStartSec", "TimeoutStopSec", "WatchdogSec")
    }
    assert seconds["TimeoutStartSec"] > 2 * limits.START_TIMEOUT_S
    assert seconds["TimeoutStopSec"] > limits.STOP_KILL_S
    healing_s = limits.LANE_STALL_S + limits.RESTART_MAX_S + limits.START_TIMEOUT_S
    assert seconds["WatchdogSec"] > healing_s + limits.WATCH_EVERY_S
    assert int(settings["LimitNOFILE"]) == limits.DESCRIPTOR_MAX_COUNT
    assert settings["RestartPreventExitStatus"].split() == ["2", "78"]


def test_an_upgrade_that_is_seen_through_has_its_time() -> None:
    """Two starts are waited for, and settle, and old processes stop, before systemd gives up."""
    from appliance import limits

    text = (UNIT.parent / "bettong-upgrade.service").read_text()
    (minutes,) = re.findall(r"^TimeoutStartSec=(\d+)min$", text, re.MULTILINE)
    once_s = limits.UPGRADE_READY_S + limits.UPGRADE_SETTLED_S + limits.STATUS_TIMEOUT_S
    assert int(minutes) * 60 > 2 * once_s + limits.STOP_KILL_S
    assert Layout().unwatched.as_posix() in text
