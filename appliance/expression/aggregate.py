"""Aggregates as they stand in `aggregate` and `running`: `mean(temp, where = ok)` (S17, S12)."""

from __future__ import annotations

import ast
from typing import Protocol

from msgspec import Struct

from appliance.errors import Place
from appliance.expression.faults import NOWHERE, nearest
from appliance.expression.library import FUNCTIONS
from appliance.expression.nodes import Constant, Node
from appliance.expression.parse import AGGREGATES, RUNNING_AGGREGATES, Reader
from appliance.expression.syntax import Source
from appliance.expression.text import to_text
from appliance.limits import LAG_MAX_COUNT

#: Aggregates of S17 that this version does not have.
MISSING_AGGREGATES = ("median", "quantile", "distinct", "collect")

_SIGNATURES = {
    "count": "count() or count(x)",
    "ema": "ema(x, alpha) with alpha above 0 and at most 1",
    "lag": f"lag(x) or lag(x, n) with n from 1 to {LAG_MAX_COUNT}",
    "min_by": "min_by(x, by)",
    "max_by": "max_by(x, by)",
}


class AggregateCall(Struct, frozen=True):
    """One aggregate as it was written."""

    kind: str
    argument: Node | None = None
    by: Node | None = None  # min_by, max_by
    where: Node | None = None
    alpha: float = 0.0  # ema
    n: int = 0  # lag


class AggregateLike(Protocol):
    """What `aggregate_to_text` needs; `appliance.plan.logical.Aggregate` is such."""

    @property
    def kind(self) -> str: ...
    @property
    def argument(self) -> Node | None: ...
    @property
    def by(self) -> Node | None: ...
    @property
    def where(self) -> Node | None: ...
    @property
    def alpha(self) -> float: ...
    @property
    def n(self) -> int: ...


def parse_aggregate(text: str, place: Place = NOWHERE, *, running: bool = True) -> AggregateCall:
    """Read one aggregate; `running` allows those that only `running` steps have.

    Raises ExpressionError, as `parse` does.
    """
    source = Source(text, place)
    tree = source.tree()
    reader = Reader(source)
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        raise reader.fault(tree, "an aggregate is expected here", _inside(tree))
    kind = tree.func.id
    _check_kind(reader, tree, kind, running)
    where = _where(reader, tree, kind)
    if any(isinstance(argument, ast.Starred) for argument in tree.args):
        raise reader.fault(tree, "* is not part of expressions", f"write {_signature(kind)}")
    arguments = reader.nodes(tree.args)
    try:
        return _build(kind, arguments, where)
    except ValueError:
        message = f"this is not how {kind}() is written"
        raise reader.fault(tree, message, f"write {_signature(kind)}") from None


def aggregate_to_text(aggregate: AggregateLike) -> str:
    """The canonical text, which `parse_aggregate` reads back."""
    parts = [to_text(node) for node in (aggregate.argument, aggregate.by) if node is not None]
    if aggregate.kind == "ema":
        parts.append(repr(aggregate.alpha))
    if aggregate.kind == "lag":
        parts.append(str(aggregate.n))
    if aggregate.where is not None:
        parts.append(f"where = {to_text(aggregate.where)}")
    return f"{aggregate.kind}({', '.join(parts)})"


def _check_kind(reader: Reader, tree: ast.Call, kind: str, running: bool) -> None:
    known = AGGREGATES + RUNNING_AGGREGATES if running else AGGREGATES
    if kind in known:
        return
    if kind in MISSING_AGGREGATES:
        raise reader.fault(tree, f"{kind}() is not available in this version")
    if kind in RUNNING_AGGREGATES:
        remedy = "put it into `running` of a step before the window"
        raise reader.fault(
            tree, f"{kind}() follows a record's predecessors: no window has it", remedy
        )
    if kind in FUNCTIONS:
        raise reader.fault(tree, f"{kind}() is no aggregate", _inside(tree))
    close = nearest(kind, known + MISSING_AGGREGATES)
    remedy = f"did you mean {close}()?" if close else f"aggregates: {', '.join(known)}"
    raise reader.fault(tree, f"there is no aggregate {kind}()", remedy)


def _where(reader: Reader, tree: ast.Call, kind: str) -> Node | None:
    where: Node | None = None
    for keyword in tree.keywords:
        if keyword.arg != "where":
            message = f"{kind}() has no argument {keyword.arg or '**'}"
            raise reader.fault(keyword, message, f"write {_signature(kind)}")
        where = reader.node(keyword.value)
    return where


def _build(kind: str, arguments: tuple[Node, ...], where: Node | None) -> AggregateCall:
    """The call, or ValueError when the arguments do not fit."""
    match kind, arguments:
        case "count", ():
            return AggregateCall(kind, where=where)
        case "ema", (argument, Constant(alpha)) if type(alpha) in (int, float) and 0 < alpha <= 1:  # type: ignore[operator]
            return AggregateCall(kind, argument, where=where, alpha=float(alpha))  # type: ignore[arg-type]
        case "lag", (argument,):
            return AggregateCall(kind, argument, where=where, n=1)
        case "lag", (argument, Constant(int(n))) if type(n) is int and 1 <= n <= LAG_MAX_COUNT:
            return AggregateCall(kind, argument, where=where, n=n)
        case "min_by" | "max_by", (argument, by):
            return AggregateCall(kind, argument, by, where)
        case "ema" | "lag" | "min_by" | "max_by", _:
            raise ValueError(kind)
        case _, (argument,):
            return AggregateCall(kind, argument, where=where)
    raise ValueError(kind)


def _signature(kind: str) -> str:
    return _SIGNATURES.get(kind, f"{kind}(x) or {kind}(x, where = condition)")


def _inside(tree: ast.expr) -> str:
    """What to do with an expression that contains, or should contain, an aggregate."""
    known = AGGREGATES + RUNNING_AGGREGATES
    names = [
        found.func.id
        for found in ast.walk(tree)
        if isinstance(found, ast.Call) and isinstance(found.func, ast.Name)
    ]
    if any(name in known and name not in FUNCTIONS for name in names):
        return "an aggregate stands alone; compute with its result in `set` of a later step"
    return "write count(), mean(temp) or sum(x, where = condition)"
