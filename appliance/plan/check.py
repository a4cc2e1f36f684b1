"""What can be known to be wrong with a logical plan, whichever way it was written; and what is only
worth saying.

`check` gives faults: cycles, inputs and fields that are not there, conditions that are none, keys
that cannot be. `notes` gives sentences about what is right but may surprise. Neither runs anything.
"""

from __future__ import annotations

from collections.abc import Iterable

from appliance.errors import Fault
from appliance.plan.check_fields import Finder, check_fields
from appliance.plan.logical import Plan, Step, Window
from appliance.plan.shape import Shapes, format_fields, owner_of
from appliance.plan.surprises import notes as notes
from appliance.plan.table import Locator, nearest

__all__ = ["check", "notes"]


def check(
    plan: Plan, locator: Locator | None = None, broken: frozenset[str] = frozenset()
) -> list[Fault]:
    """Every fault of the plan, sorted by place. `locator` knows where things stand; `broken` are
    the sources and steps that could not be read: nothing is concluded from what they give."""
    finder = Finder(locator)
    faults = [*_ends(plan), *_ids(plan, finder), *_inputs(plan, finder, broken), *_cycles(plan)]
    shapes = Shapes(plan, broken)
    faults += check_fields(plan, shapes, finder)
    return by_place(faults)


def by_place(faults: Iterable[Fault]) -> list[Fault]:
    """Faults by file, line and column; the same fault is said once."""
    unique = dict.fromkeys(faults)
    return sorted(unique, key=lambda f: (f.place.file, f.place.line, f.place.column))


def _ends(plan: Plan) -> list[Fault]:
    """A flow begins and ends somewhere."""
    faults: list[Fault] = []
    if not plan.sources:
        remedy = 'write [source.NAME] with a connector, such as tcp = { listen = "127.0.0.1:9000" }'
        faults.append(Fault(plan.place, "the flow has no source", remedy))
    if not plan.sinks:
        remedy = "write [sink.NAME] with a connector, such as stdout = { }"
        faults.append(Fault(plan.place, "the flow has no sink", remedy))
    return faults


def _ids(plan: Plan, finder: Finder) -> list[Fault]:
    """The field that is a source's id is among those it can have."""
    faults: list[Fault] = []
    for source in plan.sources.values():
        known = tuple(source.schema) or format_fields(source.format)
        if source.id is not None and known is not None and source.id not in known:
            message = f"id: {source.name!r} has no field {source.id!r}"
            place = finder.place(source.place, "source", source.name, "id", name=source.id)
            faults.append(Fault(place, message, nearest(source.id, known)))
    return faults


# ---- inputs ----


def _inputs(plan: Plan, finder: Finder, broken: frozenset[str]) -> list[Fault]:
    faults: list[Fault] = []
    for kind, tables in (("step", plan.steps), ("sink", plan.sinks)):
        for table in tables.values():
            for index, name in enumerate(table.inputs):
                wrong = _input_fault(plan, name, broken)
                if wrong is not None:
                    place = finder.place(
                        table.place, kind, table.name, "from", name=name, index=index
                    )
                    faults.append(Fault(place, *wrong))
    return faults


def _input_fault(plan: Plan, name: str, broken: frozenset[str]) -> tuple[str, str] | None:
    """Message and remedy for an input that cannot be."""
    if name == "errors" or name in plan.sources or name in plan.steps:
        return None
    owner, _, port = name.partition(".")
    step = plan.steps.get(owner)
    if step is None and owner not in plan.sources:
        known = [*plan.sources, *plan.steps, "errors"]
        if owner in plan.sinks:
            return f"{name!r} is a sink: nothing comes out of it", nearest("", known)
        return f"there is no source or step named {owner!r}", nearest(owner, known)
    if port != "late":
        return f"{owner!r} has no output {port!r}", f'write "{owner}" or "{owner}.late"'
    if step is None or owner in broken:
        return None
    if not isinstance(step.operation, Window):
        return f"{owner!r} has no late records", "only sources and steps with a window have them"
    if step.operation.late_policy == "drop":
        return f"{owner!r} drops its late records", 'write late_policy = "output"'
    return None


def _cycles(plan: Plan) -> list[Fault]:
    """One fault a cycle, at the step of it that was written first."""
    faults: list[Fault] = []
    done: set[str] = set()
    for name in plan.steps:
        cycle = _cycle_from(plan, name, done)
        if cycle:
            path = " → ".join([*cycle, cycle[0]])
            place = plan.steps[cycle[0]].place
            faults.append(Fault(place, f"the flow goes round: {path}", "a flow has no cycles"))
    return faults


def _cycle_from(plan: Plan, start: str, done: set[str]) -> list[str]:
    """The first cycle met walking upstream from `start`, in the direction of the flow; empty for
    none."""
    path: list[str] = []
    waiting: list[tuple[str, bool]] = [(start, False)]
    while waiting:
        name, leaving = waiting.pop()
        if leaving:
            path.pop()
            done.add(name)
        elif name in path:
            cycle = path[path.index(name) :][::-1]
            done.update(path)
            first = min(cycle, key=list(plan.steps).index)
            at = cycle.index(first)
            return cycle[at:] + cycle[:at]
        elif name not in done:
            path.append(name)
            waiting.append((name, True))
            owners = map(owner_of, _steps_read(plan.steps[name]))
            waiting += [(owner, False) for owner in owners if owner in plan.steps]
    return []


def _steps_read(step: Step) -> tuple[str, ...]:
    return tuple(name for name in step.inputs if name != "errors")
