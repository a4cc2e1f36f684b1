"""The decoders: messages to rows, against Python's own readers, and on hostile input."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import struct
from collections.abc import Sequence
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.native import ffi, lib
from native.values import (
    MISSING,
    SLOT_NONE,
    Arena,
    block_of,
    message,
    pack,
    packed,
    shown,
)

NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
ANY = lib.TAG_MISSING


class Decoder:
    """A source's format for some wanted fields (a name, or a name and a declared type)."""

    def __init__(
        self,
        settings: dict[str, Any],
        wanted: Sequence[str | tuple[str, int]] = (),
        rest: bool = True,
        required: bool = False,
    ) -> None:
        self.names = [field if isinstance(field, str) else field[0] for field in wanted]
        types = [ANY if isinstance(field, str) else field[1] for field in wanted]
        self.fault = ffi.new("fault_t *")
        self.row = ffi.new("value_t[]", len(wanted) + 1)
        self.rest = len(wanted) if rest else SLOT_NONE
        items = [
            [name, slot, kind, required]
            for slot, (name, kind) in enumerate(zip(self.names, types, strict=True))
        ]
        value, _items = packed(items)
        fields = lib.fields_new(value, self.rest, self.fault)
        assert fields != ffi.NULL, message(self.fault)
        self.fields = ffi.gc(fields, lambda it: lib.fields_destroy(ffi.new("fields_t **", it)))
        value, self.memory = packed(settings)
        self.format = lib.format_new(value, self.fields, self.fault)
        self.state = ffi.NULL
        if self.format != ffi.NULL:
            self.state = lib.format_open(self.format)
        self.arena = Arena()

    def __enter__(self) -> Decoder:
        assert self.format != ffi.NULL, message(self.fault)
        return self

    def __exit__(self, *_: object) -> None:
        lib.format_close(self.format, ffi.new("format_state_t **", self.state))
        lib.format_destroy(ffi.new("format_t **", self.format))

    def decode(self, data: bytes) -> int:
        self.block = block_of(data)
        self.arena.arena.used = 0
        self.fault.reason = lib.REASON_NONE
        for slot in range(len(self.names) + 1):
            self.row[slot].tag = 77
        got = lib.format_decode(
            self.format, self.state, self.block, len(data), self.row, self.arena.arena, self.fault
        )
        if got == lib.DECODED_ROW and not lib.fields_check(self.fields, self.row, self.fault):
            got = lib.DECODED_FAULT
        # A later step's fault shows the raw bytes: a decoder leaves them as they were.
        assert bytes(ffi.buffer(self.block, len(data))) == data
        assert (got == lib.DECODED_FAULT) <= bool(message(self.fault))
        return int(got)

    def record(self, data: bytes) -> dict[str, Any]:
        """The wanted fields, and the whole record under None."""
        got = self.decode(data)
        assert got == lib.DECODED_ROW, message(self.fault)
        found = {name: shown(self.row[slot]) for slot, name in enumerate(self.names)}
        if self.rest != SLOT_NONE:
            found[None] = shown(self.row[self.rest])  # type: ignore[index]
        return {name: value for name, value in found.items() if value is not MISSING}

    def refuse(self, data: bytes) -> str:
        assert self.decode(data) == lib.DECODED_FAULT
        assert self.fault.reason in (lib.REASON_DECODE, lib.REASON_SCHEMA, lib.REASON_LIMIT)
        return message(self.fault)


def refused(settings: object) -> str:
    fault = ffi.new("fault_t *")
    nothing, _nothing = packed([])
    fields = lib.fields_new(nothing, SLOT_NONE, fault)
    value, _memory = packed(settings)
    assert lib.format_new(value, fields, fault) == ffi.NULL
    lib.fields_destroy(ffi.new("fields_t **", fields))
    return message(fault)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        [],
        {"kind": "xml"},
        {"kind": 3},
        {"kind": "csv"},
        {"kind": "csv", "columns": []},
        {"kind": "csv", "header": True, "delimiter": ";;"},
        {"kind": "csv", "header": True, "delimiter": "5"},
        {"kind": "csv", "header": True, "delimiter": '"'},
        {"kind": "csv", "header": True, "delimiter": "é"},
        {"kind": "csv", "columns": "abc"},
        {"kind": "csv", "columns": [1]},
        {"kind": "csv", "columns": ["x"] * 5000},
        {"kind": "binary"},
        {"kind": "binary", "fields": []},
        {"kind": "binary", "fields": [["a", "u8"]], "order": "middle"},
        {"kind": "binary", "fields": [["a", "u9"]]},
        {"kind": "binary", "fields": [["a", "s"]]},
        {"kind": "binary", "fields": [["a", "s0"]]},
        {"kind": "binary", "fields": [["a", "s99999999999"]]},
        {"kind": "binary", "fields": [["a"]]},
        {"kind": "binary", "fields": [["a", 1]]},
        {"kind": "binary", "fields": {}},
        {"kind": "binary", "fields": {"a": "u9"}},
        {"kind": "binary", "fields": ["a"]},
        {"kind": "binary", "fields": [["a", "u8"], ["a", "u8"]]},
    ],
)
def test_a_format_that_is_described_wrongly_is_refused(settings: object) -> None:
    assert refused(settings)


