"""Taking damage out of a store: what was found damaged is kept in the quarantine, and the shards
that lost rows get a base without them, so that the next start finds a sound store.

A shard is emptied step by step: the rows of a step that lost some are void as a whole, for without
them its older rows would come back as if they were the newest. They go to the quarantine too.
"""

from __future__ import annotations

from msgspec.structs import replace

from appliance.limits import STORE_DAMAGE_MAX_COUNT
from appliance.store.commit import Contents, Draft
from appliance.store.environment import Environment, Reading, Writing
from appliance.store.failures import Damage
from appliance.store.folder import Quarantine
from appliance.store.index import Shard
from appliance.store.rows import merge_rows
from appliance.store.scan import Scan
from appliance.store.shards import Pieces, ShardRows, merge_shard, places, read_slice
from appliance.store.values import (
    BASE,
    DELTA,
    FIRST_COPY,
    SECOND_COPY,
    SPOOL,
    base_prefix,
    delta_prefix,
    is_block_key,
    with_checksum,
)


def repair(
    environment: Environment, quarantine: Quarantine, found: Scan, is_rebuilt: bool
) -> list[Damage]:
    """Quarantine what the scan found and make the store sound again. Gives what is to be said of
    it. Does nothing, and writes nothing, when all is well and the store was not made anew."""
    if not (found.bad or found.stale or found.losses or found.damage or is_rebuilt):
        return []
    with environment.reading() as reading:
        kept = [_keep_value(reading, quarantine, key) for key in found.bad]
    files = [file for file in kept if file]
    for shard in sorted(found.losses):
        files += _empty(environment, quarantine, found, shard)
    _clean(environment, found)
    return _said(found, files)


def _keep_value(reading: Reading, quarantine: Quarantine, key: bytes) -> str:
    value = reading.get(key)
    what = {BASE: "base", DELTA: "cut", SPOOL: "spool"}.get(key[:1], "record")
    name = str(int.from_bytes(key[1:9], "big")) if what == "cut" else key[1:].hex()
    suffix = f"-{int.from_bytes(key[-4:], 'big')}" if what == "cut" else ""
    return quarantine.keep(f"{what}-{name}{suffix}", bytes(value or b""))


def _empty(
    environment: Environment, quarantine: Quarantine, found: Scan, shard: Shard
) -> list[str]:
    """Give a shard a new base without the steps that lost rows; the files with what they had."""
    flow, number = shard
    entry, index, cut = found.entries[flow], found.index, found.head.cut
    with environment.reading() as reading:
        sound, void = _sorted_pieces(reading, found, shard)
    live = []
    for step, (kind, rows) in sound.items():
        try:
            live.append(ShardRows(step, kind, number, merge_rows(kind, rows)))
        except ValueError:
            void[step] = kind, rows
    merge = merge_shard(flow, number, cut, iter([one for one in live if one.rows]))

    def write(writing: Writing) -> Draft:
        draft = Draft(Contents(found.head, found.entries, index), writing)
        draft.delete_all(base_prefix(flow, number))
        draft.set_base(merge, None)
        draft.finish()
        return draft

    found.entries = environment.write(write, len(merge.data), of_reserve=True).entries
    index.apply_merge(shard, merge.base, cut)
    files = [
        quarantine.keep(f"rows-{entry.name}-{step}-{number}-{cut}", b"".join(rows))
        for step, (_, rows) in void.items()
    ]
    return [file for file in files if file]


def _sorted_pieces(reading: Reading, found: Scan, shard: Shard) -> tuple[Pieces, Pieces]:
    """The rows of a shard: those of steps that are whole, and what is left of the others."""
    flow, number = shard
    lost = found.losses[shard]
    sound, void = Pieces(), Pieces()
    for prefix, segment, part in places(found.index, found.entries[flow], number):
        pieces = void if lost is None or part.step in lost else sound
        kind, rows = pieces.get(part.step, ("", []))
        if kind != part.kind:
            kind, rows = pieces[part.step] = part.kind, []
        try:
            place = part.place(number)
            rows.append(read_slice(reading, prefix, segment.length, place, is_checked=True))
        except ValueError:
            if pieces is sound:
                raise
    return sound, void


def _clean(environment: Environment, found: Scan) -> None:
    """Delete what is damaged or not needed, and write head and entries anew.

    A lost block of a segment that is still needed, for the rows in its other blocks, is filled with
    zeros: no base reaches less far than the rows that it had."""
    index = found.index
    unneeded = index.without_pins(())
    held = {delta_prefix(cut) for cut in index.deltas if cut not in unneeded}
    emptied = {base_prefix(*shard) for shard in found.losses}
    held |= {key[:-4] for key in found.holes if key[:1] == BASE and key[:-4] not in emptied}
    head = found.head.with_deltas([cut for cut in index.deltas if cut not in unneeded])

    def write(writing: Writing) -> Draft:
        draft = Draft(Contents(head, found.entries, index), writing)
        for cut in unneeded:
            draft.drop_delta(index.deltas[cut])
        for prefix in found.stale:
            draft.delete_all(prefix)
        for key in found.bad:
            if key[:1] in (FIRST_COPY, SECOND_COPY) or not is_block_key(key):
                writing.delete(key)
        for key, size in found.holes.items():
            if key[:-4] in held:
                draft.put(key, with_checksum(key, bytes(size)))
        for entry in found.entries.values():
            draft.set_entry(entry)
        draft.finish()
        return draft

    draft = environment.write(write, 0, of_reserve=True)
    found.head, found.entries = draft.head, draft.entries
    for cut in unneeded:
        index.drop_delta(cut)


def _said(found: Scan, files: list[str]) -> list[Damage]:
    """The damage, each with a file where there is one, and bounded."""
    where = files[0] if files else ""
    said = [replace(one, file=one.file or where) for one in found.damage]
    if len(said) > STORE_DAMAGE_MAX_COUNT:
        rest = len(said) - STORE_DAMAGE_MAX_COUNT + 1
        said = said[: STORE_DAMAGE_MAX_COUNT - 1]
        said.append(Damage("rows", f"and {rest} more"))
    return said
