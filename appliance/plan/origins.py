"""Where open records come from; see `record`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from appliance.native import lib
from appliance.plan.code import Slots
from appliance.plan.logical import Source
from appliance.plan.shape import METADATA

_TAGS = {
    "bool": lib.TAG_BOOL,
    "int": lib.TAG_INT,
    "float": lib.TAG_FLOAT,
    "str": lib.TAG_STR,
    "bytes": lib.TAG_BYTES,
    "list": lib.TAG_LIST,
    "map": lib.TAG_MAP,
    "time": lib.TAG_TIME,
}


class Fields:
    """Slots given out by name, and one for the packed map."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._known: dict[str, int] = {}
        self._rest: int | None = None
        self._demanded = False

    def slot(self, name: str) -> int:
        if name not in self._known:
            self._known[name] = self._slots.new()
        return self._known[name]

    def known(self) -> Mapping[str, int]:
        return self._known

    def rest(self, demand: bool) -> int:
        self._demanded = self._demanded or demand
        if self._rest is None:
            self._rest = self._slots.new()
        return self._rest

    @property
    def filled_rest(self) -> int:
        """The slot of the packed map when somebody needs it, else -1."""
        return self._rest if self._rest is not None and self._demanded else -1


class SourceOrigin(Fields):
    """The records of a source: its decoder finds the fields that are asked for."""

    def __init__(self, source: Source, slots: Slots) -> None:
        super().__init__(slots)
        self._source = source
        self._metadata: dict[str, int] = {}
        for name in source.schema:
            super().slot(name)

    def slot(self, name: str) -> int:
        if name in METADATA and name not in self._source.schema:
            if name not in self._metadata:
                self._metadata[name] = self._slots.new()
            return self._metadata[name]
        return super().slot(name)

    def document(self) -> dict[str, Any]:
        schema = self._source.schema
        fields: list[list[object]] = []
        for name, slot in self.known().items():
            declared = schema.get(name)
            kind = lib.TAG_MISSING if declared is None else _TAGS[declared.kind]
            fields.append([name, slot, kind, declared is not None and not declared.optional])
        rest = self.filled_rest
        whole = -1 if rest >= 0 or self._rest is None else self._rest
        return {"fields": fields, "rest": rest, "whole": whole, "meta": self._metadata}


class PythonOrigin(Fields):
    """What a Python function returned."""

    def document(self) -> dict[str, Any]:
        fields = [[name, slot, lib.TAG_MISSING, False] for name, slot in self.known().items()]
        return {"fields": fields, "rest": self.filled_rest}
