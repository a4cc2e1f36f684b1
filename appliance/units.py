"""Durations, sizes and rates as people write them, and back.

Inside, durations are whole microseconds, sizes whole bytes, rates events a second. Every parser
raises ValueError with a message that shows a right example.
"""

from __future__ import annotations

import re

from appliance.limits import DURATION_MAX_US, SIZE_MAX_BYTES

_DURATIONS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_SIZES = {
    "B": 1,
    "kB": 1_000,
    "KB": 1_000,
    "MB": 1_000_000,
    "GB": 1_000_000_000,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}
_RATES = {"s": 1, "m": 60, "h": 3600}

# ASCII digits only; the fraction is read as digits, so that "0.1s" is exactly 100,000 µs.
_QUANTITY = re.compile(r"(-?)([0-9]{1,18})(?:\.([0-9]{1,9}))? ?([A-Za-z]+)")
_RATE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?/ ?([smh])")


def parse_duration(text: str, *, negative: bool = False) -> int:
    """`"200ms"`, `"10s"`, `"5m"`, `"24h"`, `"7d"` in microseconds; `negative` allows `"-5s"`."""
    amount = _parse(text, _DURATIONS, "a duration", '"200ms", "10s", "5m", "24h" or "7d"')
    if amount < 0 and not negative:
        raise ValueError(f"{text!r} is negative; a duration here is zero or more")
    if abs(amount) > DURATION_MAX_US:
        raise ValueError(f"{text!r} is too long; the longest duration is 36500d")
    return amount


def parse_size(text: str) -> int:
    """`"64KiB"`, `"512MiB"`, `"2GB"` in bytes."""
    amount = _parse(text, _SIZES, "a size", '"64KiB" or "512MiB"')
    if amount < 0:
        raise ValueError(f"{text!r} is negative; a size is zero or more")
    if amount > SIZE_MAX_BYTES:
        raise ValueError(f"{text!r} is too large; the largest size is {size_text(SIZE_MAX_BYTES)}")
    return amount


def parse_rate(text: str) -> float:
    """`"200/s"`, `"30/m"`, `"5/h"` in events a second; never zero."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(f'{text!r} is not a rate; write one like "200/s"')
    rate = float(match[1]) / _RATES[match[2]]
    if rate <= 0:
        raise ValueError(f"{text!r} is no rate at all; write one above zero")
    return rate


def duration_text(amount_us: int) -> str:
    """The shortest text that `parse_duration` reads back: the largest unit that divides it."""
    return _text(amount_us, _DURATIONS, "0s")


def size_text(amount_bytes: int) -> str:
    """The shortest text that `parse_size` reads back, in binary units."""
    binary = {name: unit for name, unit in _SIZES.items() if name == "B" or name.endswith("iB")}
    return _text(amount_bytes, binary, "0B")


def rate_text(rate: float) -> str:
    """A rate that `parse_rate` reads back: per second where that is short, else per minute or
    hour."""
    for name, seconds in _RATES.items():
        amount = rate * seconds
        if amount == int(amount):
            return f"{int(amount)}/{name}"
    return f"{rate:.9f}".rstrip("0").rstrip(".") + "/s"


def _parse(text: str, units: dict[str, int], what: str, example: str) -> int:
    match = _QUANTITY.fullmatch(text)
    if match is None or match[4] not in units:
        raise ValueError(f"{text!r} is not {what}; write one like {example}")
    sign, whole, fraction, unit = match[1], match[2], match[3] or "", units[match[4]]
    scale: int = 10 ** len(fraction)
    amount, rest = divmod(int(whole + fraction) * unit, scale)
    if rest:
        raise ValueError(f"{text!r} is finer than the smallest unit, {next(iter(units))}")
    return -amount if sign else amount


def _text(amount: int, units: dict[str, int], zero: str) -> str:
    if amount == 0:
        return zero
    for name, unit in sorted(units.items(), key=lambda item: -item[1]):
        if amount % unit == 0:
            return f"{amount // unit}{name}"
    raise AssertionError("the smallest unit divides everything")
