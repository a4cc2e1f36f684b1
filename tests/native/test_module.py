"""The native module belongs to the interpreter that loads it."""

from __future__ import annotations

import importlib.machinery
import sysconfig

from appliance import _native
from appliance.native import ffi, lib, read_packed


def test_the_suffix_is_this_interpreters() -> None:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    assert suffix == importlib.machinery.EXTENSION_SUFFIXES[0]
    assert "abi3" not in suffix
    assert str(_native.__file__).endswith(f"_native{suffix}")


def test_both_sides_see_the_same_value() -> None:
    """The size that C's compiler gave `value_t` is the one that docs/decisions/0001 speaks of."""
    assert ffi.sizeof("value_t") == 16
    assert lib.TAG_MISSING == 0 and lib.TAG_MAP == 9


def test_read_packed_asks_again_when_the_bytes_do_not_fit() -> None:
    capacities = []

    def write(out: object, capacity: int) -> int:
        capacities.append(capacity)
        if capacity >= 100_000:
            ffi.memmove(out, b"x" * 100_000, 100_000)
        return 100_000

    assert read_packed(write) == b"x" * 100_000
    assert len(capacities) == 2
