"""From a release in a file to a running service of its version, or back to where it was.

The current version is a link. What is cut short before the link is replaced has changed nothing; it
is replaced in one step, by one to a version that was written, synced and tried; and what comes
afterwards only restarts and tidies. So the link leads to a complete version at every moment.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from appliance import points
from appliance.errors import BettongError, EnvironmentFailure
from appliance.layout import PROGRAM, Layout
from appliance.upgrade import versions
from appliance.upgrade.archive import ReleaseRefused, unpack
from appliance.upgrade.release import newness, read_manifest
from appliance.upgrade.service import Patience, Service, restart_and_watch, watch_start
from appliance.upgrade.signature import check, digest_of
from appliance.upgrade.trial import try_version


@dataclass(frozen=True)
class Changing:
    """What an upgrade works on: the places, the service, and who hears how it goes."""

    layout: Layout
    service: Service
    say: Callable[[str], None]
    patience: Patience = field(default_factory=Patience)


def upgrade(
    changing: Changing, file: Path, public_key: bytes, *, allow_older: bool = False,
    check_flows: bool = True,
) -> None:  # fmt: skip
    """Install the release in `file`, whose signature lies beside it, switch to it, and go back if
    the service does not become ready with it.

    Raises BettongError: the version is the one before, and the service runs as it did, or the error
    says what is to be done."""
    layout = changing.layout
    with _disk_errors(), versions.changing(layout):
        version = _install(changing, file, public_key, allow_older, check_flows)
        _switch(changing, version, goes_back=True)
        for name in versions.prune(layout):
            changing.say(f"version {name} is removed")


def go_back(changing: Changing) -> None:
    """Switch to the version that was there before the current one. Raises BettongError."""
    with _disk_errors(), versions.changing(changing.layout):
        previous = versions.previous_version(changing.layout)
        if previous is None:
            raise EnvironmentFailure(
                "there is no version to go back to: none was replaced, or it was removed"
            )
        _switch(changing, previous, goes_back=False)


def resume(changing: Changing) -> None:
    """See an upgrade through that was cut short while its service was watched, as after a power
    cut: the service is starting with the new version. Raises as `upgrade` does."""
    layout = changing.layout
    with _disk_errors(), versions.changing(layout):
        before = versions.unwatched_version(layout)
        if before is None:
            versions.point(layout.unwatched, None)
            changing.say("no upgrade was cut short")
            return
        try:
            watch_start(changing.service, changing.patience)
        except BaseException as error:
            _take_back(changing, error, before, None)
            raise
        versions.point(layout.unwatched, None)
        changing.say(f"version {layout.current_version()} is ready")


@contextmanager
def _disk_errors() -> Iterator[None]:
    """What the disk refuses, as one of our errors."""
    try:
        yield
    except OSError as error:
        hint = "; make room on the disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        where = f"{error.filename}: " if error.filename else ""
        raise EnvironmentFailure(f"{where}{error.strerror or error}{hint}") from error


def _install(
    changing: Changing, file: Path, public_key: bytes, allow_older: bool, check_flows: bool
) -> str:
    """Check, unpack, try, and put beside the others; its version."""
    layout = changing.layout
    try:
        with file.open("rb") as release, versions.fresh_folder(layout) as folder:
            digest = digest_of(release)
            check(digest, file.with_name(f"{file.name}.sig"), public_key)
            points.reach("upgrade.verified", alone=True)
            release.seek(0)
            if unpack(release, folder) != digest:
                raise ReleaseRefused("the file was changed while it was read")
            points.reach("upgrade.unpacked", alone=True)
            version = read_manifest(folder, layout).version
            _check_step(layout.current_version() or "", version, allow_older)
            try_version(folder / PROGRAM, version, layout, check_flows)
            points.reach("upgrade.tried", alone=True)
            versions.put(layout, folder, version)
    except ReleaseRefused as error:
        raise ReleaseRefused(f"{file}: {error}; nothing was changed") from error
    changing.say(f"version {version} is installed")
    points.reach("upgrade.installed", alone=True)
    return version


def _check_step(current: str, version: str, allow_older: bool) -> None:
    if version == current:
        raise ReleaseRefused(f"version {version} is the one that is installed")
    if newness(version) < newness(current) and not allow_older:
        raise ReleaseRefused(
            f"version {version} is older than {current}, which is installed, and refuses data that "
            "a newer one has written in a newer format; --allow-older takes it all the same"
        )


def _switch(changing: Changing, version: str, goes_back: bool) -> None:
    """Switch to a version and see that the service becomes ready with it."""
    layout, say = changing.layout, changing.say
    before, remembered = layout.current_version(), versions.previous_version(layout)
    assert before is not None
    runs = changing.service.runs()
    versions.point(layout.unwatched, before if runs and goes_back else None)
    points.reach("upgrade.noted", alone=True)
    versions.switch(layout, version)
    points.reach("upgrade.switched", alone=True)
    say(f"version {version} is the current one; it was {before}")
    if not runs:
        say("the service does not run: the version is used when it is started")
        return
    try:
        restart_and_watch(changing.service, changing.patience)
    except BaseException as error:
        if goes_back:
            _take_back(changing, error, before, remembered)
        raise
    points.reach("upgrade.ready", alone=True)
    versions.point(layout.unwatched, None)
    say("the service is ready")


def _take_back(
    changing: Changing, cause: BaseException, before: str, remembered: str | None
) -> None:
    """Links and service are as they were; BettongError with the cause."""
    layout, version = changing.layout, changing.layout.current_version()
    why = str(cause) if isinstance(cause, BettongError) else f"interrupted ({cause!r})"
    layout.switch(before)
    points.reach("upgrade.undone", alone=True)
    versions.point(layout.previous, remembered)
    versions.point(layout.unwatched, None)
    changing.say(f"version {version} did not become ready: {why}; going back to {before}")
    left = f"version {version} did not become ready: {why}\nthe current version is {before} again"
    try:
        restart_and_watch(changing.service, changing.patience)
    except BettongError as error:
        raise BettongError(f"{left}, but the service is not ready with it: {error}") from cause
    raise BettongError(f"{left}, and the service is ready") from cause
