"""Made-up releases and the boxes they are for: what an upgrade handles, without a freeze."""

from __future__ import annotations

import base64
import gzip
import io
import platform
import runpy
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.layout import PROGRAM, Layout
from appliance.upgrade.service import Patience
from appliance.upgrade.signature import read_public_key
from appliance.upgrade.upgrade import Changing, upgrade

ROOT = Path(__file__).resolve().parents[2]

Adding = Callable[[tarfile.TarFile], None]


def program(version: str, check_code: int = 0) -> bytes:
    """A program that says that it is this version, and what it thinks of flows."""
    return (
        f"#!/bin/sh\ncase $1 in\nversion) echo bettong {version} ;;\n"
        f"check) echo flow.toml:1: not so >&2; exit {check_code} ;;\nesac\n"
    ).encode()


def manifest(version: str, architecture: str = "", form: int = 1) -> bytes:
    here = architecture or platform.machine()
    return f'format = {form}\nversion = "{version}"\narchitecture = "{here}"\n'.encode()


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, to: str = "", mode: int = 0o644
) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, to, mode
    return made


def adding(name: str, data: bytes, mode: int = 0o644) -> Adding:
    """Puts a file into an archive."""

    def add(archive: tarfile.TarFile) -> None:
        made = entry(name, mode=mode)
        made.size = len(data)
        archive.addfile(made, io.BytesIO(data))

    return add


def packed(adds: Iterable[Adding]) -> bytes:
    """A gzipped tar."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as archive:
        for add in adds:
            add(archive)
    return gzip.compress(inner.getvalue(), 1, mtime=0)


def release(version: str, *more: Adding, says: str = "", architecture: str = "",
            check_code: int = 0) -> bytes:  # fmt: skip
    """A release as `make freeze` lays it out, with a link as its libraries have them."""
    top = f"bettong-{version}"
    return packed(
        [
            lambda archive: archive.addfile(entry(top, tarfile.DIRTYPE, mode=0o755)),
            adding(f"{top}/{PROGRAM}", program(says or version, check_code), 0o755),
            adding(f"{top}/manifest.toml", manifest(version, architecture)),
            adding(f"{top}/_internal/inner/library.so.1", version.encode()),
            lambda archive: archive.addfile(
                entry(f"{top}/_internal/library.so", tarfile.SYMTYPE, "inner/library.so.1")
            ),
            *more,
        ]
    )


@dataclass
class Box:
    """A box in a folder, on which version 1.0.0 is installed, and the makers' key file."""

    folder: Path
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.layout = Layout(self.folder / "root")
        for version in ("1.0.0",):
            self.place(version)
        self.layout.switch("1.0.0")
        self.layout.flows.mkdir(parents=True)
        self.key_file = self.folder / "makers"
        self.tool = runpy.run_path(str(ROOT / "packaging/sign.py"))
        self.tool["make_key"](self.key_file)
        key = self.tool["SigningKey"](base64.b64decode(self.key_file.read_bytes()))
        text = base64.b64encode(bytes(key.verify_key)).decode()
        self.public_key = read_public_key(text)
        self.layout.settings.write_text(f'version = 1\n[upgrade]\npublic_key = "{text}"\n')

    def place(self, version: str) -> None:
        """Install a version without asking anybody."""
        folder = self.layout.version(version)
        folder.mkdir(parents=True)
        (folder / PROGRAM).write_bytes(program(version))
        (folder / PROGRAM).chmod(0o755)
        (folder / "manifest.toml").write_bytes(manifest(version))

    def signed(self, data: bytes, name: str = "release.tar.gz") -> Path:
        """A release with its signature beside it."""
        path = self.folder / name
        path.write_bytes(data)
        self.tool["sign"](self.key_file, path)
        return path

    def is_whole(self) -> bool:
        """Whether the current version is there, all of it."""
        current = self.layout.current_version()
        if current is None:
            return False
        files = {p.name for p in self.layout.version(current).rglob("*") if p.is_file()}
        expected = {PROGRAM, "manifest.toml"}
        return files >= (expected if current == "1.0.0" else expected | {"library.so.1"})

    def leftovers(self) -> list[str]:
        return [path.name for path in self.layout.versions.glob(".*")]


class Acting:
    """Plays the service: it is ready as soon as it runs one of these versions."""

    def __init__(self, layout: Layout, *ready: str, runs: bool = True) -> None:
        self._layout, self._ready, self._runs = layout, ready, runs
        self.pid, self.version = 100, layout.current_version()
        self.restarts: list[str | None] = []  # the versions that it was started with
        self.worker_restarts = 0
        self.fails = ""

    def runs(self) -> bool:
        return self._runs

    def restart(self) -> None:
        self.pid, self.version = self.pid + 1, self._layout.current_version()
        self.restarts.append(self.version)

    def failure(self) -> str:
        return self.fails if self.version not in self._ready else ""

    def status(self) -> dict[str, Any] | None:
        if self.version not in self._ready:
            return None
        worker = {"name": "shared", "state": "running", "restarts": self.worker_restarts}
        return {"state": "running", "pid": self.pid, "workers": [worker]}


PROMPT = Patience(ready_s=0.05, settled_s=0, look_s=0.001)


def upgraded(
    box: Box, data: bytes, *ready: str, acting: Acting | None = None, **how: bool
) -> Acting:
    """Upgrade the box; the service becomes ready with these versions, and with 1.0.0."""
    acting = acting or Acting(box.layout, "1.0.0", *ready)
    changing = Changing(box.layout, acting, box.said.append, PROMPT)
    upgrade(changing, box.signed(data), box.public_key, **how)
    return acting


def went_back(box: Box, acting: Acting) -> None:
    """Everything is as it was, and nothing is left over."""
    assert box.layout.current_version() == "1.0.0" and box.is_whole()
    assert acting.version == "1.0.0"
    assert not box.leftovers() and not box.layout.unwatched.is_symlink()
