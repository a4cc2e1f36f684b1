"""A record as the compiler sees it at one place of the flow: which field stands in which slot.

A closed record is its fields. An open one has an origin that can be asked for any field, and, when
something behind needs the record whole, for a packed map of all of them; `fields` are then only
those put over it. What nobody asks for is never decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct, field
from msgspec.structs import replace


class Origin(Protocol):
    """Where an open record comes from: a source, a Python function, a merge."""

    def slot(self, name: str) -> int:
        """The slot of a field, decoded from now on; missing where the record does not have it."""

    def known(self) -> Mapping[str, int]:
        """The fields asked for so far."""

    def rest(self, demand: bool) -> int:
        """The slot of the packed map. It is filled for every record once it was demanded."""


class Key(Struct, frozen=True):
    """A key register, and where the key's values stand under which names."""

    register: int
    names: tuple[str, ...]
    slots: tuple[int, ...]
    fields: frozenset[str]  # the names that are fields: removing one ends the key (S10)


class Record(Struct, frozen=True):
    """`missing` is a slot that always is missing."""

    missing: int
    fields: Mapping[str, int] = field(default_factory=dict)
    origin: Origin | None = None  # None: closed
    hidden: frozenset[str] = frozenset()  # of an open record: dropped
    metadata: Origin | None = None  # the source, for `_source` and its like
    key: Key | None = None

    def slot(self, name: str) -> int:
        """Where a field stands."""
        if name in self.fields:
            return self.fields[name]
        if name.startswith("_") and self.metadata is not None:
            return self.metadata.slot(name)
        if self.origin is None or name in self.hidden:
            return self.missing
        return self.origin.slot(name)

    def slots(self, names: frozenset[str]) -> dict[str, int]:
        return {name: self.slot(name) for name in sorted(names)}

    def with_fields(self, fields: Mapping[str, int]) -> Record:
        """Fields added, or put in the place of those of the same name."""
        return replace(self, fields={**self.fields, **fields})

    def without(self, names: tuple[str, ...]) -> Record:
        kept = {name: slot for name, slot in self.fields.items() if name not in names}
        hidden = self.hidden | frozenset(names) if self.origin is not None else self.hidden
        return replace(self, fields=kept, hidden=hidden)._with_key_checked(frozenset(names))

    def closed(self, fields: Mapping[str, int]) -> Record:
        """Only these fields are left (`select`)."""
        record = replace(self, fields=dict(fields), origin=None, hidden=frozenset())
        gone = self.key.fields - frozenset(fields) if self.key is not None else frozenset()
        return record._with_key_checked(gone)

    def _with_key_checked(self, removed: frozenset[str]) -> Record:
        if self.key is not None and self.key.fields & removed:
            return replace(self, key=None)
        return self


class Layout(Struct):
    """The names and slots of a record, written down at the end of compiling: an origin may be asked
    for more fields until then. `whole`: the record leaves as it is, so its origin must give all of
    it.
    """

    record: Record
    unit: str
    whole: bool

    def __post_init__(self) -> None:
        if self.whole and self.record.origin is not None:
            self.record.origin.rest(demand=True)

    def document(self) -> dict[str, object]:
        record, rest = self.record, -1
        entries = dict(record.fields)
        if record.origin is not None:
            rest = record.origin.rest(demand=False)
            if not self.whole:
                known = record.origin.known().items()
                entries.update(
                    (name, slot)
                    for name, slot in known
                    if name not in entries and name not in record.hidden
                )
        return {
            "entries": [[name, slot] for name, slot in entries.items()],
            "rest": rest,
            "hidden": sorted(record.hidden),
            "unit": self.unit,
        }
