"""What a link does in C for each record and shard, whatever the bytes."""

from __future__ import annotations

import struct

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.native import ffi, lib
from native.test_checksum import xxh64

RECORDS = st.lists(st.binary(max_size=40), max_size=30)


def vector(entries: list[tuple[int, int]]) -> bytes:
    return b"".join(struct.pack("<BQ", shard, number) for shard, number in entries)


def numbers(first: dict[int, int]) -> ffi.CData:
    return ffi.new("uint64_t[]", [first.get(shard, 1) for shard in range(64)])


def framed(records: list[bytes]) -> bytes:
    return b"".join(len(record).to_bytes(4, "big") + record for record in records)


def twin_count(packed: bytes, tag: int) -> int:
    """How many bins, which have a tag, or frames of 32-bit lengths these are; -1: none."""
    count = at = 0
    while at < len(packed):
        head = {0xC4: 1, 0xC5: 2, 0xC6: 4}.get(packed[at], 9) + 1 if tag else 4
        length = int.from_bytes(packed[at + tag : at + head], "big")
        at += head + length
        count += 1
        if head > 5 or at > len(packed):
            return -1
    return count


@given(RECORDS, st.binary(max_size=8))
def test_bins_and_frames_are_counted_or_refused(records: list[bytes], more: bytes) -> None:
    bins = b"".join(map(msgpack.packb, records))
    assert lib.bins_count(bins, len(bins)) == len(records)
    frames = framed(records)
    assert lib.frames_count(frames, len(frames)) == len(records)
    for whole, count, tag in ((bins, lib.bins_count, 1), (frames, lib.frames_count, 0)):
        for cut in range(len(whole) + 1):
            assert count(whole[:cut], cut) == twin_count(whole[:cut], tag)
        assert count(whole + more, len(whole + more)) == twin_count(whole + more, tag)


def test_long_bins_are_counted() -> None:
    for size in (255, 256, 65_535, 65_536):
        packed = msgpack.packb(bytes(size))
        assert lib.bins_count(packed * 2, 2 * len(packed)) == 2
        assert lib.bins_count(packed, len(packed) - 1) == -1
    assert lib.bins_count(b"\xc6\xff\xff\xff\xff" + bytes(20), 25) == -1


@given(RECORDS, st.integers(5, 200))
def test_records_are_taken_as_long_as_there_is_room(records: list[bytes], room: int) -> None:
    packed = b"".join(map(msgpack.packb, records))
    sizes = ffi.new("size_t[2]")
    at = taken = 0
    while at < len(records):
        rest = packed[taken:]
        count = lib.bins_fit(rest, len(rest), len(records) - at, room, sizes, sizes + 1)
        part = records[at : at + count]
        assert count >= 1
        assert rest[: sizes[0]] == b"".join(map(msgpack.packb, part))
        assert sizes[1] == len(framed(part))
        assert sizes[1] + count <= room or count == 1
        following = records[at + count : at + count + 1]
        assert not following or sizes[1] + count + len(following[0]) + 5 > room
        at += count
        taken += sizes[0]


@given(st.binary(max_size=40), st.integers(0, 50))
def test_no_bytes_make_the_search_for_room_go_astray(packed: bytes, most: int) -> None:
    sizes = ffi.new("size_t[2]")
    count = lib.bins_fit(packed, len(packed), most, 30, sizes, sizes + 1)
    assert 0 <= count <= most
    assert lib.bins_count(packed, sizes[0]) == count


@given(st.lists(st.integers(0, 70), max_size=80))
def test_records_are_counted_by_shard(shards: list[int]) -> None:
    counts = ffi.new("uint32_t[64]")
    if not lib.shards_count(bytes(shards), len(shards), counts):
        assert max(shards) > 63
        return
    assert list(counts) == [shards.count(shard) for shard in range(64)]


@given(
    st.lists(st.tuples(st.integers(0, 65), st.binary(max_size=40)), max_size=30),
    st.dictionaries(st.integers(0, 63), st.just(9)),
)
def test_a_message_is_packed(records: list[tuple[int, bytes]], first: dict[int, int]) -> None:
    shards = bytes(shard for shard, _ in records)
    apart = [record for _, record in records]
    packed = b"".join(map(msgpack.packb, apart))
    head = bytes(range(32))
    following = numbers(first)
    entries = [(shard, first.get(shard, 1)) for shard in sorted(set(shards))]
    said = struct.pack("<HI", len(entries), len(shards))
    expected = head[:2] + said + head[8:] + vector(entries) + shards + framed(apart)
    out = ffi.new("char[]", len(expected) + 8)
    size = lib.data_pack(head, shards, len(shards), packed, following, out)
    if max(shards, default=0) > 63:
        assert size == 0
        return
    assert bytes(ffi.buffer(out, size)) == expected + struct.pack("<Q", xxh64(expected))
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
