"""S2, S24: the machine, the plain evaluator and Python itself agree about expressions."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from appliance.expression import (
    Call,
    Compare,
    Constant,
    ExpressionError,
    Node,
    parse,
    to_text,
    walk,
)
from appliance.expression.library import call
from appliance.native import lib
from semantics.evaluate import EvaluationError, Time, evaluate
from semantics.expressions import expressions, records
from semantics.machine import MachineError, run

NOW_US = 1_700_000_000_123_456
MANY = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def same(a: Any, b: Any) -> bool:
    """Equal in type and bits, all the way down; every NaN is the same."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return bool(a == b)


def outcomes(node: Node, record: dict[str, Any]) -> tuple[Any, Any]:
    """What the evaluator and the machine make of it; an error is the word "error"."""
    try:
        expected = evaluate(node, record, NOW_US)
    except EvaluationError:
        expected = EvaluationError
    try:
        found = run(node, record, NOW_US)
    except MachineError as error:
        assert error.reason == lib.REASON_EXPRESSION, error
        found = EvaluationError
    return expected, found


@MANY
@given(expressions(), records)
def test_the_machine_does_what_the_evaluator_does(node: Node, record: dict[str, Any]) -> None:
    expected, found = outcomes(node, record)
    assert same(expected, found), f"{to_text(node)}: {expected!r} but the machine gives {found!r}"


@settings(max_examples=100, deadline=None)
@given(expressions("bool", 2), records)
def test_conditions_are_true_false_null_or_an_error(node: Node, record: dict[str, Any]) -> None:
    expected, found = outcomes(node, record)
    assert same(expected, found), to_text(node)


def is_readable(node: Node) -> bool:
    """Whether the text of a random node is not refused for what it says: round("a"), x == None."""
    for found in walk(node):
        if isinstance(found, Call):
            try:
                call(found.name, found.arguments)
            except ExpressionError:
                return False
        if isinstance(found, Compare) and Constant(None) in (found.first, *found.others):
            return False
    return True


@settings(max_examples=150, deadline=None)
@given(expressions().filter(is_readable))
def test_canonical_text_reads_back_as_the_same_expression(node: Node) -> None:
    assert parse(to_text(node)) == node


# ---- against Python's own evaluation ----

NAMES = ("a", "b", "x", "y")
PLAIN = {"abs": abs, "round": round, "min": min, "max": max, "len": len, "bool": bool, "str": str}


@st.composite
def sources(draw: Any, kind: str = "number", depth: int = 4) -> str:
    """The text of an expression that is Python too: no nulls, bools where bools belong."""

    def below(other: str) -> str:
        return f"({draw(sources(other, depth - 1))})"

    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(
            {
                "number": st.one_of(
                    st.sampled_from(NAMES),
                    st.integers(0, 99).map(str),
                    st.floats(0, 1e6).map(repr),
                ),
                "bool": st.sampled_from(["p", "q", "True", "False"]),
                "text": st.sampled_from(["s", "t", "'b'", '"é"']),
            }[kind]
        )
    if kind == "bool":
        form = draw(st.sampled_from(["and", "or", "not", "number", "text", "chain", "in"]))
        if form == "not":
            return f"not {below('bool')}"
        if form in ("and", "or"):
            return f"{below('bool')} {form} {below('bool')}"
        if form == "in":
            return f"{below('text')} in {below('text')}"
        operators = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
        other = "text" if form == "text" else "number"
        text = f"{below(other)} {draw(operators)} {below(other)}"
        return f"{text} {draw(operators)} {below(other)}" if form == "chain" else text
    if draw(st.integers(0, 5)) == 0:
        return f"{below(kind)} if {below('bool')} else {below(kind)}"
    if kind == "text":
        form = draw(st.sampled_from(["+", "slice", "str"]))
        if form == "+":
            return f"{below('text')} + {below('text')}"
        if form == "str":
            return f"str{below('number')}"
        return f"{below('text')}[{draw(st.integers(-3, 3))}:{draw(st.integers(-3, 3))}]"
    form = draw(st.sampled_from(["+", "-", "*", "/", "//", "%", "sign", "call", "round", "power"]))
    if form == "sign":
        return f"-{below('number')}"
    if form == "power":
        return f"{below('number')} ** {draw(st.integers(-3, 5))}"
    if form == "round":
        return f"round({below('number')}, {draw(st.integers(-3, 12))})"
    if form == "call":
        name = draw(st.sampled_from(["abs", "min", "max", "len"]))
        if name == "len":
            return f"len{below('text')}"
        if name == "abs":
            return f"abs{below('number')}"
        return f"{name}({below('number')}, {below('number')})"
    return f"{below('number')} {form} {below('number')}"


