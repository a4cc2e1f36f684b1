"""What several connectors need of the system: addresses, listening sockets, standard streams."""

from __future__ import annotations

import errno
import os
import stat
import typing

from appliance.errors import EnvironmentFailure

if typing.TYPE_CHECKING:
    import socket


def parse_address(text: str) -> tuple[str, int]:
    """`"host:port"`, `"[::1]:port"`, `":port"` or `"port"`; without a host it is the loopback.
    ValueError otherwise.
    """
    host, _, port_text = text.strip().rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not port_text.isascii() or not port_text.isdigit() or int(port_text) > 65535:
        raise ValueError(f'{text!r} is not an address such as "127.0.0.1:9000"')
    return host or "127.0.0.1", int(port_text)


def address_text(host: str, port: int) -> str:
    """The same, written out."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listening_socket(address: str, kind: int) -> socket.socket:
    """A socket of this kind (SOCK_STREAM, SOCK_DGRAM) bound to `"host:port"`, not blocking.

    EnvironmentFailure says why it cannot be had.
    """
    import socket

    host, port = parse_address(address)
    try:
        infos = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise EnvironmentFailure(f"cannot listen on {address}: {error.strerror}") from error
    family, _, _, _, place = infos[0]
    made = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(place)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise EnvironmentFailure(f"cannot listen on {address}: {_why(error)}") from error
    return made


def _why(error: OSError) -> str:
    remedies = {
        errno.EADDRINUSE: "another program has this port",
        errno.EADDRNOTAVAIL: "this box has no such address",
        errno.EACCES: "no permission (ports below 1024 need it)",
    }
    return remedies.get(error.errno or 0, error.strerror or str(error))


def own_stream(fd: int, flags: int) -> int:
    """A descriptor of our own for standard input (0) or output (1), which does not block.

    Whether a descriptor blocks belongs to the open file, which a terminal or a pipe shares with
    other programs: those would be surprised. So it is opened anew where the system allows it.
    """
    try:
        mode = os.fstat(fd).st_mode
    except OSError as error:
        name = "standard input" if fd == 0 else "standard output"
        raise EnvironmentFailure(f"{name} is closed") from error
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        try:
            return os.open(
                f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            )
        except OSError:
            # Another user's terminal cannot be opened again; a copy that blocks still works,
            # because the lane only touches it when it is ready.
            return os.dup(fd)
    copy = os.dup(fd)
    if stat.S_ISSOCK(mode):
        os.set_blocking(copy, False)
    return copy
