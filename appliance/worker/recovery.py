"""From what the store holds to flows that go on: before the lane starts, everything that a run
before this one has committed is given back.

The epoch of each flow is raised in a committed transaction before anything leaves. State that does
not belong to the flow as it is written now is refused, or dropped where that was asked for, once it
is exported. What is damaged is reported, and the flow begins a new history.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from appliance import connect, points
from appliance.errors import BettongError, EnvironmentFailure
from appliance.logs import Logger
from appliance.plan.logical import PythonStep
from appliance.plan.signature import address_signature, state_signatures
from appliance.store import Commit, Store
from appliance.worker.block import Block, BlockDamaged
from appliance.worker.cut_form import PartitionCut, SinkRestore
from appliance.worker.durable import Durable
from appliance.worker.job import Job
from appliance.worker.lane import Lane
from appliance.worker.loading import LoadedFlow
from appliance.worker.opening import OpenEnd
from appliance.worker.record import STREAM_BYTES, FlowRecord, Names, RecordUnreadable, SinkRecord
from appliance.worker.spool import Spool

_STATEFUL = ("window", "running", "python")


class StateRefused(EnvironmentFailure):
    """Stored state that this flow cannot go on from, and how to go on without it."""


@dataclass
class Recovered:
    """What recovery gives the worker: a flow's durable side; the positions of sources that are read
    by threads, by source and partition; and for each sink with numbered results the oldest numbers
    that its spool still holds.
    """

    durable: Durable
    positions: dict[str, dict[str, bytes]] = field(default_factory=dict)
    resumed: bool = False
    oldest: dict[str, dict[int, int]] = field(default_factory=dict)


def recover(
    store: Store, flows: Sequence[LoadedFlow], lane: Lane, job: Job, log: Logger
) -> list[Recovered]:
    """Give the lane, the sources and the spools what the store holds, and raise the epochs.

    StateRefused lists everything that stands in the way, of all flows.
    """
    records = store.records()
    notes = DamageNotes(Path(job.store))
    notes.add((found.flow, found.text) for found in store.damage)
    made = [_begin(store, flow, records.get(flow.name), notes, job, log) for flow in flows]
    refused = [line for recovered, lines in made for line in lines]
    if refused:
        raise StateRefused("\n".join(refused))
    recovered = [one for one, _ in made]
    for one in recovered:
        if not points.is_broken("epoch-raised"):
            one.durable.record.epoch += 1
        if points.is_broken("numbers-restored"):
            for sink in one.durable.record.sinks.values():
                sink.following.clear()
    points.reach("epoch.before")
    store.commit(
        Commit((), {one.durable.name: one.durable.record.pack() for one in recovered}, (), {})
    )
    points.reach("epoch.after")
    for one in recovered:
        if notes.of(one.durable.name):
            notes.accept(one.durable.name)
    for index, (flow, one) in enumerate(zip(flows, recovered, strict=True)):
        _restore_spools(store, one, lane, index, log)
        if one.resumed:
            _restore_lane(store, flow, one, lane, index, log)
    return recovered


class DamageNotes:
    """Damage that nobody has accepted yet: the store is made sound when it is opened, so that what
    was lost would be forgotten with the next start. One line each in a file beside the store.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "damage.txt"
        self._notes: list[tuple[str, str]] = []
        if self._path.exists():
            for line in self._path.read_text("utf-8", "replace").splitlines():
                flow, _, text = line.partition("\t")
                self._notes.append((flow, text))

    def add(self, notes: Iterable[tuple[str, str]]) -> None:
        """More of it; flow "" is all of them."""
        fresh = [note for note in notes if note not in self._notes]
        if fresh:
            self._notes += fresh
            self._write()

    def of(self, flow: str) -> list[str]:
        """What was lost of a flow."""
        return [text for owner, text in self._notes if owner in ("", flow)]

    def accept(self, flow: str) -> None:
        """The flow goes on without it."""
        self._notes = [note for note in self._notes if note[0] not in ("", flow)]
        self._write()

    def _write(self) -> None:
        if not self._notes:
            self._path.unlink(missing_ok=True)
            return
        fresh = self._path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as out:
            for flow, text in self._notes:
                line = " ".join(text.split())
                out.write(f"{flow}\t{line}\n")
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(self._path)


# ---- what there is, and whether it fits ----


def _begin(
    store: Store,
    flow: LoadedFlow,
    packed: bytes | None,
    notes: DamageNotes,
    job: Job,
    log: Logger,
) -> tuple[Recovered, list[str]]:
    """The flow's record, brought up to what the flow is now, and what stands in the way."""
    record, refused = _read(store, flow, packed, notes, job, log)
    resumed = record is not None
    if record is None:
        record = FlowRecord(os.urandom(STREAM_BYTES))
    wanted = signatures(flow)
    refused += _settle_signatures(store, flow, record, wanted, job, log)
    record.signatures = wanted
    refused += _settle_sinks(store, flow, record, job, log)
    before = {name: sink.records for name, sink in record.sinks.items()}
    durable = Durable(flow.open, record, Names.of(flow.open.document), before=before)
    return Recovered(durable, _positions(flow, record), resumed), refused


