"""Who may do what with the data folder and the flow files."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from appliance.cli.doctor.facts import existing
from appliance.cli.doctor.finding import Finding, fault, ok, warning
from appliance.cli.doctor.parts import flow_documents
from appliance.cli.doctor.redact import secrets_in
from appliance.limits import DOCTOR_FILE_MAX_COUNT

GROUP = "permissions"


def check_permissions(folder: Path, flows: Sequence[str] = ()) -> list[Finding]:
    """The data folder, what is in it, and the flow files."""
    findings = [*check_folder(folder), *(check_flow(Path(flow)) for flow in flows)]
    for path, document in flow_documents(flows):
        if document is not None and (found := check_secrets(path, document)) is not None:
            findings.append(found)
    return findings


def check_folder(folder: Path) -> list[Finding]:
    """Its owner, its mode, and that all in it is its owner's."""
    if not os.path.lexists(folder):
        return [_check_parent(folder)]
    if not os.path.isdir(folder):
        remedy = "name a folder with --data"
        return [fault(GROUP, "data folder", f"{folder} is a file", remedy)]
    about = folder.stat()
    owner = user_name(about.st_uid)
    mode = stat.S_IMODE(about.st_mode)
    found = f"{folder} is {owner}'s, mode {mode:03o}"
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        as_owner = f"run as {owner} (`sudo -u {owner} bettong …`)"
        remedy = f"chmod 700 {folder}" if about.st_uid == os.geteuid() else as_owner
        return [fault(GROUP, "data folder", f"{found}: we may not use it", remedy)]
    if mode & 0o027:  # its group may look, as the service's does
        remedy = f"chmod 750 {folder}"
        return [warning(GROUP, "data folder", f"{found}: others may use it", remedy)]
    return [ok(GROUP, "data folder", found), _check_owners(folder, about.st_uid, owner)]


def _check_parent(folder: Path) -> Finding:
    parent = existing(folder)
    if os.access(parent, os.W_OK | os.X_OK):
        return ok(GROUP, "data folder", f"{folder} is not there yet; it can be made")
    remedy = f"make it as root, and give it to who runs the flows: `chown USER {folder}`"
    return fault(GROUP, "data folder", f"{folder} cannot be made: {parent} is not ours", remedy)


def _check_owners(folder: Path, uid: int, owner: str) -> Finding:
    """A run as root leaves files that the service cannot open."""
    for path in islice(_inside(folder), DOCTOR_FILE_MAX_COUNT):
        try:
            found = path.lstat().st_uid
        except FileNotFoundError:  # a running flow has just removed it
            continue
        if found != uid:
            text = f"{path} is {user_name(found)}'s, the folder {owner}'s"
            return fault(GROUP, "data files", text, f"`chown -R {owner} {folder}`, as root")
    return ok(GROUP, "data files", f"all {owner}'s")


def _inside(folder: Path) -> Iterator[Path]:
    for top, folders, files in os.walk(folder):
        for name in sorted([*folders, *files]):
            yield Path(top, name)


def check_flow(path: Path) -> Finding:
    """Whether a flow file can be read."""
    subject = f"flow {path.name}"
    if not os.path.lexists(path):
        found = f"there is no {path}, or we may not look there"
        return fault(GROUP, subject, found, "name the flow file or its folder")
    if not os.access(path, os.R_OK | (os.X_OK if os.path.isdir(path) else 0)):
        remedy = f"`chmod a+r {path}`, or give it to who runs the flow"
        return fault(GROUP, subject, f"{path} cannot be read", remedy)
    return ok(GROUP, subject, f"{path} can be read")


def user_name(uid: int) -> str:
    """A user's name, else their number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def check_secrets(path: Path, document: object) -> Finding | None:
    """Whether a flow file that holds secrets as they are can be read by all users of the box."""
    if not any(secrets_in(document)) or not path.stat().st_mode & stat.S_IROTH:
        return None
    remedy = f"`chmod 640 {path}`; or write ${{NAME}} and keep the value in the environment"
    return warning(GROUP, f"secrets in {path.name}", "every user of the box may read them", remedy)
