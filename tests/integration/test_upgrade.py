"""Upgrades: what is taken, what is refused and what is kept, and the commands.

Versions are small scripts; the service is played, or is this very program under a shell's loop.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.main import main
from appliance.errors import BettongError, EnvironmentFailure
from appliance.layout import PROGRAM
from appliance.supervisor.admin import ask_status
from appliance.upgrade import upgrade, versions
from appliance.upgrade.archive import ReleaseRefused
from appliance.upgrade.service import ByHand, Patience
from appliance.upgrade.signature import NotSigned
from integration import pages
from integration.processes import BETTONG, PATIENCE_S, environment, eventually
from integration.releases import (
    PROMPT,
    ROOT,
    Acting,
    Box,
    adding,
    manifest,
    packed,
    program,
    release,
    upgraded,
    went_back,
)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_a_signed_release_becomes_the_current_version(box: Box) -> None:
    acting = upgraded(box, release("1.1.0"), "1.1.0")
    assert box.layout.current_version() == "1.1.0" and box.is_whole()
    assert os.readlink(box.layout.current) == "versions/1.1.0"
    assert os.readlink(box.layout.previous) == "versions/1.0.0"
    assert acting.restarts == ["1.1.0"]
    assert box.said == ["version 1.1.0 is installed",
                        "version 1.1.0 is the current one; it was 1.0.0",
                        "the service is ready"]  # fmt: skip
    assert not box.leftovers()


def test_rollback_goes_to_the_version_before_and_back_again(box: Box) -> None:
    upgraded(box, release("1.1.0"), "1.1.0")
    for version in ("1.0.0", "1.1.0"):
        acting = Acting(box.layout, "1.0.0", "1.1.0")
        upgrade.go_back(upgrade.Changing(box.layout, acting, box.said.append, PROMPT))
        assert box.layout.current_version() == version and box.is_whole()
        assert acting.restarts == [version]


def test_there_is_nothing_to_go_back_to(box: Box, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["rollback", "--root", str(box.layout.root)]) == 3
    assert "no version to go back to" in capfd.readouterr().err


def test_a_service_that_was_stopped_stays_so(box: Box) -> None:
    acting = upgraded(box, release("1.1.0"), acting=Acting(box.layout, runs=False))
    assert box.layout.current_version() == "1.1.0" and acting.restarts == []
    assert "used when it is started" in box.said[-1]


# ---- what is refused before anything is touched ----


def refused(box: Box, data: bytes, kind: type[BettongError], words: str, **how: bool) -> None:
    acting = Acting(box.layout, "1.0.0")
    with pytest.raises(kind, match=words):
        upgraded(box, data, acting=acting, **how)
    went_back(box, acting)
    assert box.layout.installed() == ["1.0.0"] and acting.restarts == []
    assert not box.layout.previous.is_symlink()


def test_a_release_of_somebody_else(box: Box) -> None:
    file = box.signed(release("1.1.0"))
    changing = upgrade.Changing(box.layout, Acting(box.layout, "1.0.0"), box.said.append, PROMPT)
    with pytest.raises(NotSigned, match="does not fit"):
        upgrade.upgrade(changing, file, bytes(range(32)))
    assert box.layout.installed() == ["1.0.0"] and not box.leftovers()


@pytest.mark.parametrize("change", ["cut", "bit", "longer", "no signature"])
def test_a_release_that_is_not_as_it_was_signed(box: Box, change: str) -> None:
    data = release("1.1.0")
    file = box.signed(data)
    changed = {
        "cut": data[:-10],
        "bit": data[:50] + bytes([data[50] ^ 1]) + data[51:],
        "longer": data + b"\0",
        "no signature": data,
    }[change]
    file.write_bytes(changed)
    if change == "no signature":
        file.with_name(f"{file.name}.sig").unlink()
    changing = upgrade.Changing(box.layout, Acting(box.layout, "1.0.0"), box.said.append, PROMPT)
    with pytest.raises(NotSigned):
        upgrade.upgrade(changing, file, box.public_key)
    assert box.layout.installed() == ["1.0.0"] and not box.leftovers()


def test_a_release_for_another_architecture(box: Box) -> None:
    refused(box, release("1.1.0", architecture="pdp11"), ReleaseRefused, "made for pdp11")


def test_a_release_with_a_file_that_leads_out(box: Box) -> None:
    data = release("1.1.0", adding("bettong-1.1.0/../../../evil", b"x"))
    refused(box, data, ReleaseRefused, "leads out of it; nothing was changed")
    assert not list(box.folder.rglob("evil"))


def test_a_release_without_a_manifest(box: Box) -> None:
    data = packed([adding("bettong/bettong", program("1.1.0"), 0o755)])
    refused(box, data, ReleaseRefused, "no manifest")


def test_a_program_of_another_version_than_its_manifest_says(box: Box) -> None:
    refused(box, release("1.1.0", says="1.2.0"), ReleaseRefused, "bettong 1.2.0.*manifest 1.1.0")


def test_a_program_that_does_not_run_here(box: Box) -> None:
    data = packed(
        [
            adding("bettong/bettong", b"\x7fELF of something else", 0o755),
            adding("bettong/manifest.toml", manifest("1.1.0")),
        ]
    )
    refused(box, data, ReleaseRefused, "cannot be run here")


def test_the_version_that_is_installed(box: Box) -> None:
    refused(box, release("1.0.0"), ReleaseRefused, "1.0.0 is the one that is installed")


def test_an_older_version_only_when_asked_for(box: Box) -> None:
    refused(box, release("0.9.0"), ReleaseRefused, "older than 1.0.0.*--allow-older")
    upgraded(box, release("0.9.0"), "0.9.0", allow_older=True)
    assert box.layout.current_version() == "0.9.0"


def test_a_version_that_does_not_take_the_flows(box: Box) -> None:
    (box.layout.flows / "flow.toml").write_text("version = 1\n")
    data = release("1.1.0", check_code=78)
    refused(box, data, ReleaseRefused, r"(?s)check.*exit code 78.*flow.toml:1: not so")
    upgraded(box, data, "1.1.0", check_flows=False)
    assert box.layout.current_version() == "1.1.0"


def test_two_upgrades_at_a_time(box: Box) -> None:
    with versions.changing(box.layout):
        refused(box, release("1.1.0"), EnvironmentFailure, "another upgrade is under way")


def test_a_box_on_which_nothing_is_installed(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.layout.current.unlink()
    with pytest.raises(EnvironmentFailure, match="bettong install"):
        upgraded(box, release("1.1.0"))


# ---- what is kept ----


def test_the_last_versions_are_kept_and_no_more(box: Box) -> None:
    for version in ("1.1.0", "1.2.0", "1.3.0", "1.10.0"):
        upgraded(box, release(version), version, "1.1.0", "1.2.0", "1.3.0")
    assert box.layout.installed() == ["1.10.0", "1.2.0", "1.3.0"]
    assert "version 1.0.0 is removed" in box.said and "version 1.1.0 is removed" in box.said
    acting = Acting(box.layout, "1.3.0", "1.10.0")
    upgrade.go_back(upgrade.Changing(box.layout, acting, box.said.append, PROMPT))
    assert box.layout.current_version() == "1.3.0"


def test_neither_the_running_nor_the_previous_version_is_removed(box: Box) -> None:
    for version in ("1.1.0", "1.2.0", "1.3.0"):
        box.place(version)
    upgraded(box, release("0.9.0"), "0.9.0", allow_older=True)  # the oldest of all
    assert box.layout.installed() == ["0.9.0", "1.0.0", "1.3.0"]


def test_leftovers_are_swept(box: Box) -> None:
    for name in (".new-abc", ".old-1.0", ".1.2.new"):
        (box.layout.versions / name / "deep").mkdir(parents=True)
    upgraded(box, release("1.1.0"), "1.1.0")
    assert not box.leftovers()


# ---- real services ----

REAL = """#!/bin/sh
case $1 in version) echo bettong {version} ;; *) exec {bettong} "$@" ;; esac
"""


@contextlib.contextmanager
def kept_running(box: Box) -> Iterator[None]:
    """The service under a loop that starts it again, as a container's runtime does."""
    run = shlex.join([str(box.layout.current / PROGRAM), "run", str(box.layout.flows)])
    loop = f"trap 'exit 0' TERM; while :; do {run} --data {shlex.quote(str(box.layout.data))}; done"
    process = subprocess.Popen(
        ["sh", "-c", loop], env=environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_S)


