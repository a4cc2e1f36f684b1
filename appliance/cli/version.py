"""`bettong version`: answered before anything is imported."""

from __future__ import annotations

from appliance import __version__


def show() -> int:
    """Print it."""
    print(f"bettong {__version__}")
    return 0
