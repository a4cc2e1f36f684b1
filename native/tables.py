"""Write the tables that the number kernels need: `python native/tables.py FOLDER` makes
FOLDER/powers.h.

The only one so far is 10^k for every k that a double needs, each as 128 bits: 10^k = g × 2^e with
2^127 ≤ g < 2^128, g rounded up. They are computed here with exact integers, so that nobody has to
believe 600 literals.
"""

from __future__ import annotations

import sys
from pathlib import Path

#: From the shortest text of the largest double (a factor 10^-292) to that of the smallest (10^324).
POWER_MIN = -292
POWER_MAX = 324

HEADER = """\
/* powers.h: made by native/tables.py. 10^k for k from POWER_MIN, rounded up to 128 bits, its top
 * bit set. */
"""


def power_of_ten(k: int) -> int:
    """10^k scaled by a power of two into [2^127, 2^128), rounded up."""
    numerator, denominator = (10**k, 1) if k >= 0 else (1, 10**-k)
    shift = 128 - numerator.bit_length() + denominator.bit_length()
    while True:  # the estimate is at most one too large
        scaled = -(-(numerator << max(shift, 0)) // (denominator << max(-shift, 0)))
        if scaled < 1 << 128:
            break
        shift -= 1
    assert scaled >> 127 == 1, k
    return scaled


def powers() -> str:
    """The text of powers.h."""
    rows = []
    for k in range(POWER_MIN, POWER_MAX + 1):
        value = power_of_ten(k)
        rows.append(f"    {{0x{value >> 64:016x}, 0x{value & (1 << 64) - 1:016x}}}, /* {k} */\n")
    return (
        HEADER
        + f"enum {{ POWERS_FIRST = {POWER_MIN}, POWERS_LAST = {POWER_MAX} }};\n"
        + "static const power_t POWERS[] = {\n"
        + "".join(rows)
        + "};\n"
    )


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python native/tables.py FOLDER", file=sys.stderr)
        return 2
    Path(arguments[0], "powers.h").write_text(powers())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
