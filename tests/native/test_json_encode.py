"""The JSON encoder against json.dumps, and what JSON has no word for (S4)."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.native import ffi, lib
from native.values import MISSING, Time, packed

US, MS, S, NS, RFC3339 = range(5)
INTS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.one_of(
    st.text(max_size=30),
    st.text('"\\/\b\f\n\r\t\x00\x1f\x7fé😀\u2028 ab', max_size=30),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), INTS, st.floats(allow_nan=False, allow_infinity=False), TEXTS
)
FEW = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.just({"a": [{"b": None}]}))
THINGS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=18), st.dictionaries(TEXTS, inner, max_size=18)
    ),
    max_leaves=15,
)


def written(write: Callable[[Any, Any], bool]) -> tuple[str, int]:
    """What `write(buffer, count of NaN)` puts out, and that count."""
    out, nans = ffi.new("buffer_t *"), ffi.new("uint64_t *")
    assert write(out, nans)
    text = bytes(ffi.buffer(out.data, out.size)).decode()
    lib.buffer_free(out)
    return text, nans[0]


def encoded(thing: object, unit: int = US) -> tuple[str, int]:
    value, _memory = packed(thing)
    return written(lambda out, nans: lib.json_write_value(value, unit, out, nans))


def dumped(thing: object) -> str:
    return json.dumps(thing, ensure_ascii=False, separators=(",", ":"))


@given(THINGS)
@example(["\x00", "12345678", "1234567\n", '12345678"', "\x80", -(2**63)])
@example({"": {"a\nb": []}, "é": [[{}]]})
def test_s4_a_value_is_written_as_json_dumps_writes_it(thing: Any) -> None:
    assert encoded(thing) == (dumped(thing), 0)


@given(TEXTS)
def test_s4_text_is_quoted_and_escaped_as_little_as_json_allows(text: str) -> None:
    data = text.encode()
    block = ffi.from_buffer(bytearray(data or b"\0"))  # nothing is readable behind it
    start = ffi.cast("char *", block)
    assert written(lambda out, _: lib.json_write_text(start, len(data), out))[0] == dumped(text)


def test_s4_nan_and_infinities_are_null_and_counted_however_deep() -> None:
    assert encoded(math.nan) == ("null", 1)
    assert encoded([math.inf, {"a": [-math.inf, 1.5]}]) == ('[null,{"a":[null,1.5]}]', 2)


@given(st.binary(max_size=50))
def test_s4_bytes_are_base64_text(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert encoded(data) == (f'"{text}"', 0)
    assert encoded([data]) == (f'["{text}"]', 0)


@given(INTS)
@example(-1)
@example(0)
@example(-(2**63))
def test_s4_a_time_is_an_int_in_the_sources_unit(us: int) -> None:
    for unit, expected in [(US, us), (MS, us // 1000), (S, us // 1_000_000), (NS, us * 1000)]:
        assert encoded(Time(us), unit) == (str(expected), 0)
        assert encoded([Time(us)], unit) == (f"[{expected}]", 0)


@given(st.datetimes())
def test_s29_a_time_is_rfc_3339_text_where_the_sources_is(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    us = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    text = moment.isoformat().replace("+00:00", "Z")
    assert encoded(Time(us), RFC3339) == (f'"{text}"', 0)


def test_a_time_that_rfc_3339_cannot_write_is_null_and_counted() -> None:
    assert encoded([Time(2**63 - 1)], RFC3339) == ("[null]", 1)


# ---- records ----


class Record:
    """A row with its layout: `rest` in slot 0, the entries' values behind it."""

    def __init__(self, entries: dict[str, Any], rest: object = MISSING, unit: str = "us") -> None:
        fault = ffi.new("fault_t *")
        settings = {
            "entries": [[name, 1 + index] for index, name in enumerate(entries)],
            "rest": -1 if rest is MISSING else 0,
            "hidden": ["hidden"],
            "unit": unit,
        }
        value, _memory = packed(settings)
        layout = lib.layout_new(value, fault)
        assert layout != ffi.NULL
        self.layout = ffi.gc(layout, lambda it: lib.layout_destroy(ffi.new("layout_t **", it)))
        self.row = ffi.new("value_t[]", 1 + len(entries))
        self.memory = []
        for slot, thing in enumerate([rest, *entries.values()]):
            if thing is not MISSING:
                value, memory = packed(thing)
                self.row[slot] = value[0]
                self.memory.append(memory)

    def encoded(self) -> tuple[str, int]:
        return written(lambda out, nans: lib.json_write_record(self.layout, self.row, out, nans))


