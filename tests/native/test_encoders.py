"""The encoders: rows to the bytes of a sink, all of a record or nothing of it."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import struct
from collections.abc import Sequence
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.native import ffi, lib
from native.values import MISSING, Time, message, packed

MS = 1000
NOON = Time(1_767_355_200_123_000)  # 2026-01-02T12:00:00.123Z


class Sink:
    """An encoder, a layout of `names` (and a rest with `hidden` names), and what was written."""

    def __init__(
        self,
        settings: dict[str, Any],
        names: Sequence[str],
        hidden: Sequence[str] | None = None,
        unit: str = "ms",
    ) -> None:
        self.names = list(names)
        self.fault = ffi.new("fault_t *")
        self.row = ffi.new("value_t[]", len(names) + 1)
        self.started = ffi.new("bool *")
        self.nans = ffi.new("uint64_t *")
        self.out = ffi.gc(ffi.new("buffer_t *"), lib.buffer_free)
        layout = {
            "entries": [[name, slot] for slot, name in enumerate(names)],
            "rest": -1 if hidden is None else len(names),
            "hidden": list(hidden or []),
            "unit": unit,
        }
        value, self.layout_memory = packed(layout)
        self.layout = lib.layout_new(value, self.fault)
        assert self.layout != ffi.NULL, message(self.fault)
        value, self.settings_memory = packed(settings)
        self.encoder = lib.encoder_new(value, self.fault)
        assert self.encoder != ffi.NULL, message(self.fault)

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_: object) -> None:
        lib.encoder_destroy(ffi.new("encoder_t **", self.encoder))
        lib.layout_destroy(ffi.new("layout_t **", self.layout))

    def put(self, values: Sequence[Any], rest: dict[str, Any] | None = None) -> bool:
        self.memory = []
        for slot, thing in enumerate([*values, MISSING if rest is None else rest]):
            if thing is MISSING:
                self.row[slot].tag = lib.TAG_MISSING
                continue
            value, memory = packed(thing)
            self.row[slot] = value[0]
            self.memory.append(memory)
        before = self.written(), self.nans[0], self.started[0]
        done = lib.encoder_write(
            self.encoder, self.layout, self.row, self.started, self.out, self.nans, self.fault
        )
        if not done:
            assert (self.written(), self.nans[0], self.started[0]) == before
            assert message(self.fault)
        return bool(done)

    def written(self) -> bytes:
        return bytes(ffi.buffer(self.out.data, self.out.size)) if self.out.size else b""

    def write(self, *values: Any, rest: dict[str, Any] | None = None) -> bytes:
        """The bytes that this record added."""
        size = len(self.written())
        assert self.put(values, rest), message(self.fault)
        return self.written()[size:]

    def refuse(self, *values: Any, rest: dict[str, Any] | None = None) -> str:
        assert not self.put(values, rest)
        assert self.fault.reason in (lib.REASON_ENCODE, lib.REASON_LIMIT)
        return message(self.fault)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        [],
        {"kind": "xml"},
        {"kind": "json", "frame": "rings"},
        {"kind": "json", "frame": {"delimiter": b""}},
        {"kind": "json", "frame": {"delimiter": b"x" * 17}},
        {"kind": "json", "frame": {"delimiter": 1}},
        {"kind": "text", "template": 5},
        {"kind": "text", "template": "{a"},
        {"kind": "text", "template": "a}"},
        {"kind": "text", "template": "{}"},
        {"kind": "text", "template": "{a{b}}"},
        {"kind": "csv", "delimiter": "ab"},
        {"kind": "csv", "columns": "a"},
        {"kind": "csv", "columns": [1]},
        {"kind": "binary"},
        {"kind": "binary", "fields": [["a", "u7"]]},
    ],
)
def test_a_format_that_is_described_wrongly_is_refused(settings: object) -> None:
    fault = ffi.new("fault_t *")
    value, _memory = packed(settings)
    assert lib.encoder_new(value, fault) == ffi.NULL
    assert message(fault)


# ---- frames ----


@pytest.mark.parametrize(
    ("frame", "framed"),
    [
        ("lines", b"abc\n"),
        ("u32", b"\0\0\0\3abc"),
        ("none", b"abc"),
        ({"delimiter": b"\0\xff"}, b"abc\0\xff"),
        (None, b"abc\n"),
    ],
)
def test_every_frame_goes_around_every_record(frame: object, framed: bytes) -> None:
    with Sink({"kind": "text", "template": "a{b}c", "frame": frame}, ["b"]) as sink:
        assert sink.write("b") == framed
        assert sink.write("b") == framed


def test_bytes_have_a_length_in_front_unless_told_otherwise() -> None:
    with Sink({"kind": "raw"}, ["data"]) as sink:
        assert sink.write(b"\n") == b"\0\0\0\1\n"
    with Sink({"kind": "msgpack"}, ["a"]) as sink:
        assert sink.write(1) == b"\0\0\0\4\x81\xa1a\1"


def test_a_full_buffer_takes_no_half_records() -> None:
    for settings in (
        {"kind": "json"},
        {"kind": "text", "template": "{data}"},
        {"kind": "csv"},
        {"kind": "msgpack"},
        {"kind": "raw"},
        {"kind": "binary", "fields": [["data", "s3000"]]},
    ):
        with Sink(settings, ["data"]) as sink:
            sink.out.limit = 4096
            sink.write("x" * 3000)
            assert sink.refuse("x" * 3000)
            assert len(sink.written()) < 3100
            if settings["kind"] != "binary":
                sink.write("y")


# ---- JSON ----


def test_json_goes_through_the_same_door() -> None:
    """S4: NaN is written as null, and counted."""
    with Sink({"kind": "json", "frame": "lines"}, ["a", "b", "t"]) as sink:
        assert sink.write(1, math.nan, NOON) == b'{"a":1,"b":null,"t":1767355200123}\n'
        assert sink.nans[0] == 1
        assert sink.write([1, {"x": None}], MISSING, None) == b'{"a":[1,{"x":null}],"t":null}\n'
    with Sink({"kind": "json", "frame": "u32"}, ["a"], hidden=["h"]) as sink:
        body = b'{"b":2,"a":1}'
        assert sink.write(1, rest={"b": 2, "h": 3}) == struct.pack(">I", len(body)) + body


def test_a_time_that_no_text_can_tell_is_null() -> None:
    """As NaN in S4: counted. Only a binary field has no null."""
    expected = {
        "json": b'{"a":null,"t":null}',
        "csv": b",",
        "text": b"null null",
        "msgpack": msgpack.packb({"a": math.nan, "t": None}),
    }
    for kind, written in expected.items():
        settings = {"kind": kind, "template": "{a} {t}", "frame": "none"}
        with Sink(settings, ["a", "t"], unit="rfc3339") as sink:
            assert sink.write(math.nan, Time(2**62)) == written
            assert sink.nans[0] == (1 if kind == "msgpack" else 2)
            assert b"2026-01-02T12:00:00.123" in sink.write(1, NOON)
    with Sink({"kind": "binary", "fields": [["t", "s30"]]}, ["t"], unit="rfc3339") as sink:
        sink.refuse(Time(2**62))
        assert b"2026-01-02T12:00:00.123" in sink.write(NOON)


# ---- text ----


def test_a_template_shows_values_as_people_write_them() -> None:
    with Sink(
        {"kind": "text", "template": "{word} => {count} {{{x}}}"}, ["word", "count", "x"]
    ) as sink:
        assert sink.write("a b", 3, 1.5) == b"a b => 3 {1.5}\n"
        assert sink.write("", True, None) == b" => true {null}\n"
        assert sink.write(MISSING, [1, "a"], {"k": b"x"}) == b'null => [1,"a"] {{"k":"eA=="}}\n'
        assert sink.write(b"\0\xff", NOON, -0.0) == b"AP8= => 1767355200123 {-0.0}\n"


def test_a_template_writes_text_as_it_is() -> None:
    """Even a newline inside lines: it is the receiver's choice of format."""
    with Sink({"kind": "text", "template": "{a}"}, ["a"]) as sink:
        assert sink.write('x\n"\\') == b'x\n"\\\n'


