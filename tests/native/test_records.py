"""What a link does in C for each record and shard, whatever the bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.native import address, ffi, lib

RECORDS = st.lists(st.binary(max_size=40), max_size=30)


def vector(entries: list[tuple[int, int]]) -> bytes:
    return b"".join(struct.pack("<BQ", shard, number) for shard, number in entries)


def numbers(first: dict[int, int]) -> ffi.CData:
    return ffi.new("uint64_t[]", [first.get(shard, 1) for shard in range(64)])


@given(RECORDS)
def test_records_stand_behind_their_lengths(records: list[bytes]) -> None:
    lengths = struct.pack(f"<{len(records)}I", *map(len, records))
    body = b"".join(records)
    out = ffi.new("char[]", len(lengths) + len(body))
    assert lib.records_frame(lengths, len(records), body, len(body), out)
    expected = b"".join(len(record).to_bytes(4, "big") + record for record in records)
    assert bytes(ffi.buffer(out)) == expected


@given(st.lists(st.integers(0, 2**32 - 1), max_size=20), st.binary(max_size=64))
def test_lengths_that_do_not_add_up_are_refused(lengths: list[int], body: bytes) -> None:
    packed = struct.pack(f"<{len(lengths)}I", *lengths)
    out = ffi.new("char[]", len(packed) + len(body))
    fits = lib.records_frame(packed, len(lengths), body, len(body), out)
    assert fits == (sum(lengths) == len(body))


@given(RECORDS, st.integers(5, 200))
def test_records_are_taken_as_long_as_there_is_room(records: list[bytes], room: int) -> None:
    lengths, body = ffi.new("char[]", 4 * (room // 5 + 1)), ffi.new("char[]", room)
    size = ffi.new("size_t *")
    at = 0
    while at < len(records):
        count = lib.records_take(address(records), at, room, lengths, body, size)
        part = records[at : at + count]
        assert count >= 1
        assert size[0] == sum(map(len, part))
        used = size[0] + 5 * count
        assert used <= room or count == 1
        assert bytes(ffi.buffer(lengths, 4 * count)) == struct.pack(f"<{count}I", *map(len, part))
        if used <= room:
            assert bytes(ffi.buffer(body, size[0])) == b"".join(part)
            rest = records[at + count : at + count + 1]
            assert not rest or used + len(rest[0]) + 5 > room
        at += count


@pytest.mark.parametrize("records", [(b"a",), ["a"], [b"a", bytearray(b"b")], 5])
def test_only_a_list_of_bytes_is_taken(records: object) -> None:
    lengths, body, size = ffi.new("char[40]"), ffi.new("char[40]"), ffi.new("size_t *")
    assert lib.records_take(address(records), 0, 40, lengths, body, size) == -1


@given(st.lists(st.integers(0, 70), max_size=80), st.dictionaries(st.integers(0, 63), st.just(9)))
def test_records_are_numbered_on_by_shard(shards: list[int], first: dict[int, int]) -> None:
    following, out = numbers(first), ffi.new("char[]", 64 * 9)
    size = lib.records_number(bytes(shards), len(shards), following, out)
    if max(shards, default=64) > 63:
        assert size == 0
        return
    expected = [(shard, first.get(shard, 1)) for shard in sorted(set(shards))]
    assert bytes(ffi.buffer(out, size)) == vector(expected)
    for shard in range(64):
        assert following[shard] == first.get(shard, 1) + shards.count(shard)


@pytest.mark.parametrize(
    ("entries", "shards", "found"),
    [
        ([(1, 5), (2, 1)], b"\1\2\1", "NEXT"),
        ([(1, 4)], b"\1\1", "EARLIER"),
        ([(1, 6)], b"\1", "LATER"),
        ([(1, 4), (2, 2)], b"\1\2", "LATER"),
        ([(1, 6), (2, 1)], b"\1\2", "LATER"),
        ([(1, 5)], b"\1\2", "GARBLED"),
        ([(1, 5), (2, 1)], b"\1", "GARBLED"),
        ([(2, 1), (1, 5)], b"\1\2", "GARBLED"),
        ([(1, 5), (1, 5)], b"\1\1", "GARBLED"),
        ([(64, 1)], b"\x40", "GARBLED"),
        ([(1, 0)], b"\1", "GARBLED"),
        ([(1, 1000)], b"\1", "GARBLED"),
        ([(1, 2**64 - 1)], b"\1", "GARBLED"),
    ],
)
def test_a_message_is_held_against_what_comes_next(
    entries: list[tuple[int, int]], shards: bytes, found: str
) -> None:
    packed, after = vector(entries), ffi.new("uint64_t[64]")
    here = numbers({1: 5})
    got = lib.records_check(packed, len(packed), shards, len(shards), here, 1000, after)
    assert got == getattr(lib, f"NUMBERS_{found}")
    assert list(here) == list(numbers({1: 5}))
    if found == "NEXT":
        assert after[1] == 7 and after[2] == 2


def test_a_vector_names_what_is_not_the_first() -> None:
    out = ffi.new("char[]", 64 * 9)
    size = lib.vector_pack(numbers({0: 2, 63: 2**40}), out)
    assert bytes(ffi.buffer(out, size)) == vector([(0, 2), (63, 2**40)])
