"""msgpack: written as the library writes it, read as strictly as S1 asks, safe on hostile bytes."""

from __future__ import annotations

import math
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.native import ffi, lib
from native.values import Arena, Time, message, pack, packed, shown, unpack

DEPTH_MAX = 64
INTS = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    INTS,
    st.floats(allow_nan=False),
    st.text(max_size=40),
    st.binary(max_size=40),
    INTS.map(Time),
)
THINGS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=20), st.dictionaries(st.text(max_size=10), inner, max_size=20)
    ),
    max_leaves=20,
)


class Refused(Exception):
    pass


def read(data: bytes) -> tuple[Any, int]:
    """The value and the bytes it took; not one byte is readable behind `data`."""
    block = ffi.from_buffer(bytearray(data or b"\0"))
    start, value = ffi.cast("char *", block), ffi.new("value_t *")
    end = lib.pack_read(start, start + len(data), value)
    if end == ffi.NULL:
        raise Refused
    return shown(value), end - start


def written(thing: object) -> bytes:
    value, _memory = packed(thing)
    out = ffi.new("buffer_t *")
    assert lib.pack_write(out, value)
    data = bytes(ffi.buffer(out.data, out.size))
    lib.buffer_free(out)
    return data


def depth(thing: object) -> int:
    if isinstance(thing, dict | list):
        items = thing.values() if isinstance(thing, dict) else thing
        return 1 + max(map(depth, items), default=0)
    return 0


def library_read(data: bytes) -> tuple[Any, int]:
    """The same by the library, with our rules on top."""

    def time(code: int, body: bytes) -> Time:
        if code != 1 or len(body) != 8:
            raise Refused
        return Time(int.from_bytes(body, "big", signed=True))

    def map_of(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
        if any(not isinstance(name, str) for name, _ in pairs):
            raise Refused
        return dict(pairs)

    def checked(thing: Any) -> Any:
        if isinstance(thing, msgpack.Timestamp):
            raise Refused
        if isinstance(thing, dict):
            return {name: checked(item) for name, item in thing.items()}
        return [checked(item) for item in thing] if isinstance(thing, list) else thing

    unpacker = msgpack.Unpacker(ext_hook=time, object_pairs_hook=map_of, strict_map_key=False)
    unpacker.feed(data)
    try:
        thing = checked(unpacker.unpack())
    except (ValueError, msgpack.UnpackException, UnicodeDecodeError) as error:
        raise Refused from error
    if depth(thing) > DEPTH_MAX:
        raise Refused
    if isinstance(thing, int) and not isinstance(thing, Time) and thing >= 2**63:
        thing = float(thing)
    return thing, unpacker.tell()


@given(THINGS)
def test_s1_what_is_written_is_what_the_library_writes_and_reads_back(thing: Any) -> None:
    data = written(thing)
    assert data == pack(thing)
    assert read(data + b"\xc1") == (thing, len(data))


@pytest.mark.parametrize("count", [0, 15, 16, 31, 32, 255, 256, 65535, 65536])
def test_every_width_of_a_head(count: int) -> None:
    for thing in ["x" * count, b"x" * count, [1] * count, {str(i): i for i in range(count)}]:
        data = written(thing)
        assert data == pack(thing)
        assert read(data) == (thing, len(data))


@given(
    st.one_of(
        st.binary(max_size=60),
        st.tuples(
            THINGS.map(pack), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)))
        ).map(lambda pair: mutated(*pair)),
    )
)
@example(b"\xdd\xff\xff\xff\xff" + b"\x91" * 50)
@example(b"\xdf\xff\xff\xff\xff\xa1a")
@example(b"\xdb\xff\xff\xff\xffabc")
@example(b"\xcf" + b"\xff" * 8)
@example(b"\x81\x01\x02")
@example(b"\xa2\xed\xa0")
@example(b"\xc7\x08\x01" + b"\0" * 8)
@example(b"\xd7\x02" + b"\0" * 8)
def test_hostile_bytes_are_read_or_refused_as_the_library_does(data: bytes) -> None:
    try:
        expected = library_read(data)
    except Refused:
        with pytest.raises(Refused):
            read(data)
        return
    # What is inside a container stays as it is, so that only a lone int becomes a float.
    assert repr(read(data)) == repr(expected)


