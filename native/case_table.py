"""Write the tables of case: `python native/case_table.py FOLDER` makes FOLDER/case_table.h.

They are taken from the Python that builds us, so that both agree: every character whose lower (or
upper) case is one single other character. What is special (ß becomes SS, the Σ at the end of a
word) is left as it is, or as the table has it for the character alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

HEADER = """\
/* case_table.h: made by native/case_table.py. Characters from `first` to `last`, every `step`-th,
 * change by `delta`. */
typedef struct case_range {
    uint32_t first, last, step;
    int32_t delta;
} case_range_t;
"""


def mapping(change: Callable[[str], str]) -> dict[int, int]:
    """Code points of characters that change into one other, and into which."""
    changed = {}
    for point in range(0x110000):
        if 0xD800 <= point < 0xE000:
            continue
        text = change(chr(point))
        if len(text) == 1 and ord(text) != point:
            changed[point] = ord(text)
    return changed


def ranges(changed: dict[int, int]) -> list[tuple[int, int, int, int]]:
    """(first, last, step, delta), in order, none overlapping: runs of step 1 or 2."""
    found: list[tuple[int, int, int, int]] = []
    for point, other in sorted(changed.items()):
        delta = other - point
        if found:
            first, last, step, known = found[-1]
            gap = point - last
            if delta == known and gap <= 2 and (gap == step or first == last):
                found[-1] = (first, point, gap, delta)
                continue
        found.append((point, point, 1, delta))
    return found


def table(name: str, change: Callable[[str], str]) -> str:
    rows = [
        f"    {{0x{first:x}, 0x{last:x}, {step}, {delta}}},\n"
        for first, last, step, delta in ranges(mapping(change))
    ]
    return f"static const case_range_t {name}[] = {{\n{''.join(rows)}}};\n"


def main(folder: Path) -> None:
    text = HEADER + table("CASE_LOWER", str.lower) + table("CASE_UPPER", str.upper)
    (folder / "case_table.h").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
