"""One keyed step driven from Python (native/include/keyed.h), and what its tests share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgpack

from appliance.native import ffi, lib
from native.values import TIME_TYPE, Time, block_of, message, pack

ADDED, LATE, FAULT = 0, 1, 2
NEVER = 2**63 - 1
ALWAYS = -(2**63)


class Refused(Exception):
    """A twin does not take a record."""


def aggregate(kind: str, to: int, argument: int = -1, **more: Any) -> dict[str, Any]:
    """One aggregate as the compiler writes it."""
    return {"kind": getattr(lib, f"AGG_{kind.upper()}"), "argument": argument, "to": to} | more


def unpack_all(data: bytes) -> list[Any]:
    """All values of a run of packed ones; times as Time."""

    def time(code: int, body: bytes) -> Any:
        assert code == TIME_TYPE
        return Time(int.from_bytes(body, "big", signed=True))

    unpacker = msgpack.Unpacker(ext_hook=time, strict_map_key=False)
    unpacker.feed(data)
    return list(unpacker)


class Keyed:
    """A window, a running step, or bare aggregates; `reason` and `message` are the last fault's."""

    def __init__(self, program: Mapping[str, Any]) -> None:
        self._fault = ffi.new("fault_t *")
        body = pack(dict(program))
        self._own = lib.keyed_new(block_of(body), len(body), self._fault)
        if self._own == ffi.NULL:
            raise Refused(message(self._fault))
        self._cell = ffi.new("keyed_t **", self._own)

    def __enter__(self) -> Keyed:
        return self

    def __exit__(self, *_: object) -> None:
        lib.keyed_destroy(self._cell)

    def _taken(self) -> bytes:
        size = ffi.new("size_t *")
        data = lib.keyed_take(self._own, size)
        return bytes(ffi.buffer(data, size[0])) if size[0] else b""

    def add(
        self, record: Iterable[Any], time: int = 0, watermark: int = ALWAYS
    ) -> tuple[int, list[Any]]:
        """A record in: what became of it, and the results that came at once."""
        self._fault.reason = 0
        body = pack(list(record))
        found = lib.keyed_add(self._own, block_of(body), len(body), time, watermark, self._fault)
        assert (found == FAULT) == (self._fault.reason != 0)
        return found, unpack_all(self._taken())

    def advance(self, watermark: int = NEVER) -> list[Any]:
        lib.keyed_advance(self._own, watermark)
        return unpack_all(self._taken())

    def freeze(self) -> bytes:
        rows = ffi.new("uint64_t *")
        assert lib.keyed_freeze(self._own, rows)
        data = self._taken()
        assert len(unpack_all(data)) == rows[0]
        return data

    def merge(self, accumulators: bytes) -> bool:
        block = block_of(accumulators)
        return bool(lib.keyed_merge(self._own, block, len(accumulators), self._fault))

    def restore(self, accumulators: bytes) -> bool:
        block = block_of(accumulators)
        return bool(lib.keyed_restore(self._own, block, len(accumulators), self._fault))

    @property
    def due(self) -> int:
        return int(lib.keyed_due(self._own))

    @property
    def keys(self) -> int:
        return int(lib.keyed_keys(self._own))

    @property
    def bytes_held(self) -> int:
        return int(lib.keyed_bytes(self._own))

    @property
    def message(self) -> str:
        return str(message(self._fault))

    @property
    def reason(self) -> int:
        return int(self._fault.reason)
