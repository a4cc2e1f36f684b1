"""Messages to records and records to messages, with the standard library alone (S1, S4, S6).

Values are those of `evaluate`. A record that cannot be read raises `Refused` with its reason.
"""

from __future__ import annotations

import base64
import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgpack

from appliance.plan.logical import EventTime, Format, Frame, Sink, Source
from semantics.evaluate import INT_MAX, INT_MIN, Time, kind
from semantics.library import read_rfc3339

NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_1_US, YEAR_9999_US = -62135596800000000, 253402300799999999
US_PER = {"us": 1, "ms": 1000, "s": 1_000_000}
NESTING_MAX = 64


class Refused(Exception):
    """The record goes to the error output; `reason` is the word in its `reason` field (S3)."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message)
        self.reason = reason


# ---- decoding ----


class Decoder:
    """One partition of a source: a CSV header is read once for each."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.columns: list[str] | None = list(source.format.options.get("columns") or []) or None
        self.waits_for_header = bool(source.format.options.get("header"))

    def decode(self, message: bytes) -> dict[str, Any] | None:
        """The record with all its fields; None for a message that is none."""
        match self.source.format.kind:
            case "json":
                return read_json(message) if message else None
            case "text":
                line_end = b"\r\n" if message.endswith(b"\r\n") else b"\n"
                return {"line": utf8(message.removesuffix(line_end))}
            case "raw":
                return {"data": message}
            case "msgpack":
                return read_msgpack(message)
            case "binary":
                return read_binary(message, self.source.format.options)
            case "csv":
                return self.csv(message)
        raise AssertionError(self.source.format)

    def csv(self, message: bytes) -> dict[str, Any] | None:
        message = message.rstrip(b"\r\n")
        if not message:
            return None
        is_header, self.waits_for_header = self.waits_for_header, False
        cells = csv_cells(utf8(message), self.source.format.options.get("delimiter", ","))
        if is_header:
            if self.columns is None:
                self.columns = [cell.removeprefix("\ufeff") for cell in cells]
            return None
        if self.columns is None or len(cells) != len(self.columns):
            raise Refused("decode", "the header was lost, or there are other than its columns")
        schema = self.source.schema
        return {
            name: csv_value(cell, schema[name].kind if name in schema else "")
            for name, cell in zip(self.columns, cells, strict=True)
        }


def utf8(message: bytes) -> str:
    try:
        return message.decode()
    except UnicodeDecodeError as error:
        raise Refused("decode", str(error)) from None


def read_json(message: bytes) -> dict[str, Any]:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    def integer(text: str) -> int | float:
        number = int(text)
        return number if INT_MIN <= number <= INT_MAX else float(number)

    try:
        found = json.loads(utf8(message), parse_int=integer, parse_constant=refuse)
        check_json(found, 1)
    except (ValueError, OverflowError, RecursionError) as error:
        raise Refused("decode", str(error)) from None
    if not isinstance(found, dict):
        raise Refused("decode", "a record is an object")
    return found


def check_json(value: Any, depth: int) -> None:
    """What the library reads and the standard does not allow, or goes beyond our bounds."""
    if isinstance(value, str):
        value.encode()  # half a surrogate pair is no character
    elif isinstance(value, float) and math.isinf(value):
        raise ValueError("a number beyond all floats")
    elif isinstance(value, dict | list):
        if depth > NESTING_MAX:
            raise ValueError("nested too deeply")
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            check_json(item, depth + 1)


def csv_cells(text: str, delimiter: str) -> list[str]:
    cells = []
    while True:
        if text.startswith('"'):
            quoted = re.match(r'"((?:[^"]|"")*)"', text, re.DOTALL)
            if quoted is None:
                raise Refused("decode", "a quoted cell has no closing quote")
            cell, text = quoted[1].replace('""', '"'), text[quoted.end() :]
            if text and not text.startswith(delimiter):
                raise Refused("decode", "text behind a closing quote")
        else:
            cell, found, rest = text.partition(delimiter)
            text = found + rest
        cells.append(cell)
        if not text:
            return cells
        text = text[1:]


