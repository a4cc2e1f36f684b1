"""Streams: what a verb is called on, and what it gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from appliance.expression import AggregateCall, Column, Field
from appliance.flow.aggregates import Expression
from appliance.flow.caller import caller_place, reference_of
from appliance.flow.graph import OPERATION, Ref, Verb
from appliance.flow.words import Connector, Wire
from appliance.plan.logical import PythonFunction

if TYPE_CHECKING:
    from appliance.flow.flow import Flow

_NOT_IN_A_NAME = re.compile(r"[^a-z0-9_-]+")


class Stream:
    """Records on their way. Streams never change: a verb gives a new one, and one stream can be
    read twice."""

    def __init__(self, flow: Flow, refs: tuple[Ref, ...], title: str = "") -> None:
        self._flow = flow
        self._refs = refs
        self._title = title

    # ---- records one by one ----

    def where(self, condition: Expression) -> Stream:
        """Keep the records for which the condition holds: `col.temp > 15`, or `"temp > 15"`."""
        return self._verb("where", {"where": condition})

    def set(self, **fields: Expression) -> Stream:
        """Add fields, or replace them. All see the record as it was before (S24)."""
        return self._verb("set", {"set": fields})

    def select(self, *names: str, **fields: Expression) -> Stream:
        """Keep only these fields: by name, or computed."""
        kept: dict[str, Expression] = {name: Column(Field(name)) for name in names}
        return self._verb("select", {"select": {**kept, **fields}})

    def drop(self, *names: str) -> Stream:
        """Leave these fields out."""
        return self._verb("drop", {"drop": list(names)})

    def each(self, name: str) -> Stream:
        """One record for each element of a list, the element in the list's place."""
        return self._verb("each", {"each": name})

    def map(self, function: Callable[[Any], Any]) -> Stream:
        """Call `function(event)`; what it returns goes on: None nothing, a list each item, else one
        record (S11)."""
        return self._python({"map": function}, function)

    def flat_map(self, function: Callable[[Any], Iterable[Any]]) -> Stream:
        """Call `function(event)`; each item of what it returns goes on."""
        return self._python({"flat_map": function}, function)

    def filter(self, function: Callable[[Any], object]) -> Stream:
        """Keep the events for which `function(event)` is true."""
        return self._python({"filter": function}, function)

    # ---- keyed ----

    def key_by(self, *keys: Expression, null_key: bool | None = None) -> Stream:
        """What belongs together: one expression or several. The key stays until the next `key_by`
        (S10)."""
        entries: dict[str, object] = {"key_by": list(keys)}
        if null_key is not None:
            entries["null_key"] = null_key
        return self._verb("key_by", entries)

    def window(self, window: Mapping[str, object]) -> Windowed:
        """Windows of each key: `.window(tumbling("10s")).aggregate(n=count())`."""
        return Windowed(self, window)

    def running(self, **aggregates: AggregateCall | str) -> Stream:
        """Aggregates so far, added to every record (S12)."""
        return self._verb(OPERATION, {"running": aggregates}, "running")

    def stateful(
        self, function: Callable[..., Any], state: Callable[[], Any] | None = None
    ) -> Stream:
        """Call `function(state, event)` with the key's own state, made by `state()` (S11). A class
        with `on_event` is its own state, one instance a key."""
        entries: dict[str, object] = {"python": self._function(function)}
        if state is not None:
            entries["state"] = self._function(state)
        return self._verb(OPERATION, entries, label_of(function))

    def having(self, condition: Expression) -> Stream:
        """Keep the results of the operation before for which the condition holds."""
        return self._verb("having", {"having": condition})

    # ---- streams as a whole ----

    def merge(self, *others: Stream) -> Stream:
        """This stream and others as one, as they come (S19)."""
        refs = list(self._refs)
        for other in others:
            if other._flow is not self._flow:
                raise ValueError(f"a stream of flow {other._flow.name!r} cannot be merged here")
            refs += other._refs
        return Stream(self._flow, tuple(refs))

    def step(self, name: str) -> Stream:
        """The next verb begins a step of this name."""
        return Stream(self._flow, self._refs, name)

    @property
    def late(self) -> Stream:
        """The late records of a window (S15), or those of a source that are too far ahead (S8)."""
        if len(self._refs) != 1:
            raise ValueError("several streams as one have no late records; ask each of them")
        (ref,) = self._refs
        name = f"{ref.name}.late" if ref.verb is None else ""
        return Stream(self._flow, (Ref(ref.verb, name, True),))

    def sink(
        self,
        connector: Connector,
        format: Wire | None = None,
        *,
        name: str | None = None,
        where: Expression | None = None,
        delivery: str | None = None,
        spool: Mapping[str, object] | None = None,
        frame: str | Mapping[str, str] | None = None,
        frame_max: str | None = None,
    ) -> Stream:
        """Send these records somewhere. Gives the same stream, so that another sink or step can
        follow."""
        entries = {
            "where": where, "delivery": delivery, "spool": spool, "frame": frame,
            "frame_max": frame_max,
        }  # fmt: skip
        self._flow._add_sink(self._refs, connector, format, name, entries, caller_place())
        return self

    # ---- within ----

    def _verb(self, kind: str, entries: Mapping[str, object], label: str = "") -> Stream:
        verb = Verb(kind, self._refs, entries, caller_place(), self._title, label)
        self._flow._verbs.append(verb)
        return Stream(self._flow, (Ref(verb),))

    def _python(
        self, mode: Mapping[str, Callable[..., Any]], function: Callable[..., Any]
    ) -> Stream:
        (word,) = mode
        entries = {"python": {word: self._function(function)}}
        return self._verb(OPERATION, entries, label_of(function))

    def _function(self, target: Callable[..., Any]) -> PythonFunction:
        if not callable(target):
            raise TypeError(f"a function was expected, not {type(target).__name__}")
        return PythonFunction(reference_of(target, self._flow.base), target, caller_place())


class Windowed:
    """A window that waits for its aggregates."""

    def __init__(self, stream: Stream, window: Mapping[str, object]) -> None:
        self._stream = stream
        self._window = window
        self._place = caller_place()
        stream._flow._unfinished[self] = self._place

    def aggregate(self, **aggregates: AggregateCall | str) -> Stream:
        """A result for each key and window: `aggregate(n=count(), mean=mean(col.temp))`."""
        self._stream._flow._unfinished.pop(self, None)
        entries = {"window": self._window, "aggregate": aggregates}
        return self._stream._verb(OPERATION, entries, "window")


def label_of(target: Callable[..., Any]) -> str:
    """The name a function gives its step; "" for a lambda and for what has no name."""
    name = str(getattr(target, "__name__", ""))
    return "" if name == "<lambda>" else _NOT_IN_A_NAME.sub("_", name.lower()).strip("_-0123456789")
