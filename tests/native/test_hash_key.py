"""Keys are canonical bytes (S10), and their hash spreads them evenly and never changes."""

from __future__ import annotations

import math
import random
import zlib
from collections import Counter
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.native import ffi, lib
from native.values import Time, block_of, message, pack, packed, shown

MASK = 2**64 - 1
SEED, LEFT, RIGHT, LAST = (
    0x6A09E667F3BCC909,
    0xBB67AE8584CAA73B,
    0x3C6EF372FE94F82B,
    0xA54FF53A5F1D36F1,
)
SHARDS = 64

scalars = st.one_of(
    st.text(max_size=50),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.integers(-(2**53), 2**53).map(float),
    st.booleans(),
    st.binary(max_size=50),
    st.integers(-(2**62), 2**62).map(Time),
)


def folded(a: int, b: int) -> int:
    product = a * b
    return (product & MASK) ^ (product >> 64)


def hash_bytes(data: bytes) -> int:
    """native/src/hash.c in plain Python."""
    state = SEED
    for at in range(0, max(len(data), 1), 16):
        block = data[at : at + 16].ljust(16, b"\0")
        left, right = int.from_bytes(block[:8], "little"), int.from_bytes(block[8:], "little")
        turned = ((right << 32) | (right >> 32)) & MASK
        state = (folded(left ^ LEFT ^ state, right ^ RIGHT) + (left ^ turned)) & MASK
    return folded(state ^ LAST, (len(data) * 2 + SEED) & MASK)


def hashed(data: bytes) -> int:
    return int(lib.hash_bytes(block_of(data), len(data)))


def canonical(values: list[Any]) -> bytes:
    """A key in plain Python: an integral float is its int."""

    def own(value: Any) -> Any:
        fits = type(value) is float and math.isfinite(value) and value == int(value)
        return int(value) if fits and -(2**63) <= value < 2**63 else value

    return b"".join(pack(own(value)) for value in values)


class Refused(Exception):
    pass


def make(values: list[Any], null_allowed: bool = False) -> tuple[bytes, int, list[Any]]:
    """The key of some values: its bytes, its hash, and the values read back from it."""
    row, memory = ffi.new("value_t[]", len(values) + 1), []
    for slot, value in enumerate(values):
        native, block = packed(value)
        row[slot] = native[0]
        memory.append(block)
    slots = ffi.new("uint16_t[]", list(range(len(values))))
    out, key, fault = ffi.new("buffer_t *"), ffi.new("bkey_t *"), ffi.new("fault_t *")
    try:
        if not lib.key_make(row, slots, len(values), null_allowed, out, key, fault):
            assert fault.reason == lib.REASON_KEY
            raise Refused(message(fault))
        lib.key_read(key, row, slots, len(values))
        data = bytes(ffi.buffer(key.bytes, key.size))
        return data, int(key.hash), [shown(row[slot]) for slot in range(len(values))]
    finally:
        lib.buffer_free(out)


@given(st.binary(max_size=100))
def test_the_hash_is_that_of_plain_python(data: bytes) -> None:
    assert hashed(data) == hash_bytes(data)


def test_the_hash_never_changes() -> None:
    """Shards on disk and on other boxes depend on it."""
    assert [hashed(data) for data in (b"", b"\xa2d1", b"0123456789abcdef", b"x" * 33)] == [
        0xB6AE07679D180E7F,
        0xBC1D374071883CF4,
        0x7425BB1E861C477D,
        0x6F5AB9B088FF9DC2,
    ]


def test_each_bit_of_a_key_turns_each_bit_of_its_hash_half_of_the_time() -> None:
    draw = random.Random(1)
    for size in (2, 5, 8, 12, 16, 17, 31, 40):
        turned = [0] * 64
        trials = 0
        for _ in range(60):
            data = draw.randbytes(size)
            before = hashed(data)
            for bit in draw.sample(range(8 * size), min(8 * size, 32)):
                other = bytearray(data)
                other[bit // 8] ^= 1 << bit % 8
                difference = before ^ hashed(bytes(other))
                trials += 1
                for place in range(64):
                    turned[place] += difference >> place & 1
        shares = [count / trials for count in turned]
        assert min(shares) > 0.4 and max(shares) < 0.6, size


@pytest.mark.parametrize("form", ["d{:04d}", "sensor-{}", "{}", "plant/line-7/motor-{:06d}/x"])
def test_counted_names_spread_over_shards_and_places(form: str) -> None:
    keys = [make([form.format(number)])[1] for number in range(6400)]
    shards = Counter(key >> 58 for key in keys)
    places = Counter(key & 63 for key in keys)
    assert len(set(keys)) == len(keys)
    for spread in (shards, places):
        assert len(spread) == SHARDS
        assert min(spread.values()) > 50 and max(spread.values()) < 160


@given(st.binary(max_size=300))
def test_crc32_is_that_of_zlib(data: bytes) -> None:
    assert lib.crc32_bytes(block_of(data), len(data)) == zlib.crc32(data)


@given(st.lists(scalars, max_size=4))
def test_a_key_is_its_typed_values_s10(values: list[Any]) -> None:
    data, found, read = make(values)
    assert data == canonical(values)
    assert found == hash_bytes(data)
    assert [(type(a), a) for a in read] == [
        (int if type(b) is float and type(a) is int else type(b), b)
        for a, b in zip(read, values, strict=True)
    ]


@pytest.mark.parametrize("size", range(40))
def test_text_of_every_short_size_is_hashed_without_being_read_back(size: int) -> None:
    text = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEF"[:size]
    data, found, read = make([text])
    assert data == msgpack.packb(text)
    assert found == hash_bytes(data)
    assert read == [text]


def test_equal_numbers_are_one_key_and_nothing_else_is_s10() -> None:
    one = make([1])[0]
    assert make([1.0])[0] == one
    assert make([-0.0])[0] == make([0])[0]
    others = ["1", True, b"1", Time(1), 1.5]
    assert len({one, *(make([other])[0] for other in others)}) == 1 + len(others)
    assert make(["a", "bc"])[0] != make(["ab", "c"])[0]


def test_null_is_a_key_only_where_it_is_allowed_s10() -> None:
    with pytest.raises(Refused, match="null"):
        make(["a", None])
    assert make(["a", None], null_allowed=True)[2] == ["a", None]


@pytest.mark.parametrize("value", [math.nan, [1], {"a": 1}])
def test_what_has_no_equality_is_no_key_s10(value: Any) -> None:
    with pytest.raises(Refused):
        make([value], null_allowed=True)
