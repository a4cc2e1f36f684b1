"""Ports that nobody has."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager


def own_host() -> str:
    """An address of the loopback that only this process uses. A port that is free while its
    listener is away is soon another's, whose senders the listener would hear when it comes back."""
    high, middle, low = os.getpid().to_bytes(3, "big")
    return f"127.{64 + high}.{middle}.{low}"


def free_port(host: str = "127.0.0.1") -> int:
    """A port of the loopback that is free now, for a listener that must come back to it."""
    with socket.create_server((host, 0)) as probe:
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
