"""Layouts: a row with its record is what a Python dict would be after the same changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.native import ffi, lib
from native.values import MISSING, SLOT_NONE, message, packed, unpack

NAMES = st.one_of(
    st.sampled_from(["device", "ts", "temp", "hum", "status", "a much longer name", 'a"b', ""]),
    st.text(max_size=4),
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=20),
    st.just([1, {"a": None}]),
)


class Layout:
    """A layout with the row it is about; slot 0 holds the record when it is open."""

    def __init__(self, settings: dict[str, Any], rest: object, values: list[object]) -> None:
        self.fault = ffi.new("fault_t *")
        value, _memory = packed({"hidden": [], "unit": "us", "rest": -1, "entries": [], **settings})
        layout = lib.layout_new(value, self.fault)
        self.layout = ffi.gc(layout, lambda it: lib.layout_destroy(ffi.new("layout_t **", it)))
        self.memory = []
        self.row = ffi.new("value_t[]", 1 + len(values))
        for slot, thing in enumerate([rest, *values]):
            if thing is not MISSING:
                value, memory = packed(thing)
                self.row[slot] = value[0]
                self.memory.append(memory)

    def packed(self) -> Any:
        out = ffi.new("buffer_t *")
        assert lib.layout_pack(self.layout, self.row, out)
        data = bytes(ffi.buffer(out.data, out.size))
        lib.buffer_free(out)
        return data


def model(rest: dict[str, Any], entries: dict[str, Any], hidden: set[str]) -> dict[str, Any]:
    """What layout.h promises, in Python."""
    record = {}
    for name, value in rest.items():
        if name not in hidden:
            record[name] = entries.get(name, value)
    for name, value in entries.items():
        record.setdefault(name, value)
    return {name: value for name, value in record.items() if value is not MISSING}


@given(
    st.dictionaries(NAMES, VALUES, max_size=20),
    st.dictionaries(NAMES, st.one_of(st.just(MISSING), VALUES), max_size=20),
    st.sets(NAMES, max_size=4),
)
@example({"a": 1, "b": 2}, {"b": 3, "c": 4}, {"a"})
@example({str(i): i for i in range(16)}, {"0": MISSING}, set())
def test_s24_an_open_layout_is_the_record_with_its_changes(
    rest: dict[str, Any], entries: dict[str, Any], hidden: set[str]
) -> None:
    settings = {
        "rest": 0,
        "entries": [[name, 1 + index] for index, name in enumerate(entries)],
        "hidden": sorted(hidden),
    }
    data = Layout(settings, rest, list(entries.values())).packed()
    assert repr(unpack(data)) == repr(model(rest, entries, hidden))


@given(st.dictionaries(NAMES, st.one_of(st.just(MISSING), VALUES), max_size=20))
def test_s24_a_closed_layout_is_its_entries_in_their_order(entries: dict[str, Any]) -> None:
    settings = {"entries": [[name, 1 + index] for index, name in enumerate(entries)]}
    data = Layout(settings, MISSING, list(entries.values())).packed()
    assert repr(unpack(data)) == repr(model({}, entries, set()))


def test_an_open_layout_without_its_record_is_its_entries() -> None:
    assert Layout({"rest": 0, "entries": [["a", 1]]}, MISSING, [5]).packed() == b"\x81\xa1a\x05"


def test_the_head_of_a_packed_record_is_as_short_as_its_count_allows() -> None:
    """Twenty names in sight, three of them there."""
    settings = {"entries": [[str(index), 1 + index] for index in range(20)]}
    values: list[object] = [1, 2, 3, *[MISSING] * 17]
    assert Layout(settings, MISSING, values).packed()[0] == 0x83


@pytest.mark.parametrize(
    "settings",
    [
        {"unit": "minutes"},
        {"unit": 1},
        {"rest": -2},
        {"rest": SLOT_NONE},
        {"rest": None},
        {"entries": 1},
        {"entries": ["a"]},
        {"entries": [["a"]]},
        {"entries": [["a", -1]]},
        {"entries": [["a", SLOT_NONE]]},
        {"entries": [[1, 1]]},
        {"hidden": [1]},
        {"hidden": None},
        {"entries": [[str(index), 1] for index in range(1025)]},
    ],
)
def test_a_malformed_layout_is_refused_with_a_message(settings: dict[str, Any]) -> None:
    layout = Layout(settings, MISSING, [])
    assert layout.layout == ffi.NULL
    assert "layout" in message(layout.fault)