def _read(
    store: Store,
    flow: LoadedFlow,
    packed: bytes | None,
    notes: DamageNotes,
    job: Job,
    log: Logger,
) -> tuple[FlowRecord | None, list[str]]:
    """The stored record; None for a flow without a history. Damage ends the old history, once
    somebody has accepted that."""
    damage = []
    record = None
    if packed is not None:
        try:
            record = FlowRecord.unpack(packed)
        except RecordUnreadable as error:
            damage.append(str(error))
    elif store.steps(flow.name):
        damage.append("its positions and numbers are lost")
    notes.add((flow.name, text) for text in damage)
    damage = notes.of(flow.name)
    if not damage:
        return record, []
    if not (job.accept_damage or flow.open.plan.settings.on_damage == "continue"):
        lines = [f"{flow.name}: damaged: {text}" for text in damage]
        lines.append(
            f"{flow.name}: run it with --accept-damage to go on with what is left; "
            "what was damaged is kept in the quarantine folder beside the store"
        )
        return record, lines
    for text in damage:
        log.error("damaged: going on with what is left", flow=flow.name, what=text)
    if record is None:
        # Positions are gone: sources begin anew, and what they bring must not count twice.
        store.drop_flow(flow.name)
    else:
        record.stream = os.urandom(STREAM_BYTES)
        record.epoch = 0
        for sink in record.sinks.values():
            sink.following.clear()
    return record, []


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


def _settle_signatures(
    store: Store,
    flow: LoadedFlow,
    record: FlowRecord,
    wanted: Mapping[str, str],
    job: Job,
    log: Logger,
) -> list[str]:
    refused = []
    for what, before in record.signatures.items():
        now = wanted.get(what)
        if now == before:
            continue
        kind, _, name = what.partition(" ")
        if name in job.drop_state:
            _drop(store, flow, record, kind, name, Path(job.store), log)
        elif kind == "source" or name in {info.step for info in store.steps(flow.name)}:
            change = "is gone" if now is None else f"is now\n    {now}"
            refused.append(
                f"{flow.name}: the stored state of {what} does not fit: it was made by\n"
                f"    {before}\n  which {change}\n"
                f"  run it with --drop-state {name} to drop that state (it is exported first)"
            )
    return refused


def _drop(
    store: Store,
    flow: LoadedFlow,
    record: FlowRecord,
    kind: str,
    name: str,
    folder: Path,
    log: Logger,
) -> None:
    if kind == "source":
        record.forget_source(name)
        log.warning("the positions of a source are dropped", flow=flow.name, source=name)
        return
    path = folder / f"dropped-{flow.name}-{name}-{store.cut}.msgpack"
    with path.open("wb") as out:
        for part in store.rows(flow.name):
            if part.step == name:
                out.write(part.rows)
        out.flush()
        os.fsync(out.fileno())
    store.drop_step(flow.name, name)
    record.forget_step(name)
    log.warning("the state of a step is dropped", flow=flow.name, step=name, exported=path)


def _settle_sinks(
    store: Store, flow: LoadedFlow, record: FlowRecord, job: Job, log: Logger
) -> list[str]:
    """Every sink gets its place in the record; what stands in the way. Spools of sinks that have
    gone stay until somebody gives them up."""
    refused = []
    ends = {end.name: end for end in flow.open.sinks}
    for end in ends.values():
        known = record.sinks.setdefault(end.name, SinkRecord())
        address = _address(flow, end)
        if known.address == address:
            continue
        if _waits_elsewhere(store, end, known.address, address):
            if end.name not in job.drop_spool:
                refused.append(
                    f"{flow.name}: results of sink {end.name} still wait to be written to\n"
                    f"    {known.address}\n  which is now\n    {address}\n"
                    f"  let them be delivered first, or give them up with --drop-spool {end.name}"
                )
                continue
            store.drop_spool(flow.name, end.name)
            log.warning("undelivered results are given up", flow=flow.name, sink=end.name)
        known.address = address
        known.place = end.size if address.startswith("placed") else -1
        known.started = False
    for info in store.spools():
        if info.flow != flow.name or info.sink in ends or info.first_seq == info.next_seq:
            continue
        what = {"flow": info.flow, "sink": info.sink, "bytes": info.bytes}
        if info.sink in job.drop_spool:
            store.drop_spool(info.flow, info.sink)
            record.sinks.pop(info.sink, None)
            log.warning("undelivered results are given up", **what)
        else:
            log.warning(
                "a sink that is gone has undelivered results; --drop-spool gives them up", **what
            )
    return refused


