"""From what the store holds to flows that go on: before the lane starts, everything that a run
before this one has committed is given back.

The epoch of each flow is raised in a committed transaction before anything leaves. State that does
not belong to the flow as it is written now is refused, or dropped where that was asked for, once it
is exported. What is damaged is reported, and the flow begins a new history.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from appliance import points
from appliance.errors import BettongError, EnvironmentFailure
from appliance.logs import Logger
from appliance.plan.logical import Plan
from appliance.store import Commit, Store
from appliance.worker.block import Block, BlockDamaged
from appliance.worker.cut_form import PartitionCut, SinkRestore
from appliance.worker.damage import DamageNotes, is_loss
from appliance.worker.durable import Durable
from appliance.worker.job import Job
from appliance.worker.lane import Lane
from appliance.worker.loading import LoadedFlow
from appliance.worker.opening import OpenEnd
from appliance.worker.record import (
    STREAM_BYTES,
    FlowRecord,
    Names,
    RecordRefused,
    RecordUnreadable,
)
from appliance.worker.settling import Settling
from appliance.worker.spool import Spool

_STATEFUL = ("window", "running", "python", "seen")


class StateRefused(EnvironmentFailure):
    """Stored state that this flow cannot go on from, and how to go on without it."""


class Recovered(Struct):
    """What recovery gives the worker: a flow's durable side, and the positions of sources that are
    read by threads, by source and partition.
    """

    durable: Durable
    positions: dict[str, dict[str, bytes]] = field(default_factory=dict)
    resumed: bool = False


def recover(
    store: Store, flows: Sequence[LoadedFlow], lane: Lane, job: Job, log: Logger
) -> list[Recovered]:
    """Give the lane, the sources and the spools what the store holds, and raise the epochs.

    StateRefused lists everything that stands in the way, of all flows.
    """
    records = store.records()
    notes = _note_damage(store, flows, records, job, log)
    _say_idle(flows, records, log)
    made = [_begin(store, flow, records.get(flow.name), notes, job, log) for flow in flows]
    refused = [line for _, _, lines in made for line in lines]
    if refused:
        raise StateRefused("\n".join(refused))
    recovered = [one for one, _, _ in made]
    for one, settling, _ in made:
        settling.carry_out()
        one.positions = _positions(one.durable.record)
    _say_not_dropped(job, {name for _, settling, _ in made for name in settling.dropped}, log)
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
        notes.accept(one.durable.name)
    for index, (flow, one) in enumerate(zip(flows, recovered, strict=True)):
        _restore_spools(store, one.durable, lane, index, log)
        if one.resumed:
            _restore_lane(store, flow, one, lane, index, log)
    return recovered


# ---- what there is, and whether it fits ----


def _note_damage(
    store: Store, flows: Sequence[LoadedFlow], records: Mapping[str, bytes], job: Job, log: Logger
) -> DamageNotes:
    """What was found when the store was opened, and before. What lost nothing is only said."""
    for found in store.damage:
        if not is_loss(found):
            log.warning("damage was repaired, nothing is lost", what=found.text, kept=found.file)
    notes = DamageNotes(Path(job.store))
    # What has no owner, for nothing was left to know the flows by, is these flows'.
    notes.give_to([*records, *(flow.name for flow in flows)])
    return notes


def _say_idle(flows: Sequence[LoadedFlow], records: Mapping[str, bytes], log: Logger) -> None:
    """Flows that have run with this data folder and do not now keep what they have."""
    for name in records.keys() - {flow.name for flow in flows}:
        log.info("the data folder holds the state of a flow that does not run now", flow=name)


def _say_not_dropped(job: Job, dropped: set[str], log: Logger) -> None:
    """A name that somebody has mistyped, or whose state fits, must not pass for a dropped one."""
    if not job.restart:
        for name in sorted({*job.drop_state, *job.drop_spool} - dropped):
            log.warning("nothing is dropped: there is none of that name, or it fits", name=name)


def _begin(
    store: Store,
    flow: LoadedFlow,
    packed: bytes | None,
    notes: DamageNotes,
    job: Job,
    log: Logger,
) -> tuple[Recovered, Settling, list[str]]:
    """The flow's record, brought up to what the flow is now, and what stands in the way."""
    record, refused = _read(store, flow, packed, notes, job, log)
    resumed = record is not None
    if record is None:
        record = FlowRecord(os.urandom(STREAM_BYTES))
    settling = Settling(store, flow, record, job, log)
    if not resumed:
        # Without positions sources begin anew, and what they bring must not count twice. Results
        # that wait have places and numbers of their own, and are delivered.
        settling.drop_all_state()
    refused += settling.settle()
    before = {name: sink.records for name, sink in record.sinks.items()}
    durable = Durable(flow.open, record, Names.of(flow.open.document), before=before)
    return Recovered(durable, resumed=resumed), settling, refused


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
    try:
        record, damage = _look(store, flow.name, packed, notes)
    except RecordRefused as error:
        return None, [f"{flow.name}: {error}"]
    if not damage:
        return record, []
    if not _goes_on(flow.open.plan, job):
        return record, _held_lines(flow.name, damage)
    for text in damage:
        log.error("damaged: going on with what is left", flow=flow.name, what=text)
    if record is not None:
        # The epoch goes on: what waits of the old stream is sent by a later start of it, too.
        record.stream = os.urandom(STREAM_BYTES)
        for sink in record.sinks.values():
            sink.following.clear()
    return record, []


