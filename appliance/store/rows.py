"""Rows of state, merged: the newest row of each key wins. Plain functions over bytes.

The rows are those of docs/formats/state-rows.md and python-state.md; what identifies a row depends
on the kind of its step. One encoder writes them all in the shortest form, so the bytes from the
row's first to the last one of its identity stand for it: nothing is unpacked, rows are only passed
over.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgpack

#: Kind → items in a row, items that identify it (shard, key and, for windows, the start), and the
#: item that is nil in a tombstone.
FORMS = {
    "window": (6, 3, 5),
    "global": (6, 2, 5),
    "running": (3, 2, 2),
    "python": (4, 2, 2),
}

_NIL = 0xC0


def merge_rows(kind: str, parts: Iterable[bytes]) -> bytes:
    """The live rows of one shard of one step, from `parts`, the oldest first. Rows of a part stand
    in the order in which they happened: a tombstone ends what stood before it, not what follows.

    Raises ValueError when a part is not made of whole rows of that kind.
    """
    data = b"".join(parts)
    if not data:
        return b""
    if kind not in FORMS:
        raise ValueError(f"no kind of rows is called {kind!r}")
    live: dict[bytes, bytes] = {}
    try:
        _merge(data, *FORMS[kind], live)
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise ValueError(f"not {kind} rows: {error}") from error
    return b"".join(live.values())


def _merge(data: bytes, items: int, identity: int, mortal: int, live: dict[bytes, bytes]) -> None:
    """The rows of `data` put into `live` one after the other."""
    size = len(data)
    reader = msgpack.Unpacker(max_buffer_size=size)
    reader.feed(data)
    header, skip, tell = reader.read_array_header, reader.skip, reader.tell
    between, behind = range(mortal - identity), range(items - mortal)
    start = 0
    while start < size:
        if header() != items:
            raise ValueError(f"a row at byte {start} has not {items} items")
        skip()
        skip()
        if identity == 3:
            skip()
        name = data[start : tell()]
        for _ in between:
            skip()
        is_tombstone = data[tell()] == _NIL
        for _ in behind:
            skip()
        end = tell()
        if is_tombstone:
            live.pop(name, None)
        else:
            live[name] = data[start:end]
        start = end
