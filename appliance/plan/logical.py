"""The logical plan: what the user wrote, as plain data, whichever way it was written.

The flow file and the Python API both build these dataclasses; `check` judges them, `explain` prints
them, the oracle runs them and the compiler turns them into a native program. Nothing here knows how
anything is carried out. All times are microseconds, all sizes bytes. Expressions are nodes of
`appliance.expression`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from appliance.errors import Place
from appliance.expression import Node
from appliance.schema import FieldType

NOWHERE = Place()


@dataclass(frozen=True)
class EventTime:
    """Where a record's time comes from (S6) and how watermarks follow it (S7, S8)."""

    field: str | None = None  # None: arrival time
    unit: str = "us"  # "s", "ms", "us", "ns", "rfc3339"
    late_us: int = 0
    idle_us: int | None = 10_000_000  # None: "never"
    max_ahead_us: int = 86_400_000_000
    when_idle: str = "advance"  # or "hold"


@dataclass(frozen=True)
class Format:
    """How one message becomes a record, or a record a message."""

    kind: str = "json"  # json, csv, msgpack, text, raw, binary, python
    options: Mapping[str, Any] = field(
        default_factory=dict
    )  # csv: header, columns, delimiter; binary: order, fields


@dataclass(frozen=True)
class Frame:
    """How a stream of bytes becomes messages."""

    kind: str = "lines"  # lines, u32, delimiter, none (the connector brings whole messages)
    delimiter: bytes = b"\n"
    max_bytes: int = 1 << 20


@dataclass(frozen=True)
class Source:
    name: str
    connector: str  # "tcp", "file", …, or "connector" for a user's own
    options: Mapping[str, Any]
    format: Format = Format()
    frame: Frame = Frame()
    time: EventTime = EventTime()
    schema: Mapping[str, FieldType] = field(default_factory=dict)
    place: Place = NOWHERE
    id: str | None = None  # the field that tells records apart: one that comes again is dropped
    id_within_us: int = 3_600_000_000


@dataclass(frozen=True)
class Aggregate:
    """One named aggregate: `mean(temp, where=ok)`. S17 and, for running steps, S12."""

    kind: str  # "count", "mean", …
    argument: Node | None = None
    by: Node | None = None  # min_by, max_by
    where: Node | None = None
    alpha: float = 0.0  # ema
    n: int = 0  # lag, collect
    place: Place = NOWHERE


@dataclass(frozen=True)
class Window:
    kind: str  # tumbling, hopping, global
    size_us: int = 0
    every_us: int = 0
    offset_us: int = 0
    late_policy: str = "output"  # or "drop"
    aggregates: Mapping[str, Aggregate] = field(default_factory=dict)
    place: Place = NOWHERE


@dataclass(frozen=True)
class Running:
    aggregates: Mapping[str, Aggregate]
    place: Place = NOWHERE


@dataclass(frozen=True)
class PythonFunction:
    """A user's function by path and name, or the object itself when the flow was written in Python.

    `reference` is what stands in the flow file and in `explain`: "score.py:Score", or
    "module:name".
    """

    reference: str
    target: Callable[..., Any] | None = field(default=None, compare=False)
    place: Place = NOWHERE


@dataclass(frozen=True)
class PythonStep:
    mode: str  # map (S11's rule for what is returned), flat_map, filter, stateful, class
    function: PythonFunction
    state: PythonFunction | None = None  # stateful: State, a class or factory
    place: Place = NOWHERE


Operation = Window | Running | PythonStep


@dataclass(frozen=True)
class Step:
    """One step table, carried out in the order of its fields."""

    name: str
    inputs: tuple[str, ...]  # names of sources, steps, ports ("avg.late", "errors")
    where: Node | None = None
    set: Mapping[str, Node] = field(default_factory=dict)
    select: Mapping[str, Node] | None = None
    drop: tuple[str, ...] = ()
    each: str | None = None
    key_by: tuple[Node, ...] = ()  # empty: the key stays as it is
    key_names: tuple[
        str, ...
    ] = ()  # the field each key value has in results: the field's name, or the expression's text
    null_key: bool = False
    operation: Operation | None = None
    having: Node | None = None
    place: Place = NOWHERE


@dataclass(frozen=True)
class Spool:
    max_bytes: int = 512 << 20
    max_age_us: int = 7 * 86_400_000_000
    when_full: str = "block"
    resend_rate: float | None = None


@dataclass(frozen=True)
class Sink:
    name: str
    inputs: tuple[str, ...]
    connector: str
    options: Mapping[str, Any]
    where: Node | None = None
    format: Format = Format()
    frame: Frame = Frame()
    delivery: str = "immediate"
    spool: Spool = Spool()
    place: Place = NOWHERE


@dataclass(frozen=True)
class Settings:
    commit_every_us: int = 1_000_000
    on_error: str = "output"  # or "stop"
    memory_bytes: int = 128 << 20
    worker: str = "shared"  # or "own"
    step_timeout_us: int = 30_000_000
    clock: str = "system"  # or "event" (S8)
    write_budget_bytes: int | None = None  # a day
    on_damage: str = "stop"  # or "continue": what follows when stored state was damaged


@dataclass(frozen=True)
class Plan:
    """One flow. Dicts are in the order of the flow; inputs are always written out."""

    name: str
    settings: Settings
    sources: Mapping[str, Source]
    steps: Mapping[str, Step]
    sinks: Mapping[str, Sink]
    base: str = "."  # the folder that relative paths start from
    place: Place = NOWHERE