def held_back(store: Store, plans: Sequence[Plan], job: Job) -> dict[str, list[str]]:
    """The flows of which something was lost that nobody has accepted yet, with what there is to say
    of each. They keep what they have, as flows that do not run do, and the others run."""
    records = store.records()
    notes = DamageNotes(Path(job.store))
    notes.give_to([*records, *(plan.name for plan in plans)])
    held = {}
    for plan in plans:
        if _goes_on(plan, job):
            continue
        try:
            _, damage = _look(store, plan.name, records.get(plan.name), notes)
        except RecordRefused:
            continue  # recovery says why
        if damage:
            held[plan.name] = _held_lines(plan.name, damage)
    return held


def _look(
    store: Store, flow: str, packed: bytes | None, notes: DamageNotes
) -> tuple[FlowRecord | None, list[str]]:
    """A flow's record, if there is one, and what was lost of the flow. RecordRefused."""
    found = []
    record = None
    if packed is not None:
        try:
            record = FlowRecord.unpack(packed)
        except RecordRefused:
            raise
        except RecordUnreadable as error:
            found.append(str(error))
    steps = store.steps(flow) if record is None else ()
    if steps:
        names = ", ".join(info.step for info in steps)
        found.append(
            f"its positions and numbers are lost: it begins anew, without the state of {names}"
        )
    notes.add((flow, text) for text in found)
    return record, notes.of(flow)


def _goes_on(plan: Plan, job: Job) -> bool:
    """Whether a flow that has lost something goes on with what is left. What was accepted was known
    then: a worker that is started again has not asked anybody."""
    return (job.accept_damage and not job.restart) or plan.settings.on_damage == "continue"


def _held_lines(flow: str, damage: Sequence[str]) -> list[str]:
    return [
        *(f"{flow}: damaged: {text}" for text in damage),
        f"{flow}: run it with --accept-damage to go on with what is left; "
        "what was damaged is kept in the quarantine folder beside the store",
    ]


# ---- giving it back ----


def _positions(record: FlowRecord) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    for one in record.positions.partitions if record.positions is not None else ():
        if isinstance(one.position, bytes):
            source = record.names.sources[one.source]
            found.setdefault(source, {})[one.name] = one.position
    return found


def _restore_spools(store: Store, durable: Durable, lane: Lane, index: int, log: Logger) -> None:
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
        if durable.record.sinks[end.name].place >= 0:
            _check_place(store, durable, end, spool, log)
        durable.spools[end.name] = spool


def _check_place(store: Store, durable: Durable, end: OpenEnd, spool: Spool, log: Logger) -> None:
    """Whether what has been written to a file is still there, and nothing else."""
    sink = durable.record.sinks[end.name]
    expected = sink.place
    if end.size > expected:
        # Written over all the same: when a copy of this state did it, it wrote what comes now.
        log.error(
            "a file is longer than what this state has written to it: somebody else, or another "
            "copy of this state, writes there; results go on at their place, over what is there",
            flow=end.flow,
            sink=end.name,
            bytes=end.size,
            expected=expected,
        )
    if not spool.is_empty:
        packed = store.read_block(end.flow, end.name, spool.first)
        try:
            block = Block.unpack(packed or b"")
            expected = block.place
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
    count, known = 0, len(store.damage)
    for part in store.rows(flow.name):
        op = operators.get(part.step)
        if op is None:
            raise BettongError(f"{flow.name}: the store has {part.kind} rows of step {part.step!r}")
        lane.restore_rows(index, op, part.rows)
        count += len(part.rows)
    for found in store.damage[known:]:
        log.error("state is lost", flow=flow.name, what=found.text)
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
        pending: bytes | memoryview = b""
        place = None
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
