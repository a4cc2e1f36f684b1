"""One step to operators: where · set, select, drop · each · key_by · operation · having, each only
if it is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from appliance.expression import Compare, Conditional, Constant, Field, Node, fields_of
from appliance.native import lib
from appliance.plan.code import compile_condition, compile_expressions, compile_operands
from appliance.plan.logical import Aggregate, PythonStep, Running, Step, Window
from appliance.plan.merge import merge
from appliance.plan.origins import PythonOrigin
from appliance.plan.port import Port
from appliance.plan.record import Key, Record
from appliance.plan.usage import fields_read

if TYPE_CHECKING:
    from appliance.plan.program import Parts


class Cursor:
    """Where the next operator goes, and the record there."""

    def __init__(self, record: Record, ends: list[list[int]], unit: str) -> None:
        self.record = record
        self.ends = ends
        self.unit = unit

    def add(self, parts: Parts, kind: str, /, **entry: Any) -> dict[str, Any]:
        """Put an operator behind what there is; the next one goes behind it."""
        index, made = parts.op(kind, **entry)
        for end in self.ends:
            end.append(index)
        self.ends = [made["next"]]
        return made


class StepCompiler:
    """One step. `compile` gives its ports: itself and, with a window, its late records."""

    def __init__(self, parts: Parts, step: Step) -> None:
        self.parts = parts
        self.step = step
        self.index = len(parts.steps)
        parts.steps.append(step.name)
        self.ops: list[dict[str, Any]] = []  # its own, without those of a merge before it

    def compile(self, inputs: list[Port]) -> dict[str, Port]:
        port = merge(self.parts, inputs)
        self.port = port
        self.cursor = Cursor(port.record, [port.next], port.unit)
        self.entering = self.parts.layout(port.record, port.unit, whole=False)
        self.ports: dict[str, Port] = {}
        step = self.step
        if step.where is not None:
            self.condition(step.where)
        self.reshape()
        if step.each is not None:
            self.each(step.each)
        if step.key_by:
            self.key_by()
        self.operate()
        if step.having is not None:
            self.having(step.having)
        if not self.ops:
            self.add("compute")
        self.ops[0]["enters"] = True
        self.ops[-1]["leaves"] = True
        assert len(self.cursor.ends) == 1
        out = Port(self.cursor.record, self.cursor.ends[0], port.sources, port.unit, port.arrival)
        return {step.name: out, **self.ports}

    def add(self, kind: str, /, **entry: Any) -> dict[str, Any]:
        entry = {"step": self.index, "layout": self.entering, **entry}
        self.ops.append(self.cursor.add(self.parts, kind, **entry))
        return self.ops[-1]

    def slots(self, *nodes: Node | None) -> dict[str, int]:
        names = frozenset[str]().union(*(fields_of(node) for node in nodes if node is not None))
        return self.cursor.record.slots(names)

    def condition(self, node: Node) -> None:
        code, result = compile_condition(node, self.slots(node), self.parts.slots)
        self.add("where", code=code, result=result)

    def having(self, node: Node) -> None:
        """A condition on what the operation gave: that is the record that its error is about."""
        layout = self.parts.layout(self.cursor.record, self.port.unit, whole=False)
        code, result = compile_condition(node, self.slots(node), self.parts.slots)
        self.add("where", code=code, result=result, layout=layout)

    def reshape(self) -> None:
        """`set`, `select` and `drop` all see the record as it entered the table (S24)."""
        step = self.step
        computed = {**(step.select or {}), **step.set}
        if computed:
            targets = {name: self.parts.slots.new() for name in (*(step.select or {}), *step.set)}
            wanted = self.slots(*(step.select or {}).values(), *step.set.values())
            items = [(node, targets[name]) for name, node in computed.items()]
            self.add("compute", code=compile_expressions(items, wanted, self.parts.slots))
            if step.select is not None:
                self.cursor.record = self.cursor.record.closed(
                    {name: targets[name] for name in step.select}
                )
            self.cursor.record = self.cursor.record.with_fields(
                {name: targets[name] for name in step.set}
            )
        if step.drop:
            self.cursor.record = self.cursor.record.without(step.drop)

    def each(self, name: str) -> None:
        element = self.parts.slots.new()
        self.add("each", result=self.cursor.record.slot(name), to=element)
        self.cursor.record = self.cursor.record.with_fields({name: element})

    def key_by(self) -> None:
        nodes = self.step.key_by
        code, places = compile_operands(nodes, self.slots(*nodes), self.parts.slots)
        key = self.make_key(code, self.step.key_names, places)
        plain = frozenset(
            name for name, node in zip(key.names, nodes, strict=True) if isinstance(node, Field)
        )
        self.cursor.record = replace(self.cursor.record, key=replace(key, fields=plain))

    def make_key(self, code: bytes, names: tuple[str, ...], places: list[int]) -> Key:
        register = self.parts.key()
        self.add("key", code=code, key=register, slots=places, null_key=self.step.null_key)
        return Key(register, names, tuple(places), frozenset())

    def key(self) -> Key:
        """The key at hand; without one, one constant key (S29)."""
        return self.cursor.record.key or self.make_key(b"", (), [])

    def operate(self) -> None:
        operation = self.step.operation
        if isinstance(operation, Window):
            self.window(operation)
        elif isinstance(operation, Running):
            self.running(operation)
        elif isinstance(operation, PythonStep):
            self.python(operation)

    def aggregates(
        self, aggregates: Mapping[str, Aggregate]
    ) -> tuple[bytes, list[dict[str, Any]], dict[str, int]]:
        """Code for the arguments, the accumulators, and the slots of the results."""
        arguments: list[Node] = []
        entries: list[dict[str, Any]] = []
        results: dict[str, int] = {}
        for name, aggregate in aggregates.items():
            results[name] = self.parts.slots.new()
            entry: dict[str, Any] = {
                "kind": getattr(lib, f"AGG_{aggregate.kind.upper()}"),
                "alpha": aggregate.alpha,
                "n": aggregate.n,
                "to": results[name],
            }
            for role, node in (
                ("argument", aggregate.argument),
                ("by", aggregate.by),
                ("where", aggregate.where),
            ):
                entry[role] = -1
                if node is not None:
                    entry[role] = len(arguments)
                    arguments.append(node if role == "where" else guarded(node, aggregate.where))
            entries.append(entry)
        code, places = compile_operands(arguments, self.slots(*arguments), self.parts.slots)
        for entry in entries:
            entry.update(
                {
                    role: places[entry[role]]
                    for role in ("argument", "by", "where")
                    if entry[role] >= 0
                }
            )
        return code, entries, results

    def window(self, window: Window) -> None:
        key = self.key()
        code, aggregates, results = self.aggregates(window.aggregates)
        key_slots = [self.parts.slots.new() for _ in key.names]
        start, end = self.parts.slots.new(), self.parts.slots.new()
        register = self.parts.key()
        before = self.cursor.record
        late: list[int] = []
        self.add(
            "window",
            code=code,
            key=key.register,
            key_out=register,
            kind=window.kind,
            size=window.size_us,
            every=window.every_us,
            offset=window.offset_us,
            aggregates=aggregates,
            start=start,
            end=end,
            keys=key_slots,
            late=late,
            sources=self.port.sources,
            timed=True,
            instant=window.kind == "global" and not window.every_us,
        )
        if window.late_policy == "output":
            self.ports[f"{self.step.name}.late"] = Port(
                before, late, self.port.sources, self.port.unit, self.port.arrival
            )
        named = dict(zip(key.names, key_slots, strict=True))
        fields = {**named, "window_start": start, "window_end": end, **results}
        made = (
            Key(register, key.names, tuple(key_slots), frozenset(key.names)) if key.names else None
        )
        self.cursor.record = Record(self.parts.missing, fields, key=made)

    def running(self, running: Running) -> None:
        key = self.key()
        code, aggregates, results = self.aggregates(running.aggregates)
        self.add("running", code=code, key=key.register, aggregates=aggregates)
        self.cursor.record = self.cursor.record.with_fields(results)

    def python(self, python: PythonStep) -> None:
        keyed = python.mode in ("stateful", "class")
        key = self.key() if keyed else None
        record = self.cursor.record
        event = self.parts.layout(self.event(python, record), self.cursor.unit, whole=True)
        self.parts.functions.append(python)
        entry = self.add(
            "python",
            mode=python.mode,
            function=len(self.parts.functions) - 1,
            event=event,
            timed=keyed,
            key=key.register if key else -1,
            slots=list(key.slots) if key else [],
            arrival=self.port.arrival,
            timers="arrival" if self.port.arrival else "event",
            sources=self.port.sources,
            fields=[],
            rest=-1,
        )
        if python.mode == "filter":
            return
        origin = PythonOrigin(self.parts.slots)
        self.parts.python.append((entry, origin))
        self.cursor.record = Record(
            self.parts.missing, origin=origin, metadata=record.metadata, key=record.key
        )

    def event(self, python: PythonStep, record: Record) -> Record:
        """The record as the function sees it: only the fields it reads, where that can be told."""
        function = python.function
        position = 1 if python.mode == "stateful" else 0
        names = fields_read(function.target, function.reference, self.parts.base, position)
        if record.origin is None or names is None:
            return record
        return Record(self.parts.missing, record.slots(names))


def guarded(node: Node, where: Node | None) -> Node:
    """An argument of an aggregate with a condition of its own: what is computed is only computed
    where that holds, so that `sum(a / b, where = b != 0)` never divides by zero."""
    if where is None or isinstance(node, (Field, Constant)):
        return node
    return Conditional(Compare(where, ("==",), (Constant(True),)), node, Constant(None))
