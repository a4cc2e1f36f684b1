"""Upgrades: what is taken and what is refused, going back, and the power failing at any moment.

Versions are small scripts; the service is played, or is this very program under a shell's loop.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance import points
from appliance.cli.main import main
from appliance.errors import BettongError, EnvironmentFailure
from appliance.layout import PROGRAM
from appliance.supervisor.admin import ask_status
from appliance.upgrade import service, upgrade, versions
from appliance.upgrade.archive import ReleaseRefused
from appliance.upgrade.service import ByHand, NotReady, Patience, Systemd
from appliance.upgrade.signature import NotSigned
from integration import pages
from integration.processes import BETTONG, PATIENCE_S, environment, eventually
from integration.releases import ROOT, Acting, Box, adding, manifest, packed, program, release

#: A service that is played is ready at the first look, or never.
PROMPT = Patience(ready_s=0.05, settled_s=0, look_s=0.001)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def upgraded(
    box: Box, data: bytes, *ready: str, acting: Acting | None = None, **how: bool
) -> Acting:
    """Upgrade the box; the service becomes ready with these versions, and with 1.0.0."""
    acting = acting or Acting(box.layout, "1.0.0", *ready)
    changing = upgrade.Changing(box.layout, acting, box.said.append, PROMPT)
    upgrade.upgrade(changing, box.signed(data), box.public_key, **how)
    return acting


def went_back(box: Box, acting: Acting) -> None:
    """Everything is as it was, and nothing is left over."""
    assert box.layout.current_version() == "1.0.0" and box.is_whole()
    assert acting.version == "1.0.0"
    assert not box.leftovers() and not box.layout.unwatched.is_symlink()


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


# ---- going back by itself ----


def test_a_version_that_never_becomes_ready_is_given_up(box: Box) -> None:
    acting = Acting(box.layout, "1.0.0")
    with pytest.raises(BettongError, match=r"(?s)not ready within.*1\.0\.0 again, and the service"):
        upgraded(box, release("1.1.0"), acting=acting)
    went_back(box, acting)
    assert acting.restarts == ["1.1.0", "1.0.0"]
    assert not box.layout.previous.is_symlink()


def test_going_back_remembers_the_version_before(box: Box) -> None:
    upgraded(box, release("1.1.0"), "1.1.0")
    with pytest.raises(BettongError, match="not ready within"):
        upgraded(box, release("1.2.0"), "1.1.0")
    assert box.layout.current_version() == "1.1.0"
    assert versions.previous_version(box.layout) == "1.0.0"
    upgraded(box, release("1.2.0"), "1.1.0", "1.2.0")  # mended, it may come again
    assert box.layout.current_version() == "1.2.0" and box.is_whole()


def test_a_service_that_says_that_it_failed_is_not_waited_for(box: Box) -> None:
    acting = Acting(box.layout, "1.0.0")
    acting.fails = "bettong.service failed (exit-code)"
    with pytest.raises(BettongError, match=r"failed \(exit-code\)"):
        upgraded(box, release("1.1.0"), acting=acting)
    went_back(box, acting)


def test_a_service_that_is_ready_with_no_version(box: Box) -> None:
    acting = Acting(box.layout)
    with pytest.raises(BettongError, match=r"(?s)1\.0\.0 again, but the service is not ready"):
        upgraded(box, release("1.1.0"), acting=acting)
    went_back(box, acting)


def test_an_interrupted_watch_goes_back(box: Box) -> None:
    acting = Acting(box.layout, "1.0.0")
    failure = acting.failure

    def interrupted() -> str:
        if acting.version == "1.1.0":
            raise KeyboardInterrupt
        return failure()

    acting.failure = interrupted  # type: ignore[method-assign]
    with pytest.raises(BettongError, match="interrupted"):
        upgraded(box, release("1.1.0"), acting=acting)
    went_back(box, acting)


def statuses(*given: dict[str, Any] | None) -> Callable[[], dict[str, Any] | None]:
    left = list(given)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def seen(pid: int, state: str = "running", restarts: int = 0) -> dict[str, Any]:
    worker = {"name": "shared", "state": state, "restarts": restarts}
    return {"state": state, "pid": pid, "workers": [worker]}


class Scripted(Acting):
    """Says one thing after the other, and the last for ever."""

    def __init__(self, *given: dict[str, Any] | None) -> None:
        self.status = statuses(*given)  # type: ignore[method-assign]

    def restart(self) -> None:
        pass

    def failure(self) -> str:
        return ""


def test_a_service_too_busy_to_answer_for_a_moment_is_not_given_up() -> None:
    ready = seen(2)
    patience = Patience(PATIENCE_S, 0, 0.001)
    service.restart_and_watch(Scripted(seen(1), ready, None, ready), patience)


def test_a_status_of_other_words_than_ours_is_no_fault() -> None:
    bare = {"state": "running", "pid": 2}
    service.restart_and_watch(Scripted(seen(1), bare), Patience(PATIENCE_S, 0, 0.001))
    with pytest.raises(NotReady, match="is None"):
        service.restart_and_watch(Scripted(seen(1), {"pid": 2}), Patience(0, 0, 0.001))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((seen(1), seen(1)), "process 1 is running"),  # the old one, which does not end
        ((seen(1), None), "nobody answers"),
        ((seen(1), seen(2, "starting")), "process 2 is starting"),
        ((seen(1), seen(2), None), "nobody answers"),
        ((seen(1), seen(2), seen(3)), "process 2 ended after it had been ready"),
        ((seen(1), seen(2), *(seen(2, "running", n) for n in (1, 2, 3))), "again 3 times"),
    ],
)
def test_what_is_not_ready(given: tuple[dict[str, Any] | None, ...], words: str) -> None:
    settled_s = PATIENCE_S if seen(2) in given else 0
    with pytest.raises(NotReady, match=words):
        service.restart_and_watch(Scripted(*given), Patience(0.05, settled_s, 0.001))


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


# ---- the power fails ----


@pytest.mark.parametrize("point", points.UPGRADE_POINTS)
def test_killed_at_any_point_the_current_version_is_whole(box: Box, point: str) -> None:
    box.place("1.1.0")  # of an attempt before: it is replaced
    file = box.signed(release("1.1.0"))
    ready = ["1.0.0"] if point == "upgrade.undone" else ["1.0.0", "1.1.0"]

    def run(*versions: str, **more: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-P", "-m", "integration.upgrading", str(box.layout.root)]
        words += [box.public_key.hex(), str(file), *versions]
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        return subprocess.run(
            words, env={**environment(), "PYTHONPATH": path, **more}, capture_output=True,
            text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip

    ended = run(*ready, BETTONG_CRASH_AT=point)
    assert ended.returncode == -signal.SIGKILL, ended.stdout + ended.stderr
    assert box.is_whole()
    again = run("1.0.0", "1.1.0")
    assert "Traceback" not in again.stderr
    assert box.layout.current_version() == "1.1.0" and box.is_whole(), again.stdout
    assert not box.leftovers()
    is_unwatched = point in ("upgrade.switched", "upgrade.ready")  # and not upgraded anew
    assert box.layout.unwatched.is_symlink() is is_unwatched


def cut_short(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """The power fails while the service starts with the new version."""

    class PowerCut(Exception):
        pass

    def cut(*_: object) -> None:
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(upgrade, "restart_and_watch", cut)
        patch.setattr(upgrade, "_take_back", lambda *_: None)
        with pytest.raises(PowerCut):
            upgraded(box, release("1.1.0"))
    assert box.layout.current_version() == "1.1.0"
    assert os.readlink(box.layout.unwatched) == "versions/1.0.0"


def test_after_a_power_cut_a_bad_version_is_taken_back(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_short(box, monkeypatch)
    acting = Acting(box.layout, "1.0.0")
    with pytest.raises(BettongError, match=r"(?s)not ready within.*1\.0\.0 again, and the service"):
        upgrade.resume(upgrade.Changing(box.layout, acting, box.said.append, PROMPT))
    went_back(box, acting)
    assert acting.restarts == ["1.0.0"] and not box.layout.unwatched.is_symlink()


def test_after_a_power_cut_a_good_version_stays(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_short(box, monkeypatch)
    acting = Acting(box.layout, "1.1.0")
    changing = upgrade.Changing(box.layout, acting, box.said.append, PROMPT)
    upgrade.resume(changing)
    assert box.layout.current_version() == "1.1.0" and acting.restarts == []
    assert versions.previous_version(box.layout) == "1.0.0"
    assert not box.layout.unwatched.is_symlink()
    upgrade.resume(changing)
    assert box.said[-1] == "no upgrade was cut short"


class Broken:
    """A system call that fails the n-th time, and from then on."""

    def __init__(self, real: Callable[..., Any], calls: list[int], fails_at: int) -> None:
        self.real, self.calls, self.fails_at = real, calls, fails_at

    def __call__(self, *args: Any, **named: Any) -> Any:
        self.calls[0] += 1
        if self.calls[0] >= self.fails_at:
            raise OSError(errno.EIO, "the disk is gone")
        return self.real(*args, **named)


def test_whichever_write_fails_the_current_version_is_whole(tmp_path: Path) -> None:
    names = ("fsync", "rename", "replace", "symlink", "mkdir", "fchmod")
    for fails_at in range(1, 200):
        box = Box(tmp_path / str(fails_at))
        file = box.signed(release("1.1.0"))
        acting, calls = Acting(box.layout, "1.0.0", "1.1.0"), [0]
        changing = upgrade.Changing(box.layout, acting, box.said.append, PROMPT)
        with pytest.MonkeyPatch.context() as patch:
            for name in names:
                patch.setattr(os, name, Broken(getattr(os, name), calls, fails_at))
            with contextlib.suppress(EnvironmentFailure):
                upgrade.upgrade(changing, file, box.public_key)
        assert box.is_whole(), fails_at
        if calls[0] < fails_at:
            break
    assert box.layout.current_version() == "1.1.0" and fails_at > 15


def test_all_of_a_version_is_synced_before_the_link_leads_to_it(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[tuple[int, int]] = set()
    order: list[str] = []
    real_sync, real_switch = os.fsync, type(box.layout).switch

    def sync(descriptor: int) -> None:
        real_sync(descriptor)
        status = os.fstat(descriptor)
        synced.add((status.st_dev, status.st_ino))

    def switch(self: Any, name: str) -> None:
        tree = [self.versions, self.version(name), *self.version(name).rglob("*")]
        statuses = [path.stat() for path in tree if not path.is_symlink()]
        assert {(one.st_dev, one.st_ino) for one in statuses} <= synced
        order.append(name)
        real_switch(self, name)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(type(box.layout), "switch", switch)
    upgraded(box, release("1.1.0"), "1.1.0")
    assert order == ["1.1.0"]


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


SYSTEMCTL = """#!/bin/sh
echo "$@" >> {log}
case "$3" in
ActiveState) echo {active} ;;
Result) echo exit-code ;;
NRestarts) echo {again} ;;
esac
exit {code}
"""


@pytest.mark.parametrize(
    ("active", "again", "runs", "failure"),
    [
        ("active", 0, True, ""),
        ("inactive", 0, False, ""),
        ("failed", 0, True, "bettong.service failed (exit-code)"),
        ("activating", 3, True, "started again 3 times"),
    ],
)
def test_what_systemd_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, active: str, again: int, runs: bool,
    failure: str,
) -> None:  # fmt: skip
    log = tmp_path / "log"
    fake = tmp_path / "systemctl"
    fake.write_text(SYSTEMCTL.format(log=log, active=active, again=again, code=0))
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    systemd = Systemd(lambda: None)
    assert systemd.runs() is runs
    assert failure in systemd.failure() and bool(failure) is bool(systemd.failure())
    log.unlink()
    systemd.restart()
    orders = log.read_text().splitlines()
    assert orders == ["reset-failed bettong.service", "restart --no-block bettong.service"]
    fake.write_text(SYSTEMCTL.format(log=log, active=active, again=again, code=1))
    with pytest.raises(EnvironmentFailure, match="systemctl"):
        systemd.restart()


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
