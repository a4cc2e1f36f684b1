"""What a release says of itself: `manifest.toml` beside the program in it."""

from __future__ import annotations

import os
import platform
import re
import tomllib
from pathlib import Path

import msgspec

from appliance.formats import MANIFEST
from appliance.layout import PROGRAM, Layout
from appliance.limits import UPGRADE_MANIFEST_MAX_BYTES
from appliance.upgrade.archive import ReleaseRefused

MANIFEST_FILE = "manifest.toml"

_NUMBERS = re.compile(r"\d+(?:\.\d+)*", re.ASCII)
_PART = re.compile(r"\d+|[A-Za-z]+", re.ASCII)


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """`format` 1. A later program may add keys, and counts the format up when it changes one."""

    format: int
    version: str
    architecture: str


def read_manifest(folder: Path, layout: Layout) -> Manifest:
    """The manifest of an unpacked release that fits this box. ReleaseRefused, and why."""
    found = _manifest(folder / MANIFEST_FILE)
    if refusal := MANIFEST.refusal(found.format, "go by a version in between"):
        raise ReleaseRefused(refusal)
    try:
        layout.version(found.version)
    except ValueError as error:
        raise ReleaseRefused(f"its manifest is wrong: {error}") from error
    here = platform.machine()
    if found.architecture != here:
        raise ReleaseRefused(
            f"version {found.version} is made for {found.architecture}, and this box is {here}; "
            f"fetch the one for {here}"
        )
    if not os.access(folder / PROGRAM, os.X_OK) or not (folder / PROGRAM).is_file():
        raise ReleaseRefused(f"there is no program {PROGRAM} in it")
    return found


def _manifest(path: Path) -> Manifest:
    try:
        with path.open("rb") as file:
            data = file.read(UPGRADE_MANIFEST_MAX_BYTES + 1)
        if len(data) > UPGRADE_MANIFEST_MAX_BYTES:
            raise ValueError(f"it is larger than {UPGRADE_MANIFEST_MAX_BYTES} bytes")
        return msgspec.convert(tomllib.loads(data.decode()), Manifest)
    except FileNotFoundError as error:
        raise ReleaseRefused(
            f"there is no {MANIFEST_FILE} in it: it is no release of bettong"
        ) from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, not a manifest
        raise ReleaseRefused(f"its {MANIFEST_FILE} cannot be read: {error}") from error


def newness(version: str) -> tuple[object, ...]:
    """What versions are ordered by: 0.9.2 < 0.10.0rc1 < 0.10.0 < 0.10.0+1 < 0.10.1."""
    found = _NUMBERS.match(version)
    assert found is not None, version  # a name of a version begins with a digit
    numbers = [int(number) for number in found[0].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    rest = version[found.end() :]
    stage = 0 if not rest else 1 if rest.startswith(("+", ".post")) else -1
    parts = [
        (part.isdigit(), int(part) if part.isdigit() else 0, part) for part in _PART.findall(rest)
    ]
    return (numbers, stage, parts)
