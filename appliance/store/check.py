"""Looking at a store that nobody uses: is everything in it what was written? Nothing is changed.

To repair is to open it: `Store.open` quarantines what is damaged. Only spool blocks are left as
they are until they are read, and named here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from appliance.store.entries import FORMAT, newer_format
from appliance.store.environment import Environment, Reading, structure_faults
from appliance.store.failures import Damage, StoreRefused
from appliance.store.folder import Ownership, is_store, read_stamp
from appliance.store.pages import meta_faults
from appliance.store.scan import Scan, scan
from appliance.store.spool import read_spool_block


@dataclass(frozen=True)
class Report:
    """What a store holds, and what is wrong with it. `structure` lists faults of the file itself:
    then nothing else was looked at, and opening the store makes it again from what can be read."""

    identity: str
    cut: int
    flows: tuple[str, ...]
    delta_count: int
    base_count: int
    block_count: int
    structure: tuple[str, ...]
    damage: tuple[Damage, ...]

    @property
    def is_sound(self) -> bool:
        return not self.structure and not self.damage


def verify(folder: Path) -> Report:
    """Check the structure of the file, every checksum, every directory, and that no spool block is
    missing. StoreRefused: there is no store, it is in use, or a newer program's."""
    if not is_store(folder):
        raise StoreRefused(f"{folder}: there is no store here")
    owner = Ownership(folder)
    try:
        stamp = read_stamp(folder)
        if stamp is not None and stamp.version > FORMAT:
            raise StoreRefused(f"{folder}: {newer_format(stamp.version)}")
        name = stamp.identity if stamp is not None else ""
        faults = structure_faults(folder) or meta_faults(folder)
        if faults:
            return Report(name, 0, (), 0, 0, 0, tuple(faults), ())
        environment = Environment(folder)
        try:
            with environment.reading() as reading:
                found = scan(reading, name)
                blocks = _check_spools(reading, found)
        finally:
            environment.close()
    finally:
        owner.release()
    index, flows = found.index, tuple(sorted(found.entries))
    counts = (len(index.deltas), index.base_count, blocks)
    head = found.head
    return Report(head.identity, head.cut, flows, *counts, (), tuple(found.damage))


def _check_spools(reading: Reading, found: Scan) -> int:
    """Read every block that waits; how many there are."""
    count = 0
    for entry in found.entries.values():
        for sink, spool in entry.spools.items():
            for seq in range(spool.first_seq, spool.next_seq):
                count += 1
                try:
                    read_spool_block(reading, entry.name, sink, seq)
                except ValueError as error:
                    text = f"of sink {sink}: {error}"
                    found.damage.append(Damage("spool", text, flow=entry.name, step=sink))
    return count
