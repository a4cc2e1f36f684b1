"""Opening a store: the folder, its stamp, the structure of its file, what it holds, repairs.

The order is that of trust. The folder must be ours before anything in it is touched; the stamp must
be one we know before the file is read; the structure of the file must be sound before the engine
opens it; and every value is held against its checksum before it is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from appliance import points
from appliance.limits import STORE_REBUILD_BATCH_BYTES
from appliance.store.commit import Contents, Draft
from appliance.store.entries import Head, refuse_other
from appliance.store.environment import Environment, Writing, structure_faults
from appliance.store.failures import Damage, StoreRefused
from appliance.store.folder import (
    Ownership,
    Quarantine,
    check_access,
    create,
    is_store,
    read_stamp,
    set_aside,
    write_stamp,
)
from appliance.store.pages import page_faults, salvage
from appliance.store.repair import repair
from appliance.store.scan import scan


class Opened(Struct):
    """A store's parts, ready for use."""

    owner: Ownership
    environment: Environment
    contents: Contents
    damage: list[Damage]


#: Gets what was found damaged, before any of it is taken out.
Note = Callable[[Sequence[Damage]], None]


def open_folder(folder: Path, identity: str, note: Note) -> Opened:
    """Open the store in a folder, or make it. StoreRefused, DiskFull, StoreFailed, and what `note`
    raises: then the next opening finds the damage again."""
    if "\n" in identity:
        raise ValueError("an identity is one line")
    folder = folder.absolute()
    if not is_store(folder):
        _create(folder, identity)
    owner = Ownership(folder)
    try:
        check_access(folder, to_write=True)
        damage = _check_stamp(folder, identity)
        faults = structure_faults(folder) or page_faults(folder)
        if faults:
            owner, lost = _rebuild(folder, owner, identity, faults, note)
            damage += lost
        environment = Environment(folder)
        try:
            environment.reserve.claim()
            contents = _read(folder, environment, identity, damage, note)
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
    refuse_other(stamp.version, f"{folder}: ")
    _check_identity(folder, stamp.identity, identity)
    return []


def _check_identity(folder: Path, theirs: str, ours: str) -> None:
    if ours and theirs and ours != theirs:
        raise StoreRefused(
            f'{folder}: this is the store of "{theirs}", not of "{ours}"; give each worker a '
            "folder of its own (nothing was changed)"
        )


def _rebuild(
    folder: Path, owner: Ownership, identity: str, faults: list[str], note: Note
) -> tuple[Ownership, list[Damage]]:
    """Make a new store of what can be read of the damaged one, which is set aside."""
    found = salvage(folder)
    stamp = read_stamp(folder)
    name = stamp.identity if stamp is not None else identity
    what = f"the structure of the file was damaged ({faults[0]}; {len(faults)} in all)"
    if found is None:
        lost = Damage("store", f"{what}: everything restarts empty")
        note([lost])
        aside = set_aside(folder)
        _create(folder, name)
        damage = [replace(lost, file=str(aside))]
    else:
        values = found.values
        text = "the newest cut may be lost with it: everything is as it was one cut earlier"
        history = [] if found.is_newest else [Damage("history", text)]
        note(history)

        def fill(temporary: Path) -> None:
            write_stamp(temporary, name)
            environment = Environment(temporary)
            try:
                for batch in _batches(values):
                    environment.write(partial(_put_all, batch), sum(map(len, batch.values())))
            finally:
                environment.close()

        renamed = create(folder, fill, replaced=True)
        text = f"{what}: it was made again from what could be read"
        damage = [Damage("structure", text, file=str(renamed)), *history]
    owner.release()
    return Ownership(folder), damage


def _batches(values: dict[bytes, bytes]) -> Iterator[dict[bytes, bytes]]:
    """The values in transactions of a bounded size."""
    batch: dict[bytes, bytes] = {}
    size = 0
    for key, value in values.items():
        batch[key] = value
        size += len(value)
        if size >= STORE_REBUILD_BATCH_BYTES:
            yield batch
            batch, size = {}, 0
    yield batch


def _put_all(batch: dict[bytes, bytes], writing: Writing) -> None:
    for key, value in batch.items():
        writing.put(key, value)


def _read(
    folder: Path, environment: Environment, identity: str, damage: list[Damage], note: Note
) -> Contents:
    """What the environment holds, with what was damaged taken out."""
    with environment.reading() as reading:
        found = scan(reading, identity)
    _check_identity(folder, found.head.identity, identity)
    if identity and not found.head.identity:
        found.head = replace(found.head, identity=identity)
    note(found.damage)
    if any(one.kind == "stamp" for one in damage):
        write_stamp(folder, found.head.identity)
    damage += repair(environment, Quarantine(folder), found, is_rebuilt=bool(damage))
    return Contents(found.head, found.entries, found.index)
