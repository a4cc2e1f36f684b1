"""Reading step tables into the logical plan."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.expression import AggregateCall, Field, Node, to_text
from appliance.limits import HOPPING_WINDOWS_MAX_COUNT
from appliance.plan.logical import Aggregate, Operation, Running, Step, Window
from appliance.plan.python_step import read_python
from appliance.plan.table import Table, field_name_fault

#: Steps and options that the design has and this version has not: a plain answer, not "unknown
#: key".
LATER_OPERATIONS = ("branch", "join", "lookup", "dedup", "debounce", "throttle", "threshold")
LATER_STEP_KEYS = ("partial", "ttl")
LATER_WINDOWS = ("trailing", "session", "count", "when", "until")
LATER_WINDOW_KEYS = ("early", "partial", "keep_late", "close", "max")

WINDOWS = ("tumbling", "hopping", "global")


def read_step(table: Table, name: str, inputs: tuple[str, ...], base: str) -> Step:
    """One `[step.NAME]`; `inputs` are what its `from` means."""
    table.get("from")
    where = table.expression("where")
    new = _expressions(table, "set", '{ temp_f = "temp * 1.8 + 32" }')
    select = _select(table)
    drop = table.strings("drop", '"hum"')
    each = table.text("each", "", '"items"') or None
    keys = _keys(table)
    null_key = table.flag("null_key", False)
    operation = _operation(table, base)
    having = table.expression("having")
    if having is not None and operation is None and not _names_operation(table):
        remedy = "without a window, running or python it is a `where`"
        table.key_fault("having", "having: there is nothing in this step for it to look at", remedy)
    for key in LATER_STEP_KEYS:
        if table.has(key):
            table.key_fault(key, f"{key!r} is not available in this version")
    table.finish()
    return Step(
        name,
        inputs,
        where,
        new or {},
        select,
        drop,
        each,
        tuple(keys.values()),
        tuple(keys),
        null_key,
        operation,
        having,
        table.place(),
    )


def key_name(node: Node) -> str:
    """The field that a key value has in results: the field's own name, else the expression's
    text."""
    return node.name if isinstance(node, Field) else to_text(node)


# ---- set, select, key_by ----


def _expressions(table: Table, key: str, example: str) -> dict[str, Node] | None:
    """A table of new fields; None when the key is absent."""
    inner = table.table(key, example)
    if inner is None:
        return None
    nodes: dict[str, Node] = {}
    for name, value in inner.values.items():
        if wrong := field_name_fault(name):
            inner.key_fault(name, wrong)
        node = inner.node(value, name)
        if node is not None:
            nodes[name] = node
    return nodes


def _select(table: Table) -> dict[str, Node] | None:
    """`select = { a = "x + 1" }`, or `select = ["a", "b"]` to keep these as they are."""
    value = table.get("select")
    if not isinstance(value, (str, list, tuple)):
        return _expressions(table, "select", '["device", "temp"]')
    if isinstance(value, str):
        remedy = f'write select = ["{value}"]'
        table.value_fault("select", "select: a list or a table was expected, not a text", remedy)
        return None
    nodes: dict[str, Node] = {}
    for index, name in enumerate(table.strings("select", '"temp"')):
        if name in nodes:
            table.fault(table.value_place("select", index), f'select: "{name}" is there twice')
        nodes[name] = Field(name)
    return nodes


def _keys(table: Table) -> dict[str, Node]:
    """`key_by = "device"` or a list; the names that the key's values have in results, in order."""
    value = table.get("key_by")
    keys: dict[str, Node] = {}
    if value is None:
        return keys
    many = isinstance(value, (list, tuple))
    items: Sequence[object] = value if isinstance(value, (list, tuple)) else [value]
    if not items:
        table.value_fault(
            "key_by", "key_by: the list is empty", "leave key_by out for one key for all"
        )
    for index, item in enumerate(items):
        at: tuple[str | int, ...] = ("key_by", index) if many else ("key_by",)
        node = table.node(item, *at)
        if node is None:
            continue
        name = key_name(node)
        if name in keys:
            table.fault(table.value_place(*at), f"key_by: {name} is there twice")
        if wrong := field_name_fault(name):
            table.fault(table.value_place(*at), f"key_by: {wrong}")
        keys[name] = node
    return keys


# ---- the operation ----


def _names_operation(table: Table) -> bool:
    """Whether some operation stands in the table, however wrong it is."""
    words = ("window", "aggregate", "running", "python", *LATER_OPERATIONS)
    return any(key in table.values for key in words)


