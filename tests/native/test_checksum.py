"""XXH64 in C against its specification in plain Python, and against published values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.native import lib

MASK = (1 << 64) - 1
P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P4, P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def turn(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & MASK


def step(sum_: int, word: int) -> int:
    return turn((sum_ + word * P2) & MASK, 31) * P1 & MASK


def little(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def xxh64(data: bytes) -> int:
    """With seed 0."""
    at = 0
    found = P5
    if len(data) >= 32:
        sums = [(P1 + P2) & MASK, P2, 0, -P1 & MASK]
        for at in range(0, len(data) - 31, 32):
            sums = [step(each, little(data, at + 8 * i, 8)) for i, each in enumerate(sums)]
        at += 32
        found = sum(turn(each, bits) for each, bits in zip(sums, (1, 7, 12, 18), strict=True))
        for each in sums:
            found = ((found ^ step(0, each)) * P1 + P4) & MASK
    found = (found + len(data)) & MASK
    for word in range(at, len(data) - 7, 8):
        found = (turn(found ^ step(0, little(data, word, 8)), 27) * P1 + P4) & MASK
    at = len(data) & ~7
    if len(data) & 4:
        found = (turn(found ^ little(data, at, 4) * P1 & MASK, 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        found = turn(found ^ byte * P5 & MASK, 11) * P1 & MASK
    found = (found ^ found >> 33) * P2 & MASK
    found = (found ^ found >> 29) * P3 & MASK
    return found ^ found >> 32


@given(st.binary(max_size=200))
def test_it_is_what_the_specification_says(data: bytes) -> None:
    assert lib.xxh64_bytes(data, len(data)) == xxh64(data)


@pytest.mark.parametrize("size", [*range(70), 4096, 65_537])
def test_it_is_so_at_every_size(size: int) -> None:
    data = bytes(i * 131 % 251 for i in range(size))
    assert lib.xxh64_bytes(data, size) == xxh64(data)


@pytest.mark.parametrize(
    ("data", "known"),
    [(b"", 0xEF46DB3751D8E999), (b"a", 0xD24EC4F1A98C6E5B), (b"abc", 0x44BC2CF5AD770999)],
)
def test_it_gives_published_values(data: bytes, known: int) -> None:
    assert lib.xxh64_bytes(data, len(data)) == known