# ---- JSON, text, raw ----


def test_json_goes_through_the_same_door() -> None:
    with Decoder({"kind": "json"}, ["a", "b"]) as decoder:
        assert decoder.record(b'{"b":[1,2],"c":null,"a":1.5}') == {
            "a": 1.5,
            "b": [1, 2],
            None: {"b": [1, 2], "c": None, "a": 1.5},
        }
        assert decoder.decode(b"") == lib.DECODED_NOTHING
        assert decoder.refuse(b"{")


def test_text_is_one_field() -> None:
    with Decoder({"kind": "text"}, ["line", "other"]) as decoder:
        for text in ("", "one line", "größe " * 50):
            assert decoder.record(text.encode()) == {"line": text, None: {"line": text}}
        assert decoder.refuse(b"\xff")


def test_raw_is_one_field_of_any_bytes() -> None:
    with Decoder({"kind": "raw"}, ["data"]) as decoder:
        for data in (b"", b"\0\xff\n", bytes(range(256)) * 300):
            decoder.arena = Arena(1 << 18)
            assert decoder.record(data) == {"data": data, None: {"data": data}}


def test_a_record_beyond_the_scratch_memory_is_a_fault() -> None:
    for settings in ({"kind": "raw"}, {"kind": "csv", "columns": ["a"]}):
        with Decoder(settings) as decoder:
            decoder.arena = Arena(256)
            assert decoder.refuse(b'"' + b"x" * 500 + b'"')
            assert decoder.fault.reason == lib.REASON_LIMIT


def test_declared_types_are_held_against_every_format() -> None:
    """S1: what does not fit the schema is a fault of that record."""
    wanted = [("a", lib.TAG_INT)]
    cases: list[tuple[dict[str, Any], bytes, bytes]] = [
        ({"kind": "json"}, b'{"a":1}', b'{"a":"1"}'),
        ({"kind": "csv", "columns": ["a"]}, b"1", b"one"),
        ({"kind": "msgpack"}, pack({"a": 1}), pack({"a": "1"})),
        ({"kind": "binary", "fields": [["a", "i8"]]}, b"\1", b"\1\1"),
    ]
    for settings, good, bad in cases:
        with Decoder(settings, wanted, rest=False, required=True) as decoder:
            assert decoder.record(good) == {"a": 1}
            decoder.refuse(bad)
    with Decoder({"kind": "msgpack"}, wanted, required=True) as decoder:
        decoder.refuse(pack({}))
        assert decoder.fault.reason == lib.REASON_SCHEMA


# ---- CSV ----


def cell(text: str) -> Any:
    """What an undeclared cell means."""
    if NUMBER.fullmatch(text):
        number = json.loads(text)
        if isinstance(number, int) and not -(2**63) <= number < 2**63:
            number = float(number)
        return text if math.isinf(number) else number
    return text or None


CELLS = st.one_of(
    st.text('ab"",; \t\n1é', max_size=12),
    st.from_regex(r"\A-?[0-9]{0,20}\.?[0-9]{0,3}([eE]-?[0-9]{1,3})?\Z"),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**65), 2**65).map(str),
)


@given(
    st.lists(CELLS, min_size=1, max_size=9),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from([",", ";", "\t"]),
)
def test_csv_is_read_as_the_standard_library_writes_it(
    cells: list[str], quoting: int, delimiter: str
) -> None:
    out = io.StringIO()
    # The line end is also what the writer puts into quotes within a cell.
    csv.writer(out, quoting=quoting, delimiter=delimiter, lineterminator="\r\n").writerow(cells)  # type: ignore[arg-type]
    names = [f"c{index}" for index in range(len(cells))]
    settings = {"kind": "csv", "columns": names, "delimiter": delimiter}
    with Decoder(settings, names) as decoder:
        expected = {name: cell(text) for name, text in zip(names, cells, strict=True)}
        message = out.getvalue().removesuffix("\r\n").encode()
        assert decoder.record(message) == {**expected, None: expected}


