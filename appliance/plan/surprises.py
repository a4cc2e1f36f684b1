"""What is right in a flow and may still surprise: windows over arrival time, order that cannot be
promised (S6, S9)."""

from __future__ import annotations

from collections.abc import Iterable

from appliance.plan.logical import Plan, PythonStep, Running, Source, Step, Window
from appliance.plan.shape import in_order, owner_of


def notes(plan: Plan) -> list[str]:
    """One sentence for each, in the order of the flow."""
    return [*_arrival_windows(plan), *_units(plan), *_order(plan), *_dead_ends(plan)]


def sources_of(plan: Plan, inputs: Iterable[str]) -> tuple[str, ...]:
    """The sources whose records reach these inputs, in the order of the plan. The error output is
    none."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [owner_of(name) for name in inputs if name != "errors"]
    while waiting:
        name = waiting.pop()
        if name in plan.sources:
            found.add(name)
        elif name in plan.steps and name not in seen:
            seen.add(name)
            waiting += [owner_of(above) for above in plan.steps[name].inputs if above != "errors"]
    return tuple(name for name in plan.sources if name in found)


def order_sensitive(step: Step) -> bool:
    """Whether the order of records of one key shows in what the step gives (S9)."""
    operation = step.operation
    if isinstance(operation, Window):
        return operation.kind == "global" and operation.every_us == 0
    if isinstance(operation, PythonStep):
        return operation.mode in ("stateful", "class")
    return isinstance(operation, Running)


def several_partitions(source: Source) -> bool:
    """Whether a source can have more than one partition (S5)."""
    if source.connector == "tcp":
        return "listen" in source.options
    if source.connector == "acknowledged_tcp":
        return True
    if source.connector == "file":
        return "glob" in source.options
    return source.connector == "connector"


def unordered_sources(plan: Plan, step: Step) -> tuple[str, ...]:
    """The sources that leave the order of an order-sensitive step open; empty when it is fixed."""
    if not order_sensitive(step):
        return ()
    names = sources_of(plan, step.inputs)
    if len(names) > 1 or any(several_partitions(plan.sources[name]) for name in names):
        return names
    return ()


def _arrival_windows(plan: Plan) -> list[str]:
    said: list[str] = []
    for name in in_order(plan):
        step = plan.steps[name]
        if not isinstance(step.operation, Window) or _is_timeless(step.operation):
            continue
        names = sources_of(plan, step.inputs)
        without = [source for source in names if plan.sources[source].time.field is None]
        if without:
            said.append(
                f"step {name}: the window goes by the time of arrival, because {_listed(without)} "
                f"{'declares' if len(without) == 1 else 'declare'} no time field"
            )
    return said


def _is_timeless(window: Window) -> bool:
    """A global window that speaks at every record looks at no time."""
    return window.kind == "global" and window.every_us == 0


def _units(plan: Plan) -> list[str]:
    said: list[str] = []
    for name in in_order(plan):
        step = plan.steps[name]
        names = sources_of(plan, step.inputs) if isinstance(step.operation, Window) else ()
        units = {plan.sources[source].time.unit for source in names}
        if len(units) > 1:
            said.append(
                f"step {name}: {_listed(names)} have different units of time; "
                f"results are in that of {names[0]}"
            )
    return said


def _order(plan: Plan) -> list[str]:
    said: list[str] = []
    for name in in_order(plan):
        names = unordered_sources(plan, plan.steps[name])
        if names:
            said.append(
                f"step {name}: the order of records shows in its results, and {_listed(names)} "
                "may bring several partitions, between which there is no order"
            )
    return said


def _dead_ends(plan: Plan) -> list[str]:
    inputs = [step.inputs for step in plan.steps.values()]
    inputs += [sink.inputs for sink in plan.sinks.values()]
    read = {owner_of(name) for names in inputs for name in names}
    said = [f"source {name}: nothing reads from it" for name in plan.sources if name not in read]
    return said + [f"step {name}: nothing reads from it" for name in plan.steps if name not in read]


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    words = ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
    return ("source " if len(names) == 1 else "sources ") + words