def _address(flow: LoadedFlow, end: OpenEnd) -> str:
    """How results get to a sink, and where it is."""
    way = "immediate"
    if end.spooled:
        way = "placed" if isinstance(end.connector, connect.Placed) else "spooled"
    return f"{way} {address_signature(flow.open.plan.sinks[end.name])}"


def _waits_elsewhere(store: Store, end: OpenEnd, before: str, now: str) -> bool:
    """Whether blocks wait that do not fit the sink as it is now: of another way, or of another
    place. What waits for a peer goes to wherever the peer is now."""
    info = store.spool(end.flow, end.name)
    ways = {before.partition(" ")[0], now.partition(" ")[0]}
    return bool(before) and info.first_seq != info.next_seq and (len(ways) == 2 or "placed" in ways)


# ---- giving it back ----


def _positions(flow: LoadedFlow, record: FlowRecord) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    for one in record.positions.partitions if record.positions is not None else ():
        if isinstance(one.position, bytes):
            source = record.names.sources[one.source]
            found.setdefault(source, {})[one.name] = one.position
    return found


def _restore_spools(store: Store, one: Recovered, lane: Lane, index: int, log: Logger) -> None:
    durable = one.durable
    for end, planned in zip(durable.open.sinks, durable.plan.sinks.values(), strict=True):
        if not end.spooled:
            continue

        def press(full: bool, sink: int = end.index) -> None:
            lane.mail_spool(index, sink, full)

        def gives_up(sink: str = end.name) -> None:
            log.warning(
                "a spool is full: its oldest results are given up", flow=durable.name, sink=sink
            )

        spool = Spool(durable.name, end.name, store, planned.spool, press, gives_up)
        info = store.spool(durable.name, end.name)
        spool.restore(info.first_seq, info.next_seq, info.bytes)
        _look_at_oldest(store, one, end, spool, log)
        durable.spools[end.name] = spool


def _look_at_oldest(store: Store, one: Recovered, end: OpenEnd, spool: Spool, log: Logger) -> None:
    """What the oldest block that waits says about its sink."""
    sink = one.durable.record.sinks[end.name]
    expected = sink.place
    if not spool.is_empty:
        packed = store.read_block(end.flow, end.name, spool.first)
        try:
            block = Block.unpack(packed or b"")
            expected = block.place
            if block.first:
                one.oldest[end.name] = dict(block.first)
        except BlockDamaged as error:
            log.error("undelivered results are damaged", flow=end.flow, sink=end.name, error=error)
    if end.size >= expected:
        return
    # A file has become shorter since: nothing is put back, what is new goes to its end.
    if spool.is_empty:
        sink.place = end.size
    log.error(
        "a file has become shorter than what was written to it"
        + ("; results go on at its end" if spool.is_empty else "; its missing part reads as zeros"),
        flow=end.flow,
        sink=end.name,
        bytes=end.size,
        expected=expected,
    )


def _restore_lane(
    store: Store, flow: LoadedFlow, one: Recovered, lane: Lane, index: int, log: Logger
) -> None:
    durable = one.durable
    record, names = durable.record, durable.names
    operators = {
        names.steps[op]: op
        for op, entry in enumerate(flow.open.document["ops"])
        if entry["op"] in _STATEFUL
    }
    positions = record.positions_for(names, flow.open.document["timed"])
    if positions is None:
        return
    if points.is_broken("unfinished-kept"):
        positions = replace(positions, partitions=tuple(map(_cut_off, positions.partitions)))
    document = replace(positions, sinks=tuple(_pending(store, durable, log))).pack()
    lane.restore(index, document)
    count = 0
    for part in store.rows(flow.name):
        op = operators.get(part.step)
        if op is None:
            raise BettongError(f"{flow.name}: the store has {part.kind} rows of step {part.step!r}")
        lane.restore_rows(index, op, part.rows)
        count += len(part.rows)
    log.info("resumed", flow=flow.name, cut=store.cut, epoch=record.epoch, state_bytes=count)


def _cut_off(one: PartitionCut) -> PartitionCut:
    """Without its unfinished frame, as if its source had been read up to a whole one."""
    read, _, _, _ = one.frame
    return replace(one, unfinished=b"", frame=(read, 0, False, 0))


def _pending(store: Store, durable: Durable, log: Logger) -> Iterator[SinkRestore]:
    """How the lane's sinks go on; immediate ones with what they had not taken at the last cut."""
    for end in durable.open.sinks:
        started = durable.record.sinks[end.name].started
        info = store.spool(durable.name, end.name)
        pending, place = b"", None
        if not end.spooled and info.next_seq > info.first_seq:
            seq = info.next_seq - 1
            durable.kept[end.name] = seq
            packed = store.read_block(durable.name, end.name, seq)
            try:
                block = Block.unpack(packed or b"")
                pending, place = block.data, block.place
            except BlockDamaged as error:
                log.error("unsent results are lost", flow=durable.name, sink=end.name, error=error)
        is_file = end.native is not None and end.native.kind == "file"
        yield SinkRestore(end.index, pending, started, place if is_file else None)
