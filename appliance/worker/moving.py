"""A flow that changes its worker (`worker = "own"` and back) takes its state along: from the store
it had to the one it has now, before either worker begins.

The flow is committed to its new store in one transaction, and dropped from the old one in another.
After a crash between the two both have it, with one history: the old one is dropped again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from appliance.errors import EnvironmentFailure
from appliance.logs import Logger
from appliance.store import Commit, SpoolBlock, Store, one_shard
from appliance.worker.damage import DamageNotes, open_store
from appliance.worker.job import SHARED, own_store
from appliance.worker.record import FlowRecord, RecordUnreadable


def move_flows(state: Path, shared: Sequence[str], own: Sequence[str], log: Logger) -> None:
    """Move every flow whose state lies in the store of another worker. `state`: the folder of all
    stores; `shared` and `own`: the flows that run in the shared worker and in one of their own.

    Nobody else may use these stores. EnvironmentFailure when a flow has two histories.
    """
    moves = [(own_store(flow), SHARED, [flow]) for flow in shared]
    moves += [(SHARED, own_store(flow), [flow]) for flow in own]
    for before, now, flows in moves:
        if (state / before).is_dir():
            _move(state / before, state / now, flows, log)


def _move(before: Path, now: Path, flows: Sequence[str], log: Logger) -> None:
    source = open_store(before)
    try:
        found = [flow for flow in flows if flow in source.records()]
        if not found:
            return
        target = open_store(now)
        try:
            for flow in found:
                _move_flow(source, target, flow)
                _move_notes(before, now, flow)
                log.info("the state of a flow has moved", flow=flow, source=before, to=now)
        finally:
            target.close()
    finally:
        source.close()


def _move_flow(source: Store, target: Store, flow: str) -> None:
    packed = source.records()[flow]
    there = target.records().get(flow)
    if there is None:
        target.commit(flow_commit(source, flow, packed))
    elif not _is_one_history(packed, there):
        raise EnvironmentFailure(
            f"{flow}: two workers' stores hold a history of this flow, and neither is the other's; "
            "run it as it was (`worker` in its settings), or name another data folder with --data"
        )
    source.drop_flow(flow)


def _is_one_history(one: bytes, other: bytes) -> bool:
    try:
        return FlowRecord.unpack(one).stream == FlowRecord.unpack(other).stream
    except RecordUnreadable:
        return False


def flow_commit(store: Store, flow: str, record: bytes) -> Commit:
    """Everything a store has of a flow as what another one can commit. Takes memory for it."""
    spools = [
        SpoolBlock(flow, info.sink, (block,))
        for info in store.spools()
        if info.flow == flow
        for seq in range(info.first_seq, info.next_seq)
        if (block := store.read_block(flow, info.sink, seq)) is not None
    ]
    sections = [
        one_shard(flow, part.step, part.kind, part.shard, part.rows) for part in store.rows(flow)
    ]
    return Commit(sections, {flow: record}, spools)


def _move_notes(before: Path, now: Path, flow: str) -> None:
    notes = DamageNotes(before)
    DamageNotes(now).add((flow, text) for text in notes.of(flow))
    notes.accept(flow)
