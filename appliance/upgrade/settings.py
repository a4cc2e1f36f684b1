"""What the settings of a box say of upgrades: the key of those whose releases it takes.

version = 1

[upgrade]
public_key = "kFjHgV…="
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from appliance.errors import Fault, FlowError
from appliance.load import read_document
from appliance.plan.table import Table
from appliance.upgrade.signature import read_public_key

_EXAMPLE = '"kFjHgV…=", as the makers publish it'


@dataclass(frozen=True)
class UpgradeSettings:
    """The table `[upgrade]`."""

    public_key: bytes


def read_settings(path: Path) -> UpgradeSettings:
    """From the settings of the box. FlowError with all faults of the table; other tables are for
    others to read."""
    document, locator = read_document(path)
    faults: list[Fault] = []
    top = Table(document, (), locator, faults)
    if top.get("version") != 1:
        message = "these settings are not of version 1, which is the one that is known here"
        top.fault(top.place("version"), message, "write version = 1 at the top")
    table = top.table("upgrade", "{ public_key = … }")
    key = b""
    if table is None and not faults:
        remedy = f"write [upgrade] and public_key = {_EXAMPLE}"
        top.fault(top.place(), "there is no public key that releases are checked with", remedy)
    elif table is not None:
        key = _public_key(table)
        table.finish()
    if faults:
        raise FlowError(faults)
    return UpgradeSettings(key)


def _public_key(table: Table) -> bytes:
    if not table.has("public_key"):
        table.fault(table.place(), "'public_key' is missing", f"write public_key = {_EXAMPLE}")
        return b""
    text = table.text("public_key", "", _EXAMPLE)
    try:
        return read_public_key(text) if text else b""
    except ValueError as error:
        table.value_fault("public_key", f"public_key: {error}", f"write it as {_EXAMPLE}")
        return b""
