"""One table of a flow, read key by key; whatever is wrong becomes a fault and reading goes on.

A flow is a nest of tables whether it comes from a file or from Python calls. What differs is where
things stand, so a table is given a `Locator`. A key that nobody asked for is unknown: the questions
are the list of known keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

from appliance import units
from appliance.errors import Fault, Place
from appliance.expression import (
    AggregateCall,
    Column,
    ExpressionError,
    Node,
    as_node,
    parse,
    parse_aggregate,
)
from appliance.expression.parse import RUNNING_AGGREGATES
from appliance.limits import FIELD_NAME_MAX_COUNT

KeyPath = tuple[str | int, ...]
_T = TypeVar("_T")
_Amount = TypeVar("_Amount", int, float)
_Parsed = TypeVar("_Parsed", Node, AggregateCall)


class Locator(Protocol):
    """Where the keys and values of a flow stand."""

    def key(self, path: KeyPath) -> Place:
        """Where this key is, or the nearest thing around it."""

    def value(self, path: KeyPath) -> Place:
        """Where its value begins."""

    def content(self, path: KeyPath, text: str) -> Place | None:
        """The first character of `text`, when it stands there on one line just as it is; else
        None."""


class Table:
    """A table and the path that leads to it."""

    def __init__(
        self, values: Mapping[str, object], path: KeyPath, locator: Locator, faults: list[Fault]
    ) -> None:
        self.values = values
        self.path = path
        self.locator = locator
        self.faults = faults
        self._asked: dict[str, None] = {}

    # ---- places and faults ----

    def place(self, key: str | None = None) -> Place:
        """The place of a key, or of the table itself."""
        return self.locator.key(self.path if key is None else (*self.path, key))

    def value_place(self, *keys: str | int) -> Place:
        """The place of a value; more keys lead further in."""
        return self.locator.value((*self.path, *keys))

    def fault(self, place: Place, message: str, remedy: str = "") -> None:
        self.faults.append(Fault(place, message, remedy))

    def key_fault(self, key: str, message: str, remedy: str = "") -> None:
        self.fault(self.place(key), message, remedy)

    def value_fault(self, key: str, message: str, remedy: str = "") -> None:
        self.fault(self.value_place(key), message, remedy)

    def finish(self, also: Iterable[str] = ()) -> None:
        """Every key that was never asked for is a fault. `also` are words to suggest without having
        asked."""
        words = [*self._asked, *also]
        for key in self.unasked():
            self.key_fault(key, f"unknown key {key!r}", nearest(key, words))

    def unasked(self) -> list[str]:
        """Keys that are there and were not asked for."""
        return [key for key in self.values if key not in self._asked]

    # ---- values ----

    def get(self, key: str) -> object:
        """The value as it is, None when absent."""
        self._asked[key] = None
        return self.values.get(key)

    def has(self, key: str) -> bool:
        """Whether the key is there; this counts as having asked for it."""
        return self.get(key) is not None

    def _typed(
        self, key: str, default: _T, wanted: type[_Parsed] | type, expected: str
    ) -> object | _T:
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            self.value_fault(key, f"{key}: {expected} was expected, not {said(value)}")
            return default
        return value

    def text(self, key: str, default: str, example: str = "") -> str:
        such = f" such as {example}" if example else ""
        value = self._typed(key, default, str, f"a text{such}")
        assert isinstance(value, str)
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self._typed(key, default, bool, "true or false")
        assert isinstance(value, bool)
        return value

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        listed = ", ".join(f'"{choice}"' for choice in choices)
        value = self._typed(key, default, str, f"one of {listed}")
        assert isinstance(value, str)
        if value not in choices and value != default:
            remedy = nearest(value, choices, listed=False)
            self.value_fault(key, f'{key}: "{value}" is not one of {listed}', remedy)
            return default
        return value

    def duration(
        self, key: str, default: _T, *, negative: bool = False, least_us: int = 0
    ) -> int | _T:
        """Microseconds."""

        def read(text: str) -> int:
            amount = units.parse_duration(text, negative=negative)
            if not negative and amount < least_us:
                raise ValueError(f'"{text}" is too short; at least {units.duration_text(least_us)}')
            return amount

        return self._unit(key, default, read, 'a duration such as "10s"')

    def size(self, key: str, default: _T, *, least: int = 0) -> int | _T:
        """Bytes."""

        def read(text: str) -> int:
            amount = units.parse_size(text)
            if amount < least:
                raise ValueError(f'"{text}" is too small; at least {units.size_text(least)}')
            return amount

        return self._unit(key, default, read, 'a size such as "64MiB"')

    def rate(self, key: str, default: _T) -> float | _T:
        """Events a second."""
        return self._unit(key, default, units.parse_rate, 'a rate such as "200/s"')

    def _unit(
        self, key: str, default: _T, read: Callable[[str], _Amount], expected: str
    ) -> _Amount | _T:
        value = self._typed(key, None, str, expected)
        if not isinstance(value, str):
            return default
        try:
            return read(value)
        except ValueError as error:
            self.value_fault(key, f"{key}: {error}")
            return default

    def strings(self, key: str, example: str) -> tuple[str, ...]:
        """A text, or a list of texts; empty when absent."""
        value = self.get(key)
        if value is None:
            return ()
        items = value if isinstance(value, (list, tuple)) else [value]
        for index, item in enumerate(items):
            if not isinstance(item, str) or not item:
                place = self.value_place(key, index) if items is value else self.value_place(key)
                self.fault(place, f"{key}: a text such as {example} was expected, not {said(item)}")
        return tuple(item for item in items if isinstance(item, str) and item)

    def table(self, key: str, example: str) -> Table | None:
        """A table inside this one."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self.value_fault(
                key, f"{key}: a table was expected, not {said(value)}", f"write {key} = {example}"
            )
            return None
        return Table(value, (*self.path, key), self.locator, self.faults)

    # ---- expressions ----

    def expression(self, key: str) -> Node | None:
        value = self.get(key)
        return None if value is None else self.node(value, key)

    def node(self, value: object, *keys: str | int) -> Node | None:
        """The expression that stands at `keys`: its text, or a column of the Python API."""
        if isinstance(value, (Node, Column)):
            return as_node(value)
        if isinstance(value, (bool, int)):
            value = repr(value)  # `set = { n = 1 }`; the parser knows the bounds
        return self._parsed(parse, value, 'an expression such as "temp > 15"', keys)

    def aggregate(self, value: object, key: str, *, running: bool) -> AggregateCall | None:
        """The aggregate at `key`: `"mean(temp)"`, or a call of the Python API. `running` allows
        those of S12."""
        if isinstance(value, AggregateCall):
            if running or value.kind not in RUNNING_AGGREGATES:
                return value
            remedy = "put it into `running` of a step before the window"
            message = f"{value.kind}() follows a record's predecessors: no window has it"
            self.value_fault(key, f"{key}: {message}", remedy)
            return None
        read = partial(parse_aggregate, running=running)
        return self._parsed(read, value, 'an aggregate such as "mean(temp)"', (key,))

    def _parsed(
        self,
        read: Callable[[str, Place], _Parsed],
        value: object,
        expected: str,
        keys: tuple[str | int, ...],
    ) -> _Parsed | None:
        place = self.value_place(*keys)
        label = ".".join(str(key) for key in keys)
        if not isinstance(value, str):
            self.fault(place, f"{label}: {expected} was expected, not {said(value)}")
            return None
        content = self.locator.content((*self.path, *keys), value)
        try:
            return read(value, content if content is not None else place)
        except ExpressionError as error:
            fault = error.fault
            if content is None:  # a column inside the text says nothing about the line it stands on
                fault = Fault(place, f"{fault.message} in {value!r}", fault.remedy)
            self.faults.append(fault)
            return None


def nearest(word: str, words: Sequence[str], *, listed: bool = True) -> str:
    """What to suggest instead of an unknown word: the most similar, else (`listed`) all words."""
    import difflib  # only a mistake needs it

    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known here: " + ", ".join(words) if words and listed else ""


def said(value: object) -> str:
    """A value the way a flow file would have it, cut short."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"


def field_name_fault(name: str) -> str:
    """What is wrong with the name of a new field; empty for nothing."""
    if not name:
        return "a field needs a name"
    if len(name) > FIELD_NAME_MAX_COUNT:
        return f"the field's name {name[:20]!r}… is longer than {FIELD_NAME_MAX_COUNT} characters"
    return ""
