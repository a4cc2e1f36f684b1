"""`bettong version`: answered before anything is imported."""

from __future__ import annotations

#: The version of the product; a test holds it against the package's.
VERSION = "0.1.0"


def show() -> int:
    """Print it."""
    print(f"bettong {VERSION}")
    return 0
