"""Rows of words in aligned columns: plain text that reads well and can be cut."""

from __future__ import annotations

from collections.abc import Sequence

_GAP = "  "


def columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """One line a row, without blanks at the ends; columns listed in `right` stand to the right."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(_longest(rows))]
    return [
        _GAP.join(
            word.rjust(widths[i]) if i in right else word.ljust(widths[i])
            for i, word in enumerate(row)
        ).rstrip()
        for row in rows
    ]


def _longest(rows: Sequence[Sequence[str]]) -> int:
    return max(len(row) for row in rows)