def test_the_header_names_the_columns_once_per_partition() -> None:
    with Decoder({"kind": "csv", "header": True}, ["b", "none"]) as decoder:
        assert decoder.decode(b"") == lib.DECODED_NOTHING
        assert decoder.decode(b'\xef\xbb\xbfa,"b","c,""d"') == lib.DECODED_NOTHING
        whole = {"a": 1, "b": "x", 'c,"d': None}
        assert decoder.record(b"1,x,") == {"b": "x", None: whole}
        assert decoder.record(b"a,b,c")["b"] == "b"
        another = lib.format_open(decoder.format)
        decoder.state, first = another, decoder.state
        assert decoder.decode(b"b,a") == lib.DECODED_NOTHING
        assert decoder.record(b"1,2")["b"] == 1
        lib.format_close(decoder.format, ffi.new("format_state_t **", first))


def test_named_columns_pass_over_the_header() -> None:
    settings = {"kind": "csv", "header": True, "columns": ["x", "y"]}
    with Decoder(settings, ["y"], rest=False) as decoder:
        assert decoder.decode(b"a,b") == lib.DECODED_NOTHING
        assert decoder.record(b"1,2") == {"y": 2}


def test_a_second_format_reads_with_the_same_header() -> None:
    """The error output decodes a record once more, whole, when the flow wants a few fields only."""
    settings = {"kind": "csv", "header": True}
    with Decoder(settings, [("b", lib.TAG_STR), "z"], rest=False) as few, Decoder(settings) as all_:
        few.decode(b"a,b,c")
        assert few.record(b"1,2,x") == {"b": "2"}
        all_.state, own = few.state, all_.state
        assert all_.record(b"1,2,x") == {None: {"a": 1, "b": "2", "c": "x"}}
        all_.state = own


def test_a_line_end_is_no_part_of_the_record() -> None:
    """Datagrams bring it along."""
    with Decoder({"kind": "csv", "columns": ["a", "b"]}, rest=False, wanted=["b"]) as decoder:
        assert decoder.record(b"1,x\n") == decoder.record(b"1,x\r\n") == {"b": "x"}
        assert decoder.decode(b"\r\n") == lib.DECODED_NOTHING
    with Decoder({"kind": "text"}, ["line"], rest=False) as decoder:
        assert decoder.record(b"a \r\n") == {"line": "a "}
        assert decoder.record(b"a\n\n") == {"line": "a\n"}


def test_of_columns_with_one_name_the_last_counts() -> None:
    """S4 for JSON; the same for CSV."""
    with Decoder({"kind": "csv", "header": True}, ["a"]) as decoder:
        decoder.decode(b"a,b,a")
        assert decoder.record(b"1,2,3") == {"a": 3, None: {"b": 2, "a": 3}}


def test_a_header_that_cannot_be_read_is_not_guessed_from_the_data() -> None:
    for header in (b'a,"b', b"a,\xff", b",".join(b"c%d" % index for index in range(5000))):
        with Decoder({"kind": "csv", "header": True}, ["a"]) as decoder:
            decoder.refuse(header)
            assert "header" in decoder.refuse(b"1,2")


def test_a_record_has_as_many_cells_as_there_are_columns() -> None:
    with Decoder({"kind": "csv", "columns": ["a", "b", "c"]}, ["a"]) as decoder:
        assert "2 cells" in decoder.refuse(b"1,2")
        assert "more than 3" in decoder.refuse(b"1,2,3,4")
        assert decoder.record(b"1,2,") == {"a": 1, None: {"a": 1, "b": 2, "c": None}}


@pytest.mark.parametrize("line", [b'"a', b'"a""', b'"a"b', b'"a" ,1', b'1,"', b'"a\nb', b"\xc3,1"])
def test_broken_quotes_and_text_are_faults(line: bytes) -> None:
    with Decoder({"kind": "csv", "columns": ["a", "b"]}, ["a"]) as decoder:
        decoder.refuse(line)


