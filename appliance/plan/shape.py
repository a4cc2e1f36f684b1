"""Which fields a record has at each place of a flow, as far as the plan alone tells.

A record is closed when all its fields are known (a schema, a `select`, a window's result), else
open: then only what was dropped is known to be missing. Keys are followed too: they stay until the
next `key_by`, or until a step removes a key field (S10).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from appliance.expression import Field
from appliance.plan.logical import (
    Format,
    Plan,
    PythonStep,
    Running,
    Source,
    Step,
    Window,
)

#: Metadata of a record, there until a window makes a new one.
METADATA = (
    "_source", "_partition", "_position", "_arrival", "_peer", "_path", "_topic", "_key",
    "_headers",
)  # fmt: skip

#: The fields of a record of the error output (S3).
ERROR_FIELDS = (
    "time", "flow", "step", "source", "partition", "position", "reason", "message", "event", "raw",
    "raw_truncated", "traceback",
)  # fmt: skip

WINDOW_FIELDS = ("window_start", "window_end")


class Shape(Struct, frozen=True):
    """The fields of a record at one place."""

    fields: tuple[str, ...] = ()  # in order; of an open record those known to be there
    is_open: bool = True
    removed: Mapping[str, str] = field(default_factory=dict)  # what a step dropped, and which
    keys: tuple[str, ...] = ()  # the names of the key's values; empty: no key
    key_fields: frozenset[str] = frozenset()  # those that are fields: removing one ends the key
    metadata: bool = True
    kinds: Mapping[str, str] = field(default_factory=dict)  # declared types

    def has(self, name: str) -> bool:
        """Whether a field of this name can be there."""
        if name in METADATA:
            return self.metadata
        return name in self.fields if not self.is_open else name not in self.removed


UNKNOWN = Shape()


def source_shape(source: Source) -> Shape:
    """What a source's format and schema say."""
    if source.schema:
        kinds = {name: kind.kind for name, kind in source.schema.items()}
        return Shape(tuple(source.schema), False, kinds=kinds)
    names = format_fields(source.format)
    return UNKNOWN if names is None else Shape(names, False)


def format_fields(made: Format) -> tuple[str, ...] | None:
    """The fields that a source's format gives; None when only the data tells."""
    if made.kind == "text":
        return ("line",)
    if made.kind == "raw":
        return ("data",)
    if made.kind == "binary":
        return tuple(made.options.get("fields", ()))
    if made.kind == "csv" and made.options.get("columns"):
        return tuple(made.options["columns"])
    return None


def merged(shapes: Iterable[Shape]) -> Shape:
    """Several inputs: a field is missing for sure only if it is missing in all of them."""
    first, *others = shapes
    for other in others:
        fields = tuple(dict.fromkeys(first.fields + other.fields))
        is_open = first.is_open or other.is_open
        removed = {
            name: step
            for name, step in {**first.removed, **other.removed}.items()
            if not first.has(name) and not other.has(name)
        }
        same_key = first.keys == other.keys and first.key_fields == other.key_fields
        keys, key_fields = (first.keys, first.key_fields) if same_key else ((), frozenset())
        kinds = {n: k for n, k in first.kinds.items() if other.kinds.get(n) == k}
        metadata = first.metadata or other.metadata
        first = Shape(fields, is_open, removed, keys, key_fields, metadata, kinds)
    return first


