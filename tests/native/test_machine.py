"""The expression machine: what it refuses to load, its bounds, and its kernels against Python."""

from __future__ import annotations

import math
import struct
import sys
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.expression import Call, Constant, Field, ListLiteral, Node, parse
from appliance.native import lib
from semantics.machine import MachineError, is_decided, run, run_code

ints = st.integers(-(2**63), 2**63 - 1) | st.integers(-50, 50)
floats = st.floats() | st.floats(-1e6, 1e6) | st.integers(-(2**53), 2**53).map(float)


def instruction(op: int, to: int, a: int = 0, b: int = 0, count: int = 0) -> bytes:
    return struct.pack("=BBHHH", op, count, to, a, b)


def value_of(text: str, **record: Any) -> Any:
    return run(parse(text), record)


def outcome(text: str, **record: Any) -> Any:
    """The value, or the word "error"."""
    try:
        return value_of(text, **record)
    except MachineError as error:
        assert error.reason == lib.REASON_EXPRESSION
        return "error"


def bits(value: Any) -> Any:
    """Equal only for the same float, sign of zero included; every NaN is one."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("d", value)
    return type(value), value


# ---- filters that need no machine (run_code holds each against the machine) ----

COMPARED = st.one_of(
    ints,
    floats,
    st.sampled_from([0, 1, 2**53, 2**53 + 1, "", "a", "ok", "a longer text", None, True]),
)
COMPARISON = st.tuples(
    st.sampled_from("xyz"),
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    st.sampled_from("xyz"),
)


@given(st.lists(COMPARISON, min_size=1, max_size=4), COMPARED, COMPARED, COMPARED, st.booleans())
def test_a_filter_of_comparisons_decides_as_the_machine_does(
    parts: list[tuple[str, str, str]], x: Any, y: Any, z: Any, is_nested: bool
) -> None:
    texts = [" ".join(part) for part in parts]
    text = texts[0]
    for other in texts[1:]:
        text = f"({text}) and {other}" if is_nested else f"{text} and {other}"
    outcome(text, x=x, y=y, z=z)


@pytest.mark.parametrize(
    ("text", "is_known"),
    [
        ("s == 'ok' and t > 15", True),
        ("s == 'no' and t > 15", True),
        ("(s == 'ok' and t > 15) and t < n", True),
        ("t != n", True),
        ("s < 'ok'", False),
        ("s == 'no' and absent > 15", True),
        ("s == 'ok' and absent > 15", False),
        ("s == 'ok' or t > 15", False),
        ("s == 'ok' and (t > 15 and n > 3)", True),
        ("t + 1 > 15", False),
        ("t > 15 and t + 1 > 15", False),
        ("b and t > 15", False),
        ("15 < t < n", True),
    ],
)
def test_which_filters_need_no_machine(text: str, is_known: bool) -> None:
    record = {"s": "ok", "t": 21.5, "n": 100, "b": True}
    assert is_decided(parse(text), record) == is_known
    run(parse(text), record)


# ---- loading ----


@pytest.mark.parametrize(
    "code",
    [
        instruction(lib.OP_COUNT, 0),
        instruction(255, 0),
        instruction(lib.OP_MOVE, 4),
        instruction(lib.OP_MOVE, 0, 4),
        instruction(lib.OP_ADD, 0, 0, 4),
        instruction(lib.OP_JUMP, 0),
        instruction(lib.OP_JUMP, 2),
        instruction(lib.OP_JUMP_FALSE, 1, 0, count=lib.WORD_IF + 1),
        instruction(lib.OP_ABS, 0, 0, count=0),
        instruction(lib.OP_ABS, 0, 0, count=2),
        instruction(lib.OP_CLAMP, 0, 2, count=3),
        instruction(lib.OP_LIST, 0, 1, count=255),
    ],
)
def test_malformed_code_is_refused(code: bytes) -> None:
    with pytest.raises(MachineError, match="malformed"):
        run_code(code, [], 4, 0)


@st.composite
def programs(draw: Any) -> bytes:
    """Instructions that may be loaded: random operators over eight slots, jumps forward."""
    count = draw(st.integers(1, 8))
    code = []
    for at in range(count):
        op = draw(st.integers(0, lib.OP_COUNT - 1))
        is_jump = lib.OP_JUMP <= op <= lib.OP_JUMP_KNOWN
        to = draw(st.integers(at + 1, count)) if is_jump else draw(st.integers(0, 7))
        arguments = draw(st.integers(0, 2 if is_jump else 4))
        a = draw(st.integers(0, 7 - max(arguments - 1, 0)))
        code.append(instruction(op, to, a, draw(st.integers(0, 7)), arguments))
    return b"".join(code)


@settings(max_examples=400)
@given(
    programs(),
    st.lists(
        st.none()
        | st.booleans()
        | ints
        | floats
        | st.text("a,é %{}:.2fdx<>\0", max_size=9)
        | st.binary(max_size=4)
        | st.lists(st.integers() | st.text("ab"), max_size=3).filter(
            lambda items: all(not isinstance(x, int) or -(2**63) <= x < 2**63 for x in items)
        )
        | st.dictionaries(st.text("ab", max_size=2), st.integers(0, 9), max_size=3),
        min_size=8,
        max_size=8,
    ),
)
def test_code_that_was_loaded_never_does_harm(code: bytes, values: list[Any]) -> None:
    """A value or a fault, whatever stands in the slots; the sanitised build watches."""
    row = [part for pair in enumerate(values) for part in pair]
    try:
        run_code(code, row, 8, 7)
    except MachineError as error:
        assert error.reason in (lib.REASON_EXPRESSION, lib.REASON_LIMIT)
        assert str(error)


# ---- bounds ----


def test_a_result_larger_than_the_scratch_is_an_error_of_the_record() -> None:
    with pytest.raises(MachineError, match="too large") as caught:
        value_of("s + s + s", s="x" * 600_000)
    assert caught.value.reason == lib.REASON_LIMIT


def test_literals_nested_beyond_the_limit_are_an_error_of_the_record() -> None:
    node: Node = Field("x")
    for _ in range(70):
        node = ListLiteral((node,))
    with pytest.raises(MachineError, match="too deeply") as caught:
        run(node, {"x": 1})
    assert caught.value.reason == lib.REASON_LIMIT


def test_large_maps_in_different_order_are_not_compared() -> None:
    names = [f"k{n}" for n in range(2000)]
    forward = dict.fromkeys(names, 1)
    backward = dict.fromkeys(reversed(names), 1)
    assert value_of("a == b", a=forward, b=dict(forward)) is True
    with pytest.raises(MachineError) as caught:
        value_of("a == b", a=forward, b=backward)
    assert caught.value.reason == lib.REASON_LIMIT


# ---- numbers ----


@settings(max_examples=400)
@given(floats, st.integers(-20, 25))
@example(2.675, 2)
@example(0.125, 2)
@example(2.5, 0)
@example(-0.04, 1)
@example(9e18, -19)
@example(9e307, -308)
@example(1.7e308, -308)
@example(5e-324, 323)
@example(1234567.123456789, 10)
def test_round_is_pythons_bit_for_bit(x: float, digits: int) -> None:
    try:
        expected: Any = round(x, digits)
    except OverflowError:
        expected = "error"
    assert bits(outcome("round(x, n)", x=x, n=digits)) == bits(expected)


@given(ints, st.integers(-22, 3))
def test_round_of_ints_is_pythons(x: int, digits: int) -> None:
    expected = round(x, digits)
    found = outcome("round(x, n)", x=x, n=digits)
    assert found == expected if -(2**63) <= expected < 2**63 else found == "error"


@settings(max_examples=250)
@given(ints | floats, ints | floats, st.sampled_from(["/", "//", "%"]))
@example(9007199254740993, 3, "/")
@example(-(2**63), -1, "//")
@example(-(2**63), -1, "%")
@example(-7.0, 2, "%")
@example(1.0, math.inf, "//")
def test_division_is_pythons(a: Any, b: Any, operator: str) -> None:
    try:
        expected: Any = {"/": lambda: a / b, "//": lambda: a // b, "%": lambda: a % b}[operator]()
    except ZeroDivisionError:
        expected = "error"
    if isinstance(expected, int) and expected >= 2**63:
        expected = "error"
    assert bits(outcome(f"a {operator} b", a=a, b=b)) == bits(expected)


@settings(max_examples=300)
@given(ints | floats, ints | floats)
@example(2**53 + 1, float(2**53))
@example(2**63 - 1, 2.0**63)
def test_ints_and_floats_compare_exactly(a: Any, b: Any) -> None:
    assert value_of("[a < b, a <= b, a == b, a > b]", a=a, b=b) == [a < b, a <= b, a == b, a > b]


@settings(max_examples=300)
@given(floats.filter(math.isfinite), st.integers(0, 20))
def test_fixed_digits_are_pythons(x: float, digits: int) -> None:
    template = Constant(f"{{:.{digits}f}}")
    assert run(Call("format", (template, Field("x"))), {"x": x}) == f"{x:.{digits}f}"


@settings(max_examples=250)
@given(
    floats.map(repr)
    | st.text("0123456789", min_size=1, max_size=25)
    | st.from_regex(r"[ ]?[+-]?[0-9]{0,4}\.?[0-9]{0,4}([eE][+-]?[0-9]{0,3})?", fullmatch=True)
    | st.sampled_from(["inf", "-Infinity", "NaN", "1_0", "", "-", ".", "1e", "0x1", "٣"])
)
def test_numbers_are_read_as_python_reads_them(text: str) -> None:
    """Without underscores and digits of other scripts."""
    plain = text.isascii() and "_" not in text
    for name, read in (("float", float), ("int", int)):
        try:
            expected: Any = read(text) if plain else "error"
        except ValueError:
            expected = "error"
        if isinstance(expected, int) and not -(2**63) <= expected < 2**63:
            expected = "error"
        assert bits(outcome(f"{name}(s)", s=text)) == bits(expected)


# ---- text ----


def characters() -> list[str]:
    return [chr(point) for point in range(sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]


@pytest.mark.parametrize(("name", "change"), [("lower", str.lower), ("upper", str.upper)])
def test_case_is_pythons_for_every_single_character(name: str, change: Any) -> None:
    known = characters()
    for start in range(16):
        text = "".join(known[start::16])
        changed = [(old, change(old)) for old in text]
        expected = "".join(new if len(new) == 1 else old for old, new in changed)
        assert run(Call(name, (Field("s"),)), {"s": text}) == expected


def test_white_space_is_pythons() -> None:
    known = characters()
    spaces = "".join(character for character in known if character.isspace())
    others = "".join(character for character in known[:0x3100] if not character.isspace())
    assert value_of("strip(s)", s=f"{spaces}x{spaces}y{spaces}") == f"x{spaces}y"
    assert value_of("split(s)", s=f"{spaces}x{spaces}y{spaces}") == ["x", "y"]
    assert value_of("split(s)", s=others) == [others]


@given(st.text("aé,😀", max_size=9), st.integers(-12, 12), st.integers(-12, 12))
def test_parts_of_text_are_characters(text: str, start: int, stop: int) -> None:
    assert value_of("s[a:b]", s=text, a=start, b=stop) == text[start:stop]
    expected = text[start] if -len(text) <= start < len(text) else None
    assert value_of("s[a]", s=text, a=start) == expected
    assert value_of("len(s)", s=text) == len(text)


@given(
    st.text("ab,", max_size=12), st.text("ab,", min_size=1, max_size=2), st.text("b", max_size=3)
)
def test_split_join_replace_are_pythons(text: str, part: str, new: str) -> None:
    assert value_of("split(s, p)", s=text, p=part) == text.split(part)
    assert value_of("join(split(s, p), p)", s=text, p=part) == text
    assert value_of("replace(s, p, n)", s=text, p=part, n=new) == text.replace(part, new)


@given(st.text(), st.text())
def test_text_compares_by_code_point(a: str, b: str) -> None:
    assert value_of("[a < b, a == b, a > b]", a=a, b=b) == [a < b, a == b, a > b]
