"""What an environment holds, as far as it is sound: read once, when a store is opened.

Everything that a start needs is held against its checksum here; spool blocks are checked when they
are read. The scan changes nothing: it says what is lost (`Loss`), and which values are to be
quarantined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from appliance.limits import SHARD_COUNT
from appliance.store.entries import FlowEntry, Head, SpoolRange, unpack_entry, unpack_head
from appliance.store.environment import Reading
from appliance.store.failures import Damage
from appliance.store.index import Index, Shard
from appliance.store.segment import Part, Segment, read_back, read_front
from appliance.store.spool import block_names, data_place
from appliance.store.values import (
    BASE,
    DELTA,
    FIRST_COPY,
    SECOND_COPY,
    SPOOL,
    base_prefix,
    block_bytes,
    block_count,
    block_key,
    delta_prefix,
    is_block_key,
    key_prefix,
    name_id,
    without_checksum,
)

Value = TypeVar("Value", Head, FlowEntry)
LiveRows = Callable[[Part, int], bool]


class Found(Struct):
    """A segment as it lies in the environment: the numbers of its blocks, those that are damaged,
    and its directory, if one of the two is sound."""

    prefix: bytes
    numbers: list[int] = field(default_factory=list)
    bad: list[int] = field(default_factory=list)
    segment: Segment | None = None

    def lost_blocks(self) -> list[int]:
        """The blocks that are damaged or missing, where the directory says how many there are."""
        assert self.segment is not None
        present = set(self.numbers) - set(self.bad)
        return [n for n in range(block_count(self.segment.length)) if n not in present]


class Scan(Struct):
    """What was found. `losses` names the shards whose rows are not whole: the steps that lost some,
    or None where it cannot be told which. `bad` are the keys of damaged values, `stale` the
    beginnings of keys that nothing refers to, `holes` the lost blocks of segments that are known
    otherwise, and how long they were; `is_head_lost`: neither of its copies is sound."""

    head: Head
    entries: dict[str, FlowEntry] = field(default_factory=dict)
    index: Index = field(default_factory=Index)
    losses: dict[Shard, set[str] | None] = field(default_factory=dict)
    damage: list[Damage] = field(default_factory=list)
    bad: list[bytes] = field(default_factory=list)
    stale: list[bytes] = field(default_factory=list)
    holes: dict[bytes, int] = field(default_factory=dict)
    is_head_lost: bool = False

    def lose(self, shard: Shard, step: str | None) -> None:
        steps = self.losses.setdefault(shard, set())
        if step is None or steps is None:
            self.losses[shard] = None
        else:
            steps.add(step)


def scan(reading: Reading, identity: str) -> Scan:
    """Read the whole environment but for the spools' data. `identity` is used where the store's
    own is lost."""
    found = Scan(Head(identity))
    _scan_copies(reading, found, identity)
    deltas = {_number(one.prefix): one for one in _segments(reading, DELTA, found)}
    bases = {one.prefix: one for one in _segments(reading, BASE, found)}
    _restore_entries(reading, found, bases, deltas)
    _scan_bases(found, bases)
    _scan_deltas(found, deltas)
    return found


# ---- the head and the entries of flows, two copies of each ----


def _scan_copies(reading: Reading, found: Scan, identity: str) -> None:
    heads: list[Head] = []
    entries: dict[bytes, list[FlowEntry]] = {}
    damaged: list[bytes] = []
    for prefix in (FIRST_COPY, SECOND_COPY):
        for key, value in values(reading, prefix):
            payload = without_checksum(key, value)
            try:
                if payload is None:
                    raise ValueError("checksum")
                if len(key) == 1:
                    heads.append(unpack_head(payload))
                else:
                    entries.setdefault(key[1:], []).append(unpack_entry(payload))
            except ValueError:
                damaged.append(key)
    found.bad += damaged
    newest_cut = _adopt_head(found, heads, entries)
    for copies in entries.values():
        newest = _newest(copies)
        found.entries[newest.name] = newest
        newest_cut = max(newest_cut, newest.cut)
    found.head = replace(found.head, cut=newest_cut)
    expected = {name_id(name): name for name in (*found.head.flows, *found.entries)}
    for key in damaged:
        if len(key) > 1 and key[1:] in entries:
            name = found.entries[_newest(entries[key[1:]]).name].name
            text = "one of the two copies of its record was damaged; the other is used"
            found.damage.append(Damage("copy", text, flow=name))
        elif len(key) > 1 and key[1:] not in expected:
            text = "the record of a flow that is not known any more was damaged"
            found.damage.append(Damage("record", text))


def _adopt_head(found: Scan, heads: list[Head], entries: dict[bytes, list[FlowEntry]]) -> int:
    if heads:
        found.head = _newest(heads)
        if len(heads) == 1:
            text = "one of the two copies of the store's head was damaged; the other is used"
            found.damage.append(Damage("copy", text))
    else:
        found.is_head_lost = True
        text = "both copies of the store's head are damaged: it was made again from what is there"
        names = tuple(copies[0].name for copies in entries.values())
        found.head = replace(found.head, flows=names)
        found.damage.append(Damage("stamp", text))
    return found.head.cut


def _newest(copies: list[Value]) -> Value:
    return max(copies, key=lambda copy: copy.cut)


def _restore_entries(
    reading: Reading, found: Scan, bases: dict[bytes, Found], deltas: dict[int, Found]
) -> None:
    """Entries for flows whose own are lost, from what else is known of them."""
    parts = [
        (one.segment, part)
        for one in (*bases.values(), *deltas.values())
        if one.segment
        for part in one.segment.parts
    ]
    names = dict.fromkeys((*found.head.flows, *(part.flow for _, part in parts)))
    for name in [name for name in names if name not in found.entries]:
        entry = FlowEntry(name, found.head.cut, spools=_spools_of(reading, name))
        for shard in range(SHARD_COUNT):
            base = bases.get(base_prefix(name, shard))
            if base is not None and base.segment is not None:
                entry = entry.with_base(shard, base.segment.cut, True)
        found.entries[name] = entry
        text = "both copies of its record (positions and numbers) are damaged"
        found.damage.append(Damage("record", text, flow=name))


def _spools_of(reading: Reading, flow: str) -> dict[str, SpoolRange]:
    """The spools of a flow, from their blocks."""
    spools: dict[str, SpoolRange] = {}
    for key, value in values(reading, SPOOL):
        payload = without_checksum(key, value) if key_prefix(key)[1] == 0 else None
        if payload is None:
            continue
        name, sink = block_names(payload)
        if name == flow:
            seq = int.from_bytes(key[9:17], "big")
            known = spools.get(sink, SpoolRange(seq, seq, 0))
            size = data_place(payload)[1]
            spools[sink] = SpoolRange(known.first_seq, seq + 1, known.bytes + size)
    return spools


# ---- segments ----


def _segments(reading: Reading, kind: bytes, found: Scan) -> Iterator[Found]:
    """The segments whose keys begin with `kind`, each once."""
    current: Found | None = None
    payloads: dict[int, memoryview] = {}
    for key, value in values(reading, kind):
        if not is_block_key(key):
            found.bad.append(key)
            continue
        prefix, number = key_prefix(key)
        if current is None or current.prefix != prefix:
            if current is not None:
                yield _with_directory(current, payloads)
            current, payloads = Found(prefix), {}
        current.numbers.append(number)
        payload = without_checksum(key, value)
        if payload is None:
            current.bad.append(number)
            found.bad.append(key)
        else:
            payloads[number] = payload
    if current is not None:
        yield _with_directory(current, payloads)


def _with_directory(found: Found, payloads: dict[int, memoryview]) -> Found:
    """The segment with its directory: the first, or else the last."""
    front = b""
    for number in range(len(found.numbers)):
        if found.segment is not None or number not in payloads:
            break
        front += payloads[number]
        found.segment = _directory(front, False)
    back = b""
    for number in reversed(found.numbers):
        if found.segment is not None or number not in payloads:
            break
        back = bytes(payloads[number]) + back
        found.segment = _directory(back, True)
    return found


def _directory(data: bytes, is_back: bool) -> Segment | None:
    try:
        return read_back(data) if is_back else read_front(data)
    except ValueError:
        return None


def _scan_bases(found: Scan, bases: dict[bytes, Found]) -> None:
    known = set()
    for entry in found.entries.values():
        for shard, cut in enumerate(entry.bases):
            if not cut:
                continue
            prefix = base_prefix(entry.name, shard)
            known.add(prefix)
            base = bases.get(prefix) if entry.stored >> shard & 1 else None
            segment = base.segment if base is not None else None
            if entry.stored >> shard & 1 and (segment is None or segment.cut != cut):
                found.lose((entry.name, shard), None)
                text = "the base of its state is damaged: it restarts empty"
                found.damage.append(Damage("rows", text, flow=entry.name, shard=shard))
                segment = None
            elif base is not None and segment is not None:
                _lose_blocks(found, base, segment, lambda *_: True)
            found.index.set_base((entry.name, shard), segment, cut)
    found.stale += [prefix for prefix in bases if prefix not in known]


def _scan_deltas(found: Scan, deltas: dict[int, Found]) -> None:
    """Put the deltas into the index, and see that none is missing: each names the one before it,
    and the head the newest and the oldest."""
    if found.is_head_lost:
        _guess_deltas(found, deltas)
    newest, oldest = found.head.newest, found.head.oldest
    stale = [cut for cut in deltas if not oldest <= cut <= newest] if newest else []
    if found.head.cut and not newest:
        stale = list(deltas)
    found.stale += [delta_prefix(cut) for cut in stale]
    kept = {cut: one for cut, one in sorted(deltas.items()) if cut not in stale}
    wanted = {newest, oldest} - {0}
    for one in kept.values():
        if one.segment is not None and one.segment.previous >= oldest > 0:
            wanted.add(one.segment.previous)
    lost = sorted(wanted - kept.keys())
    for cut, one in kept.items():
        if one.segment is None:
            found.stale.append(delta_prefix(cut))
            lost.append(cut)
            continue
        found.index.add_delta(one.segment)
        _lose_blocks(found, one, one.segment, partial(_is_live, found, one))
    for cut in lost:
        _lose_delta(found, cut)


def _guess_deltas(found: Scan, deltas: dict[int, Found]) -> None:
    """Without a head nobody knows which deltas there were. Those that are there count; the newest
    cut and the delta before the oldest of them may have been lost, so that they are."""
    found.head = found.head.with_deltas(sorted(deltas))
    if found.head.newest < found.head.cut:
        _lose_delta(found, found.head.cut)
    first = deltas[found.head.oldest].segment if deltas else None
    if first is not None and first.previous:
        _lose_delta(found, first.previous)


def _is_live(found: Scan, one: Found, part: Part, shard: int) -> bool:
    """Whether those rows of a delta count: no base has superseded them."""
    assert one.segment is not None
    return found.index.shard((part.flow, shard)).base_cut < one.segment.cut


def _lose_delta(found: Scan, cut: int) -> None:
    """A delta of which nothing is known: each shard without a newer base may have lost rows."""
    for entry in found.entries.values():
        lost = [shard for shard in range(SHARD_COUNT) if entry.bases[shard] < cut]
        for shard in lost:
            found.lose((entry.name, shard), None)
        if lost:
            text = f"what cut {cut} changed is lost: {len(lost)} of its shards restart empty"
            found.damage.append(Damage("rows", text, flow=entry.name))


def _lose_blocks(found: Scan, one: Found, segment: Segment, is_live: LiveRows) -> None:
    """Name the rows that stood in damaged or missing blocks."""
    size = block_bytes(segment.length)
    for number in one.lost_blocks():
        first, last = number * size, min((number + 1) * size, segment.length)
        found.holes[block_key(one.prefix, number)] = last - first
        hit = False
        for part in segment.parts:
            for shard, _ in part.shards():
                begin, end = part.place(shard)
                if begin < last and end > first and is_live(part, shard):
                    hit = True
                    found.lose((part.flow, shard), part.step)
                    text = f"its rows of cut {segment.cut} are damaged: it restarts empty"
                    found.damage.append(Damage("rows", text, part.flow, part.step, shard))
        if not hit:
            text = f"a block of cut {segment.cut} was damaged; nothing in it was needed any more"
            found.damage.append(Damage("copy", text))


def values(reading: Reading, prefix: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Keys and values whose keys begin with `prefix`, in order."""
    with reading.cursor() as cursor:
        found = cursor.set_range(prefix)
        while found:
            key = bytes(cursor.key())
            if not key.startswith(prefix):
                break
            yield key, cursor.value()
            found = cursor.next()


def raw_values(reading: Reading, prefix: bytes) -> bytes:
    """All values whose keys begin with `prefix`, one behind the other, sound or not."""
    return b"".join(bytes(value) for _, value in values(reading, prefix))


def _number(prefix: bytes) -> int:
    return int.from_bytes(prefix[1:], "big")
