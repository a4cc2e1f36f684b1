"""Ports that nobody has."""

from __future__ import annotations

import socket


def free_port() -> int:
    """A port of the loopback that is free now, for a listener that must come back to it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port
