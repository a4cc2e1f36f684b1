"""Opening a store: the folder, its stamp, the structure of its file, what it holds, repairs.

The order is that of trust. The folder must be ours before anything in it is touched; the stamp must
be one we know before the file is read; the structure of the file must be sound before the engine
opens it; and every value is held against its checksum before it is believed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from appliance import points
from appliance.store.commit import Contents, Draft
from appliance.store.entries import FORMAT, Head, newer_format
from appliance.store.environment import Environment, structure_faults
from appliance.store.failures import Damage, StoreRefused
from appliance.store.folder import (
    Ownership,
    Quarantine,
    create,
    is_store,
    read_stamp,
    set_aside,
    write_stamp,
)
from appliance.store.repair import repair
from appliance.store.scan import scan


@dataclass
class Opened:
    """A store's parts, ready for use."""

    owner: Ownership
    environment: Environment
    contents: Contents
    damage: list[Damage]


def open_folder(folder: Path, identity: str) -> Opened:
    """Open the store in a folder, or make it. StoreRefused, DiskFull, StoreFailed."""
    if "\n" in identity:
        raise ValueError("an identity is one line")
    folder = folder.absolute()
    if not is_store(folder):
        _create(folder, identity)
    owner = Ownership(folder)
    try:
        damage = _check_stamp(folder, identity)
        faults = structure_faults(folder)
        if faults:
            owner, lost = _replace(folder, owner, identity, faults)
            damage.append(lost)
        environment = Environment(folder)
        try:
            contents = _read(folder, environment, identity, damage)
        except BaseException:
            environment.close()
            raise
        return Opened(owner, environment, contents, damage)
    except BaseException:
        owner.release()
        raise


def _create(folder: Path, identity: str) -> None:
    def fill(temporary: Path) -> None:
        write_stamp(temporary, identity)
        environment = Environment(temporary)
        empty = Contents.of(Head(identity))
        try:
            environment.write(lambda writing: Draft(empty, writing).finish(), 0)
        finally:
            environment.close()

    points.reach("create.before")
    create(folder, fill)
    points.reach("create.after")


def _check_stamp(folder: Path, identity: str) -> list[Damage]:
    """Refuse what is not for us. A stamp that is gone is made again: the head has the same."""
    stamp = read_stamp(folder)
    if stamp is None:
        text = "the file FORMAT is missing or damaged: it was made again"
        return [Damage("stamp", text)]
    if stamp.version > FORMAT:
        raise StoreRefused(f"{folder}: {newer_format(stamp.version)}")
    _check_identity(folder, stamp.identity, identity)
    return []


def _check_identity(folder: Path, theirs: str, ours: str) -> None:
    if ours and theirs and ours != theirs:
        raise StoreRefused(
            f'{folder}: this is the store of "{theirs}", not of "{ours}"; give each worker a '
            "folder of its own (nothing was changed)"
        )


def _replace(
    folder: Path, owner: Ownership, identity: str, faults: list[str]
) -> tuple[Ownership, Damage]:
    """Set the folder aside and begin with an empty store."""
    aside = set_aside(folder)
    owner.release()
    _create(folder, identity)
    text = (
        f"the structure of the store is damaged ({faults[0]}; {len(faults)} in all): it was set "
        "aside, and everything restarts empty"
    )
    return Ownership(folder), Damage("store", text, file=str(aside))


def _read(folder: Path, environment: Environment, identity: str, damage: list[Damage]) -> Contents:
    """What the environment holds, with what was damaged taken out."""
    with environment.reading() as reading:
        found = scan(reading, identity)
    _check_identity(folder, found.head.identity, identity)
    if identity and not found.head.identity:
        found.head = replace(found.head, identity=identity)
    if any(one.kind == "stamp" for one in damage):
        write_stamp(folder, found.head.identity)
    damage += repair(environment, Quarantine(folder), found)
    return Contents(found.head, found.entries, found.index)