def test_declared_types_decide_what_a_cell_is() -> None:
    wanted = [("s", lib.TAG_STR), ("b", lib.TAG_BOOL), ("f", lib.TAG_FLOAT), "any"]
    settings = {"kind": "csv", "columns": ["s", "b", "f", "any"]}
    with Decoder(settings, wanted, rest=False) as decoder:
        assert decoder.record(b"007,true,3,true") == {
            "s": "007",
            "b": True,
            "f": 3.0,
            "any": "true",
        }
        assert decoder.record(b'"1",false,,"2"') == {"s": "1", "b": False, "f": None, "any": 2}
        assert decoder.record(b"1,,2,0123") == {"s": "1", "b": None, "f": 2.0, "any": "0123"}
        decoder.refuse(b"x,yes,1,1")
        decoder.refuse(b"x,true,cold,1")


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_as_csv_are_a_record_or_a_fault(data: bytes, header: bool) -> None:
    settings = {"kind": "csv", "header": header, "columns": [] if header else ["a", "b"]}
    with Decoder(settings, ["a", ("b", lib.TAG_FLOAT)]) as decoder:
        for line in data.split(b"\n"):
            decoder.decode(line)


# ---- msgpack ----

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=9),
    st.binary(max_size=9),
)
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=8,
)
RECORDS = st.dictionaries(st.text("abcd", max_size=2), NESTED, max_size=9)


def inside(thing: Any) -> Any:
    """Integers beyond 64 bits are floats."""
    if isinstance(thing, int) and thing > 2**63 - 1:
        return float(thing)
    return thing