def test_a_template_finds_fields_of_an_open_record() -> None:
    with Sink({"kind": "text", "template": "{a},{b},{h},{none}"}, ["a"], hidden=["h"]) as sink:
        assert sink.write(1, rest={"a": 9, "b": 2, "h": 3}) == b"1,2,null,null\n"
        assert sink.write(MISSING, rest={"a": 9}) == b"null,null,null,null\n"


def test_times_as_text_stand_without_quotes() -> None:
    with Sink({"kind": "text", "template": "{t}"}, ["t"], unit="rfc3339") as sink:
        assert sink.write(NOON) == b"2026-01-02T12:00:00.123000Z\n"


def test_text_without_a_template_writes_lines() -> None:
    """What the source format `text` read."""
    with Sink({"kind": "text"}, ["line"]) as sink:
        assert sink.write("as it came") == b"as it came\n"


# ---- CSV ----


def shown_in_csv(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return repr(value) if math.isfinite(value) else ""
        case bytes():
            return base64.b64encode(value).decode()
        case list() | dict():
            return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return str(value)


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text('ab"",;\t\r\n é', max_size=12),
    st.binary(max_size=9),
    st.lists(st.integers(0, 9), max_size=3),
)


@given(
    st.lists(CELLS, min_size=1, max_size=6), st.sampled_from([",", ";", "\t", "/"]), st.booleans()
)
def test_csv_is_what_the_standard_library_reads(
    values: list[Any], delimiter: str, header: bool
) -> None:
    names = [f'c{delimiter}"{index}' for index in range(len(values))]
    settings = {"kind": "csv", "header": header, "delimiter": delimiter}
    with Sink(settings, names) as sink:
        sink.write(*values)
        sink.write(*values)
        text = io.StringIO(sink.written().decode(), newline="")
        rows = list(csv.reader(text, delimiter=delimiter, strict=True))
        assert sink.nans[0] == 2 * sum(
            isinstance(value, float) and not math.isfinite(value) for value in values
        )
    expected = [shown_in_csv(value) for value in values]
    assert rows == [names] * header + [expected, expected]