@MANY
@given(
    sources() | sources("bool") | sources("text"),
    st.fixed_dictionaries(
        {
            "a": st.integers(-100, 100),
            "b": st.integers(-(2**63), 2**63 - 1),
            "x": st.floats(-1e6, 1e6),
            "y": st.floats(),
            "p": st.booleans(),
            "q": st.booleans(),
            "s": st.text("abé", max_size=4),
            "t": st.text("ab", max_size=2),
        }
    ),
)
@example("(a) // (b) + (a) % (b)", {"a": -7, "b": 2, "x": 0.0, "y": 0.0})
def test_without_nulls_and_overflow_it_is_python(text: str, record: dict[str, Any]) -> None:
    try:
        # Our own text of a moment ago, with nothing in reach but its own names.
        expected = eval(text, {"__builtins__": {}}, PLAIN | record)
    except (ZeroDivisionError, OverflowError, ValueError) as error:
        expected = type(error)
    try:
        found = evaluate(parse(text), record)
    except EvaluationError as error:
        overflowed = "64 bits" in str(error)
        is_error = expected in (ZeroDivisionError, OverflowError, ValueError)
        assert is_error or overflowed or isinstance(expected, complex), f"{text}: {error}"
        return
    assert same(found, expected), f"{text}: Python says {expected!r}, not {found!r}"


# ---- what is decided where Python has no answer ----

RECORD = {
    "a": 1,
    "x": 2.5,
    "s": "héllo",
    "yes": True,
    "nil": None,
    "l": [1, 2, [3, None]],
    "m": {"k": 1, "n": None},
    "t": Time(1_700_000_000_000_000),
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # A missing field is null, and so is what is inside of it.
        ("missing", None),
        ("missing.b[0].c", None),
        ("nil + 1", None),
        ("nil == nil", None),
        ("m.gone", None),
        ("l[7]", None),
        ("s[-9]", None),
        ("s[nil:]", None),
        ("slice(a, 0, nil)", None),
        # Three-valued logic.
        ("nil and False", False),
        ("False and 1", False),
        ("nil and True", None),
        ("nil or True", True),
        ("not nil", None),
        ("1 if nil else 2", 2),
        ("1 < nil < 0", None),
        ("2 < 1 < nil", False),
        # Equality.
        ("a == '1'", False),
        ("yes == 1", False),
        ("a == 1.0", True),
        ("l == [1.0, 2, [3, None]]", True),
        ("m == {'n': None, 'k': 1}", True),
        ("nil in l", None),
        ("[3, None] in l", True),
        ("'k' in m", True),
        ("1 not in m", True),
        # Null among arguments.
        ("is_null(nil)", True),
        ("is_null(missing.b)", True),
        ("coalesce(nil, missing, 3, 1 / 0)", 3),
        ("round(nil)", None),
        ("min(1, nil)", None),
        ("min([])", None),
        ("has(m, 'n')", True),
        ("get(m, 'n', 5)", 5),
        ("get(missing, 'n', 5)", 5),
        # Times.
        ("t - t", 0),
        ("t + 1 > t", True),
        ("t == 1700000000000000", False),
        ("to_time('2023-11-14T22:13:20Z') == t", True),
        ("str(t)", "2023-11-14T22:13:20Z"),
        ("truncate_time(t, '1d')", Time(1_699_920_000_000_000)),
    ],
)
def test_decided_meanings(text: str, value: Any) -> None:
    """S2, S24 and the library's table."""
    expected, found = outcomes(parse(text), RECORD)
    assert same(expected, value), expected
    assert same(found, value), found


@pytest.mark.parametrize(
    "text",
    [
        "9223372036854775807 + a",
        "2 ** 63",
        "-m.k - 9223372036854775807 - a",
        "a / 0",
        "x % 0.0",
        "yes + 1",
        "s * 3",
        "s < 1",
        "l < l",
        "t == s",
        "t < 5",
        "a and yes",
        "not s",
        "1 if a else 2",
        "a.b",
        "s.b",
        "m[0]",
        "l['k']",
        "a in s",
        "1 in a",
        "sqrt(0 - a)",
        "log(a - 1)",
        "(0 - a) ** 0.5",
        "10.0 ** 400",
        "min(a, s)",
        "len(a)",
        "lower(a)",
        "join(l)",
        "replace(s, '', 'b')",
        "split(s, '')",
        "int(s)",
        "float(s)",
        "str(l)",
        "year(a)",
        "to_time(s)",
        "crc32(a)",
        "keys(l)",
        "sign(x - x / (x - x + 0.0))",
    ],
)
def test_errors_of_the_record(text: str) -> None:
    """S2, S24: overflow, wrong types, division by zero; never a value."""
    expected, found = outcomes(parse(text), RECORD)
    assert expected is EvaluationError
    assert found is EvaluationError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("round(s)", "round() takes a number, and an int of digits, got str"),
        ("yes and a", "`and` takes true, false or null, got int"),
        ("s + a", "+ takes two numbers, texts, bytes or lists, got str, int"),
        ("min(a, s)", "min() takes numbers, texts, bytes or times, not int and str"),
        ("a / 0", "/: division by zero"),
    ],
)
def test_messages_name_the_function_and_what_it_got(text: str, message: str) -> None:
    with pytest.raises(MachineError) as caught:
        run(parse(text), RECORD)
    assert str(caught.value) == message


def test_a_branch_that_is_not_taken_is_not_computed() -> None:
    assert run(parse("1 if yes else 1 / 0"), RECORD) == 1
    assert run(parse("1 / 0 if not yes else 2"), RECORD) == 2
    assert run(parse("not yes and 1 / 0 > 1"), RECORD) is False
    assert run(parse("yes or 1 / 0 > 1"), RECORD) is True
    assert run(parse("3 < a < 1 / 0"), RECORD) is False
