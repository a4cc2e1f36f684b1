"""The program: what the native lane carries out for a plan, as one document of plain data.

One flow has one row of slots. Every step's new fields get slots of their own and untouched ones are
shared, so a record runs through all branches without being copied. The form of the document is
described in `docs/formats/program.md`.
"""

from __future__ import annotations

from typing import Any

import msgpack
from msgspec import Struct, field

from appliance.expression import fields_of
from appliance.plan.code import Slots, compile_condition
from appliance.plan.logical import EventTime, Plan, PythonStep, Sink, Source
from appliance.plan.origins import PythonOrigin, SourceOrigin
from appliance.plan.port import Port
from appliance.plan.record import Layout, Record
from appliance.plan.shape import ERROR_FIELDS, METADATA, format_fields, in_order
from appliance.plan.signature import id_state
from appliance.plan.steps import Cursor, StepCompiler

WATERMARK_NEVER = -1


class Program(Struct):
    """A compiled flow. The worker fills in how sources and sinks are opened before it packs the
    document.
    """

    document: dict[str, Any]
    functions: list[
        PythonStep
    ]  # entry n is what the document's Python step with "function": n calls

    def pack(self) -> bytes:
        packed = msgpack.packb(self.document, use_bin_type=True)
        assert isinstance(packed, bytes)
        return packed


def compile_plan(plan: Plan) -> Program:
    """The program of a plan without faults. FlowError: an expression that needs more than the
    limits allow.
    """
    return Compiler(plan).compile()


class Parts(Struct):
    """What compiling gathers; operators and layouts refer to each other by index."""

    base: str
    slots: Slots = field(default_factory=Slots)
    ops: list[dict[str, Any]] = field(default_factory=list)
    layouts: list[Layout] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    functions: list[PythonStep] = field(default_factory=list)
    python: list[tuple[dict[str, Any], PythonOrigin]] = field(default_factory=list)
    keys: int = 0
    missing: int = 0

    def __post_init__(self) -> None:
        self.missing = self.slots.new()

    def layout(self, record: Record, unit: str, whole: bool) -> int:
        self.layouts.append(Layout(record, unit, whole))
        return len(self.layouts) - 1

    def op(self, kind: str, /, **entry: Any) -> tuple[int, dict[str, Any]]:
        made: dict[str, Any] = {"op": kind, "next": [], **entry}
        self.ops.append(made)
        return len(self.ops) - 1, made

    def key(self) -> int:
        self.keys += 1
        return self.keys - 1


