"""Compiling nodes: what shares a slot, what is folded, what is given back."""

from __future__ import annotations

import struct

import pytest

from appliance.expression import ExpressionError, parse
from appliance.expression.library import FUNCTIONS
from appliance.limits import SLOT_MAX_COUNT
from appliance.native import lib
from appliance.plan.code import Slots, compile_condition, compile_expressions, compile_operands
from appliance.plan.functions import COMPOSED, FUNCTION_OPCODES


def opcodes(code: bytes) -> list[int]:
    return [op for op, _, _, _, _ in struct.iter_unpack("=BBHHH", code)]


def fields(slots: Slots, *names: str) -> dict[str, int]:
    return {name: slots.new() for name in names}


def test_constants_are_kept_once() -> None:
    slots = Slots()
    known = fields(slots, "a")
    compile_condition(parse('a == 1 or a == 1.0 or a == "1" or a == 1'), known, slots)
    assert sorted(map(repr, dict(slots.constants).values())) == ["'1'", "1", "1.0"]


def test_literals_are_constants() -> None:
    slots = Slots()
    known = fields(slots, "a")
    code, _ = compile_condition(parse('a in ["x", {"k": [1]}]'), known, slots)
    assert opcodes(code) == [lib.OP_IN]
    assert [value for _, value in slots.constants] == [["x", {"k": [1]}]]


def test_sums_of_numbers_are_folded_and_overflow_is_left_to_the_machine() -> None:
    slots = Slots()
    code = compile_expressions([(parse("60 * 60 + 0.5"), slots.new())], {}, slots)
    assert opcodes(code) == [lib.OP_MOVE]
    assert [value for _, value in slots.constants] == [3600.5]
    code = compile_expressions([(parse("9223372036854775807 + 1"), slots.new())], {}, slots)
    assert opcodes(code) == [lib.OP_ADD]


def test_a_condition_that_is_a_field_needs_no_code() -> None:
    slots = Slots()
    known = fields(slots, "a", "ok")
    assert compile_condition(parse("ok"), known, slots) == (b"", known["ok"])


def test_a_filter_of_two_comparisons_is_four_instructions() -> None:
    slots = Slots()
    known = fields(slots, "status", "temp")
    code, _ = compile_condition(parse('status == "ok" and temp > 15'), known, slots)
    assert opcodes(code) == [lib.OP_EQ, lib.OP_JUMP_FALSE, lib.OP_GT, lib.OP_AND]


def test_temporaries_are_shared_between_blocks() -> None:
    slots = Slots()
    known = fields(slots, "a", "b")
    text = "max(a * b, a + b, a - b) / (a + b)"
    compile_expressions([(parse(text), slots.new())], known, slots)
    before = slots.count
    compile_expressions([(parse(text), slots.new())], known, slots)
    assert slots.count == before + 1


def test_operands_stay_where_they_are() -> None:
    slots = Slots()
    known = fields(slots, "a", "b")
    code, places = compile_operands([parse("b"), parse("a + b"), parse("a * b")], known, slots)
    assert places[0] == known["b"]
    assert len(set(places)) == 3
    assert opcodes(code) == [lib.OP_ADD, lib.OP_MULTIPLY]


def test_a_row_has_a_limit() -> None:
    slots = Slots()
    for _ in range(SLOT_MAX_COUNT):
        slots.new()
    with pytest.raises(ExpressionError, match="more than 4096 values"):
        slots.new()


def test_every_function_has_an_opcode_or_is_composed() -> None:
    assert len(set(FUNCTION_OPCODES.values())) == len(FUNCTION_OPCODES)
    assert FUNCTION_OPCODES.keys() | COMPOSED == FUNCTIONS.keys()
    assert COMPOSED.isdisjoint(FUNCTION_OPCODES)