def test_a_csv_header_is_its_own_message_and_comes_once() -> None:
    settings = {"kind": "csv", "header": True, "frame": "u32"}
    with Sink(settings, ["a", "b"]) as sink:
        assert sink.write(1, MISSING) == b"\0\0\0\3a,b\0\0\0\2" + b"1,"
        assert sink.write("x", 2) == b"\0\0\0\3x,2"


def test_named_columns_choose_and_order_the_cells() -> None:
    """Of an open record too: which fields it has is not known beforehand."""
    settings = {"kind": "csv", "header": True, "columns": ["b", "none", "h", "a"]}
    with Sink(settings, ["a"], hidden=["h"]) as sink:
        assert sink.write(1, rest={"b": "x,y", "h": 2}) == b'b,none,h,a\n"x,y",,,1\n'
        assert sink.write(MISSING, rest={}) == b",,,\n"
    with Sink({"kind": "csv", "columns": []}, ["a", "b"]) as sink:
        assert sink.write(1, 2) == b"1,2\n"


def test_a_header_waits_for_the_first_record_that_can_be_written() -> None:
    with Sink({"kind": "csv", "header": True}, ["a"]) as sink:
        sink.out.limit = 4096
        sink.refuse("x" * 5000)
        assert sink.write("y") == b"a\ny\n"


# ---- msgpack, raw ----


def test_msgpack_gives_times_in_the_sources_unit() -> None:
    """S4: inside they are a type of their own; nobody outside has to know it."""
    deep = {"list": [NOON, 1, "x", [NOON]], "map": {"t": NOON, "b": b"\xd7\1"}, "none": None}
    with Sink({"kind": "msgpack", "frame": "none"}, ["t", "deep"]) as sink:
        found = msgpack.unpackb(sink.write(NOON, deep))
    at = NOON // MS
    assert found == {
        "t": at,
        "deep": {"list": [at, 1, "x", [at]], "map": {"t": at, "b": b"\xd7\1"}, "none": None},
    }


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("s", -2),
        ("ms", -1001),
        ("us", -1_000_001),
        ("ns", -1_000_001_000),
        ("rfc3339", "1969-12-31T23:59:58.999999Z"),
    ],
)
def test_times_are_rounded_down_to_every_unit(unit: str, expected: object) -> None:
    with Sink({"kind": "msgpack", "frame": "none"}, ["t"], unit=unit) as sink:
        assert msgpack.unpackb(sink.write(Time(-1_000_001))) == {"t": expected}
    with Sink({"kind": "json"}, ["t"], unit=unit) as sink:
        assert json.loads(sink.write(Time(-1_000_001))) == {"t": expected}


def test_a_time_beyond_its_unit_is_null() -> None:
    with Sink({"kind": "msgpack", "frame": "none"}, ["t"], unit="ns") as sink:
        assert msgpack.unpackb(sink.write(Time(2**62))) == {"t": None}
        assert sink.nans[0] == 1


NESTED = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.text(max_size=9),
        st.binary(max_size=9),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=9,
)


@given(st.lists(NESTED, max_size=5), st.dictionaries(st.text("xyz", max_size=2), NESTED))
def test_msgpack_is_what_python_reads(values: list[Any], rest: dict[str, Any]) -> None:
    names = [f"n{index}" for index in range(len(values))]
    with Sink({"kind": "msgpack", "frame": "none"}, names, hidden=["x"]) as sink:
        found = msgpack.unpackb(sink.write(*values, rest=rest))
    rest.pop("x", None)
    assert found == {**rest, **dict(zip(names, values, strict=True))}
    assert list(found) == [*rest, *names]


