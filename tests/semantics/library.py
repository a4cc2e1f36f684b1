"""The functions of expressions in plain Python: one function each, named as in expressions with an
underscore.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgpack

from appliance.expression.patterns import Spec, parse_template, parse_time_pattern
from appliance.units import parse_duration
from semantics.evaluate import (
    EvaluationError,
    Time,
    arithmetic,
    check_ordered,
    contains,
    cut,
    get,
    is_number,
    kind,
    whole,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_1_US, YEAR_9999_US = -62135596800000000, 253402300799999999
SPACES = " \t\n\v\f\r"


def call(name: str, arguments: list[Any], now_us: int) -> Any:
    """The function's value; null when an argument is null (`is_null` excepted)."""
    if name == "is_null":
        return arguments[0] is None
    if name == "now":
        return Time(now_us)
    if any(argument is None for argument in arguments):
        return None
    try:
        return FUNCTIONS[name](*arguments)
    except (ValueError, OverflowError, ZeroDivisionError) as error:
        raise EvaluationError(f"{name}(): {error}") from None


def need(condition: bool, *values: Any) -> None:
    if not condition:
        raise EvaluationError(f"got {', '.join(map(kind, values))}")


def number(value: Any) -> Any:
    need(is_number(value), value)
    return value


# ---- numbers ----


def _abs(x: Any) -> Any:
    return in_range(abs(number(x)))


def in_range(value: Any) -> Any:
    return whole(value) if isinstance(value, int) else value


def _round(x: Any, digits: Any = None) -> Any:
    number(x)
    if digits is None:
        return in_range(round(x))
    need(type(digits) is int, digits)
    if isinstance(x, int) and digits < -30:  # Python would compute 10 ** that
        return 0
    return in_range(round(x, max(min(digits, 10**6), -(10**6))))


def _floor(x: Any) -> int:
    return whole(math.floor(number(x)))


def _ceil(x: Any) -> int:
    return whole(math.ceil(number(x)))


def _sqrt(x: Any) -> float:
    return math.sqrt(number(x))


def _log(x: Any, base: Any = None) -> float:
    number(x)
    return math.log(x) if base is None else math.log(x, number(base))


def _exp(x: Any) -> float:
    return math.exp(number(x))


def _pow(x: Any, y: Any) -> Any:
    return arithmetic("**", number(x), number(y))


def extreme(values: list[Any], is_better: Callable[[Any, Any], bool]) -> Any:
    best = None
    for index, value in enumerate(values):
        if value is None:
            return None
        best = value if index == 0 else best
        check_ordered(value, best)
        best = value if is_better(value, best) else best
    return best


def _min(*values: Any) -> Any:
    return extreme(several(values), lambda a, b: a < b)


def _max(*values: Any) -> Any:
    return extreme(several(values), lambda a, b: a > b)


def several(values: tuple[Any, ...]) -> list[Any]:
    if len(values) > 1:
        return list(values)
    need(isinstance(values[0], list), values[0])
    return list(values[0])


def _clamp(x: Any, low: Any, high: Any) -> Any:
    check_ordered(x, low)
    check_ordered(x, high)
    return low if x < low else high if x > high else x


def _sign(x: Any) -> int:
    need(not math.isnan(number(x)), x)
    return (x > 0) - (x < 0)


# ---- text ----


def texts(*values: Any) -> None:
    need(all(isinstance(value, str) for value in values), *values)


def _len(x: Any) -> int:
    need(isinstance(x, str | bytes | list | dict), x)
    return len(x)


def by_character(x: str, change: Callable[[str], str]) -> str:
    texts(x)
    changed = [(character, change(character)) for character in x]
    return "".join(new if len(new) == 1 else old for old, new in changed)


def _lower(x: Any) -> str:
    return by_character(x, str.lower)


def _upper(x: Any) -> str:
    return by_character(x, str.upper)


def _strip(x: Any, characters: Any = None) -> str:
    texts(x, *([] if characters is None else [characters]))
    return x.strip(characters)  # type: ignore[no-any-return]


def _split(x: Any, separator: Any = None) -> list[str]:
    texts(x, *([] if separator is None else [separator]))
    return x.split(separator)  # type: ignore[no-any-return]


