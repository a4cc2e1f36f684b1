"""Expressions written in Python: `col.temp > 15`, `col["a b"]`, `when(col.ok, 1, 0)`.

The operators build the very nodes that the text of the same expression gives. Nothing is computed
here.
"""

from __future__ import annotations

import math
from typing import NoReturn

from appliance.expression.library import call
from appliance.expression.nodes import (
    INT_MAX,
    INT_MIN,
    NODE_TYPES,
    Binary,
    Compare,
    Conditional,
    Constant,
    Field,
    Get,
    ListLiteral,
    MapLiteral,
    Node,
    Not,
    Slice,
    Unary,
    joined,
    negated,
)
from appliance.expression.text import to_text
from appliance.limits import CALL_ARGUMENT_MAX_COUNT, MAP_ITEM_MAX_COUNT


class Column:
    """An expression over the fields of a record. `.name` and `[key]` reach into nested values."""

    __slots__ = ("_node",)

    def __init__(self, node: Node) -> None:
        self._node = node

    # Nested values.

    def __getattr__(self, name: str) -> Column:
        if name.startswith("__"):  # Python's own protocols: copying, pickling, arrays
            raise AttributeError(name)
        return Column(Get(self._node, Constant(name)))

    def __getitem__(self, key: object) -> Column:
        if isinstance(key, slice):
            if key.step is not None:
                raise TypeError("slices have no step")
            start = None if key.start is None else as_node(key.start)
            stop = None if key.stop is None else as_node(key.stop)
            return Column(Slice(self._node, start, stop))
        return Column(Get(self._node, as_node(key)))

    # Arithmetic.

    def __add__(self, other: object) -> Column:
        return _binary("+", self, other)

    def __radd__(self, other: object) -> Column:
        return _binary("+", other, self)

    def __sub__(self, other: object) -> Column:
        return _binary("-", self, other)

    def __rsub__(self, other: object) -> Column:
        return _binary("-", other, self)

    def __mul__(self, other: object) -> Column:
        return _binary("*", self, other)

    def __rmul__(self, other: object) -> Column:
        return _binary("*", other, self)

    def __truediv__(self, other: object) -> Column:
        return _binary("/", self, other)

    def __rtruediv__(self, other: object) -> Column:
        return _binary("/", other, self)

    def __floordiv__(self, other: object) -> Column:
        return _binary("//", self, other)

    def __rfloordiv__(self, other: object) -> Column:
        return _binary("//", other, self)

    def __mod__(self, other: object) -> Column:
        return _binary("%", self, other)

    def __rmod__(self, other: object) -> Column:
        return _binary("%", other, self)

    def __pow__(self, other: object) -> Column:
        return _binary("**", self, other)

    def __rpow__(self, other: object) -> Column:
        return _binary("**", other, self)

    def __neg__(self) -> Column:
        return Column(negated(self._node))

    def __pos__(self) -> Column:
        return Column(Unary("+", self._node))

    # Comparison. These give columns, not bools, which is what makes `col.temp > 15` an expression.

    def __eq__(self, other: object) -> Column:  # type: ignore[override]
        return _compare("==", self, other)

    def __ne__(self, other: object) -> Column:  # type: ignore[override]
        return _compare("!=", self, other)

    def __lt__(self, other: object) -> Column:
        return _compare("<", self, other)

    def __le__(self, other: object) -> Column:
        return _compare("<=", self, other)

    def __gt__(self, other: object) -> Column:
        return _compare(">", self, other)

    def __ge__(self, other: object) -> Column:
        return _compare(">=", self, other)

    __hash__ = None  # type: ignore[assignment]

    def isin(self, values: object) -> Column:
        """Whether the value is an item of a list, a key of a map, or part of a text."""
        if isinstance(values, set | frozenset):
            values = sorted(values)
        return _compare("in", self, values)

    # Conditions.

    def __and__(self, other: object) -> Column:
        return Column(joined("and", self._node, _condition("&", other)))

    def __rand__(self, other: object) -> Column:
        return Column(joined("and", _condition("&", other), self._node))

    def __or__(self, other: object) -> Column:
        return Column(joined("or", self._node, _condition("|", other)))

    def __ror__(self, other: object) -> Column:
        return Column(joined("or", _condition("|", other), self._node))

    def __invert__(self) -> Column:
        return Column(Not(self._node))

    # What Python would do by itself, and what is meant instead.

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"{to_text(self._node)} has no truth yet: it is known for each record only. Write & | "
            "and ~ for and, or and not, with parentheses around comparisons; split a < b < c into "
            "(a < b) & (b < c); write when(condition, a, b) for if"
        )

    def __contains__(self, item: object) -> NoReturn:
        raise TypeError("write functions.contains(column, item), or column.isin([…]), for `in`")

    def __iter__(self) -> NoReturn:
        raise TypeError("a column cannot be iterated: its value is known for each record only")

    def __call__(self, *arguments: object, **named: object) -> NoReturn:
        raise TypeError("values have no methods here: write functions.lower(column)")

    def __repr__(self) -> str:
        return f"<column {to_text(self._node)}>"


