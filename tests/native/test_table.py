"""Tables against a dict: rows, order, removal, and what a cut is shown."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.native import ffi, lib
from native.values import block_of

PAYLOAD = 24
Row = tuple[bytes, int, bool]


class Table:
    """A native table whose payload starts with a number of our own."""

    def __init__(self) -> None:
        self.own = lib.table_new(PAYLOAD)
        self.row, self.is_new = ffi.new("table_row_t *"), ffi.new("bool *")

    def key(self, name: bytes) -> Any:
        self.memory = block_of(name)
        found = lib.hash_bytes(self.memory, len(name))
        return ffi.new("bkey_t *", {"bytes": self.memory, "size": len(name), "hash": found})

    def number(self) -> Any:
        return ffi.cast("int64_t *", self.row.payload)

    def put(self, name: bytes, number: int) -> tuple[int, bool]:
        assert lib.table_put(self.own, self.key(name), self.row, self.is_new)
        if self.is_new[0]:
            assert bytes(ffi.buffer(self.row.payload, PAYLOAD)) == bytes(PAYLOAD)
        self.number()[0] = number
        return self.row.index, self.is_new[0]

    def find(self, name: bytes) -> int | None:
        if not lib.table_find(self.own, self.key(name), self.row):
            return None
        assert self.name(self.row) == name
        return int(self.number()[0])

    def remove(self, name: bytes) -> bool:
        return bool(lib.table_remove(self.own, self.key(name)))

    def name(self, row: Any) -> bytes:
        return bytes(ffi.buffer(row.key.bytes, row.key.size))

    def rows(self) -> Iterator[tuple[bytes, int]]:
        for index in range(lib.table_end(self.own)):
            if lib.table_at(self.own, index, self.row):
                yield self.name(self.row), int(self.number()[0])

    def take_dirty(self, fail_at: int = -1) -> list[Row] | None:
        """(key, number, removed) as visited; None when the visit was broken off."""
        seen: list[Row] = []

        def visit(_: Any, row: Any, removed: bool) -> bool:
            seen.append((self.name(row), int(ffi.cast("int64_t *", row.payload)[0]), removed))
            return len(seen) - 1 != fail_at

        callback = ffi.callback("bool(void *, table_row_t *, bool)", visit)
        whole = lib.table_take_dirty(self.own, callback, ffi.NULL)
        return seen if whole else None

    @property
    def bytes_held(self) -> int:
        return int(lib.table_bytes(self.own))


@contextmanager
def table() -> Iterator[Table]:
    made = Table()
    yield made
    lib.table_destroy(ffi.new("table_t **", made.own))


def shard(name: bytes) -> int:
    return int(lib.hash_bytes(block_of(name), len(name))) >> 58


names = st.integers(0, 25).map(lambda number: b"%d" % number + b"k" * (number * 2 % 37))
acts = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["put", "put", "remove", "undo"]), names),
        st.tuples(st.sampled_from(["take", "clear"]), st.just(b"")),
    ),
    max_size=80,
)


@given(acts)
def test_a_table_is_a_dict_and_remembers_what_changed(acts: list[tuple[str, bytes]]) -> None:
    rows: dict[bytes, int] = {}
    stored: dict[bytes, int] = {}
    with table() as native:
        for number, (act, name) in enumerate(acts):
            if act == "put":
                index, is_new = native.put(name, number)
                assert is_new == (name not in rows)
                rows[name] = number
                lib.table_mark(native.own, index)
            elif act == "remove":
                assert native.remove(name) == (rows.pop(name, None) is not None)
            elif act == "undo" and name not in rows:
                index, is_new = native.put(name, number)
                assert is_new
                lib.table_undo(native.own, index)
            elif act == "clear":
                lib.table_clear(native.own)
                rows.clear()
                stored.clear()
            elif act == "take":
                follow(stored, native.take_dirty())
                assert stored == rows
            assert lib.table_count(native.own) == len(rows)
            assert native.find(name) == rows.get(name)
        assert dict(native.rows()) == rows
        follow(stored, native.take_dirty())
        assert stored == rows


def follow(stored: dict[bytes, int], seen: list[Row] | None) -> None:
    """Do to a store what a cut does with what it is shown."""
    assert seen is not None
    shards = [shard(name) for name, _, _ in seen]
    assert shards == sorted(shards)
    for name, number, removed in seen:
        if removed:
            stored.pop(name, None)
        else:
            stored[name] = number


def test_many_keys_come_and_go() -> None:
    """Growth, probing over the end of the index, and shifting back, at many fillings."""
    draw, rows = random.Random(7), dict[bytes, int]()
    with table() as native:
        for number in range(12_000):
            name = b"key-%d" % draw.randrange(1500)
            if draw.random() < 0.45:
                assert native.remove(name) == (rows.pop(name, None) is not None)
            else:
                index, _ = native.put(name, number)
                lib.table_mark(native.own, index)
                rows[name] = number
            if number % 1000 == 0:
                assert native.take_dirty() is not None
        for number in range(1500):
            assert native.find(b"key-%d" % number) == rows.get(b"key-%d" % number)
        assert lib.table_end(native.own) < 3000  # removed rows are used again after a cut


def test_rows_stay_in_order_of_insertion_and_do_not_move() -> None:
    with table() as native:
        addresses = []
        for number in range(1000):
            assert native.put(b"%d" % number, number) == (number, True)
            addresses.append(native.row.payload)
        assert [number for _, number in native.rows()] == list(range(1000))
        for number, address in enumerate(addresses):
            assert native.find(b"%d" % number) == number
            assert native.row.payload == address


def test_the_same_hash_is_not_the_same_key() -> None:
    with table() as native:
        for name in (b"one", b"two", b"a name that is longer than a row's own room"):
            key = native.key(name)
            key.hash = 42
            assert lib.table_put(native.own, key, native.row, native.is_new)
            assert native.is_new[0]
        assert lib.table_count(native.own) == 3


def test_a_visit_that_is_broken_off_forgets_nothing() -> None:
    with table() as native:
        for number in range(10):
            lib.table_mark(native.own, native.put(b"%d" % number, number)[0])
        assert native.take_dirty(fail_at=4) is None
        assert not lib.table_stored(native.own, 0)
        seen = native.take_dirty()
        assert seen is not None and len(seen) == 10
        assert lib.table_stored(native.own, 0)
        assert native.take_dirty() == []


def test_a_cleared_table_allocates_nothing_the_second_time() -> None:
    with table() as native:
        held = []
        for _ in range(3):
            for number in range(500):
                native.put(b"a rather long key, number %d" % number, number)
            held.append(native.bytes_held)
            lib.table_clear(native.own)
        assert held[0] == held[1] == held[2]


@pytest.mark.parametrize("size", [10, 100])
def test_the_bytes_held_are_those_of_keys_and_rows(size: int) -> None:
    with table() as native:
        before = native.bytes_held
        for number in range(4096):
            native.put((b"%d" % number).ljust(size, b"."), number)
        per_key = (native.bytes_held - before) / 4096
        outside = 0 if size <= 16 else size
        assert PAYLOAD + 40 + outside <= per_key <= PAYLOAD + 40 + outside + 80
