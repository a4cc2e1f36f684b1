"""Ports that nobody has."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


def free_port() -> int:
    """A port of the loopback that is free now, for a listener that must come back to it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


@contextmanager
def held_port() -> Iterator[int]:
    """A port at which nobody listens, and nobody can as long as it is held."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        assert isinstance(port, int)
        yield port
