"""Random expressions and records for the properties of `test_expressions`.

Expressions are typed, mostly: a number is asked for where a number belongs, with a few operands of
any type among them, so that errors are met too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from appliance.expression import (
    Binary,
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
from appliance.expression.library import call
from appliance.expression.nodes import joined, negated
from semantics.evaluate import INT_MAX, INT_MIN, Time

Draw = Callable[[st.SearchStrategy[Any]], Any]

# Characters whose case and width differ, white space, and the pieces of numbers.
LETTERS = "abXY z09.-+e{}%éÉßΣσжЖ\u00a0\t😀"

ints = st.one_of(
    st.integers(-12, 12),
    st.integers(INT_MIN, INT_MAX),
    st.sampled_from([INT_MIN, INT_MAX, 2**53, 2**53 + 1, -(2**53) - 1, 10**15]),
)
floats = st.one_of(
    st.sampled_from([0.0, -0.0, 0.5, 1.5, 2.5, -3.0, 1e300, 2.0**53, 2.0**63, 1e-7]),
    st.floats(),
    st.floats(-100, 100),
)
texts = st.one_of(
    st.text(LETTERS, max_size=8),
    st.sampled_from(["12", " -7 ", "1e3", "2026-01-02T03:04:05Z", "a,b,,c", "x"]),
)
binaries = st.binary(max_size=6)
times = st.one_of(
    st.integers(-(10**16), 10**16),
    st.sampled_from([0, -1, 253402300799999999, 253402300800000000, INT_MAX, INT_MIN]),
).map(Time)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), floats, texts, binaries, times)
nested = st.recursive(
    scalars,
    lambda below: st.one_of(
        st.lists(below, max_size=3), st.dictionaries(st.sampled_from("abc"), below, max_size=3)
    ),
    max_leaves=6,
)
lists = st.one_of(
    st.lists(ints, max_size=4), st.lists(texts, max_size=4), st.lists(nested, max_size=3)
)
maps = st.dictionaries(st.sampled_from(["a", "b", "a b"]), nested, max_size=3)

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "i": ints,
    "j": ints,
    "x": floats,
    "y": floats,
    "s": texts,
    "r": texts,
    "p": st.booleans(),
    "q": st.booleans(),
    "u": binaries,
    "t": times,
    "w": times,
    "l": lists,
    "m": maps,
    "o": nested,
}
BY_KIND = {
    "int": "ij",
    "float": "xy",
    "text": "sr",
    "bool": "pq",
    "bytes": "u",
    "time": "tw",
    "list": "l",
    "map": "m",
    "any": "ijxysrpqutwlmo",
}

#: A record: each field with a value of its type, now and then null or something else; some missing.
records = st.builds(
    lambda record, missing: {name: record[name] for name in record if name not in missing},
    st.fixed_dictionaries(
        {
            name: st.one_of(*[values] * 8, st.none(), nested)  # one in ten each
            for name, values in FIELDS.items()
        }
    ),
    st.sets(st.sampled_from(list(FIELDS)), max_size=2),
)

NUMBERS = ("int", "float")
# name, what it gives, what it takes
CALLS = [
    ("abs", "number", ["number"]),
    ("round", "int", ["number"]),
    ("round", "number", ["number", "small"]),
    ("floor", "int", ["number"]),
    ("ceil", "int", ["number"]),
    ("sqrt", "float", ["number"]),
    ("log", "float", ["number"]),
    ("log", "float", ["number", "number"]),
    ("exp", "float", ["number"]),
    ("pow", "number", ["number", "number"]),
    ("min", "number", ["number", "number"]),
    ("max", "number", ["number", "number", "number"]),
    ("min", "any", ["list"]),
    ("max", "text", ["text", "text"]),
    ("clamp", "number", ["number", "number", "number"]),
    ("sign", "int", ["number"]),
    ("len", "int", ["text"]),
    ("len", "int", ["list"]),
    ("len", "int", ["map"]),
    ("lower", "text", ["text"]),
    ("upper", "text", ["text"]),
    ("strip", "text", ["text"]),
    ("strip", "text", ["text", "text"]),
    ("split", "list", ["text"]),
    ("split", "list", ["text", "text"]),
    ("join", "text", ["list", "text"]),
    ("replace", "text", ["text", "text", "text"]),
    ("startswith", "bool", ["text", "text"]),
    ("endswith", "bool", ["bytes", "bytes"]),
    ("endswith", "bool", ["text", "text"]),
    ("contains", "bool", ["text", "text"]),
    ("contains", "bool", ["list", "any"]),
    ("slice", "text", ["text", "small"]),
    ("slice", "list", ["list", "small", "small"]),
    ("int", "int", ["text"]),
    ("int", "int", ["number"]),
    ("float", "float", ["text"]),
    ("str", "text", ["any"]),
    ("bool", "bool", ["any"]),
    ("is_null", "bool", ["any"]),
    ("coalesce", "any", ["any", "any", "any"]),
    ("now", "time", []),
    ("to_time", "time", ["number"]),
    ("to_time", "time", ["text"]),
    ("year", "int", ["time"]),
    ("month", "int", ["time"]),
    ("day", "int", ["time"]),
    ("hour", "int", ["time"]),
    ("minute", "int", ["time"]),
    ("second", "int", ["time"]),
    ("weekday", "int", ["time"]),
    ("has", "bool", ["map", "text"]),
    ("get", "any", ["map", "text"]),
    ("get", "any", ["any", "any", "any"]),
    ("keys", "list", ["map"]),
    ("hash", "int", ["number"]),
    ("hash", "int", ["text"]),
    ("crc32", "int", ["text"]),
    ("crc32", "int", ["bytes"]),
]
TEMPLATES = ["{}", "{:.2f}", "<{:>6}|{:<6}>", "{:05d}{{}}", "{:x} {:d}", "no place", "{} é {:.0f}"]
PATTERNS = ["%Y-%m-%d %H:%M:%S.%f", "%j %y %%", "é%Y"]


@st.composite
def expressions(draw: Draw, kind: str = "any", depth: int = 3) -> Node:
    """A node of a kind: a type of S1, "number", "small" (an int near zero) or "any"."""
    if kind == "small":
        return draw(st.one_of(st.integers(-9, 9).map(Constant), st.just(Field("i"))))
    if kind == "number":
        kind = draw(st.sampled_from(NUMBERS))
    if kind != "any" and draw(st.integers(0, 24)) == 0:
        kind = "any"
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return leaf(draw, kind)
    choices: list[Callable[[Draw, int], Node]] = [
        lambda draw, depth: conditional(draw, kind, depth),
        lambda draw, depth: library(draw, kind, depth),
        lambda draw, depth: library(draw, kind, depth),
        *FORMS.get(kind, [form for forms in FORMS.values() for form in forms]),
    ]
    return draw(st.sampled_from(choices))(draw, depth - 1)


def leaf(draw: Draw, kind: str) -> Node:
    constants: dict[str, st.SearchStrategy[Any]] = {
        "int": ints,
        "float": st.floats(allow_nan=False, allow_infinity=False),
        "text": texts,
        "bool": st.booleans(),
        "bytes": binaries,
        "any": st.one_of(st.none(), ints, texts, st.booleans()),
    }
    if kind in constants and draw(st.booleans()):
        return Constant(draw(constants[kind]))
    return Field(draw(st.sampled_from(BY_KIND[kind])))


def conditional(draw: Draw, kind: str, depth: int) -> Node:
    condition = draw(expressions("bool", depth))
    return Conditional(condition, draw(expressions(kind, depth)), draw(expressions(kind, depth)))


def library(draw: Draw, kind: str, depth: int) -> Node:
    fitting = [
        one for one in CALLS if kind in ("any", one[1]) or (one[1] == "number" and kind in NUMBERS)
    ]
    if not fitting:
        return leaf(draw, kind)
    name, _, kinds = draw(st.sampled_from(fitting))
    # Not through `call`, which refuses constants of a wrong kind: here they have to be errors of
    # the record.
    return Call(name, tuple(draw(expressions(one, depth)) for one in kinds))


def sums(draw: Draw, depth: int) -> Node:
    operator = draw(st.sampled_from(["+", "-", "*", "/", "//", "%", "**"]))
    right = draw(expressions("small" if operator == "**" else "number", depth))
    return Binary(operator, draw(expressions("number", depth)), right)


def signs(draw: Draw, depth: int) -> Node:
    operand = draw(expressions("number", depth))
    return negated(operand) if draw(st.booleans()) else Unary("+", operand)


def comparisons(draw: Draw, depth: int) -> Node:
    kind = draw(st.sampled_from(["number", "text", "time", "bytes", "any"]))
    count = draw(st.integers(1, 3))
    operators = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    first = draw(expressions(kind, depth))
    others = tuple(draw(expressions(kind, depth)) for _ in range(count))
    return Compare(first, tuple(draw(operators) for _ in range(count)), others)


def equalities(draw: Draw, depth: int) -> Node:
    kind = draw(st.sampled_from(["list", "map", "any"]))
    operator = draw(st.sampled_from(["==", "!="]))
    return Compare(draw(expressions(kind, depth)), (operator,), (draw(expressions(kind, depth)),))


def memberships(draw: Draw, depth: int) -> Node:
    kind, place = draw(st.sampled_from([("any", "list"), ("text", "map"), ("text", "text")]))
    operator = draw(st.sampled_from(["in", "not in"]))
    return Compare(draw(expressions(kind, depth)), (operator,), (draw(expressions(place, depth)),))


def conditions(draw: Draw, depth: int) -> Node:
    operator = draw(st.sampled_from(["and", "or", "not"]))
    operands = [draw(expressions("bool", depth)) for _ in range(draw(st.integers(2, 3)))]
    return Not(operands[0]) if operator == "not" else joined(operator, *operands)


def concatenations(kind: str) -> Callable[[Draw, int], Node]:
    return lambda draw, depth: Binary(
        "+", draw(expressions(kind, depth)), draw(expressions(kind, depth))
    )


def slices(kind: str) -> Callable[[Draw, int], Node]:
    def form(draw: Draw, depth: int) -> Node:
        bounds = [
            draw(expressions("small", depth)) if draw(st.booleans()) else None for _ in range(2)
        ]
        return Slice(draw(expressions(kind, depth)), *bounds)

    return form


def characters(draw: Draw, depth: int) -> Node:
    return Get(draw(expressions("text", depth)), draw(expressions("small", depth)))


def parts(draw: Draw, depth: int) -> Node:
    kind, key = draw(st.sampled_from([("list", "small"), ("map", "text"), ("any", "any")]))
    if kind == "map" and draw(st.booleans()):
        return Get(draw(expressions("map", depth)), Constant(draw(st.sampled_from("ab"))))
    return Get(draw(expressions(kind, depth)), draw(expressions(key, depth)))


def formats(draw: Draw, depth: int) -> Node:
    from appliance.expression.patterns import Spec, parse_template

    template = draw(st.sampled_from(TEMPLATES))
    kinds = {"d": "int", "x": "int", "0": "int", "f": "number"}
    specs = [part for part in parse_template(template) if isinstance(part, Spec)]
    values = [draw(expressions(kinds.get(spec.kind, "any"), depth)) for spec in specs]
    return Call("format", (Constant(template), *values))


def time_texts(draw: Draw, depth: int) -> Node:
    pattern = Constant(draw(st.sampled_from(PATTERNS)))
    return Call("format_time", (draw(expressions("time", depth)), pattern))


def moved_times(draw: Draw, depth: int) -> Node:
    if draw(st.booleans()):
        duration = Constant(draw(st.sampled_from(["1s", "7m", "1h", "1d"])))
        return Call("truncate_time", (draw(expressions("time", depth)), duration))
    if draw(st.booleans()):
        unit = Constant(draw(st.sampled_from(["s", "ms", "us", "ns"])))
        return call("to_time", (Field(draw(st.sampled_from("ijxy"))), unit))
    operator = draw(st.sampled_from("+-"))
    return Binary(operator, draw(expressions("time", depth)), draw(expressions("int", depth)))


def differences(draw: Draw, depth: int) -> Node:
    return Binary("-", draw(expressions("time", depth)), draw(expressions("time", depth)))


def list_literals(draw: Draw, depth: int) -> Node:
    return ListLiteral(
        tuple(draw(expressions("any", depth)) for _ in range(draw(st.integers(0, 4))))
    )


def map_literals(draw: Draw, depth: int) -> Node:
    keys = draw(st.lists(st.sampled_from(["a", "b", "é", "a b"]), unique=True, max_size=3))
    return MapLiteral(tuple(keys), tuple(draw(expressions("any", depth)) for _ in keys))


FORMS: dict[str, list[Callable[[Draw, int], Node]]] = {
    "int": [sums, signs, differences],
    "float": [sums, sums, signs],
    "bool": [comparisons, equalities, memberships, conditions, conditions],
    "text": [concatenations("text"), slices("text"), characters, formats, time_texts],
    "bytes": [concatenations("bytes"), slices("bytes")],
    "time": [moved_times],
    "list": [list_literals, concatenations("list"), slices("list")],
    "map": [map_literals],
    "other": [parts, parts],
}