def same(a: Any, b: Any) -> bool:
    """Equal in type and in value; NaN is itself."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[name], b[name]) for name in a)
    return type(a) is type(b) and (a == b or (a != a and b != b))


@given(RECORDS)
def test_msgpack_is_read_as_python_reads_it(record: dict[str, Any]) -> None:
    data = msgpack.packb(record)
    expected = msgpack.unpackb(data)
    with Decoder({"kind": "msgpack"}, ["a", "b", "cd"]) as decoder:
        found = decoder.record(data)
        assert same(found.pop(None), expected)  # type: ignore[call-overload]
        assert list(found) == [name for name in ("a", "b", "cd") if name in record]
        assert all(same(value, inside(expected[name])) for name, value in found.items())


@given(st.floats(width=32))
def test_a_short_float_is_read_exactly(number: float) -> None:
    with Decoder({"kind": "msgpack"}, ["a"]) as decoder:
        found = decoder.record(msgpack.packb({"a": number}, use_single_float=True))
        assert same(found["a"], number)


def accepted(data: bytes) -> dict[str, Any] | None:
    """What Python makes of it, by our rules: one map, text keys, no extensions, at most 64 deep."""

    def check(thing: Any, depth: int) -> None:
        if isinstance(thing, dict | list) and depth > 64:
            raise ValueError
        if isinstance(thing, msgpack.Timestamp):
            raise ValueError
        for item in (
            thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list) else ()
        ):
            check(item, depth + 1)

    def pairs(items: list[tuple[Any, Any]]) -> dict[str, Any]:
        if not all(isinstance(name, str) for name, _ in items):
            raise ValueError
        return dict(items)

    def ext(code: int, body: bytes) -> Any:
        raise ValueError(code, body)

    try:
        thing = msgpack.unpackb(data, strict_map_key=False, object_pairs_hook=pairs, ext_hook=ext)
        check(thing, 1)
    except (ValueError, msgpack.UnpackException):
        return None
    return thing if isinstance(thing, dict) else None


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(msgpack.packb(draw(RECORDS)))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(data) - 1)) if data else 0
        match draw(st.integers(0, 3)):
            case 0 if data:
                data[place] = draw(st.integers(0, 255))
            case 1:
                del data[place:]
            case 2:
                data[place:place] = draw(st.binary(max_size=6))
            case _:
                data[place:place] = draw(
                    st.sampled_from([b"\xc7\x08\1", b"\xd7\1", b"\xdf\xff\xff\xff\xff", b"\xc1"])
                )
    return bytes(data)


@given(st.one_of(mutated(), st.binary(max_size=60)))
def test_hostile_msgpack_is_refused_exactly_where_python_would(data: bytes) -> None:
    expected = accepted(data)
    with Decoder({"kind": "msgpack"}, ["a", "b"]) as decoder:
        if expected is None:
            decoder.refuse(data)
        else:
            found = decoder.record(data)
            assert same(found.pop(None), expected)  # type: ignore[call-overload]
            assert found.keys() == expected.keys() & {"a", "b"}


def nested(depth: int) -> bytes:
    """A map with `depth` containers in each other, itself counted."""
    return b"\x81\xa1a" + b"\x91" * (depth - 1) + b"\xc0"


def test_nesting_has_a_limit() -> None:
    with Decoder({"kind": "msgpack"}, ["a"]) as decoder:
        assert decoder.record(nested(64))[None]  # type: ignore[index]
        assert "deep" in decoder.refuse(nested(65))
        assert "deep" in decoder.refuse(nested(100_000))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a map"),
        (b"\x90", "not a map"),
        (b"\x80\x80", "follow"),
        (b"\x81\xa1a", "short"),
        (b"\x81\xa1a\xa5abcd", "short"),
        (b"\x81\xa1a\xdb\xff\xff\xff\xff", "short"),
        (b"\xdf\xff\xff\xff\xff", "short"),
        (b"\x81\xa1a\xdd\xff\xff\xff\xff\xc0", "short"),
        (b"\x81\xa1a\xdf\x80\x00\x00\x00\xa1a\xc0", "short"),
        (b"\x81\x01\x01", "key"),
        (b"\x81\xc4\x01a\x01", "key"),
        (b"\x81\xa1a\x81\x01\x01", "key"),
        (b"\x81\xa1a\xc1", "0xc1"),
        (b"\x81\xa1a\xd7\x01" + bytes(8), "extension"),
        (b"\x81\xa1a\x91\xc7\x08\x01" + bytes(8), "extension"),
        (b"\x81\xa1a\xd6\xff" + bytes(4), "extension"),
        (b"\x81\xa1a\xa1\xff", "UTF-8"),
        (b"\x81\xa1\xff\x01", "UTF-8"),
        (b"\x81\xa1z\x91\xa3\xed\xa0\x80", "UTF-8"),
    ],
)
def test_broken_msgpack_says_what_is_wrong(data: bytes, why: str) -> None:
    with Decoder({"kind": "msgpack"}, ["a"]) as decoder:
        assert why in decoder.refuse(data)


def test_of_equal_keys_the_last_wins() -> None:
    """S4."""
    with Decoder({"kind": "msgpack"}, ["a"]) as decoder:
        assert decoder.record(b"\x83\xa1a\x01\xa1b\x02\xa1a\x03")["a"] == 3


# ---- binary ----

TYPES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i8": "b", "i16": "h", "i32": "i",
         "i64": "q", "f32": "f", "f64": "d", "s3": "3s", "s9": "9s"}  # fmt: skip


def binary(types: Sequence[str], order: str = "big") -> dict[str, Any]:
    fields = [[f"f{index}", kind] for index, kind in enumerate(types)]
    return {"kind": "binary", "order": order, "fields": fields}


@given(
    st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=8),
    st.sampled_from(["big", "little"]),
    st.data(),
)
def test_binary_messages_are_read_as_struct_reads_them(
    types: list[str], order: str, data: st.DataObject
) -> None:
    layout = struct.Struct((">" if order == "big" else "<") + "".join(TYPES[t] for t in types))
    blob = data.draw(st.binary(min_size=layout.size, max_size=layout.size))
    names = [f"f{index}" for index in range(len(types))]
    expected, is_text = {}, True
    for name, value in zip(names, layout.unpack(blob), strict=True):
        if isinstance(value, bytes):
            try:
                value = value.rstrip(b"\0").decode()
            except UnicodeDecodeError:
                is_text = False
        expected[name] = inside(value)
    with Decoder(binary(types, order), [*names[::2], "absent"]) as decoder:
        if not is_text:
            assert "UTF-8" in decoder.refuse(blob)
            return
        found = decoder.record(blob)
        assert same(found.pop(None), expected)  # type: ignore[call-overload]
        assert same(found, {name: expected[name] for name in names[::2]})


def test_binary_fields_may_be_a_map_in_order() -> None:
    settings = {"kind": "binary", "fields": {"b": "u8", "a": "u16"}}
    with Decoder(settings, ["a", "b"], rest=False) as decoder:
        assert decoder.record(b"\1\2\3") == {"a": 0x203, "b": 1}


def test_a_binary_message_has_exactly_its_size() -> None:
    with Decoder(binary(["u8", "f32"]), ["f0"], rest=False) as decoder:
        assert decoder.record(b"\7" + bytes(4)) == {"f0": 7}
        for size in (0, 4, 6, 100):
            assert "5" in decoder.refuse(bytes(size))
