"""Which instruction of the native machine carries out which operator and function.

The functions themselves (names, arguments, meaning) are the table of
`appliance.expression.library`; here each gets its opcode, by name: `OP_ROUND` is `round`.
"""

from __future__ import annotations

from collections.abc import Mapping

from appliance.expression.library import FUNCTIONS
from appliance.native import lib

#: Functions that are compiled to something else: jumps, other operators.
COMPOSED = frozenset({"coalesce", "contains", "get"})

#: The opcode of every other function.
FUNCTION_OPCODES: Mapping[str, int] = {
    name: getattr(lib, f"OP_{name.upper()}") for name in FUNCTIONS if name not in COMPOSED
}

BINARY_OPCODES: Mapping[str, int] = {
    "+": lib.OP_ADD,
    "-": lib.OP_SUBTRACT,
    "*": lib.OP_MULTIPLY,
    "/": lib.OP_DIVIDE,
    "//": lib.OP_FLOOR_DIVIDE,
    "%": lib.OP_MODULO,
    "**": lib.OP_POW,
}

COMPARE_OPCODES: Mapping[str, int] = {
    "==": lib.OP_EQ,
    "!=": lib.OP_NE,
    "<": lib.OP_LT,
    "<=": lib.OP_LE,
    ">": lib.OP_GT,
    ">=": lib.OP_GE,
    "in": lib.OP_IN,
    "not in": lib.OP_NOT_IN,
}

UNARY_OPCODES: Mapping[str, int] = {"-": lib.OP_NEGATE, "+": lib.OP_PLUS}
