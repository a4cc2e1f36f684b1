"""A plan in words: what is read, what runs native and what in Python, what is promised.

The text depends on the plan alone, so both forms of a flow give the same. Expressions are in
canonical text, times and sizes in their shortest form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from appliance import connect
from appliance.errors import Fault, Place
from appliance.expression import Field, Node, aggregate_to_text, to_text
from appliance.limits import BUDGET_WAIT_MAX_S
from appliance.plan import python_file
from appliance.plan.logical import (
    Aggregate,
    EventTime,
    Format,
    Frame,
    Plan,
    PythonStep,
    Running,
    Settings,
    Sink,
    Source,
    Spool,
    Step,
    Window,
)
from appliance.plan.needs import fields_decoded
from appliance.plan.promises import Promise, chains, promises
from appliance.plan.shape import Shapes, in_order
from appliance.plan.surprises import notes, unordered_sources
from appliance.units import duration_text, rate_text, size_text

_LABEL_WIDTH = 11

_CLASSES = {
    "replayable": "replayable (it can be read again from any position)",
    "acknowledged": "acknowledged (the other side sends again what no cut holds)",
    "fire and forget": "fire and forget (what was received since the last cut can be lost)",
}
_DELIVERIES = {
    "exactly_once": "exactly once (leaves after the cut, numbered)",
    "at_least_once": "at least once (leaves after the cut)",
    "immediate": "immediate (leaves at once)",
}


def explain(plan: Plan, details: Mapping[str, Sequence[str]] | None = None) -> str:
    """The plan as text, ending with a newline. `details` are further lines by name of source, step
    or sink; those under "" are put at the end. The plan must be free of faults."""
    details = details or {}
    shapes = Shapes(plan)
    decoded = fields_decoded(plan, shapes)
    blocks = [_block(f"flow {plan.name}", _settings(plan.settings))]
    for source in plan.sources.values():
        lines = _source(source, decoded[source.name], plan.base)
        blocks.append(_block(f"source {source.name}", lines, details.get(source.name, ())))
    for name in in_order(plan):
        step = plan.steps[name]
        lines = _step(plan, step, shapes)
        blocks.append(_block(f"step {name} · {_where_it_runs(step)}", lines, details.get(name, ())))
    made = promises(plan, lambda source: source_class(source, plan.base))
    for sink in plan.sinks.values():
        lines = _sink(sink) + [_promised(one) for one in made if one.sink == sink.name]
        blocks.append(_block(f"sink {sink.name}", lines, details.get(sink.name, ())))
    said = list(notes(plan))
    if said:
        blocks.append("notes\n" + "".join(f"  {line}\n" for line in said))
    if details.get(""):
        blocks.append("".join(f"{line}\n" for line in details[""]))
    return "\n".join(blocks)


def explain_chains(plans: Sequence[Plan]) -> str:
    """What flows promise that links join, from end to end: one line a way; empty without any."""
    found = chains(plans, lambda plan, source: source_class(source, plan.base))
    lines = "".join(f"  {' → '.join(one.names)}: {one.promise.text}\n" for one in found)
    return f"chains\n{lines}" if found else ""


def source_class(source: Source, base: str) -> str:
    """The class of a source. A user's own is not loaded for this: its methods tell."""
    if source.connector != "connector":
        cls = connect.source_class(source.connector)
        return connect.guarantee(connect.construct(cls, source.options, base))
    found = python_file.look(str(source.options.get("path", "")), base, Place())
    methods = frozenset() if isinstance(found, Fault) else found.methods
    if "replayable" in methods:
        return "replayable"
    return "acknowledged" if "committed" in methods else "fire and forget"


def _block(title: str, lines: Iterable[tuple[str, str]], more: Sequence[str] = ()) -> str:
    text = title + "\n"
    for label, value in lines:
        text += f"  {label:<{_LABEL_WIDTH}}{value}".rstrip() + "\n"
    return text + "".join(f"  {line}\n" for line in more)


def _settings(settings: Settings) -> list[tuple[str, str]]:
    return [
        ("cuts", f"every {duration_text(settings.commit_every_us)}"),
        ("on error", "stop" if settings.on_error == "stop" else "to the error output"),
        ("memory", size_text(settings.memory_bytes)),
        ("worker", settings.worker),
        ("timeout", f"{duration_text(settings.step_timeout_us)} for a call of a user's function"),
        ("clock", "of the box" if settings.clock == "system" else "of the events"),
        ("writes", _budget(settings.write_budget_bytes)),
        ("damage", "stops the flow" if settings.on_damage == "stop" else "the flow goes on"),
    ]


def _budget(size: int | None) -> str:
    if size is None:
        return "as many as it takes"
    wait = duration_text(int(BUDGET_WAIT_MAX_S * 1e6))
    return f"at most {size_text(size)} a day to the disk; a cut waits up to {wait} for it"


# ---- sources and sinks ----


def _source(source: Source, decoded: list[str] | None, base: str) -> list[tuple[str, str]]:
    lines = [
        ("connector", _connector(source.connector, source.options)),
        ("class", _CLASSES[source_class(source, base)]),
        ("format", f"{_format(source.format)}, {_frame(source.frame)}"),
        ("time", _time(source.time)),
    ]
    if source.id is not None:
        lines.append(("id", f"{source.id}, known for {duration_text(source.id_within_us)}"))
    if source.schema:
        schema = ", ".join(f"{name} {kind}" for name, kind in source.schema.items())
        lines.append(("schema", schema))
    lines.append(("decodes", "the whole record" if decoded is None else _listed(decoded)))
    return lines


def _promised(one: Promise) -> tuple[str, str]:
    return "guarantee", f"{one.source} → {one.sink}: {one.text}"


