"""Nodes back to text: the canonical form, which `explain` prints and signatures of state contain.

`parse(to_text(node)) == node` for every node in normal form.
"""

from __future__ import annotations

from keyword import iskeyword

from appliance.expression.nodes import (
    Binary,
    Boolean,
    Call,
    Compare,
    Conditional,
    Constant,
    Field,
    Get,
    ListLiteral,
    MapLiteral,
    Node,
    Not,
    Scalar,
    Slice,
    Unary,
)

# How tightly each form binds; an operand that binds less tightly than its place asks for gets
# parentheses.
_CONDITIONAL, _OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _UNARY, _POWER, _POSTFIX, _ATOM = range(11)
_BINARY = {
    "+": _SUM,
    "-": _SUM,
    "*": _PRODUCT,
    "/": _PRODUCT,
    "//": _PRODUCT,
    "%": _PRODUCT,
    "**": _POWER,
}

#: Names that stand for themselves in other languages: refused as plain field names, to catch the
#: slip.
FOREIGN_CONSTANTS = {"true": "True", "false": "False", "null": "None"}


def to_text(node: Node) -> str:
    """The expression as text."""
    return _text(node, _CONDITIONAL)


def is_plain_name(name: str) -> bool:
    """Whether a field of this name is written as it is, not as field("…")."""
    return name.isidentifier() and not iskeyword(name) and name not in FOREIGN_CONSTANTS


def _text(node: Node, place: int) -> str:
    level, text = _form(node)
    return text if level >= place else f"({text})"


def _form(node: Node) -> tuple[int, str]:
    match node:
        case Constant(value):
            return _constant(value)
        case Field(name):
            plain = is_plain_name(name)
            return (_ATOM, name) if plain else (_POSTFIX, f"field({_quoted(name)})")
        case Get(value, key):
            return _POSTFIX, _base(value) + _key(key)
        case Slice(value, start, stop):
            first = "" if start is None else _text(start, _CONDITIONAL)
            last = "" if stop is None else _text(stop, _CONDITIONAL)
            return _POSTFIX, f"{_base(value)}[{first}:{last}]"
        case Unary(operator, operand):
            return _UNARY, operator + _text(operand, _UNARY)
        case Binary(operator, left, right):
            level = _BINARY[operator]
            # `**` binds to the right, and its right side may carry a sign: 2 ** -1 ** 2.
            before, after = (_POSTFIX, _UNARY) if operator == "**" else (level, level + 1)
            return level, f"{_text(left, before)} {operator} {_text(right, after)}"
        case Compare(first, operators, others):
            pairs = zip(operators, others, strict=True)
            rest = "".join(f" {operator} {_text(other, _SUM)}" for operator, other in pairs)
            return _COMPARE, _text(first, _SUM) + rest
        case Boolean(operator, operands):
            level = _AND if operator == "and" else _OR
            return level, f" {operator} ".join(_text(operand, level + 1) for operand in operands)
        case Not(operand):
            return _NOT, "not " + _text(operand, _NOT)
        case Conditional(condition, then, otherwise):
            first, test = _text(then, _OR), _text(condition, _OR)
            return _CONDITIONAL, f"{first} if {test} else {_text(otherwise, _CONDITIONAL)}"
        case Call(name, arguments):
            return _POSTFIX, f"{name}({', '.join(map(to_text, arguments))})"
        case ListLiteral(items):
            return _ATOM, f"[{', '.join(map(to_text, items))}]"
        case MapLiteral(keys, values):
            pairs = zip(keys, values, strict=True)
            return _ATOM, "{" + ", ".join(f"{_quoted(key)}: {to_text(v)}" for key, v in pairs) + "}"


def _base(value: Node) -> str:
    """What a dot or a bracket follows; after a digit a dot would be a decimal point."""
    text = _text(value, _POSTFIX)
    return f"({text})" if text[0].isdigit() else text


def _key(key: Node) -> str:
    if isinstance(key, Constant) and isinstance(key.value, str):
        name = key.value
        if name.isidentifier() and not iskeyword(name):
            return f".{name}"
    return f"[{to_text(key)}]"


def _constant(value: Scalar) -> tuple[int, str]:
    if isinstance(value, str):
        return _ATOM, _quoted(value)
    text = repr(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (_UNARY if text.startswith("-") else _ATOM), text  # a sign binds as an operator does
    return _ATOM, text


def _quoted(text: str) -> str:
    """A text in double quotes; what does not print is escaped."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else ascii(character)[1:-1]
