"""Python things as native values, and back; a scratch arena and a buffer to write into."""

from __future__ import annotations

from typing import Any

import msgpack

from appliance.native import ffi, lib

SLACK = 64
SLOT_NONE = 0xFFFF
MISSING = object()
TIME_TYPE = 1


class Time(int):
    """Microseconds since 1970: what inside is a time, not an int."""


def pack(thing: object) -> bytes:
    """msgpack as the native side has it: times are extension type 1."""

    def own(thing: Any) -> Any:
        if isinstance(thing, Time):
            return msgpack.ExtType(TIME_TYPE, int(thing).to_bytes(8, "big", signed=True))
        if isinstance(thing, dict):
            return {key: own(item) for key, item in thing.items()}
        return [own(item) for item in thing] if isinstance(thing, list) else thing

    return bytes(msgpack.packb(own(thing)))


def unpack(data: bytes) -> Any:
    def time(code: int, body: bytes) -> Any:
        assert code == TIME_TYPE
        return Time(int.from_bytes(body, "big", signed=True))

    return msgpack.unpackb(data, ext_hook=time, strict_map_key=False)


def packed(thing: object) -> Any:
    """`thing` as a native value; its memory lives as long as the second item."""
    body = pack(thing)
    memory = ffi.new("char[]", len(body) + SLACK)
    ffi.memmove(memory, body, len(body))
    value = ffi.new("value_t *")
    assert lib.pack_read(memory, memory + len(body), value) != ffi.NULL
    return value, memory


def shown(value: Any) -> Any:
    """A native value as a Python thing."""
    tag = value.tag
    if tag == lib.TAG_MISSING:
        return MISSING
    if tag == lib.TAG_NULL:
        return None
    if tag in (lib.TAG_BOOL, lib.TAG_INT, lib.TAG_TIME):
        kind = {lib.TAG_BOOL: bool, lib.TAG_INT: int, lib.TAG_TIME: Time}[tag]
        return kind(value.i)
    if tag == lib.TAG_FLOAT:
        return float(value.f)
    data = bytes(ffi.buffer(value.p, value.size))
    if tag == lib.TAG_BYTES:
        return data
    return data.decode() if tag == lib.TAG_STR else unpack(data)


def block_of(data: bytes) -> Any:
    """A block of exactly these bytes and the slack, so that a sanitizer sees every byte beyond."""
    block = ffi.new("char[]", len(data) + SLACK)
    ffi.memmove(block, data, len(data))
    return block


class Arena:
    def __init__(self, size: int = 1 << 16) -> None:
        self.memory = ffi.new("char[]", size)
        self.arena = ffi.new("arena_t *", {"base": self.memory, "used": 0, "size": size})


def message(fault: Any) -> str:
    return bytes(ffi.string(fault.message)).decode()
