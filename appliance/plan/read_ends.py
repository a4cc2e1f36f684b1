"""Reading source and sink tables into the logical plan."""

from __future__ import annotations

from appliance.limits import NAME_MAX_COUNT
from appliance.plan.ends import (
    brings_messages,
    is_exact,
    read_connector,
    read_format,
    read_frame,
)
from appliance.plan.logical import EventTime, Sink, Source, Spool
from appliance.plan.table import Table, field_name_fault, said
from appliance.schema import FieldType

TIME_UNITS = ("s", "ms", "us", "ns", "rfc3339")

#: Keys of sources and sinks that the design has and this version has not.
LATER_SOURCE_KEYS = ("acknowledge",)


def read_source(table: Table, name: str, base: str) -> Source:
    """One `[source.NAME]`. Whatever is wrong becomes a fault and a default takes its place."""
    made_format = read_format(table, "source")
    time = read_time(table)
    schema = read_schema(table)
    id_field, id_within_us = read_id(table)
    for key in LATER_SOURCE_KEYS:
        if table.has(key):
            table.key_fault(key, f"{key!r} is not available in this version")
    table.get("frame"), table.get("frame_max")
    found = read_connector(table, "source", base)
    connector, options, cls = found if found is not None else ("", {}, None)
    whole = brings_messages(connector, cls, options, base)
    frame = read_frame(table, made_format, whole)
    return Source(
        name, connector, options, made_format, frame, time, schema, table.place(),
        id_field, id_within_us,
    )  # fmt: skip


def read_id(table: Table) -> tuple[str | None, int]:
    """`id` and `id_within`: which records are the same, and for how long that is known."""
    field = table.text("id", "", '"message_id"') or None
    within_us = table.duration("id_within", Source.id_within_us, least_us=1)
    if field is None and table.has("id_within"):
        table.key_fault("id_within", "id_within: there is no id", 'write id = "message_id"')
    return field, within_us


def read_sink(table: Table, name: str, inputs: tuple[str, ...], base: str) -> Sink:
    """One `[sink.NAME]`; `inputs` are what its `from` means."""
    table.get("from")
    where = table.expression("where")
    made_format = read_format(table, "sink")
    deliveries = ("exactly_once", "at_least_once", "immediate")
    delivery = table.choice("delivery", deliveries, "")
    spool = read_spool(table)
    table.get("frame"), table.get("frame_max")
    found = read_connector(table, "sink", base)
    connector, options, cls = found if found is not None else ("", {}, None)
    frame = read_frame(table, made_format, connector in ("udp", "upstream", "sqlite"))
    only = getattr(cls, "format", None)
    for key in ("format", "frame"):
        if only is not None and table.has(key) and table.get(key) != only:
            message = f"{key}: a {connector} sink takes records apart by itself"
            table.value_fault(key, message, f"leave {key} out")
    exact = is_exact(connector, cls)
    if delivery == "exactly_once" and found is not None and not exact:
        message = f"delivery: a {connector!r} sink cannot be exact: the other side keeps no numbers"
        table.value_fault("delivery", message, 'write "at_least_once", or use file or sqlite')
    if delivery == "immediate" and getattr(cls, "numbered_only", False):
        message = f"delivery: {connector} needs the numbers that results get with the cut"
        table.value_fault("delivery", message, "leave delivery out")
    if not delivery:
        delivery = "exactly_once" if exact else "immediate"
    return Sink(
        name, inputs, connector, options, where, made_format, frame, delivery, spool, table.place()
    )


def read_time(table: Table) -> EventTime:
    """`"arrival"` or `{ field, unit, late, idle, max_ahead, when_idle }` (S6–S8)."""
    value = table.get("time")
    if value is None or value == "arrival":
        return EventTime()
    if isinstance(value, str):
        remedy = f'write time = "arrival" or time = {{ field = "{value}", unit = "ms" }}'
        table.value_fault("time", f'time: "{value}" is not a way to tell the time', remedy)
        return EventTime()
    inner = table.table("time", '{ field = "ts", unit = "ms" }')
    if inner is None:
        return EventTime()
    default = EventTime()
    field = inner.text("field", "", '"ts"') or None
    unit = inner.choice("unit", TIME_UNITS, default.unit)
    if field is not None and not inner.has("unit"):
        listed = ", ".join(f'"{word}"' for word in TIME_UNITS)
        inner.fault(inner.place(), "time: 'unit' is missing", f"write unit = one of {listed}")
    if field is None and inner.has("unit"):
        remedy = 'write field = "ts", or leave the unit out for arrival time'
        inner.key_fault("unit", "time: a unit without a field", remedy)
        unit = default.unit
    idle: int | None = None
    if inner.get("idle") != "never":
        idle = inner.duration("idle", default.idle_us)
    time = EventTime(
        field,
        unit,
        inner.duration("late", default.late_us),
        idle,
        inner.duration("max_ahead", default.max_ahead_us),
        inner.choice("when_idle", ("advance", "hold"), default.when_idle),
    )
    inner.finish()
    return time


def read_schema(table: Table) -> dict[str, FieldType]:
    """`{ device = "str", note = "str?" }`."""
    schema: dict[str, FieldType] = {}
    inner = table.table("schema", '{ device = "str", temp = "float" }')
    for name, kind in (inner.values if inner is not None else {}).items():
        assert inner is not None
        if wrong := field_name_fault(name):
            inner.key_fault(name, wrong)
        if not isinstance(kind, str):
            inner.value_fault(
                name, f'{name}: a type such as "float" was expected, not {said(kind)}'
            )
            continue
        try:
            schema[name] = FieldType.parse(kind)
        except ValueError as error:
            inner.value_fault(name, f"{name}: {error}")
    return schema


def read_spool(table: Table) -> Spool:
    """`{ max_bytes, max_age, when_full, resend_rate }`."""
    inner = table.table("spool", '{ max_bytes = "512MiB" }')
    default = Spool()
    if inner is None:
        return default
    spool = Spool(
        inner.size("max_bytes", default.max_bytes),
        inner.duration("max_age", default.max_age_us, least_us=1),
        inner.choice("when_full", ("block", "drop_oldest", "drop_newest"), default.when_full),
        inner.rate("resend_rate", default.resend_rate),
    )
    inner.finish()
    return spool


def name_fault(name: str) -> str:
    """What is wrong with the name of a source, step or sink; empty for nothing."""
    if len(name) > NAME_MAX_COUNT:
        return f"the name {name[:20]!r}… is longer than {NAME_MAX_COUNT} characters"
    plain = name.isascii() and name.replace("_", "a").replace("-", "a").isalnum()
    if not plain or not name[0].islower():
        return f"{name!r} is not a name: small letters, digits, _ and -, a letter first"
    if name != name.lower():
        return f"{name!r} is not a name: only small letters"
    return ""
