"""Aggregates for `aggregate` and `running` (S17, S12): `mean(col.temp, where=col.ok)`.

Each takes a column, or an expression as text. Some have the names of built-ins, as they have in the
flow file: import them by name where you use them, or the module: `from appliance.flow import
aggregates as a`.
"""

from __future__ import annotations

from appliance.errors import Fault
from appliance.expression import (
    AggregateCall,
    Column,
    ExpressionError,
    Node,
    as_node,
    parse,
    parse_aggregate,
)
from appliance.expression.aggregate import aggregate_to_text
from appliance.flow.caller import caller_place

Expression = Column | str | int | float | bool


def _node(value: Expression | None) -> Node | None:
    if value is None:
        return None
    return parse(value, caller_place()) if isinstance(value, str) else as_node(value)


def _call(
    kind: str,
    argument: Expression | None,
    where: Expression | None,
    by: Expression | None = None,
    alpha: float = 0.0,
    n: int = 0,
) -> AggregateCall:
    """The call, held against the same rules as its text."""
    made = AggregateCall(kind, _node(argument), _node(by), _node(where), alpha, n)
    try:
        return parse_aggregate(aggregate_to_text(made))
    except ExpressionError as error:
        fault = error.fault
        raise ExpressionError(Fault(caller_place(), fault.message, fault.remedy)) from None


def count(x: Expression | None = None, *, where: Expression | None = None) -> AggregateCall:
    """How many records, or how many values of `x` that are not null."""
    return _call("count", x, where)


def sum(x: Expression, *, where: Expression | None = None) -> AggregateCall:
    """The sum; of floats compensated, so that order does not show."""
    return _call("sum", x, where)


def mean(x: Expression, *, where: Expression | None = None) -> AggregateCall:
    """The arithmetic mean."""
    return _call("mean", x, where)


def min(x: Expression, *, where: Expression | None = None) -> AggregateCall:
    """The smallest value."""
    return _call("min", x, where)


def max(x: Expression, *, where: Expression | None = None) -> AggregateCall:
    """The largest value."""
    return _call("max", x, where)


def first(x: Expression, *, where: Expression | None = None) -> AggregateCall:
    """The value of the earliest record by event time."""
    return _call("first", x, where)


def last(x: Expression, *, where: Expression | None = None) -> AggregateCall:
    """The value of the latest record by event time."""
    return _call("last", x, where)


def variance(x: Expression, *, where: Expression | None = None) -> AggregateCall:
    """The variance of a sample."""
    return _call("variance", x, where)


def variance_pop(x: Expression, *, where: Expression | None = None) -> AggregateCall:
    """The variance of a population."""
    return _call("variance_pop", x, where)


def stddev(x: Expression, *, where: Expression | None = None) -> AggregateCall:
    """The standard deviation of a sample."""
    return _call("stddev", x, where)


def stddev_pop(x: Expression, *, where: Expression | None = None) -> AggregateCall:
    """The standard deviation of a population."""
    return _call("stddev_pop", x, where)


def any(x: Expression, *, where: Expression | None = None) -> AggregateCall:
    """Whether `x` was ever true."""
    return _call("any", x, where)


def all(x: Expression, *, where: Expression | None = None) -> AggregateCall:
    """Whether `x` was always true."""
    return _call("all", x, where)


def min_by(x: Expression, by: Expression, *, where: Expression | None = None) -> AggregateCall:
    """The value of `x` where `by` is smallest; of equals the earliest."""
    return _call("min_by", x, where, by)


def max_by(x: Expression, by: Expression, *, where: Expression | None = None) -> AggregateCall:
    """The value of `x` where `by` is largest; of equals the earliest."""
    return _call("max_by", x, where, by)


def ema(x: Expression, alpha: float, *, where: Expression | None = None) -> AggregateCall:
    """Running: the exponential moving average, 0 < alpha <= 1."""
    return _call("ema", x, where, alpha=float(alpha))


def delta(x: Expression, *, where: Expression | None = None) -> AggregateCall:
    """Running: the difference to the value before."""
    return _call("delta", x, where)


def rate(x: Expression, *, where: Expression | None = None) -> AggregateCall:
    """Running: the difference to the value before, per second."""
    return _call("rate", x, where)


def lag(x: Expression, n: int = 1, *, where: Expression | None = None) -> AggregateCall:
    """Running: the value `n` records before."""
    return _call("lag", x, where, n=n)


def changed(x: Expression, *, where: Expression | None = None) -> AggregateCall:
    """Running: whether the value differs from the one before."""
    return _call("changed", x, where)
