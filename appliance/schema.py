"""Types of fields, as a schema declares them: `"float"`, `"str?"`."""

from __future__ import annotations

from msgspec import Struct

#: The types of S1 that a schema can ask for; null is what `?` allows.
KINDS = ("bool", "int", "float", "str", "bytes", "list", "map", "time")


class FieldType(Struct, frozen=True):
    """One declared field: its kind (one of `KINDS`), and whether it may be missing or null."""

    kind: str
    optional: bool = False

    @classmethod
    def parse(cls, text: str) -> FieldType:
        """Read `"float"` or `"str?"`. Raises ValueError, saying what is possible."""
        kind, mark, rest = text.partition("?")
        if kind not in KINDS or rest:
            kinds = ", ".join(KINDS)
            raise ValueError(f"{text!r} is not a type; types are {kinds}, and `?` allows null")
        return cls(kind, bool(mark))

    def __str__(self) -> str:
        return self.kind + ("?" if self.optional else "")
