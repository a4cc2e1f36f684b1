"""The logical plan in plain Python: what a flow means, slow and obvious.

    run(plan, [("readings", "", b'{"temp": 21}')]).sinks["out"]    [b'{"temp":21}\\n']

Records run depth first: the consumers of a stream are its steps, upstream first, then its sinks,
each in the order of the plan. Windows that a record made due close after it has run through. There
is no idleness, and the clock only moves when it is told to. What it cannot do: timers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from appliance.expression import Field, Node
from appliance.plan.logical import Plan, PythonStep, Running, Sink, Source, Step, Window
from appliance.plan.shape import format_fields, in_order
from semantics import oracle_python as python
from semantics.evaluate import EvaluationError, Time, evaluate, truth
from semantics.oracle_aggregates import inputs_of
from semantics.oracle_codec import Refused, closed_by_schema, encoder, read_time
from semantics.oracle_time import Partition, SourceTime, step_watermark
from semantics.oracle_windows import (
    END_OF_TIME,
    NO_KEY,
    START_OF_TIME,
    WINDOW_TIME_MAX_US,
    Key,
    Result,
    RunningState,
    Windows,
    key_value,
    windows,
)

#: The clock of `appliance.testing`.
START_US = 1_700_000_000_000_000

ERROR_RAW_MAX_BYTES = 4096

#: (step, source or "", reason): how often.
Errors = Counter[tuple[str, str, str]]


@dataclass
class Outcome:
    """Everything that can be seen of a run."""

    sinks: dict[str, list[bytes]]
    errors: Errors = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)  # by step; "SOURCE.late" for future ones
    repeated: Counter[str] = field(default_factory=Counter)  # by source
    entered: Counter[str] = field(default_factory=Counter)  # by step
    left: Counter[str] = field(default_factory=Counter)

    def output(self, sink: str) -> bytes:
        return b"".join(self.sinks[sink])


@dataclass(frozen=True)
class Lineage:
    """Which record of which source: for the error output."""

    source: str
    partition: str
    position: int
    raw: bytes


class Missing:
    """A place without a value: a field that a record of known fields could have and has not. It
    keeps its place for what `set` may put there."""


MISSING = Missing()


@dataclass(frozen=True)
class Event:
    """A record on its way."""

    fields: Mapping[str, Any]  # with places that are MISSING
    time: int
    watermark: float  # of its own partition, as it stood before this record (S15)
    lineage: Lineage | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    key: Key | None = None

    @property
    def record(self) -> dict[str, Any]:
        return {name: value for name, value in self.fields.items() if value is not MISSING}

    @property
    def names(self) -> Mapping[str, Any]:
        """What expressions can read."""
        return {**self.metadata, **self.record}


@dataclass(frozen=True)
class Port:
    """What is the same for all records of a stream."""

    unit: str
    sources: frozenset[str]
    key: tuple[tuple[str, ...], frozenset[str]] | None = None  # names; those that are fields
    closed: tuple[str, ...] | None = None  # all fields there can be, in order; None: any


class Oracle:
    """One flow, fed by hand."""

    def __init__(self, plan: Plan, start_us: int = START_US) -> None:
        self.plan = plan
        self.now_us = start_us
        self.outcome = Outcome({name: [] for name in plan.sinks})
        self.ports: dict[str, Port] = {}
        self.consumers: dict[str, list[Callable[[Event], None]]] = {}
        self.sources: dict[str, SourceTime] = {}
        self.timed: list[StepRunner] = []  # windows and timers
        self.in_error = False
        for source in plan.sources.values():
            self._add_source(source)
        self.ports["errors"] = Port("rfc3339", frozenset(plan.sources))
        for name in in_order(plan):
            self._add_step(plan.steps[name])
        for sink in plan.sinks.values():
            for name in sink.inputs:
                self.listen(name, SinkRunner(self, sink, self.ports[name].unit).accept)
        self.advance()

    def _add_source(self, source: Source) -> None:
        self.sources[source.name] = SourceTime(source, self.now_us)
        closed = tuple(source.schema) or format_fields(source.format)
        port = Port(source.time.unit, frozenset([source.name]), None, closed)
        self.ports[source.name] = self.ports[f"{source.name}.late"] = port

    def _add_step(self, step: Step) -> None:
        runner = StepRunner(self, step, merged([self.ports[name] for name in step.inputs]))
        for name in step.inputs:
            self.listen(name, runner.accept)
        self.ports[step.name] = runner.leaving
        self.ports[f"{step.name}.late"] = runner.working
        if runner.windows is not None or runner.is_stateful:
            self.timed.append(runner)

    def listen(self, name: str, consumer: Callable[[Event], None]) -> None:
        self.consumers.setdefault(name, []).append(consumer)

    def emit(self, name: str, event: Event) -> None:
        for consumer in self.consumers.get(name, ()):
            consumer(event)

    # ---- what comes in ----

    def feed(self, source: str, partition: str, message: bytes, position: int = 0) -> None:
        """One message; everything that it makes due is closed before this returns."""
        time = self.sources[source]
        part = time.partition(partition)
        lineage = Lineage(source, partition, position, message)
        try:
            event = self._read(time, part, lineage)
        except Refused as refused:
            self.refuse("", refused.reason, lineage, None)
            return
        if event is None:
            return
        if self._is_future(time.source, event.time):
            self.outcome.late[f"{source}.late"] += 1
            self.emit(f"{source}.late", event)
            return
        if self._is_new(time, event, lineage):
            self.emit(source, event)
        if not time.is_arrival:
            part.largest_time = max(part.largest_time, event.time)
        self.advance()

    def _read(self, time: SourceTime, part: Partition, lineage: Lineage) -> Event | None:
        source = time.source
        record = part.decoder.decode(lineage.raw)
        if record is None:
            return None
        record = closed_by_schema(record, source)
        metadata = {
            "_source": source.name,
            "_partition": part.name,
            "_position": lineage.position,
            "_arrival": Time(self.now_us),
        }
        when = self.now_us if time.is_arrival else read_time(record, source.time)
        fields = dict.fromkeys(self.ports[source.name].closed or (), MISSING) | record
        return Event(fields, when, part.watermark, lineage, metadata)

    def _is_new(self, time: SourceTime, event: Event, lineage: Lineage) -> bool:
        """Whether its id, if the source has any, was not seen within that time."""
        field = time.source.id
        if field is None:
            return True
        try:
            value = key_value(event.names.get(field), null_key=False)
        except Refused as refused:
            self.refuse("", refused.reason, lineage, None)
            return False
        known = (type(value), value)
        first_us = time.seen.get(known)
        if first_us is not None and self.now_us - first_us < time.source.id_within_us:
            self.outcome.repeated[time.source.name] += 1
            return False
        time.seen[known] = self.now_us
        return True

    def _is_future(self, source: Source, time: int) -> bool:
        if source.time.field is None or self.plan.settings.clock == "event":
            return False
        return time > self.now_us + source.time.max_ahead_us

    def end_partition(self, source: str, partition: str) -> None:
        """It brings nothing more, and is taken out of the minimum."""
        self.sources[source].partitions.pop(partition, None)
        self.advance()

    def end(self, source: str) -> None:
        self.sources[source].ended = True
        self.advance()

    def tick(self, now_us: int) -> None:
        """The clock moves on."""
        self.now_us = now_us
        for time in self.sources.values():
            time.now_us = now_us
        self.advance()
        for runner in self.timed:
            if runner.is_arrival:
                runner.fire_due(now_us)

    def advance(self) -> None:
        """Close everything that is due, step by step, upstream first (S16)."""
        for runner in self.timed:
            runner.advance()

    # ---- errors (S3) ----

    def refuse(
        self, step: str, reason: str, lineage: Lineage | None, record: Mapping[str, Any] | None
    ) -> None:
        """To the error output: `record` as it was, or, when there is none, the raw message."""
        source = lineage.source if lineage is not None else ""
        self.outcome.errors[step, source, reason] += 1
        if self.in_error:
            return
        self.in_error = True
        error: dict[str, Any] = {"time": Time(self.now_us), "flow": self.plan.name}
        if step:
            error["step"] = step
        if lineage is not None:
            error["source"] = lineage.source
            error["partition"] = lineage.partition
            error["position"] = lineage.position
        error["reason"] = reason
        if record is not None:
            error["event"] = dict(record)
        elif lineage is not None:
            error["raw"] = lineage.raw[:ERROR_RAW_MAX_BYTES]
            error["raw_truncated"] = len(lineage.raw) > ERROR_RAW_MAX_BYTES
        self.emit("errors", Event(error, self.now_us, START_OF_TIME, lineage))
        self.in_error = False


def merged(ports: list[Port]) -> Port:
    """Streams with the same key stay keyed; times are written in the first one's unit (S19)."""
    key = ports[0].key if all(port.key == ports[0].key for port in ports) else None
    closed = ports[0].closed if all(port.closed == ports[0].closed for port in ports) else None
    return Port(ports[0].unit, frozenset().union(*(port.sources for port in ports)), key, closed)


