"""The typed face of the native module, and the only importer of it.

`lib` holds the C functions and enum constants of `native/include/cdefs.h`, `ffi` makes and reads C
values. cffi gives the GIL back for the length of every call through `lib`.
"""

from __future__ import annotations

import importlib.machinery
from collections.abc import Callable
from typing import Any

from appliance import _native
from appliance.limits import SHARD_COUNT

__all__ = ["address", "count_shards", "ffi", "lib", "read_packed"]

# A module built for another minor version of Python may load and then break: refuse it by its name.
_SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]
if not str(_native.__file__).endswith(_SUFFIX):
    raise ImportError(f"{_native.__file__} was not built for this Python (*{_SUFFIX}): make build")

ffi: Any = _native.ffi
lib: Any = _native.lib

_FIRST_SIZE = 64 * 1024


def address(thing: object) -> int:
    """The address of a Python object, for C functions that take one as `uintptr_t`.

    It is borrowed: the caller keeps `thing` alive for as long as C may use it.
    """
    return id(thing)


def read_packed(write: Callable[[Any, int], int]) -> bytes:
    """The bytes that `write(out, capacity)` puts out; it returns how many there are to write.

    When they do not fit, nothing useful was written and it is called again with room for a third
    more than it asked for, because what is counted may grow between two calls.
    """
    capacity = _FIRST_SIZE
    while True:
        out = ffi.new("char[]", capacity)
        needed = write(out, capacity)
        if needed <= capacity:
            return bytes(ffi.buffer(out, needed))
        capacity = needed + needed // 3


def count_shards(shards: bytes) -> dict[int, int]:
    """How many records each shard has that has any, in the order of shards; `shards` has a byte for
    each record. ValueError: one of them is no shard."""
    counts = ffi.new("uint32_t[]", SHARD_COUNT)
    if not lib.shards_count(shards, len(shards), counts):
        raise ValueError(f"a record has shard {max(shards)}; the last is {SHARD_COUNT - 1}")
    return {shard: count for shard, count in enumerate(ffi.unpack(counts, SHARD_COUNT)) if count}
