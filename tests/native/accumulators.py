"""The aggregates of S17 and S12 in plain Python: every value is kept, results computed afresh."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from native.keyed import Refused
from native.values import Time

NUMBERS, ORDERED, ANY, TRUTHS = "numbers", "ordered", "any", "truths"
TAKES = {
    "count": ANY,
    "sum": NUMBERS,
    "mean": NUMBERS,
    "min": ORDERED,
    "max": ORDERED,
    "first": ANY,
    "last": ANY,
    "variance": NUMBERS,
    "variance_pop": NUMBERS,
    "stddev": NUMBERS,
    "stddev_pop": NUMBERS,
    "any": TRUTHS,
    "all": TRUTHS,
    "min_by": ANY,
    "max_by": ANY,
    "ema": NUMBERS,
    "delta": NUMBERS,
    "rate": NUMBERS,
    "lag": ANY,
    "changed": ANY,
}
HEARS_ALL = {"delta", "rate", "lag", "changed"}
MERGEABLE = [kind for kind in TAKES if kind not in HEARS_ALL | {"ema"}]


def is_number(value: Any) -> bool:
    return type(value) in (int, float)


def family(value: Any) -> str:
    """Values of one family can be compared."""
    return "number" if is_number(value) else type(value).__name__


def takes(wanted: str, value: Any) -> bool:
    if wanted == NUMBERS:
        return is_number(value)
    if wanted == ORDERED:
        return is_number(value) or type(value) in (str, Time)
    return type(value) is bool if wanted == TRUTHS else True


def same(a: Any, b: Any) -> bool:
    """S2's ==: 1 equals 1.0 and nothing else of another type."""
    return a is b is None or (family(a) == family(b) and bool(a == b))


def exact_sum(numbers: list[Any]) -> float:
    """Neumaier's sum."""
    total, lost = 0.0, 0.0
    parts: list[float] = []
    for number in numbers:
        if type(number) is int and abs(number) > 2**53:
            parts += [float((number >> 32) << 32), float(number & 0xFFFFFFFF)]
        else:
            parts.append(float(number))
    for x in parts:
        t = total + x
        lost += (total - t) + x if abs(total) >= abs(x) else (x - t) + total
        total = t
    return total + lost if math.isfinite(total) else total


def moments(numbers: list[Any]) -> tuple[int, float]:
    """Welford: how many, and the sum of squared distances from the mean."""
    mean = squares = 0.0
    for count, number in enumerate(numbers, 1):
        before = float(number) - mean
        mean += before / count
        squares += before * (float(number) - mean)
    return len(numbers), squares


@dataclass
class Twin:
    """One accumulator: the counted records, as (value, by, time)."""

    kind: str
    alpha: float = 0.0
    n: int = 0
    seen: list[tuple[Any, Any, int]] = field(default_factory=list)
    counted: bool = False  # whether the latest record was

    @property
    def values(self) -> list[Any]:
        return [value for value, _, _ in self.seen]

    def skips(self, value: Any, by: Any, where: Any) -> bool:
        if where is not True:
            return True
        if self.kind in ("lag", "changed"):
            return False
        return value is None or (self.kind.endswith("_by") and by is None)

    def check(self, value: Any, by: Any, where: Any) -> None:
        if where is not None and type(where) is not bool:
            raise Refused("where")
        if where is not True or value is None:
            return
        if not takes(TAKES[self.kind], value):
            raise Refused("type")
        if self.kind in ("min", "max"):
            self.check_order(value, self.values)
        if self.kind.endswith("_by") and by is not None:
            if not takes(ORDERED, by):
                raise Refused("by")
            self.check_order(by, [other for _, other, _ in self.seen])
        if type(value) is not int:
            return
        if self.kind == "sum" and all(type(other) is int for other in self.values):
            self.check_range(sum(self.values) + value)
        if self.kind == "delta" and self.seen and type(self.values[-1]) is int:
            self.check_range(value - self.values[-1])

    def check_order(self, value: Any, before: list[Any]) -> None:
        if value != value or (before and family(before[0]) != family(value)):
            raise Refused("order")

    def check_range(self, number: int) -> None:
        if not -(2**63) <= number < 2**63:
            raise Refused("range")

    def add(self, value: Any, by: Any, where: Any, time: int) -> None:
        self.counted = not self.skips(value, by, where)
        if self.counted:
            self.seen.append((value, by, time))

    def result(self) -> Any:
        if self.kind in HEARS_ALL or self.kind == "ema":
            return self.running_result()
        values, kind = self.values, self.kind
        if kind == "count":
            return len(values)
        if kind in ("any", "all"):
            return any(values) if kind == "any" else all(values)
        if not values:
            return None
        if kind == "sum":
            only_ints = all(type(value) is int for value in values)
            return sum(values) if only_ints else exact_sum(values)
        if kind == "mean":
            return exact_sum(values) / len(values)
        if kind in ("first", "last"):
            times = [time for _, _, time in self.seen]
            if kind == "first":
                return values[times.index(min(times))]
            return values[len(times) - 1 - times[::-1].index(max(times))]
        if kind in ("min", "max"):
            return (min if kind == "min" else max)(values)
        if kind.endswith("_by"):
            pick = min if kind == "min_by" else max
            return pick(self.seen, key=lambda entry: entry[1])[0]
        return self.spread()

    def spread(self) -> float | None:
        count, squares = moments(self.values)
        degrees = count if self.kind.endswith("_pop") else count - 1
        if not degrees:
            return None
        variance = squares / degrees
        return math.sqrt(variance) if self.kind.startswith("stddev") else variance

    def running_result(self) -> Any:
        values = self.values
        if self.kind == "ema":
            smooth: float | None = None
            for x in values:
                smooth = float(x) if smooth is None else smooth + self.alpha * (float(x) - smooth)
            return smooth
        if self.kind == "lag":
            return values[-1 - self.n] if len(values) > self.n else None
        if self.kind == "changed":
            return self.counted and (len(values) == 1 or not same(values[-2], values[-1]))
        if not self.counted or len(values) < 2:
            return None
        before, now = values[-2:]
        both = type(before) is int and type(now) is int
        change = now - before if both else float(now) - float(before)
        if self.kind == "delta":
            return change
        elapsed = self.seen[-1][2] - self.seen[-2][2]
        return float(change) / (elapsed / 1e6) if elapsed > 0 else None
