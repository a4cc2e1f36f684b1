"""`bettong install` and `uninstall` into a scratch root, with a made-up frozen program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance import __version__
from appliance.cli import install
from appliance.cli.main import main
from appliance.errors import EnvironmentFailure
from appliance.installation.acts import carry_out
from appliance.installation.install import install_acts, uninstall_acts
from appliance.layout import Layout


def frozen(folder: Path, *, one_file: bool = False, says: str = "one") -> Path:
    """A program as a freeze leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "bettong"
    program.write_text(f"#!/bin/sh\necho {says}\n")
    program.chmod(0o755)
    if not one_file:
        (folder / "_internal").mkdir(exist_ok=True)
        (folder / "_internal/library.so").write_text(says)
    return program


@pytest.mark.parametrize("one_file", [False, True])
def test_what_is_installed_stands_where_the_layout_says(tmp_path: Path, one_file: bool) -> None:
    layout = Layout(tmp_path / "root")
    program = frozen(tmp_path / "dist", one_file=one_file)
    carry_out(install_acts(layout, program, "1.0"))
    assert layout.current_version() == "1.0"
    assert (layout.current / "bettong").read_text() == program.read_text()
    assert os.access(layout.program("1.0"), os.X_OK)
    assert (layout.version("1.0") / "_internal").is_dir() is not one_file
    assert os.readlink(layout.command) == "/opt/bettong/current/bettong"
    assert layout.flows.is_dir() and layout.data.is_dir()
    assert "User=bettong" in layout.unit.read_text()
    assert "upgrade --resume" in layout.upgrade_unit.read_text()
    assert layout.settings.read_text().endswith("version = 1\n")


def test_installing_again_replaces_the_program_and_keeps_the_rest(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "root")
    carry_out(install_acts(layout, frozen(tmp_path / "dist"), "1.0"))
    layout.settings.write_text("version = 1 # ours\n")
    (layout.flows / "a.toml").write_text("a")
    (layout.data / "state").write_text("s")
    for name, says in (("1.0", "two"), ("1.1", "three"), ("1.1", "three")):
        carry_out(install_acts(layout, frozen(tmp_path / "dist", says=says), name))
        assert f"echo {says}" in (layout.current / "bettong").read_text()
        assert layout.current_version() == name
    assert layout.installed() == ["1.0", "1.1"]
    assert not [path for path in layout.versions.iterdir() if path.name.startswith(".")]
    # The installed program may be told to install itself.
    carry_out(install_acts(layout, layout.program("1.1"), "1.1"))
    assert layout.settings.read_text() == "version = 1 # ours\n"
    assert (layout.flows / "a.toml").exists() and (layout.data / "state").exists()


@pytest.mark.parametrize("purge", [False, True])
def test_uninstalling_keeps_flows_settings_and_state_unless_purged(
    tmp_path: Path, purge: bool
) -> None:
    layout = Layout(tmp_path / "root")
    carry_out(install_acts(layout, frozen(tmp_path / "dist"), "1.0"))
    (layout.data / "state").write_text("s")
    carry_out(uninstall_acts(layout, purge))
    left = {str(path.relative_to(layout.root)) for path in layout.root.rglob("*") if path.is_file()}
    kept = {"etc/bettong/bettong.toml", "var/lib/bettong/state"}
    assert left == (set() if purge else kept)
    assert not layout.command.is_symlink() and not layout.home.exists()
    assert uninstall_acts(layout, purge) == []


def test_a_program_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "root")
    layout.command.parent.mkdir(parents=True)
    layout.command.write_text("somebody else's")
    with pytest.raises(EnvironmentFailure, match="a file that is not ours"):
        carry_out(install_acts(layout, frozen(tmp_path / "dist"), "1.0"))
    assert layout.command.read_text() == "somebody else's"


def test_a_box_with_the_package_is_left_to_its_package_manager(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    listed = tmp_path / "var/lib/dpkg/info/bettong.list"
    listed.parent.mkdir(parents=True)
    listed.touch()
    with pytest.raises(EnvironmentFailure, match="Debian package"):
        install_acts(layout, frozen(tmp_path / "dist"), "1.0")
    with pytest.raises(EnvironmentFailure, match="Debian package"):
        uninstall_acts(layout, purge=False)


def test_a_source_tree_is_not_installed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["install", "--root", str(tmp_path)]) == 2
    assert "make freeze" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_dry_run_says_what_it_would_do_and_does_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = frozen(tmp_path / "dist")
    monkeypatch.setattr(install, "own_program", lambda: program)
    root = tmp_path / "root"
    assert main(["install", "--root", str(root), "--dry-run"]) == 0
    said = capfd.readouterr().out
    assert f"copy {program.parent} to {root}/opt/bettong/versions/{__version__}" in said
    assert f"write {root}/etc/systemd/system/bettong.service" in said
    assert not root.exists()
    assert main(["install", "--root", str(root)]) == 0
    assert main(["uninstall", "--root", str(root), "--dry-run", "--purge"]) == 0
    said = capfd.readouterr().out
    assert f"remove {root}/var/lib/bettong" in said
    assert Layout(root).current_version() == __version__
