"""`bettong install` and `uninstall`, for boxes whose package manager does not know us. They leave
what the Debian package leaves.
"""

from __future__ import annotations

import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path

from appliance.errors import EnvironmentFailure, UsageError
from appliance.installation.acts import Act, call, make_folder, make_link, remove, write_file
from appliance.layout import PROGRAM, SERVICE, UPGRADE_SERVICE, USER, Layout, is_one_file

_HERE = Path(__file__).parent
_SYSUSERS = "usr/lib/sysusers.d/bettong.conf"
_OWNED_BY_DPKG = "var/lib/dpkg/info/bettong.list"


def install_acts(layout: Layout, program: Path | None, version: str) -> list[Act]:
    """What installs this program as the current version. UsageError from a source tree,
    EnvironmentFailure on a box that has the package.
    """
    if program is None:
        raise UsageError(
            "only the frozen program can be installed, and this runs from a source tree; "
            "`make freeze` makes dist/bettong, then: dist/bettong install"
        )
    _refuse_beside_package(layout)
    on_box = _is_box(layout)
    owner = USER if on_box else None
    is_there = program.parent == layout.version(version).resolve()  # we are it
    return [
        *([] if is_there else [_copy_version(layout, program, version)]),
        make_link(layout.current, Path("versions") / version),
        make_link(layout.command, Path("/opt/bettong/current") / PROGRAM),
        write_file(layout.root / _SYSUSERS, _text("sysusers.conf")),
        *_user(on_box),
        make_folder(layout.settings_folder, 0o755),
        make_folder(layout.flows, 0o755),
        write_file(layout.settings, _text("bettong.toml"), keep=True),
        make_folder(layout.data, 0o750, owner),
        write_file(layout.unit, _text(SERVICE)),
        write_file(layout.upgrade_unit, _text(UPGRADE_SERVICE)),
        *_systemctl(on_box, "daemon-reload"),
        *_systemctl(on_box, "enable", SERVICE, UPGRADE_SERVICE),
    ]


def uninstall_acts(layout: Layout, purge: bool) -> list[Act]:
    """What takes it away again. State, flows and settings stay, unless `purge`."""
    _refuse_beside_package(layout)
    on_box = _is_box(layout)
    acts: list[Act] = []
    if layout.unit.exists():
        acts += _systemctl(on_box, "disable", "--now", SERVICE, UPGRADE_SERVICE)
    ours = [layout.unit, layout.upgrade_unit, layout.command, layout.root / _SYSUSERS, layout.home]
    if purge:
        ours += [layout.settings_folder, layout.data]
    acts += [remove(path) for path in ours if path.is_symlink() or path.exists()]
    if acts:
        acts += _systemctl(on_box, "daemon-reload")
    if purge and on_box and _has_user():
        acts.append(call("userdel", USER))
    return acts


def _copy_version(layout: Layout, program: Path, version: str) -> Act:
    target = layout.version(version)

    def do() -> None:
        fresh = target.with_name(f".{version}.new")
        before = target.with_name(f".{version}.old")
        for left_behind in (fresh, before):
            shutil.rmtree(left_behind, ignore_errors=True)
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if is_one_file(program):
            fresh.mkdir()
            shutil.copy2(program, fresh / PROGRAM)
        else:
            shutil.copytree(program.parent, fresh, symlinks=True)
        fresh.chmod(0o755)
        if target.exists():
            target.rename(before)
        fresh.rename(target)
        shutil.rmtree(before, ignore_errors=True)

    what = program if is_one_file(program) else program.parent
    return Act(f"copy {what} to {target}", do)


def _user(on_box: bool) -> Iterator[Act]:
    """The user of the service. In another root it is made at that box's first start, from
    `sysusers.d`."""
    if not on_box or _has_user():
        return
    options = ("--system", "--user-group", "--no-create-home", "--home-dir", "/var/lib/bettong")
    if shutil.which("useradd"):
        yield call("useradd", *options, "--shell", "/usr/sbin/nologin", USER)
    else:  # a small box: BusyBox
        yield call("addgroup", "-S", USER)
        yield call("adduser", "-S", "-D", "-H", "-h", "/var/lib/bettong", "-G", USER, USER)


def _has_user() -> bool:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True


def _systemctl(on_box: bool, *words: str) -> Iterator[Act]:
    """Where there is systemd. What is enabled is only links: in an image it need not run."""
    runs = Path("/run/systemd/system").is_dir()
    if on_box and shutil.which("systemctl") and (runs or words[0] in ("enable", "disable")):
        yield call("systemctl", *words)


def _is_box(layout: Layout) -> bool:
    return layout.root == Path("/")


def _refuse_beside_package(layout: Layout) -> None:
    if (layout.root / _OWNED_BY_DPKG).exists():
        raise EnvironmentFailure(
            "this box has the Debian package of bettong: `apt remove bettong` takes it away, "
            "`bettong upgrade` or a newer package brings another version"
        )


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
