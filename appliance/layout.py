"""Where an installed Bettong has what: one place for the package, `install`, and `upgrade`.

    /opt/bettong/versions/0.1.0/bettong   a version: the frozen folder, or the one file
    /opt/bettong/current                  a link to versions/0.1.0: what runs after the next start
    /opt/bettong/previous                 a link to the version before: what `rollback` goes back to
    /opt/bettong/unwatched                the same, while an upgrade is not seen through
    /usr/bin/bettong                      a link to /opt/bettong/current/bettong
    /etc/bettong/bettong.toml             the settings of this box
    /etc/bettong/flows/                   what the service runs
    /var/lib/bettong/                     state: the service's data folder

A version is switched by replacing the link, in one step. A program that runs goes on with the files
of the version it was started from.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from appliance.disk import sync_folder
from appliance.frozen import is_frozen

#: The user and group that the service runs as, and the names of our units.
USER = "bettong"
SERVICE = "bettong.service"
UPGRADE_SERVICE = "bettong-upgrade.service"
PROGRAM = "bettong"

_VERSION = re.compile(r"[0-9][0-9A-Za-z.+~_-]{0,63}")


@dataclass(frozen=True)
class Layout:
    """The places below `root`: "/" on a box, another folder for an image or a test."""

    root: Path = Path("/")

    @property
    def home(self) -> Path:
        return self.root / "opt/bettong"

    @property
    def versions(self) -> Path:
        return self.home / "versions"

    @property
    def current(self) -> Path:
        """A link into `versions`."""
        return self.home / "current"

    @property
    def previous(self) -> Path:
        """A link to the version that was current before; none before the first upgrade."""
        return self.home / "previous"

    @property
    def unwatched(self) -> Path:
        """A link to the version before, while nobody has seen the current one become ready."""
        return self.home / "unwatched"

    @property
    def command(self) -> Path:
        """A link to the program of the current version."""
        return self.root / "usr/bin/bettong"

    @property
    def settings_folder(self) -> Path:
        return self.root / "etc/bettong"

    @property
    def settings(self) -> Path:
        """The settings of this box."""
        return self.settings_folder / "bettong.toml"

    @property
    def flows(self) -> Path:
        return self.settings_folder / "flows"

    @property
    def data(self) -> Path:
        """State: the data folder of the service."""
        return self.root / "var/lib/bettong"

    @property
    def unit(self) -> Path:
        """The service where `bettong install` puts it; a package has its own place."""
        return self.root / "etc/systemd/system" / SERVICE

    @property
    def upgrade_unit(self) -> Path:
        """What looks after an upgrade that the power cut short, beside the service."""
        return self.unit.with_name(UPGRADE_SERVICE)

    def version(self, name: str) -> Path:
        """The folder of a version. ValueError when the name is none, such as `../x`."""
        if not _VERSION.fullmatch(name) or ".." in name:
            raise ValueError(f"{name!r} is no name of a version")
        return self.versions / name

    def program(self, name: str) -> Path:
        """The program of a version."""
        return self.version(name) / PROGRAM

    def current_version(self) -> str | None:
        """The name of the version that the link leads to; None when there is no link."""
        try:
            return Path(os.readlink(self.current)).name
        except OSError:
            return None

    def installed(self) -> list[str]:
        """The names of all versions that are there."""
        if not self.versions.is_dir():
            return []
        return sorted(
            path.name for path in self.versions.iterdir() if _VERSION.fullmatch(path.name)
        )

    def switch(self, name: str) -> None:
        """Let `current` lead to this version: in one step, on the disk when it returns. OSError."""
        self.version(name)
        replace_link(self.current, Path("versions") / name)


def replace_link(link: Path, target: Path) -> None:
    """Make or replace a link, in one step and on the disk when it returns. OSError."""
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
    sync_folder(link.parent)


def own_program() -> Path | None:
    """The frozen program that this process runs from; None from a source tree."""
    return Path(sys.executable).resolve() if is_frozen() else None


def is_one_file(program: Path) -> bool:
    """Whether it is the build that unpacks itself, rather than a folder of files."""
    return not (program.parent / "_internal").is_dir()
