"""Reading what sources and sinks have in common: connector, format, frame."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from appliance import connect
from appliance.errors import Fault, Place
from appliance.limits import DELIMITER_MAX_BYTES, FRAME_MAX_BYTES
from appliance.plan import python_file
from appliance.plan.logical import Format, Frame
from appliance.plan.table import Table, field_name_fault, nearest, said

#: Connectors of the design that this version does not have; they get a plain answer, not "unknown
#: key".
LATER_CONNECTORS = (
    "amqp", "http", "influxdb", "kafka", "modbus", "mqtt", "nats", "opcua", "postgres", "redis",
    "serial", "websocket", "zmq",
)  # fmt: skip

FORMATS = ("json", "csv", "msgpack", "text", "raw", "binary")
FRAME_DEFAULTS = {"json": "lines", "csv": "lines", "text": "lines"}  # else u32

_BINARY_TYPE = re.compile(r"[ui](8|16|32|64)|f(32|64)|s[1-9][0-9]{0,5}")


# ---- the connector ----


def read_connector(
    table: Table, role: str, base: str
) -> tuple[str, Mapping[str, Any], type | None] | None:
    """The one connector key of a source or sink (`role`): its name, options, and its class where it
    is one of ours.

    Called after all other keys of the table have been asked for: what is left is the connector, or
    a mistake."""
    known = connect.SOURCE_NAMES if role == "source" else connect.SINK_NAMES
    others = connect.SINK_NAMES if role == "source" else connect.SOURCE_NAMES
    named = [key for key in table.values if key in known or key == "connector"]
    told = False
    for key in table.unasked():
        if key in named:
            continue
        if key in LATER_CONNECTORS:
            table.key_fault(key, f"the {key!r} connector is not available in this version")
        elif key in others:
            other = "sink" if role == "source" else "source"
            listed = ", ".join(known)
            table.key_fault(key, f"{key!r} can only be a {other}", f"a {role} can be: {listed}")
        else:
            continue
        told = True
        table.get(key)
    for key in named:
        table.get(key)
    if not named:
        if not told and not table.unasked():
            listed = ", ".join(known)
            table.fault(table.place(), f"no connector: this {role} has nothing to connect to",
                        f"give it one of: {listed}, connector")  # fmt: skip
        table.finish(also=known)
        return None
    table.finish(also=known)
    if len(named) > 1:
        both = " and ".join(repr(name) for name in named)
        table.key_fault(named[1], f"a {role} has exactly one connector, not {both}")
        return None
    name = named[0]
    options = table.values[name]
    if not isinstance(options, Mapping):
        table.value_fault(
            name, f"{name}: a table was expected, not {said(options)}", f"write {name} = {{ }}"
        )
        return None
    if name == "connector":
        _check_user_connector(table, role, options, base)
        return name, _frozen(options), None
    cls: type = connect.source_class(name) if role == "source" else connect.sink_class(name)
    for fault in connect.check_options(cls, options, base):
        if fault.key:
            unknown = fault.key not in getattr(cls, "__dataclass_fields__", {})
            inner = (*table.path, name, fault.key)
            place = table.locator.key(inner) if unknown else table.locator.value(inner)
            table.fault(place, f"{name}: {_led(fault.key, fault.message)}", fault.remedy)
        else:
            place = _entry_place(table, name, options, fault.message) or table.place(name)
            table.fault(place, f"{name}: {fault.message}", fault.remedy)
    return name, _frozen(options), cls


def _entry_place(table: Table, name: str, options: Mapping[str, Any], message: str) -> Place | None:
    """Where the entry stands that a connector's message begins with: `fields` has many."""
    word = message.partition(": ")[0]
    for key, value in options.items():
        if isinstance(value, Mapping) and word in value:
            return table.value_place(name, key, word)
    return None


def _led(key: str, message: str) -> str:
    """A message names its key once."""
    return message if repr(key) in message else f"{key}: {message}"


def _frozen(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Options as plain data, lists as lists whichever way they came."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in options.items()
    }


def _check_user_connector(table: Table, role: str, options: Mapping[str, Any], base: str) -> None:
    """`connector = { path = "modbus.py:Modbus", host = "…" }`, without running the file."""
    path = options.get("path")
    if not isinstance(path, str):
        table.key_fault("connector", "connector: 'path' is missing", 'write path = "file.py:Class"')
        return
    place = table.value_place("connector", "path")
    found = python_file.look(path, base, place)
    if isinstance(found, Fault):
        table.faults.append(found)
    elif found.kind in ("function", "async"):
        table.fault(place, f"{path} is a function; a connector is a class")
    elif found.kind == "class" and not found.open_bases:
        name = path.rpartition(":")[2]
        if found.bare:
            remedy = 'put @source("…") or @sink("…") above it, from appliance.connect'
            table.fault(place, f"{name} is a plain class, no connector", remedy)
            return
        verbs = ("open", "read" if role == "source" else "write", "close")
        missing = [f"{verb}()" for verb in verbs if verb not in found.methods]
        if missing and "native" not in found.methods:
            remedy = f"a {role} has " + ", ".join(f"{verb}()" for verb in verbs)
            table.fault(place, f"{name} has no {' and no '.join(missing)}", remedy)
        for key in options:
            if key != "path" and key not in found.settings:
                at = table.locator.key((*table.path, "connector", key))
                remedy = nearest(key, sorted(found.settings))
                table.fault(at, f"{name} has no field {key!r}", remedy)


def is_exact(name: str, cls: type | None) -> bool:
    """Whether a sink can be exact (architecture, "Sinks"). A user's own cannot: its class is not
    loaded here."""
    return bool(getattr(cls, "exact", name == "file"))


