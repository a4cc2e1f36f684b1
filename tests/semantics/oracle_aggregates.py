"""The aggregates of S17 and S12, one class each, slow and obvious.

Every one first says whether it could take a record (`check`), then takes it (`add`): a record goes
into all aggregates of a step or into none (S3). Sums are Neumaier's, spreads Welford's, in the
order of arrival, so that results are those of the native side to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appliance.plan.logical import Aggregate
from semantics.evaluate import Time, equal, evaluate, is_number, whole
from semantics.oracle_codec import Refused


@dataclass(frozen=True)
class Input:
    """What one aggregate sees of one record."""

    where: Any  # the value of its own condition
    value: Any
    by: Any
    time: int

    @property
    def counted(self) -> bool:
        return self.where is True


class Accumulator:
    """One aggregate of one key (and window). `value` and `by` are never null in `check`, `add`."""

    hears_nulls = False

    def __init__(self, aggregate: Aggregate) -> None:
        self.aggregate = aggregate

    def check(self, value: Any, by: Any) -> None:
        """Refused when this value cannot be taken."""

    def add(self, value: Any, by: Any, time: int) -> None:
        raise NotImplementedError

    def passed(self) -> None:
        """A record that was not counted went by."""

    def result(self) -> Any:
        raise NotImplementedError


def need(condition: bool, message: str = "wrong type") -> None:
    if not condition:
        raise Refused("aggregate", message)


def is_ordered(value: Any) -> bool:
    return is_number(value) or type(value) in (str, Time)


def need_order(value: Any, before: Any) -> None:
    """Numbers with numbers, texts with texts, times with times; NaN with nothing."""
    need(is_ordered(value) and value == value)
    if before is not None:
        both_numbers = is_number(value) and is_number(before)
        need(both_numbers or type(value) is type(before), "cannot be compared")


class Count(Accumulator):
    def __init__(self, aggregate: Aggregate) -> None:
        super().__init__(aggregate)
        self.count = 0

    def add(self, value: Any, by: Any, time: int) -> None:
        self.count += 1

    def result(self) -> Any:
        return self.count


class Compensated:
    """A sum of floats that remembers what rounding took from it."""

    def __init__(self) -> None:
        self.sum, self.lost = 0.0, 0.0

    def add(self, value: int | float) -> None:
        if type(value) is int and abs(value) > 2**53:  # no float: its halves are
            self.add_float((value >> 32) * 4294967296.0)
            self.add_float(float(value & 0xFFFFFFFF))
        else:
            self.add_float(float(value))

    def add_float(self, x: float) -> None:
        total = self.sum + x
        part = total - self.sum
        self.lost += (self.sum - (total - part)) + (x - part)
        self.sum = total

    def total(self) -> float:
        return self.sum + self.lost if math.isfinite(self.sum) else self.sum


class Sum(Accumulator):
    """Ints stay an int; the first float makes it a float."""

    def __init__(self, aggregate: Aggregate) -> None:
        super().__init__(aggregate)
        self.whole: int | None = None
        self.floats: Compensated | None = None

    def check(self, value: Any, by: Any) -> None:
        need(is_number(value))
        if type(value) is int and self.floats is None:
            need(-(2**63) <= (self.whole or 0) + value < 2**63, "beyond 64 bits")

    def add(self, value: Any, by: Any, time: int) -> None:
        if self.floats is None and type(value) is float:
            self.floats = Compensated()
            self.floats.add(self.whole or 0)
        if self.floats is not None:
            self.floats.add(value)
        else:
            self.whole = whole((self.whole or 0) + value)

    def result(self) -> Any:
        return self.whole if self.floats is None else self.floats.total()


class Mean(Accumulator):
    def __init__(self, aggregate: Aggregate) -> None:
        super().__init__(aggregate)
        self.sum, self.count = Compensated(), 0

    def check(self, value: Any, by: Any) -> None:
        need(is_number(value))

    def add(self, value: Any, by: Any, time: int) -> None:
        self.sum.add(value)
        self.count += 1

    def result(self) -> Any:
        return self.sum.total() / self.count if self.count else None


class Spread(Accumulator):
    """variance, stddev, and those of a whole population."""

    def __init__(self, aggregate: Aggregate) -> None:
        super().__init__(aggregate)
        self.count, self.mean, self.squares = 0, 0.0, 0.0

    def check(self, value: Any, by: Any) -> None:
        need(is_number(value))

    def add(self, value: Any, by: Any, time: int) -> None:
        before = float(value) - self.mean
        self.count += 1
        self.mean += before / self.count
        self.squares += before * (float(value) - self.mean)

    def result(self) -> Any:
        kind = self.aggregate.kind
        degrees = self.count if kind.endswith("_pop") else self.count - 1
        if degrees < 1:
            return None
        variance = self.squares / degrees
        return math.sqrt(variance) if kind.startswith("stddev") else variance


class Extreme(Accumulator):
    """min and max; of equals the first stays."""

    def __init__(self, aggregate: Aggregate) -> None:
        super().__init__(aggregate)
        self.kept: Any = None

    def check(self, value: Any, by: Any) -> None:
        need_order(value, self.kept)

    def add(self, value: Any, by: Any, time: int) -> None:
        if self.kept is None or self.is_better(value, self.kept):
            self.kept = value

    def is_better(self, value: Any, kept: Any) -> bool:
        return bool(value < kept if self.aggregate.kind.startswith("min") else value > kept)

    def result(self) -> Any:
        return self.kept


class Best(Extreme):
    """min_by and max_by: ties to the earliest."""

    value: Any = None

    def check(self, value: Any, by: Any) -> None:
        need_order(by, self.kept)

    def add(self, value: Any, by: Any, time: int) -> None:
        if self.kept is None or self.is_better(by, self.kept):
            self.kept, self.value = by, value

    def result(self) -> Any:
        return self.value


class FirstOrLast(Accumulator):
    """By event time, ties by arrival."""

    def __init__(self, aggregate: Aggregate) -> None:
        super().__init__(aggregate)
        self.kept: Any = None
        self.time: int | None = None

    def add(self, value: Any, by: Any, time: int) -> None:
        is_first = self.aggregate.kind == "first"
        if self.time is None or (time < self.time if is_first else time >= self.time):
            self.kept, self.time = value, time

    def result(self) -> Any:
        return self.kept


class Truth(Accumulator):
    """any and all."""

    def __init__(self, aggregate: Aggregate) -> None:
        super().__init__(aggregate)
        self.truths: list[bool] = []

    def check(self, value: Any, by: Any) -> None:
        need(type(value) is bool)

    def add(self, value: Any, by: Any, time: int) -> None:
        self.truths.append(value)

    def result(self) -> Any:
        return any(self.truths) if self.aggregate.kind == "any" else all(self.truths)


# ---- running ones (S12) ----


class Ema(Accumulator):
    def __init__(self, aggregate: Aggregate) -> None:
        super().__init__(aggregate)
        self.smooth: float | None = None

    def check(self, value: Any, by: Any) -> None:
        need(is_number(value))

    def add(self, value: Any, by: Any, time: int) -> None:
        x = float(value)
        before = self.smooth
        self.smooth = x if before is None else before + self.aggregate.alpha * (x - before)

    def result(self) -> Any:
        return self.smooth


class Delta(Accumulator):
    """The difference to the value before; null where there is none, or no value now."""

    def __init__(self, aggregate: Aggregate) -> None:
        super().__init__(aggregate)
        self.before: Any = None
        self.found: Any = None

    def check(self, value: Any, by: Any) -> None:
        need(is_number(value))
        if type(value) is int and type(self.before) is int:
            need(-(2**63) <= value - self.before < 2**63, "beyond 64 bits")

    def add(self, value: Any, by: Any, time: int) -> None:
        self.found = None
        if type(value) is int and type(self.before) is int:
            self.found = value - self.before
        elif self.before is not None:
            self.found = float(value) - float(self.before)
        self.before = value

    def passed(self) -> None:
        self.found = None

    def result(self) -> Any:
        return self.found


class Rate(Accumulator):
    """The difference to the value before, for each second of event time between them."""

    def __init__(self, aggregate: Aggregate) -> None:
        super().__init__(aggregate)
        self.before: Any = None
        self.time = 0
        self.found: float | None = None

    def check(self, value: Any, by: Any) -> None:
        need(is_number(value))

    def add(self, value: Any, by: Any, time: int) -> None:
        self.found = None
        if self.before is not None and time > self.time:
            change = float(value) - float(self.before)
            if type(value) is int and type(self.before) is int:
                whole_change = value - self.before
                if -(2**63) <= whole_change < 2**63:
                    change = float(whole_change)
            self.found = change / ((float(time) - float(self.time)) / 1e6)
        self.before, self.time = value, time

    def passed(self) -> None:
        self.found = None

    def result(self) -> Any:
        return self.found


class Lag(Accumulator):
    """The value n records before, nulls counted."""

    hears_nulls = True

    def __init__(self, aggregate: Aggregate) -> None:
        super().__init__(aggregate)
        self.values: list[Any] = []

    def add(self, value: Any, by: Any, time: int) -> None:
        self.values.append(value)

    def result(self) -> Any:
        n = self.aggregate.n
        return self.values[-1 - n] if len(self.values) > n else None


class Changed(Accumulator):
    """Whether the value differs from the one before; the first has changed (S23)."""

    hears_nulls = True

    def __init__(self, aggregate: Aggregate) -> None:
        super().__init__(aggregate)
        self.seen = False
        self.before: Any = None
        self.changed = False

    def add(self, value: Any, by: Any, time: int) -> None:
        self.changed = not self.seen or not equal(self.before, value)
        self.seen, self.before = True, value

    def passed(self) -> None:
        self.changed = False

    def result(self) -> Any:
        return self.changed


KINDS: dict[str, type[Accumulator]] = {
    "count": Count,
    "sum": Sum,
    "mean": Mean,
    "min": Extreme,
    "max": Extreme,
    "min_by": Best,
    "max_by": Best,
    "first": FirstOrLast,
    "last": FirstOrLast,
    "variance": Spread,
    "variance_pop": Spread,
    "stddev": Spread,
    "stddev_pop": Spread,
    "any": Truth,
    "all": Truth,
    "ema": Ema,
    "delta": Delta,
    "rate": Rate,
    "lag": Lag,
    "changed": Changed,
}


class Accumulators:
    """All aggregates of a step for one key (and window)."""

    def __init__(self, aggregates: Mapping[str, Aggregate]) -> None:
        self.items = {name: KINDS[item.kind](item) for name, item in aggregates.items()}

    def check(self, inputs: Mapping[str, Input]) -> None:
        for name, item in self.items.items():
            where = inputs[name].where
            need(where is None or type(where) is bool, "a condition is true, false or null")
            if takes(item, inputs[name]):
                item.check(inputs[name].value, inputs[name].by)

    def add(self, inputs: Mapping[str, Input]) -> None:
        for name, item in self.items.items():
            one = inputs[name]
            if takes(item, one):
                item.add(one.value, one.by, one.time)
            else:
                item.passed()

    def results(self) -> dict[str, Any]:
        return {name: item.result() for name, item in self.items.items()}


def takes(item: Accumulator, one: Input) -> bool:
    """Nulls are skipped (S17); `lag` and `changed` are about records."""
    if not one.counted:
        return False
    if item.hears_nulls:
        return True
    by_null = item.aggregate.by is not None and one.by is None
    return not by_null and (item.aggregate.argument is None or one.value is not None)


def inputs_of(
    aggregates: Mapping[str, Aggregate], record: Mapping[str, Any], time: int, now_us: int
) -> dict[str, Input]:
    """What each aggregate sees of this record. An aggregate's `where` stands before its
    arguments: they are not looked at where it does not hold."""
    truths = {
        name: True if item.where is None else evaluate(item.where, record, now_us)
        for name, item in aggregates.items()
    }
    found = {}
    for name, item in aggregates.items():
        nodes = [node if truths[name] is True else None for node in (item.argument, item.by)]
        value, by = (None if node is None else evaluate(node, record, now_us) for node in nodes)
        found[name] = Input(truths[name], value, by, time)
    return found