def _join(items: Any, separator: Any = "") -> str:
    need(isinstance(items, list), items)
    texts(separator, *items)
    return separator.join(items)  # type: ignore[no-any-return]


def _replace(x: Any, old: Any, new: Any) -> str:
    texts(x, old, new)
    need(old != "", old)
    return x.replace(old, new)  # type: ignore[no-any-return]


def _startswith(x: Any, start: Any) -> bool:
    need(isinstance(x, str | bytes) and type(x) is type(start), x, start)
    return x.startswith(start)  # type: ignore[no-any-return]


def _endswith(x: Any, end: Any) -> bool:
    need(isinstance(x, str | bytes) and type(x) is type(end), x, end)
    return x.endswith(end)  # type: ignore[no-any-return]


def _slice(x: Any, start: Any, stop: Any = 2**63 - 1) -> Any:
    return cut(x, start, stop)


def _format(template: str, *values: Any) -> str:
    waiting = iter(values)
    parts = parse_template(template)
    return "".join(part if isinstance(part, str) else put(part, next(waiting)) for part in parts)


def put(spec: Spec, value: Any) -> str:
    if spec.kind in ("d", "x", "0"):
        need(type(value) is int, value)
        return format(value, f"0{spec.size}d" if spec.size else spec.kind.replace("0", "d"))
    if spec.kind == "f":
        return format(float(number(value)), f".{spec.size}f")
    text = _str(value)
    return text.rjust(spec.size) if spec.kind == ">" else text.ljust(spec.size)


# ---- conversions ----


def _int(x: Any) -> int:
    if isinstance(x, Time):
        return x.us
    need(isinstance(x, bool | int | float | str), x)
    if isinstance(x, str):
        need(re.fullmatch(r"[+-]?[0-9]+", x.strip(SPACES)) is not None, x)
        need(len(x) < 4000, x)
    return whole(int(x))


def _float(x: Any) -> float:
    need(isinstance(x, bool | int | float | str), x)
    if isinstance(x, str):
        form = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|infinity|nan)"
        need(re.fullmatch(form, x.strip(SPACES), re.IGNORECASE | re.ASCII) is not None, x)
    return float(x)


def _str(x: Any) -> str:
    match x:
        case bytes():
            return x.decode()
        case Time():
            civil = calendar(x)
            fraction = f".{civil.microsecond:06d}" if civil.microsecond else ""
            return f"{civil.year:04d}{civil.strftime('-%m-%dT%H:%M:%S')}{fraction}Z"
        case bool() | int() | float() | str():
            return str(x)
    raise EvaluationError(f"no text for a {kind(x)}")


def _bool(x: Any) -> bool:
    need(not isinstance(x, Time), x)
    return bool(x)


# ---- time ----


def calendar(t: Any) -> datetime:
    need(isinstance(t, Time), t)
    need(YEAR_1_US <= t.us <= YEAR_9999_US, t)
    return EPOCH + timedelta(microseconds=t.us)


def _to_time(x: Any, unit: str = "us") -> Time:
    if isinstance(x, Time):
        return x
    if isinstance(x, str):
        return Time(read_rfc3339(x))
    number(x)
    if unit == "ns":
        return Time(whole(x // 1000 if isinstance(x, int) else round(x / 1000)))
    factor = {"s": 1_000_000, "ms": 1_000, "us": 1}[unit]
    return Time(whole(round(x * factor)))


RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):(\d\d))",
    re.ASCII,
)


def read_rfc3339(text: str) -> int:
    """Microseconds; digits beyond the sixth are cut off, a leap second is the next day's first."""
    match = RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no time")
    year, month, day, hour, minute, second = map(int, match.group(1, 2, 3, 4, 5, 6))
    offset_hours, offset_minutes = int(match[10] or 0), int(match[11] or 0)
    if offset_hours > 23 or offset_minutes > 59 or second > 60:
        raise ValueError(f"{text!r} is no time")
    offset = (offset_hours * 60 + offset_minutes) * (-1 if match[9] == "-" else 1)
    leap = second == 60
    if leap and (hour * 60 + minute - offset) % 1440 != 1439:
        raise ValueError(f"{text!r} is no leap second")
    civil = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=UTC)
    us = (civil - EPOCH) // timedelta(microseconds=1) + (1_000_000 if leap else 0)
    return us + int((match[7] or "0")[:6].ljust(6, "0")) - offset * 60_000_000


