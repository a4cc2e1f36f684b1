"""What the tests of flows share: reading a text as a flow file, and plans without their places."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from appliance.errors import Fault, FlowError
from appliance.load import load_file
from appliance.plan.logical import Plan

SOURCE = 'version = 1\n[source.readings]\ntcp = { listen = "127.0.0.1:9000" }\n'
SINK = "[sink.out]\nstdout = {}\n"


def read(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Plan:
    """The plan of this text, as a file of the folder."""
    path = folder / "flow.toml"
    path.write_text(text)
    return load_file(path, environ or {})


def faults(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[Fault]:
    """The faults of this text; there must be some."""
    with pytest.raises(FlowError) as caught:
        read(folder, text, environ)
    return list(caught.value.faults)


def fault(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Fault:
    """The only fault of this text."""
    found = faults(folder, text, environ)
    assert len(found) == 1, [one.render() for one in found]
    return found[0]


def shown(one: Fault) -> str:
    """The word that a fault's caret points at."""
    rest = one.place.text[one.place.column - 1 :]
    return rest.split(maxsplit=1)[0] if rest else ""


def bare(value: Any) -> Any:
    """A plan, or a part of one, as plain data without places: two forms of a flow are equal so."""
    if isinstance(value, Struct):
        return type(value).__name__, [bare(getattr(value, n)) for n in value.__struct_fields__]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        kept = {name: bare(part) for name, part in parts.items() if name not in ("place", "target")}
        return type(value).__name__, kept
    if isinstance(value, Mapping):
        return [(key, bare(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [bare(item) for item in value]
    return value