def csv_value(cell: str, declared: str) -> Any:
    if not cell:
        return None
    if declared == "bool" and cell in ("true", "false"):
        return cell == "true"
    match = NUMBER.fullmatch(cell)
    if match is None or declared in ("str", "bool"):
        return cell
    if match[2] is None and match[3] is None and INT_MIN <= int(cell) <= INT_MAX:
        return int(cell)
    return cell if math.isinf(float(cell)) else float(cell)


def read_msgpack(message: bytes) -> dict[str, Any]:
    def pairs(members: list[tuple[Any, Any]]) -> dict[str, Any]:
        if not all(isinstance(name, str) for name, _ in members):
            raise ValueError("a key is not text")
        return dict(members)

    def refuse(code: int, body: bytes) -> None:
        raise ValueError("an extension type")

    try:
        found = msgpack.unpackb(
            message, object_pairs_hook=pairs, strict_map_key=False, ext_hook=refuse, timestamp=0
        )
    except (ValueError, msgpack.UnpackException) as error:
        raise Refused("decode", str(error)) from None
    if not isinstance(found, dict):
        raise Refused("decode", "a record is a map")
    plain: dict[str, Any] = narrowed(found)
    return plain


def narrowed(value: Any) -> Any:
    """An unsigned number beyond int64 is a float, as in JSON."""
    if isinstance(value, dict):
        return {name: narrowed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [narrowed(item) for item in value]
    return float(value) if type(value) is int and value > INT_MAX else value


def read_binary(message: bytes, options: Mapping[str, Any]) -> dict[str, Any]:
    order = "<" if options.get("order") == "little" else ">"
    letters = {"8": "b", "16": "h", "32": "i", "64": "q"}
    shape = order
    for word in options["fields"].values():
        if word[0] == "s":
            shape += word[1:] + "s"
        elif word[0] == "f":
            shape += {"32": "f", "64": "d"}[word[1:]]
        else:
            letter = letters[word[1:]]
            shape += letter.upper() if word[0] == "u" else letter
    if struct.calcsize(shape) != len(message):
        raise Refused("decode", "the message has another size than its fields")
    values = struct.unpack(shape, message)
    return {
        name: utf8(value.rstrip(b"\0")) if isinstance(value, bytes) else narrowed(value)
        for name, value in zip(options["fields"], values, strict=True)
    }


def closed_by_schema(record: dict[str, Any], source: Source) -> dict[str, Any]:
    """A declared schema closes the record: its fields and no others, in its order (S1)."""
    if not source.schema:
        return record
    kept = {}
    for name, declared in source.schema.items():
        value = record.get(name)
        if value is None:
            if not declared.optional:
                raise Refused("schema", f"{name} is missing")
            if name in record:
                kept[name] = None
            continue
        if declared.kind == "float" and type(value) is int:
            value = float(value)
        if kind(value) != declared.kind:
            raise Refused("schema", f"{name} is {kind(value)}")
        kept[name] = value
    return kept


def read_time(record: Mapping[str, Any], time: EventTime) -> int:
    """The record's own time in microseconds, rounded down (S6)."""
    value = record.get(time.field or "")
    if time.unit == "rfc3339":
        if not isinstance(value, str):
            raise Refused("time", "no text")
        try:
            return read_rfc3339(value)
        except (ValueError, OverflowError) as error:
            raise Refused("time", str(error)) from None
    if type(value) is int:
        us = value // 1000 if time.unit == "ns" else value * US_PER[time.unit]
        if INT_MIN <= us <= INT_MAX:
            return us
    if type(value) is float:
        scaled = value * {"us": 1.0, "ms": 1e3, "s": 1e6, "ns": 1e-3}[time.unit]
        if -9.2e18 <= scaled <= 9.2e18:
            return math.floor(scaled)
    raise Refused("time", f"{value!r} is no time")


# ---- encoding ----


def in_unit(time: Time, unit: str) -> int | str | None:
    """A time as sinks and functions see it: an int in the source's unit, or text (S4, S29)."""
    if unit == "ns":
        return time.us * 1000
    if unit != "rfc3339":
        return time.us // US_PER[unit]
    if not YEAR_1_US <= time.us <= YEAR_9999_US:
        return None
    return (EPOCH + timedelta(microseconds=time.us)).isoformat().replace("+00:00", "Z")


def plain(value: Any, unit: str) -> Any:
    """What JSON has words for."""
    if isinstance(value, Time):
        return in_unit(value, unit)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [plain(item, unit) for item in value]
    if isinstance(value, dict):
        return {name: plain(item, unit) for name, item in value.items()}
    return value


def to_json(value: Any, unit: str) -> str:
    return json.dumps(plain(value, unit), ensure_ascii=False, separators=(",", ":"))


def to_text(template: str, record: Mapping[str, Any], unit: str) -> str:
    """`{word} => {count}`: text as it is, all else as JSON; doubled braces are braces."""

    def part(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        value = plain(record.get(match[1]), unit)
        return value if isinstance(value, str) else to_json(value, unit)

    return re.sub(r"\{\{|\}\}|\{([^{}]+)\}", part, template)


def encoder(sink: Sink) -> Callable[[Mapping[str, Any], str], bytes]:
    """A function from (record, unit) to the framed bytes of one message."""
    body = _body(sink.format)
    frame = sink.frame

    def encode(record: Mapping[str, Any], unit: str) -> bytes:
        return framed(body(record, unit), frame)

    return encode


def _body(made: Format) -> Callable[[Mapping[str, Any], str], bytes]:
    match made.kind:
        case "json":
            return lambda record, unit: to_json(dict(record), unit).encode()
        case "text":
            template = made.options.get("template", "{line}")
            return lambda record, unit: to_text(template, record, unit).encode()
        case "msgpack":
            return lambda record, unit: bytes(msgpack.packb(with_times(dict(record), unit)))
        case "raw":
            return lambda record, unit: raw(record)
    raise AssertionError(f"the oracle does not write {made.kind}")


def raw(record: Mapping[str, Any]) -> bytes:
    """The field `data`, or the only one."""
    only = next(iter(record.values())) if len(record) == 1 else None
    value = record.get("data", only)
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, bytes):
        raise Refused("encode", "a raw record is bytes or text")
    return value


def with_times(value: Any, unit: str) -> Any:
    if isinstance(value, Time):
        return in_unit(value, unit)
    if isinstance(value, list):
        return [with_times(item, unit) for item in value]
    if isinstance(value, dict):
        return {name: with_times(item, unit) for name, item in value.items()}
    return value


def framed(message: bytes, frame: Frame) -> bytes:
    if frame.kind == "u32":
        return len(message).to_bytes(4, "big") + message
    return message + {"lines": b"\n", "none": b""}.get(frame.kind, frame.delimiter)


class Framer:
    """Bytes as they come, cut into messages; `position` is the place of a message's first byte."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.waiting = b""
        self.position = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        self.waiting += data
        found = []
        while (message := self.next()) is not None:
            found.append(message)
        return found

    def next(self) -> tuple[int, bytes] | None:
        if self.frame.kind == "u32":
            size = int.from_bytes(self.waiting[:4], "big")
            if len(self.waiting) < 4 or len(self.waiting) < 4 + size:
                return None
            return self.take(4, size, 0)
        mark = b"\n" if self.frame.kind == "lines" else self.frame.delimiter
        size = self.waiting.find(mark)
        return None if size < 0 else self.take(0, size, len(mark))

    def take(self, before: int, size: int, behind: int) -> tuple[int, bytes]:
        at, message = self.position + before, self.waiting[before : before + size]
        self.waiting = self.waiting[before + size + behind :]
        self.position += before + size + behind
        return at, self.stripped(message)

    def stripped(self, message: bytes) -> bytes:
        return message.removesuffix(b"\r") if self.frame.kind == "lines" else message

    def end(self) -> list[tuple[int, bytes]]:
        """A last line needs no newline."""
        return [self.take(0, len(self.waiting), 0)] if self.waiting else []
