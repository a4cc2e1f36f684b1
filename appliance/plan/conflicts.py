"""What the flows of one run must not share: a file that two sinks write, or that is read while it
is written, and an address that two sources listen at.

Each flow alone is right, and the run would begin: with results lost in a file that two write at
their own offsets, or with the input replaced before it was read.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from appliance import connect
from appliance.errors import Fault
from appliance.plan.logical import Plan, Sink, Source

#: Sources that listen at a port, and whose port it is.
_LISTENERS = {"tcp": "tcp", "acknowledged_tcp": "tcp", "udp": "udp"}

_DEVICES = "/dev/"  # many may write /dev/null


def conflicts(plans: Sequence[Plan]) -> list[Fault]:
    """One fault for each end that is in the way of another; it stands at the later one."""
    return [
        *_written_twice(plans),
        *_stored_twice(plans),
        *_read_and_written(plans),
        *_heard_twice(plans),
    ]


def _written_twice(plans: Sequence[Plan]) -> Iterator[Fault]:
    first: dict[str, str] = {}
    for plan, sink, path in _written(plans):
        if path in first:
            remedy = 'one sink can take both: from = ["a", "b"]; else each needs a file of its own'
            message = f"sink {first[path]} writes {sink.options['path']} too"
            yield Fault(sink.place, message, remedy)
        first.setdefault(path, f"{sink.name} of {plan.name}")


def _stored_twice(plans: Sequence[Plan]) -> Iterator[Fault]:
    """A run that starts from nothing empties a table: another sink's rows, too."""
    first: dict[tuple[str, str], str] = {}
    for plan in plans:
        for sink in plan.sinks.values():
            if sink.connector != "sqlite":
                continue
            table = str(sink.options["table"])
            key = (_real(plan, sink.options["path"]), table.lower())
            if key in first:
                remedy = 'one sink can take both: from = ["a", "b"]; else each needs its own table'
                message = f"sink {first[key]} writes the table {table} of the same file too"
                yield Fault(sink.place, message, remedy)
            first.setdefault(key, f"{sink.name} of {plan.name}")


def _read_and_written(plans: Sequence[Plan]) -> Iterator[Fault]:
    readers = [(plan, source) for plan in plans for source in plan.sources.values()]
    for plan, sink, path in _written(plans):
        for other, source in readers:
            # Another flow may follow what this one writes.
            follows = other is not plan and source.options.get("follow") is True
            if source.connector == "file" and not follows and _reads(other, source, path):
                whose = f"{source.name} of {other.name}"
                message = f"this sink writes {sink.options['path']}, which source {whose} reads"
                yield Fault(sink.place, message, "write another file")


def _heard_twice(plans: Sequence[Plan]) -> Iterator[Fault]:
    first: dict[tuple[str, str, int], str] = {}
    for plan in plans:
        for source in plan.sources.values():
            listen = source.options.get("listen")
            protocol = _LISTENERS.get(source.connector)
            if protocol is None or not isinstance(listen, str):
                continue
            host, port = connect.parse_address(listen)
            address = (protocol, host, port)
            if port and address in first:
                message = f"source {first[address]} listens at {listen} too"
                yield Fault(source.place, message, "give each source a port of its own")
            first.setdefault(address, f"{source.name} of {plan.name}")


def _written(plans: Sequence[Plan]) -> Iterator[tuple[Plan, Sink, str]]:
    for plan in plans:
        for sink in plan.sinks.values():
            if sink.connector == "file":
                path = _real(plan, sink.options["path"])
                if not path.startswith(_DEVICES):
                    yield plan, sink, path


def _reads(plan: Plan, source: Source, path: str) -> bool:
    if source.options.get("path") is not None:
        return _real(plan, source.options["path"]) == path
    pattern = _real(plan, source.options["glob"])
    if "**" in pattern:
        return fnmatchcase(path, pattern)
    parts, wanted = path.split("/"), pattern.split("/")
    pairs = zip(parts, wanted, strict=False)  # a * does not cross folders
    return len(parts) == len(wanted) and all(fnmatchcase(*pair) for pair in pairs)


def _real(plan: Plan, path: object) -> str:
    return os.path.realpath(os.path.join(plan.base, str(path)))
