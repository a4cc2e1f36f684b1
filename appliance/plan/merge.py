"""Several inputs of one step (S19): their records come together in common slots.

Every input has a move operator, whose pairs grow as fields are asked for behind the merge; when the
whole record is needed, each input packs its own first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from appliance.plan.origins import Fields
from appliance.plan.port import Port
from appliance.plan.record import Key, Record

if TYPE_CHECKING:
    from appliance.plan.program import Parts


class MergeOrigin(Fields):
    """Fields of the merged record, filled by every input."""

    def __init__(self, parts: Parts, inputs: list[Port]) -> None:
        super().__init__(parts.slots)
        self._parts = parts
        self._inputs = inputs
        self._moves: list[dict[str, Any]] = []
        self.behind: list[int] = []
        for port in inputs:
            index, move = parts.op("move", step=-1, slots=[])
            move["next"] = self.behind
            port.next.append(index)
            self._moves.append(move)

    def slot(self, name: str) -> int:
        new = name not in self._known
        slot = super().slot(name)
        if new:
            self.fill([port.record.slot(name) for port in self._inputs], slot)
        return slot

    def fill(self, places: list[int], slot: int) -> None:
        """Let every input put the value of its own place into a common slot."""
        for move, place in zip(self._moves, places, strict=True):
            move["slots"] += [place, slot]

    def rest(self, demand: bool) -> int:
        first = demand and not self._demanded
        slot = super().rest(demand)
        if first:
            for move, port in zip(self._moves, self._inputs, strict=True):
                layout = self._parts.layout(port.record, port.unit, whole=True)
                index, pack = self._parts.op("pack", step=-1, layout=layout, result=slot)
                pack["next"], move["next"] = self.behind, [index]
        return slot

    def known(self) -> Mapping[str, int]:
        return {name: slot for name, slot in self._known.items() if not name.startswith("_")}


def merge(parts: Parts, inputs: list[Port]) -> Port:
    """One port of all; a single one stays as it is."""
    if len(inputs) == 1:
        return inputs[0]
    origin = MergeOrigin(parts, inputs)
    names = [tuple(port.record.fields) for port in inputs]
    closed = all(port.record.origin is None for port in inputs)
    if closed and all(other == names[0] for other in names):
        fields = {name: origin.slot(name) for name in names[0]}
        record = Record(parts.missing, fields, metadata=origin)
    else:
        record = Record(parts.missing, origin=origin, metadata=origin)
    sources = 0
    for port in inputs:
        sources |= port.sources
    arrival = all(port.arrival for port in inputs)
    merged = Port(record, origin.behind, sources, inputs[0].unit, arrival)
    return _keyed(parts, origin, inputs, merged)


def _keyed(parts: Parts, origin: MergeOrigin, inputs: list[Port], merged: Port) -> Port:
    """Streams with the same key stay keyed."""
    keys = [port.record.key for port in inputs]
    first = keys[0]
    if first is None or any(
        key is None or (key.names, key.fields) != (first.names, first.fields) for key in keys
    ):
        return merged
    slots = []
    for position in range(len(first.names)):
        slot = parts.slots.new()
        origin.fill([key.slots[position] for key in keys if key is not None], slot)
        slots.append(slot)
    register = parts.key()
    index, made = parts.op("key", step=-1, key=register, slots=slots, null_key=True)
    merged.next.append(index)
    key = Key(register, first.names, tuple(slots), first.fields)
    return replace(merged, record=replace(merged.record, key=key), next=made["next"])
