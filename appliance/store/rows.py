"""Rows of state, merged: the newest row of each key wins. A plain function over bytes.

The rows are those of docs/formats/state-rows.md and python-state.md; what identifies a row depends
on the kind of its step. One encoder writes them all in the shortest form, so the bytes from the
row's first to the last one of its identity stand for it: nothing is unpacked, rows are only passed
over. The GIL is free meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable

from appliance.native import ffi, lib

#: Kind → items in a row, items that identify it (shard, key and, for windows, the start), and the
#: item that is nil in a tombstone.
FORMS = {
    "window": (6, 3, 5),
    "global": (6, 2, 5),
    "running": (3, 2, 2),
    "python": (4, 2, 2),
    "seen": (3, 2, 2),
}

_NO_MEMORY = -2


def merge_rows(kind: str, parts: Iterable[bytes]) -> bytes:
    """The live rows of one shard of one step, from `parts`, the oldest first. Rows of a part stand
    in the order in which they happened: a tombstone ends what stood before it, not what follows.

    Raises ValueError when a part is not made of whole rows of that kind, MemoryError.
    """
    data = b"".join(parts)
    if not data:
        return b""
    if kind not in FORMS:
        raise ValueError(f"no kind of rows is called {kind!r}")
    out = bytearray(len(data))
    size = lib.rows_merge(data, len(data), *FORMS[kind], ffi.from_buffer(out))
    if size == _NO_MEMORY:
        raise MemoryError("there is no memory to merge a shard's rows")
    if size < 0:
        raise ValueError(f"not {kind} rows")
    return bytes(memoryview(out)[:size])
