"""The examples in docs/formats, read."""

from __future__ import annotations

import re
from pathlib import Path

import msgpack

PAGES = Path(__file__).resolve().parents[2] / "docs" / "formats"


def example(page: str) -> bytes:
    """The bytes of a page's first hexadecimal block; what follows a # is a comment."""
    found = re.search(r"```hex\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)
    assert found
    return bytes.fromhex(re.sub(r"#.*", "", found[1]))


def test_the_program_page_shows_a_where() -> None:
    assert msgpack.unpackb(example("program.md")) == {"op": "where", "result": 7, "next": [2]}