def reshaped(shape: Shape, step: Step) -> Shape:
    """After `set`, `select` and `drop`, `each`, `key_by`: as the operation sees the record."""
    if step.select is not None:
        kinds = {
            name: shape.kinds[node.name]
            for name, node in step.select.items()
            if isinstance(node, Field) and node.name in shape.kinds
        }
        shape = replace(shape, fields=tuple(step.select), is_open=False, removed={}, kinds=kinds)
    if step.set:
        fields = tuple(dict.fromkeys((*shape.fields, *step.set)))
        removed = {name: by for name, by in shape.removed.items() if name not in step.set}
        kinds = {name: kind for name, kind in shape.kinds.items() if name not in step.set}
        shape = replace(shape, fields=fields, removed=removed, kinds=kinds)
    if step.drop:
        fields = tuple(name for name in shape.fields if name not in step.drop)
        removed = {**shape.removed, **dict.fromkeys(step.drop, step.name)}
        shape = replace(shape, fields=fields, removed=removed)
    if step.each is not None:
        kinds = {name: kind for name, kind in shape.kinds.items() if name != step.each}
        shape = replace(shape, kinds=kinds)
    if any(not shape.has(name) for name in shape.key_fields):
        shape = replace(shape, keys=(), key_fields=frozenset())
    if step.key_by:
        named = zip(step.key_names, step.key_by, strict=True)
        plain = frozenset(name for name, node in named if isinstance(node, Field))
        shape = replace(shape, keys=step.key_names, key_fields=plain)
    return shape


def operated(shape: Shape, step: Step) -> Shape:
    """After the operation: as `having` and the next step see the record."""
    operation = step.operation
    if isinstance(operation, Window):
        fields = tuple(dict.fromkeys((*shape.keys, *WINDOW_FIELDS, *operation.aggregates)))
        keys = frozenset(shape.keys)
        return Shape(fields, False, {}, shape.keys, keys, metadata=False)
    if isinstance(operation, Running):
        fields = tuple(dict.fromkeys((*shape.fields, *operation.aggregates)))
        removed = {n: by for n, by in shape.removed.items() if n not in operation.aggregates}
        kinds = {n: k for n, k in shape.kinds.items() if n not in operation.aggregates}
        return replace(shape, fields=fields, removed=removed, kinds=kinds)
    if isinstance(operation, PythonStep) and operation.mode != "filter":
        return Shape(keys=shape.keys, key_fields=shape.key_fields, metadata=shape.metadata)
    return shape


class StepShapes(Struct, frozen=True):
    """The record as it enters a step, as its operation sees it, and as it leaves."""

    entering: Shape
    working: Shape
    leaving: Shape


class Shapes:
    """The shapes of a whole plan without cycles. Names that are not there, and broken steps, give
    open records."""

    def __init__(self, plan: Plan, broken: frozenset[str] = frozenset()) -> None:
        self.plan = plan
        self.broken = broken
        self.steps: dict[str, StepShapes] = {}
        for name in in_order(plan):
            step = plan.steps[name]
            entering = self.inputs(step.inputs)
            working = reshaped(entering, step)
            leaving = UNKNOWN if name in broken else operated(working, step)
            self.steps[name] = StepShapes(entering, working, leaving)

    def inputs(self, names: Iterable[str]) -> Shape:
        """What comes in from these sources, steps and ports together."""
        return merged([self.output(name) for name in names] or [UNKNOWN])

    def output(self, name: str) -> Shape:
        if name == "errors":
            return Shape(ERROR_FIELDS, False, metadata=False)
        owner, _, port = name.partition(".")
        if owner in self.broken:
            return UNKNOWN
        if owner in self.plan.sources:
            return source_shape(self.plan.sources[owner])
        shapes = self.steps.get(owner)
        if shapes is None:
            return UNKNOWN
        return shapes.working if port == "late" else shapes.leaving


def owner_of(name: str) -> str:
    """The source or step that a port belongs to: `avg.late` is `avg`'s."""
    return name.partition(".")[0]


def in_order(plan: Plan) -> list[str]:
    """Steps, each behind those it reads from, else as they were written. Steps in a cycle are left
    out."""
    ordered: list[str] = []
    waiting = list(plan.steps)
    while waiting:
        known = {*ordered, *plan.sources}
        ready = [
            name
            for name in waiting
            if all(
                o in known or o not in plan.steps for o in map(owner_of, plan.steps[name].inputs)
            )
        ]
        if not ready:
            break
        ordered.append(ready[0])
        waiting.remove(ready[0])
    return ordered
