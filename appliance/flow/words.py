"""The nouns of the API: connectors, formats, windows. Each is what its table in a flow file would
be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from os import PathLike, fspath
from typing import Any

from appliance.expression import col
from appliance.units import duration_text

#: The only field of a record that is a plain value: `key_by(itself)` after a function that gives
#: words.
itself = col.value

Duration = str | timedelta  #: `"10s"`, or a timedelta


@dataclass(frozen=True)
class Connector:
    """Where events come from or results go: `tcp = { listen = "127.0.0.1:7010" }`."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Wire:
    """How records look on the wire: a format, and a frame where it is not the format's own."""

    format: object
    frame: object = None


# ---- connectors ----


class tcp:
    """TCP connections: a partition each."""

    @staticmethod
    def listen(address: int | str) -> Connector:
        """Accept connections at a port of the loopback, or at `"host:port"`."""
        return Connector("tcp", {"listen": _address(address)})

    @staticmethod
    def connect(address: int | str) -> Connector:
        """Connect to `"host:port"`; a bare port is on the loopback."""
        return Connector("tcp", {"connect": _address(address)})


class udp:
    """UDP: one message a datagram."""

    @staticmethod
    def listen(address: int | str) -> Connector:
        """Receive at a port of the loopback, or at `"host:port"`."""
        return Connector("udp", {"listen": _address(address)})

    @staticmethod
    def connect(address: int | str) -> Connector:
        """Send to `"host:port"`."""
        return Connector("udp", {"connect": _address(address)})


def acknowledged_tcp(address: int | str, *, token: str | None = None) -> Connector:
    """Clients that keep each message until it is in a cut: at a port of the loopback, or at
    `"host:port"`."""
    return Connector("acknowledged_tcp", _given({"listen": _address(address), "token": token}))


def file(
    path: str | PathLike[str] | None = None,
    *,
    glob: str | None = None,
    follow: bool | None = None,
) -> Connector:
    """A file to read or to write. A source may take all files that match `glob`, and `follow` what
    is appended."""
    given = {"path": None if path is None else fspath(path), "glob": glob, "follow": follow}
    return Connector("file", _given(given))


def sqlite(
    path: str | PathLike[str], table: str, *, columns: Mapping[str, str] | None = None
) -> Connector:
    """Rows of a table, each exactly once; `columns` declares them with SQLite's types."""
    given = {"path": fspath(path), "table": table, "columns": columns and dict(columns)}
    return Connector("sqlite", _given(given))


def stdin() -> Connector:
    """What is piped or typed into the program."""
    return Connector("stdin")


def stdout() -> Connector:
    """The program's own output."""
    return Connector("stdout")


def blackhole() -> Connector:
    """Nowhere: results are counted and forgotten."""
    return Connector("blackhole")


def generate(
    fields: Mapping[str, str],
    *,
    rate: str | float | None = None,
    count: int | None = None,
    seed: int | None = None,
) -> Connector:
    """Made-up records: `generate({"device": "choice(100)", "temp": "normal(20, 5)"},
    rate="200/s")`."""
    given = {"fields": dict(fields), "rate": rate, "count": count, "seed": seed}
    return Connector("generate", _given(given))


def connector(path: str, **options: Any) -> Connector:
    """A connector of your own: `connector("modbus.py:Modbus", host="…")`."""
    return Connector("connector", {"path": path, **options})


# ---- formats ----


def json() -> Wire:
    """JSON, one record a line."""
    return Wire("json")


def lines() -> Wire:
    """Plain text, one record a line: the field `line`."""
    return Wire("text", "lines")


def text(template: str) -> Wire:
    """For sinks: a line of text with fields put in, `text("{word} => {count}")`."""
    return Wire({"text": template})


def csv(
    *,
    header: bool | None = None,
    columns: list[str] | None = None,
    delimiter: str | None = None,
) -> Wire:
    """Comma-separated values; without named columns the first line names them."""
    return Wire({"csv": _given({"header": header, "columns": columns, "delimiter": delimiter})})


def msgpack() -> Wire:
    """msgpack maps, each behind its length (u32, big-endian)."""
    return Wire("msgpack")


def raw() -> Wire:
    """Bytes as they are: the field `data`."""
    return Wire("raw")


def binary(fields: Mapping[str, str], *, order: str | None = None) -> Wire:
    """Fixed fields one behind the other: `binary({"letter": "s1", "votes": "u32"})`, big-endian
    unless told."""
    return Wire({"binary": _given({"order": order, "fields": dict(fields)})})


# ---- windows and time ----


def tumbling(
    size: Duration, *, offset: Duration | None = None, late_policy: str | None = None
) -> dict[str, object]:
    """Windows of `size`, one behind the other, aligned to the epoch (S14)."""
    given = {"tumbling": size, "offset": offset, "late_policy": late_policy}
    return _window(given)


def hopping(
    size: Duration,
    every: Duration,
    *,
    offset: Duration | None = None,
    late_policy: str | None = None,
) -> dict[str, object]:
    """Windows of `size`, one beginning `every` so often (S14)."""
    given = {"hopping": size, "every": every, "offset": offset, "late_policy": late_policy}
    return _window(given)


def global_window(
    every: Duration | None = None, *, late_policy: str | None = None
) -> dict[str, object]:
    """One window without an end: a result at every record, or `every` so often (S14)."""
    return _window({"global": True, "every": every, "late_policy": late_policy})


def event_time(
    field: str,
    unit: str,
    *,
    late: Duration | None = None,
    idle: Duration | None = None,
    max_ahead: Duration | None = None,
    when_idle: str | None = None,
) -> dict[str, object]:
    """The time of a record is in its `field`, in "s", "ms", "us", "ns" or as "rfc3339" text
    (S6–S8)."""
    given = {"field": field, "unit": unit, "late": late, "idle": idle}
    return _window({**given, "max_ahead": max_ahead, "when_idle": when_idle})


def _window(given: Mapping[str, object]) -> dict[str, object]:
    return {
        key: duration_text(round(value / timedelta(microseconds=1)))
        if isinstance(value, timedelta)
        else value
        for key, value in _given(given).items()
    }


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _address(address: int | str) -> str:
    return f"127.0.0.1:{address}" if isinstance(address, int) else address
