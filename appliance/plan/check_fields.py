"""Fields, conditions and keys: what a plan says about records, held against the shapes they can
have."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec.structs import replace

from appliance.errors import Fault, Place
from appliance.expression import (
    Binary,
    Boolean,
    Conditional,
    Constant,
    Field,
    Node,
    Not,
    fields_of,
)
from appliance.plan.kinds import kind_of
from appliance.plan.logical import Aggregate, Plan, Running, Sink, Source, Step, Window
from appliance.plan.shape import WINDOW_FIELDS, Shape, Shapes, format_fields
from appliance.plan.table import Locator, nearest

_TEXT_TIME, _NUMBER_TIME = ("str",), ("int", "float")
_TEMPLATE_FIELD = re.compile(r"\{([^{}]*)\}")


class Finder:
    """Places for faults: as exact as the locator allows, else the table's own."""

    def __init__(self, locator: Locator | None) -> None:
        self.locator = locator

    def place(
        self, table_place: Place, *path: str, name: str = "", index: int | None = None
    ) -> Place:
        """The value at `path`; when `name` stands in it, that very word."""
        if self.locator is None or not table_place.file:
            return table_place
        keys: tuple[str | int, ...] = path
        if index is not None and self.locator.key((*path, index)) != self.locator.key(path):
            keys = (*path, index)
        place = self.locator.value(keys)
        if not name or not place.column:
            return place
        word = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
        found = word.search(place.text, place.column - 1)
        return place.moved(found.start() + 1 - place.column) if found else place


def check_fields(plan: Plan, shapes: Shapes, finder: Finder) -> list[Fault]:
    """Faults of everything that names a field. Steps in a cycle and broken steps are left out."""
    faults: list[Fault] = []
    for source in plan.sources.values():
        if source.name not in shapes.broken:
            faults += _Checker(finder, source.place, "source", source.name).source(source)
    for name, found in shapes.steps.items():
        step = plan.steps[name]
        if name not in shapes.broken:
            checker = _Checker(finder, step.place, "step", name)
            faults += checker.step(step, found.entering, found.working, found.leaving)
    for sink in plan.sinks.values():
        checker = _Checker(finder, sink.place, "sink", sink.name)
        faults += checker.sink(sink, shapes.inputs(sink.inputs))
    return faults