class Fields:
    """The record: `col.temp` and `col["a b"]` are its fields."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Column:
        if name.startswith("__"):
            raise AttributeError(name)
        return Column(Field(name))

    def __getitem__(self, name: str) -> Column:
        if not isinstance(name, str):
            raise TypeError(f"a field's name is a text, not {type(name).__name__}")
        return Column(Field(name))

    def __iter__(self) -> NoReturn:
        raise TypeError("the fields of a record are known for each record only")

    def __repr__(self) -> str:
        return "col"


col = Fields()


def when(condition: object, then: object, otherwise: object) -> Column:
    """`then if condition else otherwise`; only the chosen one is computed."""
    return Column(Conditional(as_node(condition), as_node(then), as_node(otherwise)))


def as_node(value: object) -> Node:
    """The node of a column, a node itself, or a constant; a str is a constant text, never an
    expression.

    Raises TypeError for what no record can hold, ValueError for numbers out of range.
    """
    if isinstance(value, Column):
        return value._node
    if isinstance(value, NODE_TYPES):
        return value
    if value is None or isinstance(value, bool | bytes):
        return Constant(value)
    if isinstance(value, int):
        if not INT_MIN <= value <= INT_MAX:
            raise ValueError(f"{value} does not fit 64 bits")
        return Constant(int(value))
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot be a constant")
        return Constant(float(value))
    if isinstance(value, str):
        value.encode()  # half of a surrogate pair is no text: UnicodeEncodeError is a ValueError
        return Constant(str(value))
    if isinstance(value, list | tuple):
        return _list(value)
    if isinstance(value, dict):
        return _map(value)
    raise TypeError(f"{type(value).__name__} cannot be part of an expression")


def _list(values: list[object] | tuple[object, ...]) -> ListLiteral:
    items = tuple(map(as_node, values))
    if len(items) > CALL_ARGUMENT_MAX_COUNT and not all(
        isinstance(item, Constant) for item in items
    ):
        raise ValueError(f"a list with computed items has at most {CALL_ARGUMENT_MAX_COUNT}")
    return ListLiteral(items)


def _map(values: dict[object, object]) -> MapLiteral:
    if not all(isinstance(key, str) for key in values):
        raise TypeError("a key of a map is a text")
    if len(values) > MAP_ITEM_MAX_COUNT:
        raise ValueError(f"a map has at most {MAP_ITEM_MAX_COUNT} entries here")
    return MapLiteral(tuple(map(str, values)), tuple(map(as_node, values.values())))


def library_call(name: str, *arguments: object) -> Column:
    """A library function of columns and constants. Raises ExpressionError."""
    return Column(call(name, tuple(map(as_node, arguments))))


def _binary(operator: str, left: object, right: object) -> Column:
    return Column(Binary(operator, as_node(left), as_node(right)))


def _compare(operator: str, left: object, right: object) -> Column:
    if left is None or right is None:
        raise TypeError("a comparison with None is always null: write functions.is_null(column)")
    return Column(Compare(as_node(left), (operator,), (as_node(right),)))


def _condition(operator: str, value: object) -> Node:
    if isinstance(value, Column | bool):
        return as_node(value)
    raise TypeError(
        f"{operator} joins conditions, not {type(value).__name__}: put parentheses around "
        f"comparisons, (col.a > 1) {operator} (col.b > 2)"
    )
