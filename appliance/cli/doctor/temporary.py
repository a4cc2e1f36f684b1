"""The folder for temporary files: a frozen program in one file unpacks itself there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping

from appliance.cli.doctor.finding import Finding, fault, ok, warning
from appliance.layout import is_one_file, own_program
from appliance.limits import DOCTOR_TEMPORARY_MIN_BYTES
from appliance.metrics.summary import size_words

GROUP = "temporary"


def unpacks() -> bool:
    """Whether this program is one file that unpacks itself at each start."""
    program = own_program()
    return program is not None and is_one_file(program)


def check_temporary(
    environ: Mapping[str, str] = os.environ, one_file: bool | None = None
) -> list[Finding]:
    """Its place, permissions and room."""
    one_file = unpacks() if one_file is None else one_file
    given = environ.get("TMPDIR", "")
    if given and not os.path.isdir(given):
        found = f"TMPDIR names {given}, which is no folder"
        return [fault(GROUP, "folder", found, f"make it (`mkdir -m 1777 {given}`), or unset it")]
    folder = given or tempfile.gettempdir()
    if not os.access(folder, os.W_OK | os.X_OK):
        found = f"{folder} cannot be written to"
        return [fault(GROUP, "folder", found, "set TMPDIR to a folder of your own")]
    about = os.statvfs(folder)
    return [
        ok(GROUP, "folder", folder),
        check_room(about.f_bavail * about.f_frsize, one_file),
        check_exec(folder, bool(about.f_flag & os.ST_NOEXEC), one_file),
    ]


def check_room(free_bytes: int, one_file: bool) -> Finding:
    """Room to unpack, and for what users' code writes."""
    found = f"{size_words(free_bytes)} free"
    if free_bytes >= DOCTOR_TEMPORARY_MIN_BYTES:
        return ok(GROUP, "space", found)
    remedy = "make room, or set TMPDIR to a folder that has some"
    return (fault if one_file else warning)(GROUP, "space", found, remedy)


def check_exec(folder: str, noexec: bool, one_file: bool) -> Finding:
    """Whether what is unpacked there may be run."""
    if not noexec:
        return ok(GROUP, "programs", "may be run from there")
    if not one_file:
        return ok(GROUP, "programs", "may not be run from there (noexec), and need not be")
    remedy = "set TMPDIR to a folder without noexec, or install the package, which unpacks nothing"
    return fault(GROUP, "programs", f"{folder} is mounted noexec", remedy)
