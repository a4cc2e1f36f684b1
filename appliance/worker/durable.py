"""One flow's durable side while it runs: its record, its spools, and how a cut of the lane becomes
what the store commits.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from appliance import clock
from appliance.plan.logical import Plan
from appliance.store import Section, SpoolBlock
from appliance.worker.block import Block, number
from appliance.worker.cut_form import FlowCut, SinkCut
from appliance.worker.opening import OpenEnd, OpenFlow
from appliance.worker.record import FlowRecord, Names, SinkRecord
from appliance.worker.spool import Spool, Waiting


class Durable(Struct):
    """Used by the committer's thread only, once recovery has made it; spools have their own locks.

    `made`: of each sink, the block of the cut at hand and its size. `kept`: the seq of the block
    that holds what an immediate sink had not taken at the last cut.
    `before`: results of each sink in the runs before this one.
    """

    open: OpenFlow
    record: FlowRecord
    names: Names
    spools: dict[str, Spool] = field(default_factory=dict)
    made: dict[str, tuple[Block, int]] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    before: dict[str, int] = field(default_factory=dict)

    @property
    def plan(self) -> Plan:
        return self.open.plan

    @property
    def name(self) -> str:
        return self.open.plan.name

    def sections(self, cut: FlowCut) -> list[Section]:
        """The rows of all its steps that the cut brings."""
        return [
            Section(self.name, self.names.steps[part.op], part.kind, part.sizes, part.rows)
            for part in cut.sections
            if part.rows
        ]

    def note(self, cut: FlowCut) -> None:
        """Positions, watermarks and times of the cut into the record."""
        self.record.positions = replace(cut.positions(), sinks=())
        self.record.names = self.names

    def blocks(self, cut: FlowCut) -> tuple[list[SpoolBlock], dict[tuple[str, str], int]]:
        """What its sinks have got since the last cut as blocks for the store, under their places
        and numbers; and which blocks of immediate sinks they replace.
        """
        made: list[SpoolBlock] = []
        replaced: dict[tuple[str, str], int] = {}
        for end, part in zip(self.open.sinks, cut.sinks, strict=True):
            sink = self.record.sinks[end.name]
            sink.records = self.before.get(end.name, 0) + part.records
            sink.started = part.started
            if not end.spooled and end.name in self.kept:
                replaced[(self.name, end.name)] = self.kept[end.name]
            if part.block:
                block = self._block(end, sink, part)
                made.append(SpoolBlock(self.name, end.name, block.parts()))
                self.made[end.name] = block, made[-1].size
        return made, replaced

    def _block(self, end: OpenEnd, sink: SinkRecord, part: SinkCut) -> Block:
        place = sink.place if end.spooled else part.offset
        if end.spooled and place >= 0:
            sink.place += len(part.block)
        first = number(part.shards, sink.following) if part.shards else None
        stream, epoch = self.record.stream, self.record.epoch
        return Block(part.block, clock.known_s(), place, stream, epoch, part.shards, first)

    def committed(self, seqs: Mapping[str, int]) -> None:
        """The block of each of these sinks is in the store, under this number."""
        for sink, spool in self.spools.items():
            if sink in seqs:
                spool.add(Waiting(seqs[sink], *self.made[sink]))
        self.kept = {sink: seq for sink, seq in seqs.items() if sink not in self.spools}
        self.made.clear()
