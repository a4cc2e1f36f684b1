"""What is stored of a flow against what the flow is now: state, positions and undelivered results
that do not belong to it are refused, or dropped where that was asked for, once they are exported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from msgspec import Struct, field

from appliance import connect
from appliance.errors import EnvironmentFailure
from appliance.logs import Logger
from appliance.plan.logical import PythonStep
from appliance.plan.signature import address_signature, state_signatures
from appliance.store import Store
from appliance.worker.block import Block, BlockDamaged
from appliance.worker.job import Job
from appliance.worker.loading import LoadedFlow
from appliance.worker.opening import OpenEnd
from appliance.worker.record import FlowRecord, SinkRecord


def signatures(flow: LoadedFlow) -> dict[str, str]:
    """What the state of a loaded flow depends on, the fields of Python states included."""
    plan = flow.open.plan
    found = {f"step {name}": text for name, text in state_signatures(plan).items()}
    for step in plan.steps.values():
        if isinstance(step.operation, PythonStep) and f"step {step.name}" in found:
            entry = flow.functions_of(step.name)
            if entry is not None and "state_fields" in entry:
                found[f"step {step.name}"] += f"; {entry['state_fields']}"
    for source, end in zip(plan.sources.values(), flow.open.sources, strict=True):
        if connect.is_replayable(end.connector):
            found[f"source {source.name}"] = address_signature(source)
    return found


def misfits(
    store: Store, flow: str, before: Mapping[str, str], wanted: Mapping[str, str]
) -> dict[str, str | None]:
    """Steps and sources that have stored state, or positions, which do not fit what is wanted now:
    each with its new signature, None when it is gone. `before`: the stored signatures."""
    changed = {what: wanted.get(what) for what in before if wanted.get(what) != before[what]}
    stored = {info.step for info in store.steps(flow)} if changed else set()
    return {
        what: now
        for what, now in changed.items()
        if what.startswith("source ") or what.partition(" ")[2] in stored
    }


def drop_words(what: str) -> str:
    """What --drop-state does to that step or source."""
    if what.startswith("source "):
        return "to forget them: what it reads begins at its start"
    return "to drop that state (it is exported first)"


class Settling(Struct, frozen=True):
    """Brings the record of one flow up to what the flow is now. `settle` gives what stands in the
    way, empty when nothing does; with anything in it, nothing of the store may be used. What is to
    be dropped goes with `carry_out`, once nothing stands in the way of any flow."""

    store: Store
    flow: LoadedFlow
    record: FlowRecord
    job: Job
    log: Logger
    drops: list[Callable[[], None]] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)  # steps, sources and sinks of these

    def _will_drop(self, name: str, drop: Callable[[], None]) -> None:
        self.drops.append(drop)
        self.dropped.add(name)

    def carry_out(self) -> None:
        """Export and drop what nobody wants any more."""
        for drop in self.drops:
            drop()

    def settle(self) -> list[str]:
        wanted = signatures(self.flow)
        refused = self._settle_steps_and_sources(wanted)
        refused += self._settle_sinks()
        self._report_gone()
        self.record.signatures = wanted
        return refused

    # ---- steps and sources ----

    def drop_all_state(self) -> None:
        """Of a flow that begins anew, all that is stored of its steps goes."""
        for info in self.store.steps(self.flow.name):
            self._will_drop(info.step, partial(self._drop, "step", info.step))

    def _settle_steps_and_sources(self, wanted: Mapping[str, str]) -> list[str]:
        refused = []
        before = self.record.signatures
        misfit = misfits(self.store, self.flow.name, before, wanted)
        for what in before:
            kind, _, name = what.partition(" ")
            if wanted.get(what) == before[what]:
                continue
            if name in self.job.drop_state:
                self._will_drop(name, partial(self._drop, kind, name))
            elif what in misfit:
                refused.append(self._refusal(what, name, before[what], misfit[what]))
        return refused

    def _refusal(self, what: str, name: str, before: str, now: str | None) -> str:
        held = "its positions" if what.startswith("source ") else self._size_words(name)
        change = "is gone" if now is None else f"is now\n    {now}"
        return (
            f"{self.flow.name}: the stored state of {what} does not fit ({held}): it was made by\n"
            f"    {before}\n  which {change}\n"
            f"  run it with --drop-state {name} {drop_words(what)}, or name another data folder "
            "with --data"
        )

    def _size_words(self, step: str) -> str:
        size = sum(len(part.rows) for part in self.store.rows(self.flow.name) if part.step == step)
        return f"{size:,} bytes of rows"

    def _drop(self, kind: str, name: str) -> None:
        flow = self.flow.name
        if kind == "source":
            self.record.forget_source(name)
            self.log.warning("the positions of a source are dropped", flow=flow, source=name)
            return
        path = self._export(name)
        self.store.drop_step(flow, name)
        self.record.forget_step(name)
        self.log.warning("the state of a step is dropped", flow=flow, step=name, exported=path)

    def _export(self, step: str) -> Path:
        """The rows of a step into a file beside the store; the file."""
        name = re.sub(r"[^\w.-]", "_", f"{self.flow.name}-{step}-{self.store.cut}")
        path = Path(self.job.store).parent / f"dropped-{name}.msgpack"
        try:
            with path.open("wb") as out:
                for part in self.store.rows(self.flow.name):
                    if part.step == step:
                        out.write(part.rows)
                out.flush()
                os.fsync(out.fileno())
        except OSError as error:
            raise EnvironmentFailure(
                f"{path}: the state of step {step} cannot be exported, so it is not dropped: "
                f"{error.strerror}"
            ) from error
        return path

    # ---- sinks ----

    def _settle_sinks(self) -> list[str]:
        """Every sink gets its place in the record; numbers go on whatever changed."""
        refused = []
        for end in self.flow.open.sinks:
            known = self.record.sinks.setdefault(end.name, SinkRecord())
            address = self._address(end)
            if known.address == address:
                continue
            waiting = self._waiting_bytes(end.name)
            if waiting and _is_elsewhere(known.address, address):
                if end.name not in self.job.drop_spool:
                    refused.append(self._sink_refusal(end, known.address, address, waiting))
                    continue
                self._will_drop(end.name, partial(self._give_up, end.name, waiting))
                known.place = end.size
            elif address.startswith("placed"):
                # Blocks that still wait, their record lost, have places: new ones stand behind.
                known.place = max(end.size, self._end_of_spool(end))
            if not address.startswith("placed"):
                known.place = -1
            known.address = address
            known.started = False
        return refused

    def _address(self, end: OpenEnd) -> str:
        """How results get to a sink, and where it is."""
        way = "immediate"
        if end.spooled:
            way = "placed" if isinstance(end.connector, connect.Placed) else "spooled"
        return f"{way} {address_signature(self.flow.open.plan.sinks[end.name])}"

    def _sink_refusal(self, end: OpenEnd, before: str, now: str, waiting: int) -> str:
        return (
            f"{self.flow.name}: {waiting:,} bytes of results of sink {end.name} still wait to be "
            f"written to\n    {before}\n  which is now\n    {now}\n"
            "  run the flow as it was and `bettong drain` it first, or give them up with "
            f"--drop-spool {end.name}"
        )

    def _waiting_bytes(self, sink: str) -> int:
        info = self.store.spool(self.flow.name, sink)
        return max(info.bytes, 1) if info.next_seq > info.first_seq else 0

    def _end_of_spool(self, end: OpenEnd) -> int:
        info = self.store.spool(self.flow.name, end.name)
        if info.next_seq == info.first_seq:
            return 0
        try:
            packed = self.store.read_block(self.flow.name, end.name, info.next_seq - 1)
            block = Block.unpack(packed or b"")
        except BlockDamaged as error:
            self.log.error("results are lost", flow=self.flow.name, sink=end.name, error=error)
            return 0
        return block.place + len(block.data)

    def _give_up(self, sink: str, size: int) -> None:
        self.store.drop_spool(self.flow.name, sink)
        self.log.warning(
            "undelivered results are given up", flow=self.flow.name, sink=sink, bytes=size
        )

    def _report_gone(self) -> None:
        """Spools of sinks that have gone stay until somebody gives them up."""
        ends = {end.name for end in self.flow.open.sinks}
        for info in self.store.spools():
            if info.flow != self.flow.name or info.sink in ends:
                continue
            waiting = self._waiting_bytes(info.sink)
            if waiting and info.sink in self.job.drop_spool:
                self._will_drop(info.sink, partial(self._give_up, info.sink, waiting))
            elif waiting:
                self.log.warning(
                    "a sink that is gone has undelivered results; --drop-spool gives them up",
                    flow=info.flow,
                    sink=info.sink,
                    bytes=waiting,
                )


def _is_elsewhere(before: str, now: str) -> bool:
    """Whether blocks made for one address do not fit another: of another way, or of another file.
    What waits for a peer goes to wherever the peer is now."""
    ways = {before.partition(" ")[0], now.partition(" ")[0]}
    is_file = "placed" in ways or before.startswith("immediate file ")
    return bool(before) and (len(ways) == 2 or is_file)