def grown(port: Port, names: Iterable[str]) -> Port:
    """With these fields in their places, or behind the others."""
    if port.closed is None:
        return port
    return replace(port, closed=tuple(dict.fromkeys((*port.closed, *names))))


class SinkRunner:
    def __init__(self, oracle: Oracle, sink: Sink, unit: str) -> None:
        self.oracle, self.sink, self.unit = oracle, sink, unit
        self.encode = encoder(sink)

    def accept(self, event: Event) -> None:
        try:
            if holds(self.sink.where, event.names, self.oracle.now_us):
                made = self.encode(event.record, self.unit)
                self.oracle.outcome.sinks[self.sink.name].append(made)
        except Refused as refused:
            self.oracle.refuse("", refused.reason, event.lineage, event.record)


def value_of(node: Node, names: Mapping[str, Any], now_us: int) -> Any:
    try:
        return evaluate(node, names, now_us)
    except EvaluationError as error:
        raise Refused("expression", str(error)) from None


def holds(node: Node | None, names: Mapping[str, Any], now_us: int) -> bool:
    """Null is not true (S2)."""
    if node is None:
        return True
    try:
        return truth(evaluate(node, names, now_us)) is True
    except EvaluationError as error:
        raise Refused("expression", str(error)) from None


class StepRunner:
    """One step table: where · set, select, drop · each · key_by · operation · having."""

    def __init__(self, oracle: Oracle, step: Step, entering: Port) -> None:
        self.oracle, self.step, self.entering = oracle, step, entering
        self.working = self._after_reshaping(entering)
        self.leaving = self.working
        self.windows: Windows | None = None
        self.running: RunningState | None = None
        self.states: dict[Any, Any] = {}
        self.timers = python.Timers()
        self.watermark = START_OF_TIME
        if isinstance(step.operation, Window):
            self.windows = windows(step.operation)
            names = self.working.key[0] if self.working.key else ()
            key = (names, frozenset(names)) if names else None
            closed = (*names, "window_start", "window_end", *step.operation.aggregates)
            self.leaving = replace(self.working, key=key, closed=closed)
        elif isinstance(step.operation, Running):
            self.running = RunningState(step.operation)
            self.leaving = grown(self.working, step.operation.aggregates)
        elif isinstance(step.operation, PythonStep) and step.operation.mode != "filter":
            self.leaving = replace(self.working, closed=None)

    @property
    def is_stateful(self) -> bool:
        operation = self.step.operation
        return isinstance(operation, PythonStep) and operation.mode in ("stateful", "class")

    def _after_reshaping(self, port: Port) -> Port:
        """The key ends where a field of it is removed (S10)."""
        step = self.step
        if port.key is not None:
            removed = {name for name in port.key[1] if name in step.drop}
            if step.select is not None:
                removed |= port.key[1] - {*step.select, *step.set}
            if removed:
                port = replace(port, key=None)
        if step.select is not None:
            port = replace(port, closed=tuple(step.select))
        port = grown(port, step.set)
        if port.closed is not None:
            kept = tuple(name for name in port.closed if name not in step.drop)
            port = replace(port, closed=kept)
        if step.key_by:
            named = zip(step.key_names, step.key_by, strict=True)
            fields = frozenset(name for name, node in named if isinstance(node, Field))
            port = replace(port, key=(step.key_names, fields))
        return port

    def accept(self, event: Event) -> None:
        self.oracle.outcome.entered[self.step.name] += 1
        if self.entering.key is None:
            event = replace(event, key=None)
        if self.entering.closed is None:
            event = replace(event, fields=event.record)
        try:
            if not holds(self.step.where, event.names, self.oracle.now_us):
                return
            elements = self.elements(self.reshaped(event))
        except Refused as refused:
            self.refuse(refused.reason, event)
            return
        for element in elements:
            try:
                self.operate(self.keyed(element))
            except Refused as refused:
                self.refuse(refused.reason, event)

    def refuse(self, reason: str, event: Event) -> None:
        self.oracle.refuse(self.step.name, reason, event.lineage, event.record)

    def reshaped(self, event: Event) -> Event:
        """Every entry sees the record as it entered the table (S24)."""
        step, now_us = self.step, self.oracle.now_us
        wanted = {**(step.select or {}), **step.set}
        computed = {name: value_of(node, event.names, now_us) for name, node in wanted.items()}
        record = dict(event.fields)
        if step.select is not None:
            record = {name: computed[name] for name in step.select}
        for name in step.set:
            record[name] = computed[name]
        for name in step.drop:
            record.pop(name, None)
        return replace(event, fields=record)

    def elements(self, event: Event) -> list[Event]:
        """The element takes the place of the list it was in."""
        name = self.step.each
        if name is None:
            return [event]
        found = event.names.get(name)
        if found is None:
            return []
        if not isinstance(found, list):
            raise Refused("expression", "each needs a list")
        return [replace(event, fields={**event.fields, name: item}) for item in found]

    def keyed(self, event: Event) -> Event:
        step = self.step
        if not step.key_by:
            return event if self.working.key is not None else replace(event, key=None)
        found = [value_of(node, event.names, self.oracle.now_us) for node in step.key_by]
        values = tuple(key_value(value, step.null_key) for value in found)
        assert self.working.key is not None
        return replace(event, key=Key(step.key_names, values, self.working.key[1]))

    # ---- the operation ----

    def operate(self, event: Event) -> None:
        """Without a key there is one constant key (S29)."""
        operation = self.step.operation
        key = event.key or NO_KEY
        if operation is None:
            self.leave(event)
        elif isinstance(operation, Window):
            self.to_window(operation, key, event)
        elif isinstance(operation, Running):
            assert self.running is not None
            results = self.running.add(key, self.inputs(operation, event))
            self.leave(replace(event, fields={**event.fields, **results}))
        else:
            self.to_python(operation, key, event)

    def inputs(self, operation: Window | Running, event: Event) -> Any:
        try:
            now_us = self.oracle.now_us
            return inputs_of(operation.aggregates, event.names, event.time, now_us)
        except EvaluationError as error:
            raise Refused("expression", str(error)) from None

    def to_window(self, window: Window, key: Key, event: Event) -> None:
        assert self.windows is not None
        inputs = self.inputs(window, event)
        if abs(event.time) > WINDOW_TIME_MAX_US:
            raise Refused("time", "too far from 1970")
        watermark = max(event.watermark, self.watermark)
        results = self.windows.add(key, inputs, event.time, watermark)
        if results is None:
            self.oracle.outcome.late[self.step.name] += 1
            if window.late_policy == "output":
                self.oracle.emit(f"{self.step.name}.late", event)
            return
        for result in results:
            self.leave(window_result(result, event.watermark, event.lineage))

    def advance(self) -> None:
        """The step's watermark moves on, never back; what is due closes, or fires. A function may
        have set a timer for a time that has passed."""
        sources = [self.oracle.sources[name] for name in self.oracle.plan.sources]
        reaching = [one for one in sources if one.source.name in self.working.sources]
        watermark = max(self.watermark, step_watermark(reaching))
        if self.windows is not None and watermark > self.watermark:
            for result in self.windows.advance(watermark):
                self.leave(window_result(result, START_OF_TIME, None))
        if not self.is_arrival or (watermark == END_OF_TIME and self.watermark < watermark):
            self.fire_due(watermark)
        self.watermark = watermark

    @property
    def is_arrival(self) -> bool:
        """Its timers follow the clock, which moves at ticks only, and not the records."""
        return all(self.oracle.sources[name].is_arrival for name in self.working.sources)

    def fire_due(self, watermark: float) -> None:
        for time, key in self.timers.due(watermark):
            self.fire(time, key)

    def to_python(self, step: PythonStep, key: Key, event: Event) -> None:
        unit = self.working.unit
        state = None
        if self.is_stateful:
            if key.identity not in self.states:
                self.states[key.identity] = python.new_state(step)
            state = self.states[key.identity]
        context = python.Context(key, event.time, unit, self.timers, firing=False)
        result = python.call(step, python.Event(event.record, unit), state, context)
        if step.mode == "filter":
            if result:
                self.leave(event)
            return
        for item in python.items(step, result):
            self.leave(replace(event, fields=python.to_record(item)))

    def fire(self, time: int, key: Key) -> None:
        """A timer's results have its time and its key; there is no record behind them."""
        step = self.step.operation
        assert isinstance(step, PythonStep)
        context = python.Context(key, time, self.working.unit, self.timers, firing=True)
        event = Event({}, time, START_OF_TIME, key=key if key.names else None)
        try:
            result = python.raised(self.states[key.identity].on_timer, context)
            for item in python.items(step, result):
                self.leave(replace(event, fields=python.to_record(item)))
        except Refused as refused:
            self.oracle.refuse(self.step.name, refused.reason, None, None)

    def leave(self, event: Event) -> None:
        """`having`, and on to what reads the step."""
        if self.step.having is not None:
            try:
                if not holds(self.step.having, event.names, self.oracle.now_us):
                    return
            except Refused as refused:
                self.refuse(refused.reason, event)
                return
        self.oracle.outcome.left[self.step.name] += 1
        self.oracle.emit(self.step.name, event)


def window_result(result: Result, watermark: float, lineage: Lineage | None) -> Event:
    """A record of its own: without the metadata of those it was made of."""
    key = result.key if result.key.names else None
    return Event(result.record, result.time, watermark, lineage, {}, key)


def run(plan: Plan, messages: Iterable[tuple[str, str, bytes]]) -> Outcome:
    """All messages in the order of their arrival, then every source ends."""
    oracle = Oracle(plan)
    for source, partition, message in messages:
        oracle.feed(source, partition, message)
    for source in plan.sources:
        for partition in ends(oracle, source):
            oracle.end_partition(source, partition)
        oracle.end(source)
    return oracle.outcome


def ends(oracle: Oracle, source: str) -> Iterator[str]:
    """The partitions of a source as a source that is fed by hand ends them: the newest first."""
    return iter(list(oracle.sources[source].partitions)[::-1])
