"""The versions that are installed: putting one beside the others, sweeping, keeping a few.

A folder under `versions` whose name begins with a dot is on its way in or out. Every other one is
complete: it was written and synced under such a name and renamed, and goes by being renamed first.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance import points
from appliance.disk import sync_folder
from appliance.errors import EnvironmentFailure
from appliance.layout import Layout, replace_link
from appliance.limits import UPGRADE_KEPT_COUNT
from appliance.upgrade.release import newness

_NEW, _OLD = ".new-", ".old-"


@contextmanager
def changing(layout: Layout) -> Iterator[None]:
    """Alone with the installation; what an interrupted change left behind is gone.

    EnvironmentFailure: nothing is installed, it may not be changed, or somebody else is at it."""
    if layout.current_version() is None or not layout.versions.is_dir():
        raise EnvironmentFailure(
            f"nothing is installed below {layout.home}: `bettong install` does that, or the package"
        )
    if not os.access(layout.versions, os.W_OK):
        raise EnvironmentFailure(f"{layout.versions} may not be changed; do it as root")
    descriptor = os.open(layout.versions, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EnvironmentFailure("another upgrade is under way; wait for its end") from error
        _sweep(layout)
        yield
    finally:
        os.close(descriptor)


def _sweep(layout: Layout) -> None:
    for path in layout.versions.glob(".*"):
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def fresh_folder(layout: Layout) -> Iterator[Path]:
    """An empty folder among the versions. It goes again unless it was put in its place."""
    folder = Path(tempfile.mkdtemp(prefix=_NEW, dir=layout.versions))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def put(layout: Layout, folder: Path, version: str) -> None:
    """Give a complete and synced folder its name. One of that name, which is not the current one,
    goes first."""
    place = layout.version(version)
    out = _take_out(place) if place.exists() else None
    points.reach("upgrade.replaced", alone=True)
    folder.rename(place)
    sync_folder(layout.versions)
    if out is not None:
        shutil.rmtree(out, ignore_errors=True)


def previous_version(layout: Layout) -> str | None:
    """The version that was current before the one that is, if it is there."""
    return _other(layout, layout.previous)


def unwatched_version(layout: Layout) -> str | None:
    """The version to go back to, while nobody has seen the current one become ready."""
    return _other(layout, layout.unwatched)


def _other(layout: Layout, link: Path) -> str | None:
    try:
        name = Path(os.readlink(link)).name
    except OSError:
        return None
    return name if name in layout.installed() and name != layout.current_version() else None


def point(link: Path, version: str | None) -> None:
    """Let a link of ours lead to a version, or to none: on the disk when it returns."""
    if version is not None:
        replace_link(link, Path("versions") / version)
    elif link.is_symlink():
        link.unlink()
        sync_folder(link.parent)


def switch(layout: Layout, version: str) -> None:
    """Make this version the current one, and remember which one was."""
    before = layout.current_version()
    assert before is not None and layout.program(version).is_file()
    if before != version:
        point(layout.previous, before)
    points.reach("upgrade.remembered", alone=True)
    layout.switch(version)


def prune(layout: Layout) -> list[str]:
    """Remove the oldest versions beyond those that are kept; which ones. The current one and the
    one before it always stay."""
    staying = {layout.current_version(), previous_version(layout)} - {None}
    others = [name for name in layout.installed() if name not in staying]
    others.sort(key=newness, reverse=True)
    gone = others[max(UPGRADE_KEPT_COUNT - len(staying), 0) :]
    for name in gone:
        shutil.rmtree(_take_out(layout.version(name)), ignore_errors=True)
    return gone


def _take_out(place: Path) -> Path:
    """Rename a version, so that a half-removed one is never taken for a whole."""
    out = place.with_name(f"{_OLD}{place.name}")
    shutil.rmtree(out, ignore_errors=True)
    place.rename(out)
    sync_folder(place.parent)
    return out
