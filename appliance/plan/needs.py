"""Which fields of a source's records a plan uses: the ones that are decoded.

Walked against the flow: what a sink writes and what steps read. `None` stands for the whole record.
"""

from __future__ import annotations

from collections.abc import Iterable

from appliance.expression import Node, fields_of
from appliance.plan.check_fields import template_fields
from appliance.plan.logical import Aggregate, Plan, PythonStep, Running, Sink, Source, Step, Window
from appliance.plan.shape import METADATA, Shape, Shapes, format_fields, in_order
from appliance.plan.usage import fields_read

Need = set[str] | None


def fields_decoded(plan: Plan, shapes: Shapes) -> dict[str, list[str] | None]:
    """For each source the fields it decodes, those of a schema in its order, others by name; None:
    all there are."""
    needs: dict[str, Need] = {name: set() for name in (*plan.sources, *plan.steps)}
    late: dict[str, bool] = {}
    for sink in plan.sinks.values():
        _ask(needs, late, sink.inputs, _of_sink(sink, shapes.inputs(sink.inputs)))
    for name in reversed(in_order(plan)):
        step = plan.steps[name]
        need = _of_step(step, needs[name], shapes.steps[name].working, plan.base)
        _ask(needs, late, step.inputs, None if late.get(name) else need)
    return {
        name: _ordered(source, None if late.get(name) else needs[name])
        for name, source in plan.sources.items()
    }


def _ask(needs: dict[str, Need], late: dict[str, bool], inputs: Iterable[str], need: Need) -> None:
    """Inputs give what is needed; a late port gives the record as it came in, so its step needs all
    of it."""
    for name in inputs:
        owner, _, port = name.partition(".")
        if port == "late":
            late[owner] = True
        elif owner in needs:
            needs[owner] = _both(needs[owner], need)


def _both(one: Need, other: Need) -> Need:
    return None if one is None or other is None else one | other


def _reads(nodes: Iterable[Node | None]) -> set[str]:
    return {name for node in nodes if node is not None for name in fields_of(node)}


def _of_sink(sink: Sink, shape: Shape) -> Need:
    options = sink.format.options
    if sink.format.kind == "text":
        written = template_fields(options["template"]) if "template" in options else ("line",)
    elif sink.format.kind == "raw":
        written = ("data",)
    elif options.get("columns") or options.get("fields"):
        written = tuple(options.get("columns") or options["fields"])
    elif shape.is_open:
        return None
    else:
        written = shape.fields
    return {*written} | _reads([sink.where])


def _of_step(step: Step, need: Need, working: Shape, base: str) -> Need:
    """What a step reads of its input when `need` of its output is used."""
    need = _both(need, _reads([step.having]))
    need = _of_operation(step, need, working, base)
    need = _both(need, _reads(step.key_by) | ({step.each} if step.each is not None else set()))
    if need is None and not working.is_open:
        need = set(working.fields)
    if need is not None:
        need -= {*step.drop}
    if step.select is not None:
        need = _reads(step.select.values())
    elif need is not None:
        need -= set(step.set)
    return _both(need, _reads([*step.set.values(), step.where]))


def _of_operation(step: Step, need: Need, working: Shape, base: str) -> Need:
    operation = step.operation
    if isinstance(operation, Window):
        return _of_aggregates(operation.aggregates.values()) | set(working.key_fields)
    if isinstance(operation, Running):
        kept = None if need is None else need - set(operation.aggregates)
        return _both(kept, _of_aggregates(operation.aggregates.values()))
    if isinstance(operation, PythonStep):
        position = 1 if operation.mode == "stateful" else 0
        function = operation.function
        names = fields_read(function.target, function.reference, base, position)
        read: Need = None if names is None else set(names)
        return _both(need, read) if operation.mode == "filter" else read
    return need


def _of_aggregates(aggregates: Iterable[Aggregate]) -> set[str]:
    return _reads(node for a in aggregates for node in (a.argument, a.by, a.where))


def _ordered(source: Source, need: Need) -> list[str] | None:
    """What is known to be in a record is decoded in any case: a schema is held against it."""
    known = tuple(source.schema) or format_fields(source.format)
    if known is not None:
        return list(known)
    if source.time.field is not None:
        need = _both(need, {source.time.field})
    if source.id is not None:
        need = _both(need, {source.id})
    return None if need is None else sorted(need - set(METADATA))
