"""The ports that flows listen on: free, held by the very run, or somebody else's."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.cli.doctor.facts import ROOT, number_of, text_of
from appliance.cli.doctor.finding import Finding, fault, ok
from appliance.connect import address_text, parse_address
from appliance.plan.logical import Plan, Sink, Source

GROUP = "ports"

_CAP_NET_BIND_SERVICE = 10
_LISTENING, _RECEIVING = "0A", "07"  # states in /proc/net/tcp and /proc/net/udp


@dataclass(frozen=True)
class Listening:
    """A source (or sink) that listens, where, and with which kind of socket."""

    flow: str
    name: str
    address: str
    kind: int = socket.SOCK_STREAM


def listeners(plans: Sequence[Plan]) -> Iterator[Listening]:
    """Whatever has an option `listen` with an address, our connectors' and users'."""
    for plan in plans:
        ends: list[Source | Sink] = [*plan.sources.values(), *plan.sinks.values()]
        for end in ends:
            given = end.options.get("listen")
            if isinstance(given, str) and given:
                kind = socket.SOCK_DGRAM if end.connector == "udp" else socket.SOCK_STREAM
                yield Listening(plan.name, end.name, given.removeprefix("tcp://"), kind)


def check_ports(
    plans: Sequence[Plan], status: Mapping[str, Any] | None, root: Path = ROOT
) -> list[Finding]:
    """Each of them. `status`: of the run that has the data folder, if there is one."""
    running = {
        (flow["name"], end["name"])
        for flow in (status or {}).get("flows", ())
        for end in (*flow["sources"], *flow["sinks"])
    }
    return [
        _held_by_us(one) if (one.flow, one.name) in running else check_port(one, root)
        for one in listeners(plans)
    ]


def _held_by_us(one: Listening) -> Finding:
    return ok(GROUP, f"{one.flow}.{one.name}", f"{one.address} is held by this flow, which runs")


def check_port(one: Listening, root: Path = ROOT) -> Finding:
    """Whether a source could listen there now: it is tried, for a moment."""
    subject = f"{one.flow}.{one.name}"
    try:
        host, port = parse_address(one.address)
    except ValueError as error:
        return fault(GROUP, subject, str(error), 'write it as "host:port"')
    if port and not may_bind(port, root):
        remedy = "listen above 1023, or allow it: AmbientCapabilities=CAP_NET_BIND_SERVICE"
        found = f"{one.address} is a port for which this user needs a permission"
        return fault(GROUP, subject, found, remedy)
    try:
        _try(host, port, one.kind)
    except OSError as error:
        return _refused(one, subject, port, error, root)
    return ok(GROUP, subject, f"{address_text(host, port)} is free" if port else "any free port")


def _try(host: str, port: int, kind: int) -> None:
    infos = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)
    family, _, _, _, place = infos[0]
    with socket.socket(family, kind) as made:
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(place)
        if kind == socket.SOCK_STREAM:
            made.listen(1)  # binding alone succeeds beside another that reuses addresses


def _refused(one: Listening, subject: str, port: int, error: OSError, root: Path) -> Finding:
    if isinstance(error, socket.gaierror):
        remedy = "name an address of this box, or 0.0.0.0 for all of them"
        return fault(GROUP, subject, f"{one.address}: the name is not known", remedy)
    if error.errno == errno.EADDRINUSE:
        holder = holder_of(port, one.kind, root) or "another program"
        remedy = f"end it, or let {one.name} listen on another port"
        return fault(GROUP, subject, f"{one.address} is held by {holder}", remedy)
    if error.errno == errno.EADDRNOTAVAIL:
        remedy = "see its addresses with `ip address`, or use 0.0.0.0 for all of them"
        return fault(GROUP, subject, f"{one.address}: this box has no such address", remedy)
    return fault(GROUP, subject, f"{one.address}: {error.strerror}", "choose another address")


def may_bind(port: int, root: Path = ROOT) -> bool:
    """Whether this user may listen on a port of this number."""
    first_free = number_of(root / "proc/sys/net/ipv4/ip_unprivileged_port_start")
    if port >= (1024 if first_free is None else first_free):
        return True
    for line in text_of(root / "proc/self/status").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_NET_BIND_SERVICE & 1)
    return False


def holder_of(port: int, kind: int, root: Path = ROOT) -> str:
    """Which program has a port, as far as we may see: "process 123 (mosquitto)"; else ""."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(port, kind, root)}
    for process in (root / "proc").glob("[0-9]*") if wanted else ():
        if not wanted.isdisjoint(_open_files(process)):
            return f"process {process.name} ({text_of(process / 'comm')})"
    return ""


def _open_files(process: Path) -> Iterator[str]:
    try:
        for path in (process / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since
                yield os.readlink(path)
    except OSError:  # it has ended, or is not ours to look into
        return


def _inodes(port: int, kind: int, root: Path) -> Iterator[str]:
    name, state = ("tcp", _LISTENING) if kind == socket.SOCK_STREAM else ("udp", _RECEIVING)
    for table in (name, f"{name}6"):
        for line in text_of(root / "proc/net" / table).splitlines()[1:]:
            words = line.split()
            if len(words) > 9 and words[3] == state and words[1].endswith(f":{port:04X}"):
                yield words[9]