def _format_time(t: Any, pattern: str) -> str:
    civil = calendar(t)
    parts = {
        "%Y": f"{civil.year:04d}",
        "%m": f"{civil.month:02d}",
        "%d": f"{civil.day:02d}",
        "%H": f"{civil.hour:02d}",
        "%M": f"{civil.minute:02d}",
        "%S": f"{civil.second:02d}",
        "%f": f"{civil.microsecond:06d}",
        "%j": f"{civil.timetuple().tm_yday:03d}",
        "%y": f"{civil.year % 100:02d}",
        "%%": "%",
    }
    return "".join(parts.get(piece, piece) for piece in parse_time_pattern(pattern))


def _truncate_time(t: Any, duration: str) -> Time:
    need(isinstance(t, Time), t)
    return Time(whole(t.us - t.us % parse_duration(duration)))


def part(name: str) -> Callable[[Any], int]:
    def of(t: Any) -> int:
        found = getattr(calendar(t), name)
        return int(found() if callable(found) else found)

    return of


# ---- nested values, check sums ----


def _has(value: Any, key: Any) -> bool:
    need(isinstance(value, dict) and isinstance(key, str), value, key)
    return key in value


def _keys(value: Any) -> list[str]:
    need(isinstance(value, dict), value)
    return list(value)


def pack(value: Any) -> bytes:
    """The packed form; a time is extension type 1, eight bytes of microseconds."""

    def extended(other: Any) -> msgpack.ExtType:
        return msgpack.ExtType(1, struct.pack(">q", other.us))

    return msgpack.packb(value, default=extended)  # type: ignore[no-any-return]


def _hash(value: Any) -> int:
    if isinstance(value, float) and value.is_integer() and -(2.0**63) <= value < 2.0**63:
        value = int(value)
    if isinstance(value, float) and math.isnan(value):
        value = math.nan
    hashed = hash_bytes(pack(value))
    return hashed - 2**64 if hashed >= 2**63 else hashed


def hash_bytes(data: bytes) -> int:
    """The twin of native/src/hash.c: blocks of 16 bytes, multiplied and folded."""
    word, seed = 2**64 - 1, 0x6A09E667F3BCC909

    def multiply(a: int, b: int) -> int:
        product = a * b
        return (product & word) ^ (product >> 64)

    state = seed
    for start in range(0, max(len(data), 1), 16):
        left, right = struct.unpack("<QQ", data[start : start + 16].ljust(16, b"\0"))
        turned = (right << 32 | right >> 32) & word
        folded = multiply(left ^ 0xBB67AE8584CAA73B ^ state, right ^ 0x3C6EF372FE94F82B)
        state = (folded + (left ^ turned)) & word
    return multiply(state ^ 0xA54FF53A5F1D36F1, (len(data) * 2 + seed) & word)


def _crc32(x: Any) -> int:
    need(isinstance(x, str | bytes), x)
    return zlib.crc32(x.encode() if isinstance(x, str) else x)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": _abs,
    "round": _round,
    "floor": _floor,
    "ceil": _ceil,
    "sqrt": _sqrt,
    "log": _log,
    "exp": _exp,
    "pow": _pow,
    "min": _min,
    "max": _max,
    "clamp": _clamp,
    "sign": _sign,
    "len": _len,
    "lower": _lower,
    "upper": _upper,
    "strip": _strip,
    "split": _split,
    "join": _join,
    "replace": _replace,
    "startswith": _startswith,
    "endswith": _endswith,
    "contains": contains,
    "slice": _slice,
    "format": _format,
    "int": _int,
    "float": _float,
    "str": _str,
    "bool": _bool,
    "to_time": _to_time,
    "format_time": _format_time,
    "year": part("year"),
    "month": part("month"),
    "day": part("day"),
    "hour": part("hour"),
    "minute": part("minute"),
    "second": part("second"),
    "weekday": part("weekday"),
    "truncate_time": _truncate_time,
    "has": _has,
    "get": get,
    "keys": _keys,
    "hash": _hash,
    "crc32": _crc32,
}
