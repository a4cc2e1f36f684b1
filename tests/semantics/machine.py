"""Expressions on the native machine: compiled by the product, run one by one by `machine_try`."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import msgpack

from appliance.expression import Node, fields_of
from appliance.native import ffi, lib
from appliance.plan.code import Slots, compile_expressions
from semantics.evaluate import Time
from semantics.library import pack

CAPACITY = 1 << 20
OUT = ffi.new("char[]", CAPACITY)


class MachineError(Exception):
    """The machine set the record aside; `reason` is one of lib.REASON_…"""

    def __init__(self, reason: int, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def run(node: Node, record: Mapping[str, Any], now_us: int = 0) -> Any:
    """The value of an expression for one record. Raises MachineError."""
    return run_code(*compiled(node, record), now_us)


def compiled(node: Node, record: Mapping[str, Any]) -> tuple[bytes, list[Any], int, int]:
    """Its code, its row as [slot, value, …], the number of slots and the result's."""
    slots = Slots()
    fields = {name: slots.new() for name in sorted(fields_of(node))}
    result = slots.new()
    code = compile_expressions([(node, result)], fields, slots)
    row: list[Any] = []
    for name, slot in fields.items():
        if name in record:  # a slot that is not given is missing
            row += [slot, record[name]]
    for slot, value in slots.constants:
        row += [slot, value]
    return code, row, slots.count, result


def run_code(code: bytes, row: list[Any], slots: int, result: int, now_us: int = 0) -> Any:
    """Run instructions over [slot, value, …]; the value of the result's slot."""
    packed = pack(row)
    fault = ffi.new("fault_t *")
    size = lib.machine_try(
        code, len(code), packed, len(packed), slots, result, now_us, OUT, CAPACITY, fault
    )
    known = lib.condition_try(code, len(code), packed, len(packed), slots, result, fault)
    if size < 0:
        assert known < 0, "a filter would have known what is an error"
        raise MachineError(fault.reason, ffi.string(fault.message).decode())
    value = unpack(bytes(ffi.buffer(OUT, size)))
    if known in (0, 1):
        assert value is bool(known), "a filter would have decided otherwise"
    return value


def is_decided(node: Node, record: Mapping[str, Any]) -> bool:
    """Whether a filter with this condition needs no machine for a record."""
    code, row, slots, result = compiled(node, record)
    packed, fault = pack(row), ffi.new("fault_t *")
    known = lib.condition_try(code, len(code), packed, len(packed), slots, result, fault)
    return int(known) >= 0


def unpack(data: bytes) -> Any:
    def extended(code: int, body: bytes) -> Any:
        assert code == 1
        return Time(struct.unpack(">q", body)[0])

    return msgpack.unpackb(data, ext_hook=extended, strict_map_key=False)