def _sink(sink: Sink) -> list[tuple[str, str]]:
    lines = [
        ("from", ", ".join(sink.inputs)),
        *_expression("where", sink.where),
        ("connector", _connector(sink.connector, sink.options)),
        ("format", f"{_format(sink.format)}, {_frame_kind(sink.frame)}"),
        ("delivery", _DELIVERIES[sink.delivery]),
    ]
    if sink.spool != Spool():
        lines.append(("spool", _spool(sink.spool)))
    return lines


def _connector(name: str, options: Mapping[str, Any]) -> str:
    return f"{name}  {_options(options)}".rstrip()


def _options(options: Mapping[str, Any]) -> str:
    """What stands in them, but for secrets."""
    return ", ".join(
        f"{key} = " + ('"…"' if connect.is_secret(key) else _value(value))
        for key, value in options.items()
    )


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        inner = _options(value)
        return f"{{ {inner} }}" if inner else "{ }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"' if escaped.isprintable() else ascii(value)
    return str(value)


def _format(made: Format) -> str:
    options = made.options
    if "template" in options:
        return f"text {_value(options['template'])}"
    shown = ", ".join(f"{key} = {_value(value)}" for key, value in options.items() if value != [])
    return f"{made.kind} ({shown})" if shown else made.kind


def _frame(frame: Frame) -> str:
    kind = _frame_kind(frame)
    return kind if frame.kind == "none" else f"{kind} of at most {size_text(frame.max_bytes)}"


def _frame_kind(frame: Frame) -> str:
    if frame.kind == "none":
        return "one message at a time"
    if frame.kind == "delimiter":
        return f"between {_value(frame.delimiter.decode())}"
    return frame.kind


def _time(time: EventTime) -> str:
    what = "of arrival" if time.field is None else f"{time.field} in {time.unit}"
    parts = [what, f"late {duration_text(time.late_us)}"]
    parts.append("never idle" if time.idle_us is None else f"idle {duration_text(time.idle_us)}")
    if time.field is not None:
        parts.append(f"at most {duration_text(time.max_ahead_us)} ahead")
    if time.when_idle == "hold":
        parts.append("holds when idle")
    return ", ".join(parts)


def _spool(spool: Spool) -> str:
    rate = "" if spool.resend_rate is None else f", resent at {rate_text(spool.resend_rate)}"
    bounds = f"at most {size_text(spool.max_bytes)} and {duration_text(spool.max_age_us)}"
    return f"{bounds}, when full {spool.when_full.replace('_', ' ')}{rate}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing: its records are only counted"


# ---- steps ----


def _where_it_runs(step: Step) -> str:
    return "Python" if isinstance(step.operation, PythonStep) else "native"


def _step(plan: Plan, step: Step, shapes: Shapes) -> list[tuple[str, str]]:
    lines = [("from", ", ".join(step.inputs)), *_expression("where", step.where)]
    lines += [("set", f"{name} = {to_text(node)}") for name, node in step.set.items()]
    if step.select is not None:
        lines.append(("select", ", ".join(_selected(n, node) for n, node in step.select.items())))
    if step.drop:
        lines.append(("drop", ", ".join(step.drop)))
    if step.each is not None:
        lines.append(("each", step.each))
    if step.key_by:
        null = ", null is a key" if step.null_key else ""
        lines.append(("key by", ", ".join(map(to_text, step.key_by)) + null))
    elif step.operation is not None and _keyed(step):
        keys = shapes.steps[step.name].working.keys
        lines.append(("key", ", ".join(keys) if keys else "one for all"))
    lines += _operation(step)
    unordered = unordered_sources(plan, step)
    if unordered:
        lines.append(
            ("order", f"sensitive, and not fixed across partitions of {', '.join(unordered)}")
        )
    lines += _expression("having", step.having)
    return lines


def _expression(label: str, node: Node | None) -> list[tuple[str, str]]:
    return [] if node is None else [(label, to_text(node))]


def _selected(name: str, node: Node) -> str:
    return name if node == Field(name) else f"{name} = {to_text(node)}"


def _keyed(step: Step) -> bool:
    operation = step.operation
    stateless = isinstance(operation, PythonStep) and operation.mode not in ("stateful", "class")
    return not stateless


def _operation(step: Step) -> list[tuple[str, str]]:
    operation = step.operation
    if isinstance(operation, Window):
        return [("window", _window(operation)), *_aggregates("aggregate", operation.aggregates)]
    if isinstance(operation, Running):
        return _aggregates("running", operation.aggregates)
    if isinstance(operation, PythonStep):
        lines = [("python", f"{operation.mode.replace('_', ' ')} {operation.function.reference}")]
        if operation.state is not None:
            lines.append(("state", operation.state.reference))
        return lines
    return []


def _window(window: Window) -> str:
    if window.kind == "global":
        every = f"every {duration_text(window.every_us)}" if window.every_us else "at every record"
        return f"global, {every}" + _late_records(window)
    text = f"{window.kind} {duration_text(window.size_us)}"
    if window.kind == "hopping":
        text += f" every {duration_text(window.every_us)}"
    if window.offset_us:
        sign = "-" if window.offset_us < 0 else ""
        text += f", offset {sign}{duration_text(abs(window.offset_us))}"
    return text + _late_records(window)


def _late_records(window: Window) -> str:
    return ", late records dropped" if window.late_policy == "drop" else ""


def _aggregates(label: str, aggregates: Mapping[str, Aggregate]) -> list[tuple[str, str]]:
    return [(label, f"{name} = {aggregate_to_text(a)}") for name, a in aggregates.items()]
