"""A new version on trial, before it is switched to: it must start, and take this box's flows."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

from appliance.layout import USER, Layout
from appliance.limits import UPGRADE_TRIAL_S
from appliance.upgrade.archive import ReleaseRefused

_SHOWN_MAX_COUNT = 2000


def try_version(program: Path, version: str, layout: Layout, check_flows: bool) -> None:
    """ReleaseRefused unless the program says that it is this version and, if asked to, finds no
    fault in the flows that the service runs."""
    said = _run(layout, program, "version")
    if said.split() != ["bettong", version]:
        raise ReleaseRefused(f"its program says {said.strip()[:80]!r}, its manifest {version}")
    if check_flows and any(layout.flows.glob("*.toml")):
        _run(layout, program, "check", str(layout.flows))


def _run(layout: Layout, program: Path, *words: str) -> str:
    """What a command prints. It is run as the service's user: a flow may name Python files."""
    try:
        ended = subprocess.run(
            [str(program), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=UPGRADE_TRIAL_S,
            cwd="/",
            check=False,
            **_as_user(layout),
        )
    except subprocess.TimeoutExpired as error:
        raise ReleaseRefused(
            f"`bettong {words[0]}` of it took over {error.timeout:.0f} s"
        ) from error
    except OSError as error:
        raise ReleaseRefused(f"its program cannot be run here: {error.strerror}") from error
    if ended.returncode != 0:
        text = (ended.stderr or ended.stdout).decode(errors="replace").strip()
        how = f"exit code {ended.returncode}" if ended.returncode > 0 else "killed by a signal"
        raise ReleaseRefused(
            f"`bettong {' '.join(words)}` of it fails ({how}):\n{text[:_SHOWN_MAX_COUNT]}"
        )
    said: bytes = ended.stdout
    return said.decode(errors="replace")


def _as_user(layout: Layout) -> dict[str, Any]:
    """Who runs it: the service's user, if there is one and we may."""
    if os.geteuid() != 0 or layout.root != Path("/"):
        return {}
    try:
        found = pwd.getpwnam(USER)
    except KeyError:
        return {}
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
