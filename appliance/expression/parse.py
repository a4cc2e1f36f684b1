"""Text to nodes. Python's own parser reads the text; what is not part of expressions is refused
with a remedy.

Nothing of the text is ever run: its syntax tree is walked and rebuilt from our own nodes.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from appliance.errors import Place
from appliance.expression.faults import NOWHERE, ExpressionError
from appliance.expression.library import FUNCTIONS, call
from appliance.expression.nodes import (
    INT_MAX,
    INT_MIN,
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
from appliance.expression.syntax import Source, method_remedy, refused
from appliance.expression.text import FOREIGN_CONSTANTS
from appliance.limits import (
    CALL_ARGUMENT_MAX_COUNT,
    EXPRESSION_DEPTH_MAX_COUNT,
    EXPRESSION_NODE_MAX_COUNT,
    MAP_ITEM_MAX_COUNT,
)

#: Functions with a place of their own in the flow file (S17, S12).
AGGREGATES = ("count", "sum", "mean", "min", "max", "first", "last") + (
    "variance", "variance_pop", "stddev", "stddev_pop", "any", "all", "min_by", "max_by",
)  # fmt: skip
RUNNING_AGGREGATES = ("ema", "delta", "rate", "lag", "changed")

_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
}
_BITS: dict[type[ast.operator], str] = {
    ast.BitAnd: "write `and`",
    ast.BitOr: "write `or`",
    ast.BitXor: "there are no bit operators; a power is x ** y",
}
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
}


def parse(text: str, place: Place = NOWHERE) -> Node:
    """Read one expression. `place` is where the text's first character stands.

    Raises ExpressionError: one fault, at the column where it is, with what to write instead.
    """
    source = Source(text, place)
    return Reader(source).node(source.tree())


class Reader:
    """One walk over one syntax tree."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.depth = 0
        self.count = 0

    def node(self, tree: ast.expr) -> Node:
        self.depth += 1
        self.count += 1
        if self.depth > EXPRESSION_DEPTH_MAX_COUNT:
            raise self.fault(tree, "the expression is nested too deeply", "compute a part before")
        if self.count > EXPRESSION_NODE_MAX_COUNT:
            raise self.fault(tree, "the expression is too long", "compute a part before")
        read = getattr(self, f"read_{type(tree).__name__}", None)
        if read is None:
            raise self.fault(tree, *refused(tree))
        found: Node = read(tree)
        self.depth -= 1
        return found

    def fault(self, tree: ast.AST, message: str, remedy: str = "") -> ExpressionError:
        return ExpressionError.of(message, remedy).at(self.source.place_of(tree))

    def nodes(self, trees: Sequence[ast.expr]) -> tuple[Node, ...]:
        return tuple(map(self.node, trees))

    def read_Constant(self, tree: ast.Constant) -> Node:
        value = tree.value
        if value is None or isinstance(value, bool | bytes):
            return Constant(value)
        if isinstance(value, int):
            if value > INT_MAX:
                raise self.fault(
                    tree, "this number does not fit 64 bits", "the largest int is 2**63 - 1"
                )
            return Constant(value)
        if isinstance(value, float):
            if value - value != 0.0:
                raise self.fault(tree, "this number is too large for a float")
            return Constant(value)
        if isinstance(value, str):
            if any("\ud800" <= character <= "\udfff" for character in value):
                raise self.fault(
                    tree, "half of a surrogate pair is no character", "write \\U0001F600"
                )
            return Constant(value)
        raise self.fault(tree, *refused(tree))

    def read_Name(self, tree: ast.Name) -> Node:
        name = self.source.name_of(tree)
        if name in FOREIGN_CONSTANTS:
            remedy = f'write {FOREIGN_CONSTANTS[name]}, or field("{name}") for a field of that name'
            raise self.fault(tree, f"{name} is no constant here", remedy)
        return Field(name)

    def read_Attribute(self, tree: ast.Attribute) -> Node:
        return Get(self.node(tree.value), Constant(self.source.name_of(tree)))

    def read_Subscript(self, tree: ast.Subscript) -> Node:
        value, index = self.node(tree.value), tree.slice
        if not isinstance(index, ast.Slice):
            return Get(value, self.node(index))
        if index.step is not None:
            raise self.fault(index.step, "slices have no step", "write x[start:stop]")
        start = None if index.lower is None else self.node(index.lower)
        return Slice(value, start, None if index.upper is None else self.node(index.upper))

    def read_UnaryOp(self, tree: ast.UnaryOp) -> Node:
        operand, operator = tree.operand, tree.op
        if isinstance(operator, ast.Not):
            return Not(self.node(operand))
        if isinstance(operator, ast.Invert):
            raise self.fault(tree, "~ is not part of expressions", "write `not`")
        if isinstance(operator, ast.UAdd):
            return Unary("+", self.node(operand))
        # The smallest int has no positive counterpart, so it is read together with its sign.
        if (
            isinstance(operand, ast.Constant)
            and type(operand.value) is int
            and -operand.value == INT_MIN
        ):
            return Constant(INT_MIN)
        return negated(self.node(operand))

    def read_BinOp(self, tree: ast.BinOp) -> Node:
        operator = _ARITHMETIC.get(type(tree.op))
        if operator is None:
            remedy = _BITS.get(type(tree.op), "there are no bit or matrix operators")
            raise self.fault(tree, "this operator is not part of expressions", remedy)
        return Binary(operator, self.node(tree.left), self.node(tree.right))

    def read_Compare(self, tree: ast.Compare) -> Node:
        operators: list[str] = []
        others: list[Node] = []
        for operator, other in zip(tree.ops, tree.comparators, strict=True):
            word = _COMPARISONS.get(type(operator))
            if _is_none(other) or _is_none(tree.left):
                raise self.fault(tree, "a comparison with None is always null", "write is_null(x)")
            if word is None:
                raise self.fault(tree, "`is` is not part of expressions", "write == or is_null(x)")
            operators.append(word)
            if word in ("in", "not in") and isinstance(other, ast.Tuple | ast.Set):
                others.append(self.items(other, other.elts))
            else:
                others.append(self.node(other))
        return Compare(self.node(tree.left), tuple(operators), tuple(others))

    def read_BoolOp(self, tree: ast.BoolOp) -> Node:
        return joined("and" if isinstance(tree.op, ast.And) else "or", *self.nodes(tree.values))

    def read_IfExp(self, tree: ast.IfExp) -> Node:
        condition, then = self.node(tree.test), self.node(tree.body)
        return Conditional(condition, then, self.node(tree.orelse))

    def read_List(self, tree: ast.List) -> Node:
        return self.items(tree, tree.elts)

    def items(self, tree: ast.expr, trees: Sequence[ast.expr]) -> ListLiteral:
        constant = all(isinstance(item, ast.Constant) for item in trees)
        if len(trees) > CALL_ARGUMENT_MAX_COUNT and not constant:
            most = CALL_ARGUMENT_MAX_COUNT
            raise self.fault(tree, f"a list with computed items has at most {most}")
        return ListLiteral(self.nodes(trees))

    def read_Dict(self, tree: ast.Dict) -> Node:
        keys: list[str] = []
        for key, value in zip(tree.keys, tree.values, strict=True):
            if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
                raise self.fault(key or value, "a key of a map is a constant text", '{"a": x}')
            if key.value in keys:
                raise self.fault(key, f"the key {key.value!r} is there twice")
            self.node(key)
            keys.append(key.value)
        if len(keys) > MAP_ITEM_MAX_COUNT:
            raise self.fault(tree, f"a map has at most {MAP_ITEM_MAX_COUNT} entries here")
        return MapLiteral(tuple(keys), self.nodes(tree.values))

    def read_Call(self, tree: ast.Call) -> Node:
        function = tree.func
        if isinstance(function, ast.Attribute):
            message = "values have no methods here"
            raise self.fault(tree, message, method_remedy(self.source, tree, function))
        if not isinstance(function, ast.Name):
            raise self.fault(tree, "only a function's name can be called", "write round(x, 1)")
        name = function.id
        for keyword in tree.keywords:
            raise self.fault(keyword, f"{name}() takes no named arguments", "write them in order")
        if name == "field":
            return self.read_field(tree)
        if name not in FUNCTIONS and name in AGGREGATES + RUNNING_AGGREGATES:
            remedy = "compute it in `aggregate` or `running`, and use its field here"
            raise self.fault(tree, f"{name}() is an aggregate", remedy)
        arguments = self.nodes(tree.args)
        try:
            return call(name, arguments)
        except ExpressionError as error:
            raise error.at(self.source.place_of(tree)) from None

    def read_field(self, tree: ast.Call) -> Node:
        name = tree.args[0] if len(tree.args) == 1 else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            self.node(name)
            return Field(name.value)
        raise self.fault(tree, "field() takes one constant text", 'write field("a b")')


def _is_none(tree: ast.expr) -> bool:
    return isinstance(tree, ast.Constant) and tree.value is None
