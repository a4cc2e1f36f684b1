"""The small languages inside texts: templates of `format` and patterns of `format_time`."""

from __future__ import annotations

import re

from msgspec import Struct

#: The widest place of a template, and the most digits after the point: more is a mistake.
WIDTH_MAX = 255
PRECISION_MAX = 20

_TEMPLATE = re.compile(r"\{\{|\}\}|\{(?P<inside>[^{}]*)\}|[{}]|[^{}]+")
_SPEC = re.compile(
    r"(?P<kind>[dx])|\.(?P<precision>[0-9]{1,2})f|0(?P<zeros>[0-9]{1,3})d"
    r"|(?P<align>[<>])(?P<width>[0-9]{1,3})"
)
TIME_LETTERS = "YmdHMSfjy%"


class Spec(Struct, frozen=True):
    """How one value is put in. `kind`: "" (as it is), "d", "x", "f" with `size` digits after the
    point, "0" (digits padded with zeros to `size`), "<" or ">" (text padded with blanks to `size`).
    """

    kind: str
    size: int = 0


def parse_template(template: str) -> list[str | Spec]:
    """The text and the places of a template, in order. Raises ValueError."""
    parts: list[str | Spec] = []
    for match in _TEMPLATE.finditer(template):
        piece, inside = match[0], match["inside"]
        if inside is not None:
            parts.append(_parse_spec(inside))
        elif piece in ("{", "}"):
            raise ValueError(f"a single {piece} in a template; write {piece * 2} for the character")
        else:
            parts.append(piece[0] if piece in ("{{", "}}") else piece)
    return parts


def _parse_spec(inside: str) -> Spec:
    if inside in ("", ":"):
        return Spec("")
    match = _SPEC.fullmatch(inside[1:]) if inside.startswith(":") else None
    if match is None:
        known = "{} {:.2f} {:d} {:05d} {:>8} {:<8} {:x}"
        raise ValueError(f"{{{inside}}} is not known in a template; known are {known}")
    if match["kind"]:
        return Spec(match["kind"])
    if match["precision"]:
        return _bounded("f", match["precision"], PRECISION_MAX)
    if match["zeros"]:
        return _bounded("0", match["zeros"], WIDTH_MAX)
    return _bounded(match["align"], match["width"], WIDTH_MAX)


def _bounded(kind: str, digits: str, most: int) -> Spec:
    if int(digits) > most:
        raise ValueError(f"{digits} is too much in a template; at most {most}")
    return Spec(kind, int(digits))


def parse_time_pattern(pattern: str) -> list[str]:
    """The pieces of a pattern, each a text or `%` and a letter. Raises ValueError."""
    pieces = re.findall(r"%.?|[^%]+", pattern, re.DOTALL)
    for piece in pieces:
        if piece.startswith("%") and piece[1:] not in list(TIME_LETTERS):
            known = " ".join("%" + letter for letter in TIME_LETTERS)
            raise ValueError(f"{piece} is not known in a time pattern; known are {known}")
    return pieces
