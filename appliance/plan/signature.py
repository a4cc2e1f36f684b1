"""What stored state depends on, as text: a step whose signature has changed cannot go on from the
state that an earlier run left, and is refused until somebody says that it may be dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from appliance.connect import is_secret
from appliance.expression import Node
from appliance.expression.text import to_text
from appliance.plan.logical import Aggregate, Plan, PythonStep, Running, Sink, Source, Step, Window

#: Options that name the place a connector leads to. Others (a rate, a token) may change freely.
_ADDRESS = ("path", "glob", "listen", "connect", "to", "url", "topic", "table")


def address_signature(end: Source | Sink) -> str:
    """Connector and address of a source or sink; of a user's own, all it is given but secrets."""
    names = sorted(end.options) if end.connector == "connector" else _ADDRESS
    options = _without_secrets(end.options)
    shown = [f"{name}={options[name]}" for name in names if name in options]
    return " ".join([end.connector, *shown])


def _without_secrets(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: _without_secrets(each) for name, each in value.items() if not is_secret(name)}


def state_signatures(plan: Plan) -> dict[str, str]:
    """The signature of each step that keeps state, by its name: key, kind, parameters, aggregates.

    Of a Python step the state's class stands in it by name; its fields are known only when it is
    loaded.
    """
    found = {
        step.name: f"key {_keys(plan, step)}; {'; '.join(_operation(step))}"
        for step in plan.steps.values()
        if keeps_state(step)
    }
    return found | {id_state(s): f"id {s.id}" for s in plan.sources.values() if s.id is not None}


def id_state(source: Source) -> str:
    """Under which name the ids of a source are stored, beside the steps' states."""
    return f"{source.name}.id"


def keeps_state(step: Step) -> bool:
    """Whether something of this step must survive a restart."""
    operation = step.operation
    if isinstance(operation, PythonStep):
        return operation.mode in ("stateful", "class")
    return operation is not None


def _keys(plan: Plan, step: Step) -> str:
    """The key the step works under: its own, else the one its inputs were given last."""
    found = sorted(set(_keys_before(plan, step, frozenset())))
    return " or ".join(found) or "none"


def _keys_before(plan: Plan, step: Step, seen: frozenset[str]) -> Iterator[str]:
    if step.key_by:
        yield ", ".join(map(to_text, step.key_by))
        return
    for name in step.inputs:
        before = plan.steps.get(name.partition(".")[0])
        if before is None or before.name in seen:
            yield "none"
        else:
            yield from _keys_before(plan, before, seen | {step.name})


def _operation(step: Step) -> Iterator[str]:
    operation = step.operation
    if isinstance(operation, Window):
        yield (
            f"{operation.kind} size={operation.size_us} every={operation.every_us}"
            f" offset={operation.offset_us}"
        )
        yield from _aggregates(operation.aggregates)
    elif isinstance(operation, Running):
        yield "running"
        yield from _aggregates(operation.aggregates)
    elif isinstance(operation, PythonStep):
        state = operation.state or operation.function
        yield f"{operation.mode} {state.reference.rpartition(':')[2]}"


def _aggregates(aggregates: Mapping[str, Aggregate]) -> Iterator[str]:
    for name, aggregate in aggregates.items():
        parts = [_text(part) for part in (aggregate.argument, aggregate.by, aggregate.where)]
        yield f"{name} = {aggregate.kind}({', '.join(parts)}) {aggregate.alpha} {aggregate.n}"


def _text(node: Node | None) -> str:
    return "" if node is None else to_text(node)
