"""The files of a support bundle: each is made from facts that are at hand, without user data."""

from __future__ import annotations

import json
import os
import platform
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

from appliance import __version__
from appliance.cli.doctor.facts import ROOT, text_of
from appliance.cli.doctor.redact import Redactor
from appliance.cli.fsck import read_records
from appliance.frozen import is_frozen
from appliance.limits import DOCTOR_FILE_MAX_COUNT, FLOW_FILE_MAX_BYTES
from appliance.store.examine import Examined

#: What is kept of a record that was set aside: why and where, never the record.
_ERROR_FIELDS = ("time", "flow", "source", "step", "reason")

_PROCESSOR = ("model name", "Model", "Hardware", "cpu cores", "cache size", "BogoMIPS")

_PACKAGES = ("cffi", "click", "lmdb", "msgpack", "msgspec", "pyzmq", "rich")


@dataclass(frozen=True)
class Part:
    """One file of the bundle; `text` is already without secrets."""

    name: str
    text: str


def version_part() -> Part:
    """Which program this is, and what it stands on."""
    facts = {
        "bettong": __version__,
        "frozen": is_frozen(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
        "packages": dict(_versions()),
    }
    return Part("version.json", as_json(facts))


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:  # frozen: `bettong licenses` has them all
            continue


def flow_documents(flows: Sequence[str]) -> Iterator[tuple[Path, Mapping[str, Any] | None]]:
    """Every flow file with what it holds, as it is written: variables by name. None: it is Python,
    or cannot be read as TOML, so that nobody could tell what in it is a secret."""
    for given in map(Path, flows):
        for path in sorted(given.glob("*.toml")) if os.path.isdir(given) else [given]:
            yield path, _document(path)


def _document(path: Path) -> Mapping[str, Any] | None:
    if path.suffix != ".toml":
        return None
    try:
        with path.open("rb") as file:
            return tomllib.loads(file.read(FLOW_FILE_MAX_BYTES).decode())
    except (OSError, ValueError, RecursionError):
        return None


def status_part(status: Mapping[str, Any], redactor: Redactor) -> Part:
    """All figures of the run. The last errors quote records: only their kind is kept."""
    flows = [
        {**flow, "last_errors": [_error(error) for error in flow["last_errors"]]}
        for flow in status["flows"]
    ]
    return Part(
        "status.json", as_json(redactor.document({**status, "flows": flows}, "status.json"))
    )


def _error(error: Mapping[str, Any]) -> dict[str, Any]:
    return {name: error[name] for name in _ERROR_FIELDS if name in error}


def stores_part(stores: Mapping[str, Examined], redactor: Redactor) -> Part:
    """Sizes, counts and formats of what is stored, without positions, keys and values."""
    found = {name: _store(examined) for name, examined in sorted(stores.items())}
    return Part("stores.json", as_json(redactor.document(found, "stores.json")))


def _store(found: Examined) -> dict[str, Any]:
    records, unreadable = read_records(found)
    flows = []
    for flow in found.flows:
        record = records.get(flow.name)
        flows.append(
            {
                "name": flow.name,
                "epoch": None if record is None else record.epoch,
                "steps": [
                    {"name": step.step, "kind": step.kind, "keys": step.keys, "bytes": step.bytes}
                    for step in flow.steps
                ],
                "results": {
                    name: sink.records
                    for name, sink in sorted(record.sinks.items() if record is not None else ())
                },
                "spools": [
                    {"sink": one.sink, "blocks": one.next_seq - one.first_seq, "bytes": one.bytes}
                    for one in flow.spools
                ],
            }
        )
    damage = [f"{one.kind}: {one.text}" for one in (*found.damage, *unreadable)]
    return {"cut": found.cut, "bytes": found.bytes, "flows": flows, "damage": damage}


def folder_part(folder: Path, redactor: Redactor) -> Part:
    """The files of the data folder: mode, owner, size and name."""
    lines = []
    paths = sorted(path for path in folder.rglob("*")) if os.path.isdir(folder) else []
    for path in islice(paths, DOCTOR_FILE_MAX_COUNT):
        try:
            about = path.lstat()
        except FileNotFoundError:  # a running flow has just removed it
            continue
        mode = stat.filemode(about.st_mode)
        lines.append(f"{mode} {about.st_uid:>6} {about.st_size:>14} {path.relative_to(folder)}")
    return Part("data-folder.txt", redactor.text("\n".join(lines) + "\n", "data-folder.txt"))


def system_parts(redactor: Redactor, pid: str, root: Path = ROOT) -> Iterator[Part]:
    """What the kernel says of the box and of the process that counts."""
    for name, path in (
        ("os-release", "etc/os-release"),
        ("meminfo", "proc/meminfo"),
        ("mounts", "proc/mounts"),
        ("limits", f"proc/{pid}/limits"),
        ("cgroup", f"proc/{pid}/cgroup"),
        ("pressure-memory", "proc/pressure/memory"),
        ("pressure-io", "proc/pressure/io"),
        ("uptime", "proc/uptime"),
    ):
        text = text_of(root / path)
        if text:
            name = f"system/{name}.txt"
            yield Part(name, redactor.text(text + "\n", name))
    yield Part("system/cpu.txt", _processors(text_of(root / "proc/cpuinfo")))


def _processors(text: str) -> str:
    """How many, and each line that differs once."""
    lines = dict.fromkeys(
        " ".join(line.split()) for line in text.splitlines() if line.startswith(_PROCESSOR)
    )
    return "\n".join([f"{os.cpu_count()} processors", *lines, ""])


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