def _operation(table: Table, base: str) -> Operation | None:
    for key in LATER_OPERATIONS:
        if table.has(key):
            table.key_fault(key, f"{key!r} steps are not available in this version")
    present = [key for key in ("window", "running", "python") if table.has(key)]
    if len(present) > 1:
        both = " and ".join(repr(key) for key in present)
        remedy = "write a step for each"
        table.key_fault(present[1], f"a step has one operation, not {both}", remedy)
    window = _window(table)
    running = _running(table)
    python = read_python(table, base)
    return window or running or python


def _window(table: Table) -> Window | None:
    aggregates = _aggregates(table, "aggregate", running=False)
    if not table.has("window"):
        if table.has("aggregate"):
            remedy = 'write window = { tumbling = "10s" }, or use running = { … }'
            table.key_fault("aggregate", "aggregate: there is no window to aggregate over", remedy)
        return None
    if not table.has("aggregate"):
        remedy = 'write aggregate = { n = "count()" }'
        table.key_fault("window", "a window without 'aggregate' has no result", remedy)
    inner = table.table("window", '{ tumbling = "10s" }')
    if inner is None:
        return None
    kind, size_us, every_us = _window_kind(inner)
    offset_us = 0
    if kind != "global" or inner.has("offset"):
        offset_us = inner.duration("offset", 0, negative=True)
    if kind == "global" and offset_us:
        inner.key_fault("offset", "offset: a global window has no start to move")
        offset_us = 0
    late_policy = _late_policy(inner)
    for key in LATER_WINDOW_KEYS:
        if inner.has(key):
            inner.key_fault(key, f"{key!r} is not available in this version")
    inner.finish(also=(*WINDOWS, *LATER_WINDOWS))
    place = inner.place()
    if not kind:
        return None
    return Window(kind, size_us, every_us, offset_us, late_policy, aggregates or {}, place)


def _window_kind(table: Table) -> tuple[str, int, int]:
    """Kind ("" when it cannot be told), size and every, in microseconds."""
    later = [key for key in LATER_WINDOWS if table.has(key)]
    for key in later:
        table.key_fault(key, f"{key!r} windows are not available in this version")
    kinds = [kind for kind in WINDOWS if table.has(kind)]
    every_us = table.duration("every", 0, least_us=1)
    if not kinds:
        if not later:
            remedy = (
                'write { tumbling = "10s" }, { hopping = "10s", every = "1s" } or { global = true }'
            )
            table.fault(table.place(), "window: its kind is missing", remedy)
        return "", 0, 0
    if len(kinds) > 1:
        table.key_fault(kinds[1], f"a window is either {kinds[0]} or {kinds[1]}")
    kind = kinds[0]
    if kind == "global":
        if not table.flag("global", True):
            table.value_fault("global", "global: only true makes sense here")
        return kind, 0, every_us
    size_us = table.duration(kind, 0, least_us=1)
    if kind == "tumbling":
        if table.has("every"):
            remedy = "a tumbling window follows the one before it; use hopping for another step"
            table.key_fault("every", "every: not for tumbling windows", remedy)
        return kind, size_us, 0
    if not table.has("every"):
        table.fault(table.place(), "window: hopping needs 'every'", 'write every = "1s"')
    elif every_us and size_us > every_us * HOPPING_WINDOWS_MAX_COUNT:
        message = f"every: each record would be in {-(-size_us // every_us)} windows"
        table.value_fault("every", message, f"at most {HOPPING_WINDOWS_MAX_COUNT} are possible")
    return kind, size_us, every_us


def _late_policy(table: Table) -> str:
    if table.get("late_policy") == "refire":
        table.value_fault("late_policy", "'refire' is not available in this version")
        return "output"
    return table.choice("late_policy", ("output", "drop"), "output")


def _running(table: Table) -> Running | None:
    if not table.has("running"):
        return None
    aggregates = _aggregates(table, "running", running=True)
    if aggregates is not None and not aggregates and table.values["running"] == {}:
        remedy = 'write running = { n = "count()" }'
        table.key_fault("running", "running: there is no aggregate in it", remedy)
    return Running(aggregates or {}, table.place("running"))


def _aggregates(table: Table, key: str, running: bool) -> dict[str, Aggregate] | None:
    """A table of aggregates by name; None when absent or no table."""
    inner = table.table(key, '{ n = "count()", mean = "mean(temp)" }')
    if inner is None:
        return None
    found: dict[str, Aggregate] = {}
    for name, value in inner.values.items():
        if wrong := field_name_fault(name):
            inner.key_fault(name, wrong)
        call = inner.aggregate(value, name, running=running)
        if call is not None:
            found[name] = _aggregate(inner, name, call)
    if not inner.values and key == "aggregate":
        inner.fault(inner.place(), "aggregate: there is none in it", 'write { n = "count()" }')
    return found


def _aggregate(table: Table, name: str, call: AggregateCall) -> Aggregate:
    place = table.value_place(name)
    return Aggregate(call.kind, call.argument, call.by, call.where, call.alpha, call.n, place)
