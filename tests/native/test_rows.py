"""rows_merge against its twin in plain Python."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.native import ffi, lib
from native.merge_rows import merge_rows

FORMS = [(6, 3, 5), (6, 2, 5), (3, 2, 2), (4, 2, 2)]
MALFORMED = -1

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**40) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


def native_merge(data: bytes, form: tuple[int, int, int]) -> bytes:
    out = ffi.new("char[]", max(len(data), 1))
    size = lib.rows_merge(data, len(data), *form, out)
    if size < 0:
        assert size == MALFORMED
        raise ValueError("malformed")
    return bytes(ffi.buffer(out, size))


@st.composite
def rows(draw: st.DrawFn, form: tuple[int, int, int]) -> bytes:
    items, identity, mortal = form
    packed = []
    for _ in range(draw(st.integers(0, 15))):
        known: list[Any] = [draw(st.integers(0, 2)), draw(st.binary(max_size=1)), 5][:identity]
        rest = [draw(VALUES) for _ in range(items - identity)]
        rest[mortal - identity] = draw(st.none() | st.just([1, None]))
        packed.append(msgpack.packb([*known, *rest]))
    return b"".join(packed)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40)
@given(st.data())
def test_the_last_row_of_each_key_is_kept(form: tuple[int, int, int], data: st.DataObject) -> None:
    packed = data.draw(rows(form))
    assert native_merge(packed, form) == merge_rows(packed, *form)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40)
@given(st.data())
def test_what_is_cut_off_is_refused(form: tuple[int, int, int], data: st.DataObject) -> None:
    packed = data.draw(rows(form))
    size = data.draw(st.integers(0, len(packed)))
    try:
        expected = merge_rows(packed[:size], *form)
    except ValueError:
        with pytest.raises(ValueError):
            native_merge(packed[:size], form)
    else:
        assert native_merge(packed[:size], form) == expected


@given(st.binary(max_size=30))
def test_bytes_of_any_kind_do_no_harm(data: bytes) -> None:
    with suppress(ValueError):
        assert len(native_merge(data, FORMS[0])) <= len(data)


def test_a_table_that_grows_keeps_the_order_of_first_appearance() -> None:
    packed = [msgpack.packb([0, b"%d" % (n % 3000), n]) for n in range(9000)]
    dead = [msgpack.packb([0, b"%d" % n, None]) for n in range(0, 3000, 7)]
    back = [msgpack.packb([0, b"%d" % n, "back"]) for n in range(0, 3000, 21)]
    data = b"".join([*packed, *dead, *back])
    assert native_merge(data, FORMS[2]) == merge_rows(data, *FORMS[2])