def mutated(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for place, byte in changes:
        changed[place % len(changed)] = byte
    return bytes(changed)


@given(THINGS)
def test_every_cut_is_refused(thing: Any) -> None:
    data = pack(thing)
    for size in range(len(data)):
        with pytest.raises(Refused):
            read(data[:size])


def test_nesting_ends_at_64() -> None:
    assert read(b"\x91" * (DEPTH_MAX - 1) + b"\x90")[1] == DEPTH_MAX
    with pytest.raises(Refused):
        read(b"\x91" * DEPTH_MAX + b"\x90")
    with pytest.raises(Refused):
        read(b"\x81\xa1a" * 100_000)


def raw_map(pairs: list[tuple[str, Any]]) -> bytes:
    """A map that may name a field twice, which no dict can."""
    packer = msgpack.Packer()
    head: bytes = packer.pack_map_header(len(pairs))
    return head + b"".join(pack(name) + pack(item) for name, item in pairs)


PAIRS = st.lists(
    st.tuples(
        st.one_of(st.sampled_from(["a", "b", "", "device"]), st.text(max_size=3)),
        st.one_of(SCALARS, st.lists(SCALARS, max_size=3)),
    ),
    max_size=40,
)


@given(PAIRS)
def test_s4_the_last_of_equal_names_is_found(pairs: list[tuple[str, Any]]) -> None:
    data = raw_map(pairs)
    block, value = ffi.new("char[]", data), ffi.new("value_t *")
    assert lib.pack_read(block, block + len(data), value) != ffi.NULL
    found = ffi.new("value_t *")
    for name in {*dict(pairs), "absent"}:
        text = name.encode()
        is_there = lib.pack_get(value, text, len(text), found)
        assert is_there == (name in dict(pairs))
        if is_there:
            assert repr(shown(found)) == repr(dict(pairs)[name])


@given(PAIRS)
def test_s4_equal_names_become_one_as_in_a_dict(pairs: list[tuple[str, Any]]) -> None:
    data = raw_map(pairs)
    block, value, scratch = ffi.new("char[]", data), ffi.new("value_t *"), Arena()
    assert lib.pack_read(block, block + len(data), value) != ffi.NULL
    assert lib.pack_unique(value, scratch.arena)
    assert repr(shown(value)) == repr(dict(pairs))
    assert bytes(ffi.buffer(value.p, value.size)) == pack(dict(pairs))
    if len(dict(pairs)) == len(pairs):
        assert scratch.arena.used == 0


def test_equal_names_without_room_to_sort_them_are_said_so() -> None:
    data = raw_map([("a", 1), ("a", 2)])
    block, value, scratch = ffi.new("char[]", data), ffi.new("value_t *"), Arena(size=80)
    assert lib.pack_read(block, block + len(data), value) != ffi.NULL
    assert not lib.pack_unique(value, scratch.arena)
    assert scratch.arena.used == 0


def test_a_full_buffer_refuses_and_stays_as_it_was() -> None:
    out = ffi.new("buffer_t *", {"limit": 300})
    value, _memory = packed("x" * 200)
    assert lib.pack_write(out, value)
    size = out.size
    assert not lib.pack_write(out, value)
    assert out.size == size and out.capacity <= 300
    lib.buffer_free(out)
    assert out.data == ffi.NULL


# ---- fields ----


def fields_of(items: object) -> tuple[Any, Any]:
    fault = ffi.new("fault_t *")
    value, _memory = packed(items)
    fields = lib.fields_new(value, 0xFFFF, fault)
    return (ffi.gc(fields, lambda it: lib.fields_destroy(ffi.new("fields_t **", it))), fault)


@pytest.mark.parametrize(
    "items",
    [
        7,
        [7],
        [["a", 0, 0]],
        [["a", -1, 0, False]],
        [["a", 65535, 0, False]],
        [["a", 0, 10, False]],
        [[b"a", 0, 0, False]],
        [["a", 0, 0, 1]],
        [["a", 0, 0, False], ["a", 1, 0, False]],
        [[str(i), i, 0, False] for i in range(4097)],
    ],
)
def test_fields_that_are_malformed_are_refused_with_a_message(items: object) -> None:
    fields, fault = fields_of(items)
    assert fields == ffi.NULL
    assert "fields" in message(fault)


def test_a_field_is_found_by_name_whatever_the_hint() -> None:
    names = ["device", "ts", "a much longer name", ""]
    fields, _ = fields_of([[name, slot, 0, False] for slot, name in enumerate(names)])
    for hint in range(-1, 6):
        for index, name in enumerate(names):
            assert lib.fields_find(fields, name.encode(), len(name), hint) == index
        assert lib.fields_find(fields, b"devic", 5, hint) == -1


def check(kind: int, required: bool, thing: object) -> tuple[Any, str]:
    """What a declared field makes of a value; the fault's message, empty for none."""
    fields, fault = fields_of([["temp", 0, kind, required]])
    value, _memory = packed(thing)
    row = ffi.new("value_t[]", [value[0]])
    return (shown(row[0]), "") if lib.fields_check(fields, row, fault) else (None, message(fault))


@pytest.mark.parametrize(
    ("kind", "thing"),
    [
        (lib.TAG_BOOL, True),
        (lib.TAG_INT, 5),
        (lib.TAG_FLOAT, 2.5),
        (lib.TAG_TIME, Time(9)),
        (lib.TAG_STR, "x"),
        (lib.TAG_BYTES, b"x"),
        (lib.TAG_LIST, [1]),
        (lib.TAG_MAP, {"a": 1}),
        (lib.TAG_MISSING, "anything"),
    ],
)
def test_s1_a_value_of_its_declared_type_stays(kind: int, thing: object) -> None:
    assert check(kind, True, thing) == (thing, "")


def test_s1_an_int_fits_a_float_and_nothing_else_does() -> None:
    number, fault = check(lib.TAG_FLOAT, True, 3)
    assert fault == "" and isinstance(number, float) and math.isclose(number, 3.0)
    assert check(lib.TAG_INT, True, 3.0)[1] == 'field "temp" is float, not int'
    assert check(lib.TAG_FLOAT, True, "3")[1] == 'field "temp" is str, not float'
    assert check(lib.TAG_INT, True, True)[1] == 'field "temp" is bool, not int'


def test_s1_only_a_field_with_a_question_mark_may_be_null() -> None:
    assert check(lib.TAG_INT, False, None) == (None, "")
    assert check(lib.TAG_INT, True, None)[1] == 'field "temp" is null'


def test_a_time_is_written_as_ext_type_1() -> None:
    assert written(Time(1)) == b"\xd7\x01" + b"\0" * 7 + b"\x01"
    assert unpack(written([Time(-1)])) == [Time(-1)]