def test_a_real_service_is_upgraded_and_taken_back(box: Box) -> None:
    def real(version: str) -> bytes:
        text = REAL.format(version=version, bettong=shlex.join(BETTONG))
        return text.encode()

    layout = box.layout
    layout.program("1.0.0").write_bytes(real("1.0.0"))
    (layout.flows / "flow.toml").write_text(
        'version = 1\n[source.a]\ngenerate = { rate = "1/s", fields = { n = "counter()" } }\n'
        "[sink.b]\nblackhole = {}\n"
    )
    file = box.signed(
        packed(
            [
                adding("b/bettong", real("1.1.0"), 0o755),
                adding("b/manifest.toml", manifest("1.1.0")),
                adding("b/library.so.1", b"x"),
            ]
        )
    )

    def status() -> dict[str, Any] | None:
        return ask_status(layout.data)

    by_hand = ByHand(status, box.said.append)
    changing = upgrade.Changing(layout, by_hand, box.said.append, Patience(PATIENCE_S, 0.2, 0.05))

    def answered() -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def runs() -> bool:
            found.append(status() or {})
            return found[-1].get("state") == "running"

        eventually(runs, "it runs")
        return found[-1]

    with kept_running(box):
        pids = [answered()["pid"]]
        upgrade.upgrade(changing, file, box.public_key)
        pids.append(answered()["pid"])
        assert layout.current_version() == "1.1.0"
        upgrade.go_back(changing)
        pids.append(answered()["pid"])
        assert layout.current_version() == "1.0.0"
        assert len(set(pids)) == 3
    assert "the service is ready" in box.said