class Compiler:
    """One flow, from its sources to its sinks."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.parts = Parts(plan.base)
        self.ports: dict[str, Port] = {}
        self.sources: list[tuple[dict[str, Any], SourceOrigin]] = []

    def compile(self) -> Program:
        for index, source in enumerate(self.plan.sources.values()):
            self.source(index, source)
        errors = self.errors()
        for name in in_order(self.plan):
            step = self.plan.steps[name]
            compiler = StepCompiler(self.parts, step)
            self.ports.update(compiler.compile([self.ports[name] for name in step.inputs]))
        sinks = [self.sink(index, sink) for index, sink in enumerate(self.plan.sinks.values())]
        return Program(self.document(errors, sinks), self.parts.functions)

    def document(self, errors: dict[str, Any], sinks: list[dict[str, Any]]) -> dict[str, Any]:
        # Layouts first: one that has a part of an open record names the slot that the whole of it
        # is decoded into when it is an error.
        layouts = [layout.document() for layout in self.parts.layouts]
        for entry, origin in self.parts.python:
            entry.update(origin.document())
        for entry, source in self.sources:
            entry.update(source.document())
        slots = self.parts.slots
        return {
            "flow": self.plan.name,
            "commit_every": self.plan.settings.commit_every_us,
            "memory": self.plan.settings.memory_bytes,
            "stop_on_error": self.plan.settings.on_error == "stop",
            "constants": [[slot, value] for slot, value in slots.constants],
            "layouts": layouts,
            "steps": self.parts.steps,
            "sources": [entry for entry, _ in self.sources],
            "ops": self.parts.ops,
            "timed": [i for i, op in enumerate(self.parts.ops) if op.get("timed")],
            "sinks": sinks,
            "errors": errors,
            "slots": slots.count,
            "keys": self.parts.keys,
        }

    def source(self, index: int, source: Source) -> None:
        origin = SourceOrigin(source, self.parts.slots)
        names = tuple(source.schema) or format_fields(source.format)
        if names is None:
            record = Record(self.parts.missing, origin=origin, metadata=origin)
        else:
            fields = {name: origin.slot(name) for name in names}
            record = Record(self.parts.missing, fields, metadata=origin)
        unit = source.time.unit
        entry: dict[str, Any] = {
            "name": source.name,
            "format": {"kind": source.format.kind, **source.format.options},
            "frame": _frame(source),
            "time": _time(source.time, origin, self.plan.settings.clock),
            "layout": self.parts.layout(record, unit, whole=False),
            "next": [],
            "late": [],
        }
        arrival = source.time.field is None
        self.sources.append((entry, origin))
        following = entry["next"] if source.id is None else self.ids(source, origin, entry)
        self.ports[source.name] = Port(record, following, 1 << index, unit, arrival)
        self.ports[f"{source.name}.late"] = Port(record, entry["late"], 1 << index, unit, arrival)

    def ids(self, source: Source, origin: SourceOrigin, entry: dict[str, Any]) -> list[int]:
        """Right behind the source: what it brings again goes no further."""
        assert source.id is not None
        index, made = self.parts.op(
            "seen",
            id_of=id_state(source),
            slots=[origin.slot(source.id)],
            key=self.parts.key(),
            within=source.id_within_us,
        )
        entry["next"].append(index)
        following: list[int] = made["next"]
        return following

    def errors(self) -> dict[str, Any]:
        slots = {name: self.parts.slots.new() for name in ERROR_FIELDS}
        record = Record(self.parts.missing, slots)
        layout = self.parts.layout(record, "rfc3339", whole=True)
        errors: dict[str, Any] = {"slots": list(slots.values()), "layout": layout, "next": []}
        everything = (1 << len(self.plan.sources)) - 1
        self.ports["errors"] = Port(record, errors["next"], everything, "rfc3339", True)
        return errors

    def sink(self, index: int, sink: Sink) -> dict[str, Any]:
        sources = 0
        for name in sink.inputs:
            port = self.ports[name]
            sources |= port.sources
            cursor = Cursor(port.record, [port.next], port.unit)
            if sink.where is not None:
                code, result = compile_condition(
                    sink.where, cursor.record.slots(fields_of(sink.where)), self.parts.slots
                )
                event = self.parts.layout(cursor.record, port.unit, whole=False)
                cursor.add(self.parts, "where", code=code, result=result, layout=event)
            layout = self.written(sink, cursor.record, port)
            cursor.add(self.parts, "emit", sink=index, layout=layout)
        format_entry = {"kind": sink.format.kind, **sink.format.options, "frame": _sink_frame(sink)}
        return {
            "name": sink.name,
            "immediate": sink.delivery == "immediate",
            "format": format_entry,
            "sources": sources,
        }

    def written(self, sink: Sink, record: Record, port: Port) -> int:
        """The layout of what a sink writes. A format that names its fields needs no more of what a
        Python function returned: nothing else of it is packed.
        """
        names = format_fields(sink.format) if sink.format.kind in ("binary", "csv") else None
        if names is None or not isinstance(record.origin, PythonOrigin) or {*names} & {*METADATA}:
            return self.parts.layout(record, port.unit, whole=True)
        fields = record.with_fields(record.slots(frozenset(names)))
        return self.parts.layout(fields, port.unit, whole=False)


def _frame(source: Source) -> dict[str, Any]:
    frame = source.frame
    kind = "whole" if frame.kind == "none" else frame.kind
    return {"kind": kind, "delimiter": frame.delimiter, "max": frame.max_bytes}


def _sink_frame(sink: Sink) -> Any:
    return (
        {"delimiter": sink.frame.delimiter} if sink.frame.kind == "delimiter" else sink.frame.kind
    )


def _time(time: EventTime, origin: SourceOrigin, clock: str) -> dict[str, Any] | None:
    if time.field is None:
        return None
    return {
        "slot": origin.slot(time.field),
        "unit": time.unit,
        "late": time.late_us,
        "idle": WATERMARK_NEVER if time.idle_us is None else time.idle_us,
        "ahead": -1 if clock == "event" else time.max_ahead_us,
        "hold": time.when_idle == "hold",
    }
