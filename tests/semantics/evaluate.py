"""Expressions in plain Python, slow and obvious: the meaning that the native machine has to have
(S2, S24).

    evaluate(parse("a + 1"), {"a": 2})    3

Values are Python's own: None, bool, int, float, str, bytes, list, dict; a time is a `Time`. The
functions of the library are in `semantics.library`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appliance.expression import (
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
    Slice,
    Unary,
)

INT_MIN, INT_MAX = -(2**63), 2**63 - 1


class EvaluationError(Exception):
    """The record is an error (S3)."""


@dataclass(frozen=True, order=True)
class Time:
    """Microseconds since 1970-01-01 UTC."""

    us: int


def evaluate(node: Node, record: Mapping[str, Any], now_us: int = 0) -> Any:
    """The value of an expression for one record. Raises EvaluationError."""

    def of(below: Node) -> Any:
        return evaluate(below, record, now_us)

    match node:
        case Constant(value):
            return value
        case Field(name):
            return record.get(name)
        case Get(value, key):
            return get(of(value), of(key))
        case Slice(value, start, stop):
            sliced = of(value)
            first = 0 if start is None else of(start)
            last = INT_MAX if stop is None else of(stop)
            return cut(sliced, first, last)
        case Unary(operator, operand):
            return unary(operator, of(operand))
        case Binary(operator, left, right):
            return binary(operator, of(left), of(right))
        case Compare(first, operators, others):
            left, result = of(first), True
            for operator, other in zip(operators, others, strict=True):
                right = of(other)
                result = both(result, compare(operator, left, right))
                if result is False:
                    return False
                left = right
            return result
        case Boolean("and", operands):
            result = True
            for operand in operands:
                result = both(result, truth(of(operand)))
                if result is False:
                    return False
            return result
        case Boolean(_, operands):
            result = False
            for operand in operands:
                result = negate(both(negate(result), negate(truth(of(operand)))))
                if result is True:
                    return True
            return result
        case Not(operand):
            return negate(truth(of(operand)))
        case Conditional(condition, then, otherwise):
            return of(then) if truth(of(condition)) is True else of(otherwise)
        case ListLiteral(items):
            return [of(item) for item in items]
        case MapLiteral(keys, values):
            return {key: of(value) for key, value in zip(keys, values, strict=True)}
        case Call("coalesce", arguments):
            for argument in arguments:
                value = of(argument)
                if value is not None:
                    return value
            return None
        case Call("get", (value, key, default)):
            found = get(of(value), of(key))
            return of(default) if found is None else found
        case Call(name, arguments):
            from semantics.library import call

            return call(name, [of(argument) for argument in arguments], now_us)
    raise AssertionError(f"{node} is no node")


# ---- truth ----


def truth(value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise EvaluationError(f"a condition takes true, false or null, got {kind(value)}")


def both(a: bool | None, b: bool | None) -> bool | None:
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def negate(a: bool | None) -> bool | None:
    return None if a is None else not a


# ---- kinds and ranges ----


def kind(value: Any) -> str:
    """The type of S1."""
    names = {type(None): "null", dict: "map", Time: "time"}
    return names.get(type(value), type(value).__name__)


def is_number(value: Any) -> bool:
    return type(value) in (int, float)


def whole(value: int) -> int:
    if not INT_MIN <= value <= INT_MAX:
        raise EvaluationError("the result does not fit 64 bits")
    return value


# ---- operators ----


def unary(operator: str, value: Any) -> Any:
    if value is None:
        return None
    if not is_number(value):
        raise EvaluationError(f"{operator} takes a number, got {kind(value)}")
    result = -value if operator == "-" else value
    return whole(result) if isinstance(result, int) else result


def binary(operator: str, a: Any, b: Any) -> Any:
    if a is None or b is None:
        return None
    if is_number(a) and is_number(b):
        return arithmetic(operator, a, b)
    match operator, a, b:
        case "-", Time(), Time():
            return whole(a.us - b.us)
        case "+" | "-", Time(), int() if type(b) is int:
            return Time(whole(a.us + b if operator == "+" else a.us - b))
        case "+", int(), Time() if type(a) is int:
            return Time(whole(a + b.us))
        case "+", str() | bytes() | list(), _ if type(a) is type(b):
            return a + b
    raise EvaluationError(f"{operator} does not take {kind(a)} and {kind(b)}")


def arithmetic(operator: str, a: Any, b: Any) -> Any:
    try:
        match operator:
            case "+":
                result = a + b
            case "-":
                result = a - b
            case "*":
                result = a * b
            case "/":
                result = a / b
            case "//":
                result = a // b
            case "%":
                result = a % b
            case _:
                result = power(a, b)
    except (ZeroDivisionError, OverflowError) as error:
        raise EvaluationError(str(error)) from None
    return whole(result) if isinstance(result, int) else result


def power(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int) and b > 64 and abs(a) > 1:
        raise OverflowError("the result does not fit 64 bits")
    result = a**b
    if isinstance(result, complex):
        raise EvaluationError("a negative number has no such power")
    return result


def compare(operator: str, a: Any, b: Any) -> bool | None:
    if a is None or b is None:
        return None
    if operator in ("in", "not in"):
        return contains(b, a) == (operator == "in")
    if {kind(a), kind(b)} == {"time", "str"}:
        raise EvaluationError("a time and a text do not compare")
    if operator in ("==", "!="):
        return equal(a, b) == (operator == "==")
    check_ordered(a, b)
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[operator]


def check_ordered(a: Any, b: Any) -> None:
    both_numbers = is_number(a) and is_number(b)
    if not both_numbers and (type(a) is not type(b) or not isinstance(a, str | bytes | Time)):
        raise EvaluationError(f"{kind(a)} and {kind(b)} have no order")


def equal(a: Any, b: Any) -> bool:
    """Deep; a bool equals only a bool, inside of lists and maps null equals null."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if is_number(a) and is_number(b):
        return bool(a == b)
    return type(a) is type(b) and bool(a == b)


def contains(place: Any, item: Any) -> bool:
    if isinstance(place, list):
        return any(equal(item, other) for other in place)
    if isinstance(place, dict):
        return isinstance(item, str) and item in place
    if isinstance(place, str | bytes) and type(place) is type(item):
        return item in place
    raise EvaluationError(f"{kind(item)} in {kind(place)}")


# ---- parts ----


def get(value: Any, key: Any) -> Any:
    """A missing key is null, an index out of range is null."""
    if value is None or key is None:
        return None
    if isinstance(value, dict):
        if not isinstance(key, str):
            raise EvaluationError("the key of a map is str")
        return value.get(key)
    if not isinstance(value, str | bytes | list):
        raise EvaluationError(f"{kind(value)} has no fields and no items")
    if type(key) is not int:
        raise EvaluationError("the index is int")
    try:
        return value[key]
    except IndexError:
        return None


def cut(value: Any, start: Any, stop: Any) -> Any:
    if value is None or start is None or stop is None:
        return None
    if not isinstance(value, str | bytes | list):
        raise EvaluationError(f"{kind(value)} has no slices")
    for bound in (start, stop):
        if type(bound) is not int:
            raise EvaluationError("the bounds of a slice are int")
    return value[start:stop]