class _Checker:
    """One table at a time; collects its faults."""

    def __init__(self, finder: Finder, place: Place, kind: str, name: str) -> None:
        self.finder = finder
        self.table_place = place
        self.path = (kind, name)
        self.faults: list[Fault] = []

    def fault(
        self, message: str, remedy: str, *keys: str, name: str = "", index: int | None = None
    ) -> None:
        place = self.finder.place(self.table_place, *self.path, *keys, name=name, index=index)
        self.faults.append(Fault(place, message, remedy))

    # ---- sources ----

    def source(self, source: Source) -> list[Fault]:
        given = format_fields(source.format)
        for name in source.schema if given is not None else ():
            assert given is not None
            if name not in given:
                message = f"the {source.format.kind} format has no field {name!r}"
                self.fault(message, nearest(name, given), "schema", name, name=name)
        self._source_time(source, given)
        return self.faults

    def _source_time(self, source: Source, given: tuple[str, ...] | None) -> None:
        name, unit = source.time.field, source.time.unit
        if name is None:
            return
        known = tuple(source.schema) if source.schema else given
        if known is not None and name not in known:
            what = "schema" if source.schema else f"{source.format.kind} format"
            self.fault(
                f"time: the {what} has no field {name!r}", nearest(name, known), "time", "field"
            )
            return
        declared = source.schema[name].kind if name in source.schema else None
        if source.format.kind == "binary" and declared is None:
            declared = _binary_kind(source.format.options.get("fields", {}), name)
        if source.format.kind == "text" and declared is None:
            declared = "str"
        fitting = _TEXT_TIME if unit == "rfc3339" else _NUMBER_TIME
        if declared is not None and declared not in fitting:
            needed = " or ".join(fitting)
            message = f'time: {name!r} is declared {declared}, and unit "{unit}" needs {needed}'
            remedy = 'RFC 3339 text has unit "rfc3339"' if declared == "str" else ""
            self.fault(message, remedy, "time", "unit")

    # ---- steps ----

    def step(self, step: Step, entering: Shape, working: Shape, leaving: Shape) -> list[Fault]:
        self.condition(step.where, entering, "where")
        for name, node in step.set.items():
            self.fields(node, entering, "set", name)
        for name, node in (step.select or {}).items():
            if name not in step.set:  # there `set` has the last word (S24)
                self.fields(node, entering, "select", name)
        self._drop_and_each(step, entering, working)
        for index, node in enumerate(step.key_by):
            self.fields(node, replace(working, keys=()), "key_by", index=index)
            self._key(node, working, index)
        if step.null_key and not step.key_by:
            self.fault("null_key stands beside the key_by it is about", "", "null_key")
        self._operation(step, working)
        self.condition(step.having, leaving, "having")
        return self.faults

    def _drop_and_each(self, step: Step, entering: Shape, working: Shape) -> None:
        before = tuple(step.select) if step.select is not None else (*entering.fields, *step.set)
        for index, name in enumerate(step.drop):
            there = (
                name in before
                if step.select is not None
                else entering.has(name) or name in step.set
            )
            if not there:
                self.missing(name, replace(entering, fields=before), "drop", index=index)
        if step.each is None:
            return
        if not working.has(step.each):
            self.missing(step.each, working, "each")
        kind = entering.kinds.get(step.each, "list") if step.each not in step.set else "list"
        if kind != "list" and step.select is None:
            message = f"each: {step.each!r} is declared {kind}, and each needs a list"
            self.fault(message, "", "each")

    def _key(self, node: Node, shape: Shape, index: int) -> None:
        if isinstance(node, Constant):
            remedy = "leave key_by out for one key for all"
            self.fault("key_by: a constant is no key", remedy, "key_by", index=index)
            return
        kind = kind_of(node, shape.kinds)
        if kind in ("list", "map"):
            self.fault(
                f"key_by: a {kind} cannot be a key", "use a field of it", "key_by", index=index
            )

    def _operation(self, step: Step, working: Shape) -> None:
        operation = step.operation
        if isinstance(operation, Window):
            if not operation.aggregates:
                self.fault(
                    "a window without aggregates has no result",
                    'aggregate = { n = "count()" }',
                    "window",
                )
            for name, aggregate in operation.aggregates.items():
                if name in working.keys or name in WINDOW_FIELDS:
                    what = "the key" if name in working.keys else "the window"
                    message = f"aggregate: {what} has a field {name!r} already"
                    self.fault(
                        message, "give the aggregate another name", "aggregate", name, name=name
                    )
                self._aggregate(name, aggregate, working, "aggregate")
            for name in working.keys:
                if name in WINDOW_FIELDS:
                    message = f"the key's field {name!r} has the name of one of the window's"
                    self.fault(message, "set it under another name before key_by", "window")
        elif isinstance(operation, Running):
            for name, aggregate in operation.aggregates.items():
                if name in working.keys:
                    message = f"running: {name!r} is a key field and would be replaced"
                    self.fault(
                        message, "give the aggregate another name", "running", name, name=name
                    )
                self._aggregate(name, aggregate, working, "running")

    def _aggregate(self, name: str, aggregate: Aggregate, shape: Shape, key: str) -> None:
        for node in (aggregate.argument, aggregate.by):
            if node is not None:
                self.fields(node, shape, key, name)
        self.condition(aggregate.where, shape, key, name)

    # ---- sinks ----

    def sink(self, sink: Sink, shape: Shape) -> list[Fault]:
        self.condition(sink.where, shape, "where")
        options, kind = sink.format.options, sink.format.kind
        if kind == "text":
            for name in (
                template_fields(options["template"]) if "template" in options else ("line",)
            ):
                if not shape.has(name):
                    self.missing(name, shape, "format")
        elif kind == "raw" and not shape.has("data"):
            self.missing("data", shape, "format")
        elif kind == "binary":
            self._listed(tuple(options.get("fields", ())), shape)
        elif kind == "csv":
            columns = tuple(options.get("columns", ()))
            self._listed(columns, shape)
            if not columns and shape.is_open:
                remedy = 'write { csv = { columns = ["a", "b"] } }, or select the fields in a step'
                self.fault("csv: which columns there are is not known here", remedy, "format")
        return self.faults

    def _listed(self, names: tuple[str, ...], shape: Shape) -> None:
        for name in names:
            if not shape.has(name):
                self.missing(name, shape, "format")

    # ---- fields and conditions ----

    def fields(self, node: Node, shape: Shape, *keys: str, index: int | None = None) -> None:
        """Every field that an expression reads can be there."""
        for name in sorted(fields_of(node)):
            if not shape.has(name):
                self.missing(name, shape, *keys, index=index)

    def missing(self, name: str, shape: Shape, *keys: str, index: int | None = None) -> None:
        if name in shape.removed:
            by = shape.removed[name]
            message = f"the field {name!r} is gone: step {by!r} dropped it"
            remedy = "drop it in a later step"
        else:
            message = f"there is no field {name!r} here"
            remedy = nearest(name, shape.fields)
        self.fault(message, remedy, *keys, name=name, index=index)

    def condition(self, node: Node | None, shape: Shape, *keys: str) -> None:
        """An expression that must be true, false or null (S2)."""
        if node is None:
            return
        self.fields(node, shape, *keys)
        wrong = not_a_condition(node, shape.kinds)
        if wrong is not None:
            part, kind = wrong
            said = f"{part!r} is {kind}" if part else f"this is {kind}"
            self.fault(f"{keys[-1]}: a condition was expected, and {said}",
                       "write a comparison, such as temp > 15", *keys, name=part)  # fmt: skip


_ARTICLES = {"int": "an int", "str": "a text", "null": "null"}


def not_a_condition(node: Node, kinds: Mapping[str, str]) -> tuple[str, str] | None:
    """The part that can never be a bool or null: the name of a field ("" for another part), and
    what it is."""
    if isinstance(node, Boolean):
        found = [not_a_condition(operand, kinds) for operand in node.operands]
        return next((wrong for wrong in found if wrong is not None), None)
    if isinstance(node, Not):
        return not_a_condition(node.operand, kinds)
    if isinstance(node, Conditional):
        return not_a_condition(node.then, kinds) or not_a_condition(node.otherwise, kinds)
    kind = "number" if isinstance(node, Binary) else kind_of(node, kinds)
    if kind in (None, "bool", "null"):
        return None
    return node.name if isinstance(node, Field) else "", _ARTICLES.get(kind, f"a {kind}")


def template_fields(template: str) -> tuple[str, ...]:
    """The fields that a text template writes: `{word} => {count}`. Doubled braces stand for
    themselves."""
    plain = template.replace("{{", "").replace("}}", "")
    return tuple(dict.fromkeys(match[1] for match in _TEMPLATE_FIELD.finditer(plain)))


def _binary_kind(fields: Mapping[str, str], name: str) -> str | None:
    kind = fields.get(name, "")
    return {"u": "int", "i": "int", "f": "float", "s": "str"}.get(kind[:1])
