"""Python steps of the oracle (S11): what a function is given, and what becomes of its result."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from appliance.plan.logical import PythonStep
from appliance.units import parse_duration
from semantics.evaluate import INT_MAX, INT_MIN, Time
from semantics.oracle_codec import EPOCH, Refused, in_unit
from semantics.oracle_windows import END_OF_TIME, Key


class Event(Mapping[str, Any]):
    """A record as functions see it: fields by attribute and by item; times in the source's unit."""

    def __init__(self, record: Mapping[str, Any], unit: str) -> None:
        self.__dict__["_record"] = record
        self.__dict__["_seen"] = {name: seen(value, unit) for name, value in record.items()}

    def __getitem__(self, name: str) -> Any:
        return self._seen[name]

    def __getattr__(self, name: str) -> Any:
        try:
            return self._seen[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("an event cannot be changed")

    def __iter__(self) -> Iterator[str]:
        return iter(self._seen)

    def __len__(self) -> int:
        return len(self._seen)


def seen(value: Any, unit: str) -> Any:
    if isinstance(value, Time):
        text = in_unit(value, unit)
        return value.us if text is None else text
    if isinstance(value, list):
        return [seen(item, unit) for item in value]
    if isinstance(value, dict):
        return {name: seen(item, unit) for name, item in value.items()}
    return value


class Context:
    """What a stateful function is told beside its event, and its key's one timer."""

    def __init__(self, key: Key, time: int, unit: str, timers: Timers, firing: bool) -> None:
        self.key = key.values[0] if len(key.values) == 1 else key.values
        self.unit = "us" if unit == "rfc3339" else unit
        self.time = in_unit(Time(time), self.unit)
        self._key, self._time_us, self._timers, self._firing = key, time, timers, firing

    def timer(self, *, at: float | None = None, after: float | str | None = None) -> None:
        """In the source's unit, `after` also as the flow file's durations."""
        if (at is None) == (after is None):
            raise TypeError("at or after")
        if isinstance(after, str):
            us = parse_duration(after)
        else:
            us = to_us(at if after is None else after, self.unit)
        if after is not None:
            if us < 0:
                raise ValueError("after is negative")
            us += self._time_us
        if self._firing and us <= self._time_us:
            raise ValueError("not after the time of the timer")
        self._timers.set(self._key, min(us, INT_MAX - 1))  # the last moment there is

    def cancel(self) -> bool:
        return self._timers.pending.pop(self._key.identity, None) is not None


def to_us(number: Any, unit: str) -> int:
    per_unit = {"s": 1_000_000, "ms": 1000, "us": 1, "ns": 1}[unit]
    us = number * per_unit / 1000 if unit == "ns" else number * per_unit
    if us != us:
        raise ValueError("NaN")
    return INT_MAX - 1 if us >= 9.2e18 else round(us)


class Timers:
    """One timer a key, fired by time and then in the order in which they were set (S11)."""

    def __init__(self) -> None:
        self.pending: dict[Any, tuple[int, int, Key]] = {}
        self.count = 0

    def set(self, key: Key, us: int) -> None:
        self.count += 1
        self.pending[key.identity] = (us, self.count, key)

    def due(self, watermark: float) -> Iterator[tuple[int, Key]]:
        """Those that are due, the ones that firing sets too; at the end all there are, once."""
        if watermark == END_OF_TIME:
            found = sorted(self.pending.values(), key=lambda timer: timer[:2])
            self.pending.clear()
            yield from ((us, key) for us, _, key in found)
            return
        while self.pending:
            us, _, key = min(self.pending.values(), key=lambda timer: timer[:2])
            if us > watermark:
                return
            del self.pending[key.identity]
            yield us, key


def refuse(message: str) -> Refused:
    return Refused("python", message)


def call(step: PythonStep, event: Event, state: Any, context: Context) -> Any:
    """What the user's function returns; whatever it raises is the record's error (S3)."""
    target = step.function.target
    assert target is not None, "the oracle runs functions, not references"
    if step.mode == "stateful":
        return raised(target, state, event, context)
    if step.mode == "class":
        return raised(state.on_event, event, context)
    return raised(target, event)


def raised(function: Any, *arguments: Any) -> Any:
    """The call, with as many of the arguments as it takes."""
    try:
        count = len(inspect.signature(function).parameters)
        return function(*arguments[:count])
    except (Exception, SystemExit) as error:
        raise refuse(repr(error)) from None


def items(step: PythonStep, result: Any) -> Iterator[Any]:
    """None gives nothing, a list or an iterator each item, all else is one."""
    many: Any = [result]
    if result is None:
        many = []
    elif isinstance(result, list | Iterator):
        many = result
    elif step.mode == "flat_map":
        if is_record(result) or isinstance(result, str | bytes) or not hasattr(result, "__iter__"):
            raise refuse("a flat_map returns many")
        many = result
    iterator = iter(many)
    while True:
        try:
            item = next(iterator)
        except StopIteration:
            return
        except (Exception, SystemExit) as error:
            raise refuse(repr(error)) from None
        if item is not None:
            yield item


def is_record(item: Any) -> bool:
    is_named_tuple = isinstance(item, tuple) and hasattr(item, "_fields")
    is_dataclass = dataclasses.is_dataclass(item) and not isinstance(item, type)
    is_struct = hasattr(type(item), "__struct_fields__")
    return isinstance(item, Mapping) or is_named_tuple or is_dataclass or is_struct


def fields(item: Any) -> dict[Any, Any]:
    if isinstance(item, Mapping):
        return dict(item)
    if isinstance(item, tuple):
        return dict(zip(item._fields, item, strict=True))  # type: ignore[attr-defined]
    if dataclasses.is_dataclass(item):
        return {one.name: getattr(item, one.name) for one in dataclasses.fields(item)}
    return {name: getattr(item, name) for name in item.__struct_fields__}


def to_record(item: Any) -> dict[str, Any]:
    """A record, or the record `{"value": item}`."""
    if isinstance(item, Event):
        return dict(item._record)
    named = fields(item) if is_record(item) else {"value": item}
    return {field_name(name): to_value(value) for name, value in named.items()}


def field_name(name: Any) -> str:
    if not isinstance(name, str):
        raise refuse("a field's name is text")
    return name


def to_value(value: Any) -> Any:
    if isinstance(value, Event):
        return dict(value)
    if value is None or isinstance(value, bool | float | str | bytes):
        return value
    if isinstance(value, int):
        if not INT_MIN <= value <= INT_MAX:
            raise refuse("beyond 64 bits")
        return value
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return Time((aware - EPOCH) // timedelta(microseconds=1))
    if is_record(value):
        return {field_name(name): to_value(item) for name, item in fields(value).items()}
    if isinstance(value, list | tuple):
        return [to_value(item) for item in value]
    raise refuse(f"a {type(value).__name__} is no value")


def new_state(step: PythonStep) -> Any:
    factory: Callable[[], Any] | None
    factory = step.function.target if step.mode == "class" else None
    if step.state is not None:
        factory = step.state.target
    assert factory is not None
    try:
        return factory()
    except (Exception, SystemExit) as error:
        raise refuse(repr(error)) from None
