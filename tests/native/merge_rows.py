"""The plain-Python twin of rows_merge: a dict by the bytes of a row's identity."""

from __future__ import annotations

import msgpack

_NIL = 0xC0


def merge_rows(data: bytes, items: int, identity: int, mortal: int) -> bytes:
    """The live rows of `data`. ValueError if it is not made of whole rows."""
    size = len(data)
    reader = msgpack.Unpacker(max_buffer_size=size)
    reader.feed(data)
    live: dict[bytes, bytes] = {}
    start = 0
    try:
        while start < size:
            if reader.read_array_header() != items:
                raise ValueError(f"a row at byte {start} has not {items} items")
            places = []
            for _ in range(items):
                places.append(reader.tell())
                reader.skip()
            end = reader.tell()
            name = data[start : places[identity]]
            if data[places[mortal]] == _NIL:
                live.pop(name, None)
            else:
                live[name] = data[start:end]
            start = end
    except msgpack.exceptions.UnpackException as error:
        raise ValueError("cut off") from error
    return b"".join(live.values())
