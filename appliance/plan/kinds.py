"""The kind of value that an expression gives, where the expression alone tells.

Only what is certain: None means "a record will tell". Numbers whose kind depends on their operands
are "number".
"""

from __future__ import annotations

from collections.abc import Mapping

from appliance.expression import (
    Binary,
    Boolean,
    Call,
    Compare,
    Conditional,
    Constant,
    Field,
    ListLiteral,
    MapLiteral,
    Node,
    Not,
    Unary,
)

_CALLS = {
    **dict.fromkeys(("startswith", "endswith", "contains", "is_null", "bool", "has"), "bool"),
    **dict.fromkeys(("len", "floor", "ceil", "int", "sign", "crc32", "hash"), "int"),
    **dict.fromkeys(("year", "month", "day", "hour", "minute", "second", "weekday"), "int"),
    **dict.fromkeys(("sqrt", "log", "exp", "float"), "float"),
    **dict.fromkeys(("abs", "round", "pow"), "number"),
    **dict.fromkeys(("lower", "upper", "strip", "join", "replace", "format"), "str"),
    **dict.fromkeys(("str", "format_time"), "str"),
    **dict.fromkeys(("now", "to_time", "truncate_time"), "time"),
    **dict.fromkeys(("split", "keys"), "list"),
}


def kind_of(node: Node, kinds: Mapping[str, str]) -> str | None:
    """ "bool", "int", "float", "number", "str", "bytes", "list", "map", "time", "null", or None.
    `kinds` are the declared types of fields. A result that may also be null has the kind it has
    otherwise."""
    if isinstance(node, Constant):
        return "null" if node.value is None else type(node.value).__name__
    if isinstance(node, Field):
        return kinds.get(node.name)
    if isinstance(node, (Compare, Boolean, Not)):
        return "bool"
    if isinstance(node, Unary):
        return "number"
    if isinstance(node, Binary):
        return None if node.operator == "+" else "number"
    if isinstance(node, Conditional):
        kind = kind_of(node.then, kinds)
        return kind if kind == kind_of(node.otherwise, kinds) else None
    if isinstance(node, Call):
        return _CALLS.get(node.name)
    if isinstance(node, ListLiteral):
        return "list"
    return "map" if isinstance(node, MapLiteral) else None
