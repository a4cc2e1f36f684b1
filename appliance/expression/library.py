"""The functions of expressions: the one table of names, arguments and what they mean.

Meanings are Python's unless the line says otherwise. An argument that is null makes the result
null, but for `is_null`, `coalesce` and the default of `get`. An argument of another kind, or one
outside the function's range, is an error of that record. `appliance.plan.functions` gives each
function its opcode, `native/src/machine*.c` its code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from appliance.expression.faults import ExpressionError, nearest
from appliance.expression.nodes import Call, Constant, ListLiteral, MapLiteral, Node
from appliance.expression.patterns import parse_template, parse_time_pattern
from appliance.limits import CALL_ARGUMENT_MAX_COUNT
from appliance.units import parse_duration

#: Nanoseconds of each unit of time that `to_time` knows.
TIME_UNITS_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}

Check = Callable[[Sequence[Node]], None]


class Function(Struct, frozen=True):
    """One function: what it takes and what it gives."""

    name: str
    signature: str  # as the documents show it
    kinds: tuple[str, ...]  # of each argument, alternatives separated by "|"; the last repeats
    required: int
    doc: str
    most: int = 0  # arguments at most; 0: as many as there are kinds
    check: Check | None = None  # of arguments that must be constants

    @property
    def arguments_max(self) -> int:
        return self.most or len(self.kinds)

    def kind(self, index: int) -> str:
        return self.kinds[min(index, len(self.kinds) - 1)]


def call(name: str, arguments: Sequence[Node]) -> Call:
    """A call of the library, with all that can be known of it checked. Raises ExpressionError."""
    function = FUNCTIONS.get(name)
    if function is None:
        raise unknown_function(name)
    count = len(arguments)
    if not function.required <= count <= function.arguments_max:
        raise ExpressionError.of(f"{name}() got {count} arguments", f"write {function.signature}")
    for index, argument in enumerate(arguments):
        _check_kind(function, index, argument)
    if function.check is not None:
        function.check(arguments)
    return Call(name, tuple(arguments))


def unknown_function(name: str) -> ExpressionError:
    close = nearest(name, FUNCTIONS)
    remedy = f"did you mean {close}()?" if close else f"functions: {', '.join(sorted(FUNCTIONS))}"
    return ExpressionError.of(f"there is no function {name}()", remedy)


def constant_kind(node: Node) -> str | None:
    """The kind of a literal; None for null and for what only a record tells."""
    if isinstance(node, Constant):
        return None if node.value is None else type(node.value).__name__
    if isinstance(node, ListLiteral):
        return "list"
    return "map" if isinstance(node, MapLiteral) else None


def _check_kind(function: Function, index: int, argument: Node) -> None:
    kind, wanted = constant_kind(argument), function.kind(index)
    if kind is not None and wanted != "any" and kind not in wanted.split("|"):
        said = wanted.replace("|", " or ")
        raise ExpressionError.of(
            f"argument {index + 1} of {function.name}() is {said}, not {kind}",
            f"write {function.signature}",
        )


def _constant_text(name: str, node: Node, what: str) -> str:
    if isinstance(node, Constant) and isinstance(node.value, str):
        return node.value
    raise ExpressionError.of(f"{name}() takes {what} as a constant text")


def _check_format(arguments: Sequence[Node]) -> None:
    template = _constant_text("format", arguments[0], "its template")
    try:
        wanted = sum(not isinstance(part, str) for part in parse_template(template))
    except ValueError as error:
        raise ExpressionError.of(str(error)) from None
    if wanted != len(arguments) - 1:
        raise ExpressionError.of(
            f"the template has {wanted} places for values, format() got {len(arguments) - 1}"
        )


def _check_format_time(arguments: Sequence[Node]) -> None:
    try:
        parse_time_pattern(_constant_text("format_time", arguments[1], "its pattern"))
    except ValueError as error:
        raise ExpressionError.of(str(error)) from None


def _check_to_time(arguments: Sequence[Node]) -> None:
    if len(arguments) < 2:
        return
    unit = _constant_text("to_time", arguments[1], "its unit")
    if unit not in TIME_UNITS_NS:
        raise ExpressionError.of(f"{unit!r} is no unit of time", 'write "s", "ms", "us" or "ns"')


def _check_truncate_time(arguments: Sequence[Node]) -> None:
    text = _constant_text("truncate_time", arguments[1], "its duration")
    try:
        duration = parse_duration(text)
    except ValueError as error:
        raise ExpressionError.of(str(error)) from None
    if duration == 0:
        raise ExpressionError.of("truncate_time() takes a duration above zero")


def _check_extreme(arguments: Sequence[Node]) -> None:
    if len(arguments) == 1 and constant_kind(arguments[0]) not in (None, "list"):
        raise ExpressionError.of(
            "one argument of min() or max() is a list", "write min(a, b) or min([a, b])"
        )


_NUMBER, _TEXT, _RAW, _TIME = "int|float", "str", "str|bytes", "time"
_MANY = CALL_ARGUMENT_MAX_COUNT

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        # Numbers.
        Function("abs", "abs(x)", (_NUMBER,), 1, "the absolute value"),
        Function(
            "round",
            "round(x) or round(x, digits)",
            (_NUMBER, "int"),
            1,
            "to the nearest, halves to even: an int, or with `digits` a number of x's kind",
        ),
        Function("floor", "floor(x)", (_NUMBER,), 1, "the largest int not above x"),
        Function("ceil", "ceil(x)", (_NUMBER,), 1, "the smallest int not below x"),
        Function("sqrt", "sqrt(x)", (_NUMBER,), 1, "the square root; x below 0 is an error"),
        Function(
            "log",
            "log(x) or log(x, base)",
            (_NUMBER, _NUMBER),
            1,
            "the natural logarithm, or that to a base; x at or below 0 is an error",
        ),
        Function("exp", "exp(x)", (_NUMBER,), 1, "e to the power of x"),
        Function("pow", "pow(x, y)", (_NUMBER, _NUMBER), 2, "x ** y"),
        Function(
            "min",
            "min(a, b, …) or min(list)",
            ("any",),
            1,
            "the smallest; all numbers, all text, all bytes or all times; of an empty list null",
            most=_MANY,
            check=_check_extreme,
        ),
        Function(
            "max",
            "max(a, b, …) or max(list)",
            ("any",),
            1,
            "the largest; all numbers, all text, all bytes or all times; of an empty list null",
            most=_MANY,
            check=_check_extreme,
        ),
        Function("clamp", "clamp(x, low, high)", ("any",) * 3, 3, "x, or the bound it is beyond"),
        Function("sign", "sign(x)", (_NUMBER,), 1, "-1, 0 or 1; of NaN an error"),
        # Text, bytes and lists.
        Function(
            "len",
            "len(x)",
            ("str|bytes|list|map",),
            1,
            "characters (code points) of a text, bytes, items or entries",
        ),
        Function(
            "lower",
            "lower(x)",
            (_TEXT,),
            1,
            "each character by itself: those whose lower case is one character; Σ is always σ",
        ),
        Function(
            "upper",
            "upper(x)",
            (_TEXT,),
            1,
            "each character by itself: those whose upper case is one character; ß stays ß",
        ),
        Function(
            "strip",
            "strip(x) or strip(x, characters)",
            (_TEXT, _TEXT),
            1,
            "without white space, or these characters, at both ends",
        ),
        Function(
            "split",
            "split(x) or split(x, separator)",
            (_TEXT, _TEXT),
            1,
            "a list of the parts between runs of white space, or between separators",
        ),
        Function(
            "join",
            "join(list) or join(list, separator)",
            ("list", _TEXT),
            1,
            "one text from a list of text; an item that is no text is an error",
        ),
        Function(
            "replace",
            "replace(x, old, new)",
            (_TEXT,) * 3,
            3,
            "every `old` replaced; an empty `old` is an error",
        ),
        Function("startswith", "startswith(x, start)", (_RAW, _RAW), 2, "whether x starts so"),
        Function("endswith", "endswith(x, end)", (_RAW, _RAW), 2, "whether x ends so"),
        Function("contains", "contains(x, part)", ("any", "any"), 2, "part in x"),
        Function(
            "slice",
            "slice(x, start) or slice(x, start, stop)",
            ("str|bytes|list", "int", "int"),
            2,
            "x[start:stop]",
        ),
        Function(
            "format",
            "format(template, a, …)",
            (_TEXT, "any"),
            1,
            'a text with values put in: "{} {:.2f} {:d} {:05d} {:>8} {:<8} {:x}"',
            most=_MANY,
            check=_check_format,
        ),
        # Conversions.
        Function(
            "int",
            "int(x)",
            ("bool|int|float|str|time",),
            1,
            "towards zero; of a text in decimal digits; of a time its microseconds",
        ),
        Function(
            "float",
            "float(x)",
            ("bool|int|float|str",),
            1,
            "of a number, or of a text as Python reads it, without underscores",
        ),
        Function(
            "str",
            "str(x)",
            ("bool|int|float|str|bytes|time",),
            1,
            "the shortest text of a number, True or False, bytes as UTF-8, a time as RFC 3339",
        ),
        Function(
            "bool",
            "bool(x)",
            ("bool|int|float|str|bytes|list|map",),
            1,
            "false for 0 and for what is empty",
        ),
        # Null.
        Function("is_null", "is_null(x)", ("any",), 1, "whether x is null or missing"),
        Function(
            "coalesce",
            "coalesce(a, b, …)",
            ("any",),
            1,
            "the first that is not null; those after it are not computed",
            most=_MANY,
        ),
        # Time.
        Function("now", "now()", (), 0, "the time of the lane's tick"),
        Function(
            "to_time",
            'to_time(x) or to_time(x, "ms")',
            ("int|float|str|time", _TEXT),
            1,
            "a number of µs, or of the unit s, ms, us, ns, since 1970; or RFC 3339 text",
            check=_check_to_time,
        ),
        Function(
            "format_time",
            'format_time(t, "%Y-%m-%d %H:%M:%S")',
            (_TIME, _TEXT),
            2,
            "the time in UTC as a text; %Y %m %d %H %M %S %f %j %y %% are known",
            check=_check_format_time,
        ),
        Function("year", "year(t)", (_TIME,), 1, "in UTC, 1 to 9999"),
        Function("month", "month(t)", (_TIME,), 1, "1 to 12"),
        Function("day", "day(t)", (_TIME,), 1, "of the month, 1 to 31"),
        Function("hour", "hour(t)", (_TIME,), 1, "0 to 23"),
        Function("minute", "minute(t)", (_TIME,), 1, "0 to 59"),
        Function("second", "second(t)", (_TIME,), 1, "0 to 59"),
        Function("weekday", "weekday(t)", (_TIME,), 1, "0 is Monday"),
        Function(
            "truncate_time",
            'truncate_time(t, "1m")',
            (_TIME, _TEXT),
            2,
            "back to the last full minute, hour, … since 1970",
            check=_check_truncate_time,
        ),
        # Nested values.
        Function(
            "has",
            "has(map, key)",
            ("map", _TEXT),
            2,
            "whether the map has the key, even with null in it",
        ),
        Function(
            "get",
            "get(x, key) or get(x, key, default)",
            ("any", "any", "any"),
            2,
            "x[key], or the default where that is null",
        ),
        Function("keys", "keys(map)", ("map",), 1, "a list of the keys, in order"),
        # Check sums.
        Function(
            "hash",
            "hash(x)",
            ("any",),
            1,
            "an int over all 64 bits that is the same on every box; equal numbers hash equal",
        ),
        Function("crc32", "crc32(x)", (_RAW,), 1, "as zlib.crc32, of a text its UTF-8"),
    )
}