def test_the_command(box: Box, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing runs there: the version is used at the next start."""
    root = str(box.layout.root)
    assert main(["upgrade", str(box.signed(release("1.1.0"))), "--root", root]) == 0
    assert "version 1.1.0 is the current one; it was 1.0.0" in capfd.readouterr().out
    assert main(["upgrade", str(box.signed(release("1.0.5"))), "--root", root]) == 1
    assert "older than 1.1.0" in capfd.readouterr().err
    assert main(["upgrade", str(box.folder / "none.tar.gz"), "--root", root]) == 3
    assert "none.tar.gz: No such file" in capfd.readouterr().err
    assert main(["upgrade", "--resume", "--root", root]) == 0
    assert "no upgrade was cut short" in capfd.readouterr().out
    assert main(["upgrade", "--root", root]) == 2
    assert main(["rollback", "--root", root]) == 0
    assert box.layout.current_version() == "1.0.0"
    box.layout.settings.write_text("version = 1\n")
    assert main(["upgrade", str(box.signed(release("1.1.0"))), "--root", root]) == 78
    assert "there is no public key" in capfd.readouterr().err


def test_the_page_says_what_is_typed(box: Box, tmp_path: Path) -> None:
    """docs/upgrading.md: the makers' commands, then those of the box, one after the other."""
    page = ROOT / "docs/upgrading.md"
    upgrading, going_back, making, signing = pages.blocks(page, "sh")
    folder, root = tmp_path / "typed", shlex.quote(str(box.layout.root))
    folder.mkdir()
    name = signing.split()[-1]
    (folder / name).write_bytes(release("1.1.0"))
    tool = str(ROOT / "packaging/sign.py")

    def typed(text: str) -> str:
        ours = text.replace("packaging/sign.py", shlex.quote(tool)).strip()
        ended = pages.shell(f"{ours} --root {root}" if "bettong " in text[:8] else ours, folder)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    printed = typed(making)
    settings = pages.files(page)["bettong.toml"]
    line = next(line for line in settings.splitlines() if line.startswith("public_key"))
    box.layout.settings.write_text(settings.replace(line, printed))
    typed(signing)
    assert "1.1.0 is the current one" in typed(upgrading)
    assert "1.0.0 is the current one" in typed(going_back)