ENTRIES = st.dictionaries(TEXTS, st.one_of(st.just(MISSING), FEW), max_size=8)


@given(ENTRIES)
@example({"device": "d0042", "window_start": 1700000000123, "mean": 21.37, "a" * 40: None})
@example({"a": MISSING, "b": MISSING})
@example({"a": MISSING, "b": 1, "c": MISSING, "d": "x"})
def test_s24_a_closed_record_is_its_entries_in_the_order_of_the_flow(
    entries: dict[str, Any],
) -> None:
    there = {name: thing for name, thing in entries.items() if thing is not MISSING}
    assert Record(entries).encoded() == (dumped(there), 0)


@given(ENTRIES, st.dictionaries(TEXTS, FEW, max_size=8))
@example({"b": 2, "c": MISSING}, {"a": 1, "b": 1, "c": 1, "hidden": 1})
@example({}, {"hidden": 1})
def test_s24_an_open_record_keeps_its_fields_in_their_places(
    entries: dict[str, Any], rest: dict[str, Any]
) -> None:
    kept = {name: thing for name, thing in rest.items() if name in entries or name != "hidden"}
    there = {name: thing for name, thing in {**kept, **entries}.items() if thing is not MISSING}
    assert Record(entries, rest).encoded() == (dumped(there), 0)


def test_s4_a_record_writes_its_times_in_the_layouts_unit_and_counts_nan() -> None:
    entries = {"start": Time(1_500_000), "mean": math.nan, "seen": [Time(-1)]}
    assert Record(entries, unit="ms").encoded() == ('{"start":1500,"mean":null,"seen":[-1]}', 1)
    assert Record(entries, {"t": Time(10**6)}, unit="s").encoded() == (
        '{"t":1,"start":1,"mean":null,"seen":[-1]}',
        1,
    )


@pytest.mark.parametrize(
    ("entries", "rest"),
    [
        ({"a": "x" * 100}, MISSING),
        ({"a": b"x" * 100}, MISSING),
        ({"a": [1] * 100}, MISSING),
        ({str(index): index for index in range(40)}, MISSING),
        ({"a": 1}, {str(index): index for index in range(40)}),
        ({"a": "\n" * 50}, {"b": {"c": "\x01" * 20}}),
    ],
)
def test_a_record_that_does_not_fit_leaves_nothing_behind(
    entries: dict[str, Any], rest: object
) -> None:
    """At every limit there is either the whole record or what there was before."""
    record = Record(entries, rest)
    whole = record.encoded()[0].encode()
    fitted = 0
    for limit in range(16, len(whole) + 140):
        out, nans = ffi.new("buffer_t *", {"limit": limit}), ffi.new("uint64_t *")
        before = b"before"
        assert lib.json_write_text(before, len(before), out)
        before = bytes(ffi.buffer(out.data, out.size))
        if lib.json_write_record(record.layout, record.row, out, nans):
            assert bytes(ffi.buffer(out.data, out.size)) == before + whole
            fitted += 1
        else:
            assert out.size == len(before) and out.capacity <= limit
        lib.buffer_free(out)
    assert fitted > 0


def test_a_value_nested_beyond_64_is_not_written() -> None:
    """No reader of ours lets such a value in; one that came about must not end the stack."""
    deep = ffi.new("char[]", b"\x91" * 200_000 + b"\x90")
    value = ffi.new("value_t *", {"p": deep, "size": 200_001, "tag": lib.TAG_LIST})
    out, nans = ffi.new("buffer_t *"), ffi.new("uint64_t *")
    assert not lib.json_write_value(value, US, out, nans)
    assert out.size == 0
    lib.buffer_free(out)
