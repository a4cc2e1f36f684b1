"""What the tests of the store are made of: rows, cuts, and a model in plain dicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack

from appliance.store import Commit, Section, SpoolBlock, Store

Key = tuple[int, bytes, int]  # shard, key, start of its window


def row(kind: str, key: Key, value: Any) -> bytes:
    """A row as its step writes it; the value None is a tombstone."""
    shard, name, start = key
    if kind == "python":
        packed = None if value is None else msgpack.packb(value)
        return bytes(msgpack.packb([shard, name, packed, None]))
    if kind == "running":
        return bytes(msgpack.packb([shard, name, None if value is None else [value]]))
    end, accumulators = start + 10, None if value is None else [value, None]
    return bytes(msgpack.packb([shard, name, start, end, 0, accumulators]))


def section(flow: str, step: str, kind: str, rows: Iterable[tuple[Key, Any]]) -> Section:
    """A section of rows in the order of their shards."""
    packed: list[list[bytes]] = [[] for _ in range(64)]
    for key, value in rows:
        packed[key[0]].append(row(kind, key, value))
    shards = [b"".join(one) for one in packed]
    return Section(flow, step, kind, [len(one) for one in shards], b"".join(shards))


def read_rows(kind: str, rows: bytes) -> dict[Key, Any]:
    """Rows, as the model has them."""
    reader = msgpack.Unpacker()
    reader.feed(rows)
    found: dict[Key, Any] = {}
    for shard, name, *rest in reader:
        if kind == "python":
            found[shard, name, 0] = msgpack.unpackb(rest[0])
        elif kind == "running":
            found[shard, name, 0] = rest[0][0]
        else:
            start = rest[0] if kind == "window" else 0
            found[shard, name, start] = rest[3][0]
    return found


@dataclass
class Model:
    """What a store should hold."""

    cut: int = 0
    records: dict[str, bytes] = field(default_factory=dict)
    steps: dict[tuple[str, str, str], dict[Key, Any]] = field(default_factory=dict)
    spools: dict[tuple[str, str], tuple[int, list[bytes]]] = field(default_factory=dict)

    def change(self, flow: str, step: str, kind: str, rows: Iterable[tuple[Key, Any]]) -> None:
        live = self.steps.setdefault((flow, step, kind), {})
        for (shard, name, start), value in rows:
            key = (shard, name, start if kind == "window" else 0)
            if value is None:
                live.pop(key, None)
            else:
                live[key] = value

    def trim(self, flow: str, sink: str, upto: int) -> None:
        first, blocks = self.spools.get((flow, sink), (1, []))
        count = max(0, min(upto - first + 1, len(blocks)))
        if (flow, sink) in self.spools:
            self.spools[flow, sink] = (first + count, blocks[count:])

    def append(self, flow: str, sink: str, data: bytes) -> None:
        first, blocks = self.spools.get((flow, sink), (1, []))
        self.spools[flow, sink] = (first, [*blocks, data])

    def live(self) -> dict[tuple[str, str, str], dict[Key, Any]]:
        return {step: rows for step, rows in self.steps.items() if rows}


def state_of(store: Store, flows: Iterable[str]) -> dict[tuple[str, str, str], dict[Key, Any]]:
    """All live rows of a store, each once."""
    found: dict[tuple[str, str, str], dict[Key, Any]] = {}
    for flow in flows:
        for one in store.rows(flow):
            rows = read_rows(one.kind, one.rows)
            assert all(key[0] == one.shard for key in rows)
            live = found.setdefault((flow, one.step, one.kind), {})
            assert not live.keys() & rows.keys()
            live.update(rows)
    return found


def spools_of(store: Store) -> dict[tuple[str, str], tuple[int, list[bytes | None]]]:
    """All spools of a store, read block by block."""
    found: dict[tuple[str, str], tuple[int, list[bytes | None]]] = {}
    for info in store.spools():
        seqs = range(info.first_seq, info.next_seq)
        blocks = [store.read_block(info.flow, info.sink, seq) for seq in seqs]
        assert info.bytes == sum(len(block or b"") for block in blocks)
        found[info.flow, info.sink] = (info.first_seq, blocks)
    return found


def assert_like(store: Store, model: Model, flows: Iterable[str]) -> None:
    """The store holds what the model does."""
    assert store.cut == model.cut
    assert store.records() == model.records
    assert state_of(store, flows) == model.live()
    assert spools_of(store) == model.spools


def commit(
    sections: Iterable[Section] = (),
    records: Mapping[str, bytes] | None = None,
    spools: Iterable[tuple[str, str, bytes]] = (),
    trims: Mapping[tuple[str, str], int] | None = None,
) -> Commit:
    blocks = [SpoolBlock(flow, sink, (data,)) for flow, sink, data in spools]
    return Commit(list(sections), records or {}, blocks, trims or {})