def brings_messages(name: str, cls: type | None, options: Mapping[str, Any], base: str) -> bool:
    """Whether a source keeps messages apart by itself, so that nothing is to be framed. A user's
    own says so by the trait that stands behind its name; its class is not loaded here."""
    if name == "connector":
        found = python_file.look(str(options.get("path", "")), base, Place())
        return isinstance(found, python_file.Found) and connect.Messages.__name__ in found.bases
    return name == "udp" or (cls is not None and issubclass(cls, connect.Messages))


# ---- format and frame ----


def read_format(table: Table, role: str, default: str = "json") -> Format:
    """`"json"`, `{ csv = { … } }`, `{ text = "{word}" }`, …"""
    value = table.get("format")
    if value is None:
        return _with_defaults(Format(default), table, role, None)
    if isinstance(value, str):
        return _named_format(table, role, value)
    if not isinstance(value, Mapping) or len(value) != 1:
        example = '"json" or { csv = { header = true } }'
        table.value_fault("format", f"format: one format such as {example} was expected")
        return Format(default)
    inner = Table(value, (*table.path, "format"), table.locator, table.faults)
    (kind,) = value
    if kind == "python":
        inner.key_fault(kind, "'python' formats are not available in this version")
        return Format(default)
    if kind not in FORMATS:
        inner.key_fault(kind, f"unknown format {kind!r}", nearest(str(kind), FORMATS))
        return Format(default)
    if kind == "text" and isinstance(value[kind], str):
        return _template(inner, role, value[kind])
    options = inner.table(kind, "{ }")
    if options is None:
        return Format(kind)
    made = _with_defaults(Format(kind), inner, role, options)
    options.finish()
    return made


def _named_format(table: Table, role: str, kind: str) -> Format:
    if kind not in FORMATS:
        table.value_fault("format", f'format: unknown format "{kind}"', nearest(kind, FORMATS))
        return Format()
    if kind == "binary":
        remedy = 'write { binary = { order = "big", fields = { votes = "u32" } } }'
        table.value_fault("format", "format: binary needs its fields", remedy)
    return _with_defaults(Format(kind), table, role, None)


def _with_defaults(made: Format, table: Table, role: str, options: Table | None) -> Format:
    """The options of csv and binary, all written out; the others have none."""
    empty = Table({}, table.path, table.locator, table.faults)
    if made.kind == "csv":
        return replace(made, options=_csv(options or empty, role))
    if made.kind == "binary" and options is not None:
        return replace(made, options=_binary(options))
    return made


def _csv(table: Table, role: str) -> dict[str, Any]:
    columns = table.strings("columns", '"device"')
    # Named columns and no word of a header: then the data has none. A sink writes one unless told
    # otherwise.
    header = table.flag("header", role == "sink" or not columns)
    delimiter = table.text("delimiter", ",", '";"')
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
        table.value_fault("delimiter", "delimiter: one ASCII character was expected", 'such as ";"')
        delimiter = ","
    for index, name in enumerate(columns):
        if name in columns[:index]:
            table.fault(table.value_place("columns", index), f'columns: "{name}" is there twice')
    return {"header": header, "columns": list(columns), "delimiter": delimiter}


def _binary(table: Table) -> dict[str, Any]:
    order = table.choice("order", ("big", "little"), "big")
    fields = table.table("fields", '{ letter = "s1", votes = "u32" }')
    kinds: dict[str, str] = {}
    if fields is None and not table.has("fields"):
        remedy = 'write fields = { letter = "s1", votes = "u32" }'
        table.fault(table.place(), "binary: 'fields' is missing", remedy)
    for name, kind in (fields.values if fields else {}).items():
        assert fields is not None
        if not isinstance(kind, str) or _BINARY_TYPE.fullmatch(kind) is None:
            message = f"{name}: {said(kind)} is not a binary type"
            fields.value_fault(
                name, message, "types are u8…u64, i8…i64, f32, f64, and s4 for 4 bytes of text"
            )
        elif wrong := field_name_fault(name):
            fields.key_fault(name, wrong)
        else:
            kinds[name] = kind
    return {"order": order, "fields": kinds}


def _template(table: Table, role: str, template: str) -> Format:
    if role == "source":
        remedy = 'a source has format = "text": each line is the field `line`'
        table.key_fault("text", "a text template is for sinks", remedy)
        return Format("text")
    return Format("text", {"template": template})


def read_frame(table: Table, made: Format, whole: bool) -> Frame:
    """The frame as written, or the format's own. `whole`: the connector brings messages, nothing is
    to be framed."""
    value = table.get("frame")
    limit = table.size("frame_max", Frame().max_bytes)
    if not 1 <= limit <= FRAME_MAX_BYTES:
        table.value_fault("frame_max", f"frame_max: between 1 byte and {FRAME_MAX_BYTES} bytes")
        limit = Frame().max_bytes
    if value is None:
        kind = "none" if whole else FRAME_DEFAULTS.get(made.kind, "u32")
        return Frame(kind, max_bytes=limit)
    if value in ("lines", "u32"):
        return Frame(str(value), max_bytes=limit)
    if isinstance(value, Mapping) and list(value) == ["delimiter"]:
        text = value["delimiter"]
        if isinstance(text, str) and 1 <= len(text.encode()) <= DELIMITER_MAX_BYTES:
            return Frame("delimiter", text.encode(), limit)
        expected = f"a text of 1 to {DELIMITER_MAX_BYTES} bytes was expected"
        table.fault(table.value_place("frame", "delimiter"), f"delimiter: {expected}")
        return Frame(max_bytes=limit)
    remedy = r'frames are "lines", "u32" and { delimiter = "\u0000" }'
    table.value_fault("frame", f"frame: {said(value)} is not a frame", remedy)
    return Frame(max_bytes=limit)
