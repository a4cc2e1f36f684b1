"""What an expression is: frozen nodes, plain data.

Nodes are in one normal form, whichever way they were written, so that equal expressions are equal
nodes: `a.b` and `a["b"]` are the same `Get`, `-5` is a constant, `(a and b) and c` is one `Boolean`
of three. The builders below keep that form; nodes are made through them.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

Scalar = None | bool | int | float | str | bytes

INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1


class Constant(Struct, frozen=True, eq=False):
    """A literal. `1`, `1.0` and `True` are three different constants; so are `0.0` and `-0.0`."""

    value: Scalar

    def _identity(self) -> tuple[type, str]:
        return type(self.value), repr(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())


class Field(Struct, frozen=True):
    """A field of the record; null where the record does not have it."""

    name: str


class Get(Struct, frozen=True):
    """`value.key` and `value[key]`: an entry of a map, an item of a list, a character of a text."""

    value: Node
    key: Node


class Slice(Struct, frozen=True):
    """`value[start:stop]`; None where the bound is left out."""

    value: Node
    start: Node | None
    stop: Node | None


class Unary(Struct, frozen=True):
    operator: str  # "-" or "+"
    operand: Node


class Binary(Struct, frozen=True):
    operator: str  # + - * / // % **
    left: Node
    right: Node


class Compare(Struct, frozen=True):
    """`first OP second OP third …`: as many operators as there are operands after the first."""

    first: Node
    operators: tuple[str, ...]  # == != < <= > >= in "not in"
    others: tuple[Node, ...]


class Boolean(Struct, frozen=True):
    operator: str  # "and" or "or"
    operands: tuple[Node, ...]  # two or more, none a Boolean of the same operator


class Not(Struct, frozen=True):
    operand: Node


class Conditional(Struct, frozen=True):
    """`then if condition else otherwise`."""

    condition: Node
    then: Node
    otherwise: Node


class Call(Struct, frozen=True):
    """A function of the library (`appliance.expression.library`)."""

    name: str
    arguments: tuple[Node, ...]


class ListLiteral(Struct, frozen=True):
    items: tuple[Node, ...]


class MapLiteral(Struct, frozen=True):
    keys: tuple[str, ...]
    values: tuple[Node, ...]


Node = (
    Constant
    | Field
    | Get
    | Slice
    | Unary
    | Binary
    | Compare
    | Boolean
    | Not
    | Conditional
    | Call
    | ListLiteral
    | MapLiteral
)
NODE_TYPES = (
    Constant,
    Field,
    Get,
    Slice,
    Unary,
    Binary,
    Compare,
    Boolean,
    Not,
    Conditional,
    Call,
    ListLiteral,
    MapLiteral,
)


def negated(operand: Node) -> Node:
    """`-operand`, a constant where the operand is a number."""
    if isinstance(operand, Constant):
        value = operand.value
        if type(value) is float or (type(value) is int and -value <= INT_MAX):
            return Constant(-value)
    return Unary("-", operand)


def joined(operator: str, *operands: Node) -> Node:
    """`and` or `or` over the operands; those of the same operator are taken in, which changes no
    result.
    """
    flat: list[Node] = []
    for operand in operands:
        if isinstance(operand, Boolean) and operand.operator == operator:
            flat.extend(operand.operands)
        else:
            flat.append(operand)
    return Boolean(operator, tuple(flat))


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below, in the order in which they are written."""
    for name in node.__struct_fields__:
        value = getattr(node, name)
        if isinstance(value, NODE_TYPES):
            yield value
        elif isinstance(value, tuple):
            yield from (item for item in value if isinstance(item, NODE_TYPES))


def walk(node: Node) -> Iterator[Node]:
    """The node and every node below it."""
    waiting = [node]
    while waiting:
        found = waiting.pop()
        yield found
        waiting.extend(children(found))


def depth(node: Node) -> int:
    """Levels of nesting, counted without recursion; a single field or constant is 1."""
    level, found = 0, [node]
    while found:
        level, found = level + 1, [below for one in found for below in children(one)]
    return level


def fields_of(node: Node) -> frozenset[str]:
    """The names of the record's own fields that an expression reads."""
    return frozenset(found.name for found in walk(node) if isinstance(found, Field))