def test_times_are_found_among_items_of_every_size() -> None:
    sizes = [0, 31, 32, 255, 256, 65_535, 65_536]
    things: list[Any] = [b"\xd7\1" * (size // 2) for size in sizes] + [
        "\u05c1" * size for size in sizes
    ]
    things += [[None] * 15, [True] * 16, [1.5] * 65_536, dict.fromkeys(map(str, range(20)), -1)]
    things += [2**bits for bits in range(63)] + [-(2**bits) for bits in range(64)]
    mixed = [item for thing in things for item in (thing, NOON)]
    with Sink({"kind": "msgpack", "frame": "none"}, ["a"]) as sink:
        found = msgpack.unpackb(sink.write(mixed))["a"]
    assert found[::2] == things
    assert found[1::2] == [NOON // MS] * len(things)


def test_raw_writes_the_bytes_of_one_field() -> None:
    with Sink({"kind": "raw", "frame": "none"}, ["a", "data"]) as sink:
        assert sink.write(1, b"\0\xff") == b"\0\xff"
        assert sink.write(1, "é") == "é".encode()
        sink.refuse("x", 5)
        sink.refuse("x", MISSING)
    with Sink({"kind": "raw", "frame": "none"}, ["only"]) as sink:
        assert sink.write(b"x") == b"x"
    with Sink({"kind": "raw", "frame": "none"}, [], hidden=[]) as sink:
        assert sink.write(rest={"data": b"x", "other": 1}) == b"x"


# ---- binary ----

RANGES = {
    f"{sign}{bits}": (
        (0, 2**bits - 1) if sign == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    )
    for sign in "ui"
    for bits in (8, 16, 32, 64)
}
CODES = dict(zip(RANGES, "BHIQbhiq", strict=True))


@pytest.mark.parametrize("kind", sorted(RANGES))
@pytest.mark.parametrize("order", ["big", "little"])
def test_integers_fit_or_are_a_fault(kind: str, order: str) -> None:
    low, high = RANGES[kind]
    code = (">" if order == "big" else "<") + CODES[kind]
    settings = {"kind": "binary", "order": order, "fields": [["a", kind]], "frame": "none"}
    with Sink(settings, ["a"]) as sink:
        for number in {low, 0, 1, 77, min(high, 2**63 - 1)}:
            assert sink.write(number) == struct.pack(code, number)
        if low:
            assert sink.write(-5) == struct.pack(code, -5)
        assert sink.write(7.0) == struct.pack(code, 7)
        if kind != "i64":
            sink.refuse(float(high + 1))
        if high < 2**63 - 1:
            sink.refuse(high + 1)
        if low > -(2**63):
            sink.refuse(low - 1)
        for wrong in (0.5, math.nan, math.inf, -math.inf, 1e300, True, "1", None, MISSING, [1]):
            sink.refuse(wrong)


def test_integers_beyond_int64_come_back_as_they_were() -> None:
    """Inside they are floats."""
    settings = {"kind": "binary", "fields": [["a", "u64"]], "frame": "none"}
    with Sink(settings, ["a"]) as sink:
        assert sink.write(float(2**63)) == struct.pack(">Q", 2**63)
        sink.refuse(float(2**64))


@given(st.one_of(st.floats(), st.integers(-(2**63), 2**63 - 1)))
def test_floats_are_struct_s(number: float) -> None:
    for kind, code in (("f32", ">f"), ("f64", ">d")):
        settings = {"kind": "binary", "fields": [["a", kind]], "frame": "none"}
        with Sink(settings, ["a"]) as sink:
            try:
                expected = struct.pack(code, float(number))
            except OverflowError:
                sink.refuse(number)
                continue
            found = sink.write(number)
            same_nan = math.isnan(number) and math.isnan(struct.unpack(code, found)[0])
            assert found == expected or same_nan


def test_text_is_filled_up_with_nuls_and_never_cut() -> None:
    fields = [["a", "s4"], ["b", "u8"], ["t", "i64"]]
    with Sink({"kind": "binary", "fields": fields}, ["t", "b", "a"]) as sink:
        assert sink.write(NOON, 1, "ab") == b"\0\0\0\x0dab\0\0\1" + struct.pack(">q", NOON // MS)
        assert sink.write(NOON, 1, "äö")[4:8] == "äö".encode()
        assert "a" in sink.refuse(NOON, 1, "abcde")
        sink.refuse(NOON, 1, b"ab")
