"""Whether flows that have been changed could go on from the state of a worker that runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from appliance.store import Store
from appliance.worker.durable import Durable
from appliance.worker.record import FlowRecord, RecordRefused, RecordUnreadable
from appliance.worker.settling import drop_words, misfits


def fit_lines(
    store: Store,
    running: Sequence[Durable],
    wanted: Mapping[str, Mapping[str, str]],
    drop_state: Sequence[str],
) -> list[str]:
    """What stands in the way, empty when nothing does. `wanted`: the signatures of all flows as
    they would be. A flow that would no longer run keeps what it has.
    """
    records = {durable.name: durable.record for durable in running}
    lines = []
    for flow, packed in store.records().items():
        if flow not in wanted:
            continue
        try:
            record = records.get(flow) or FlowRecord.unpack(packed)
        except (RecordUnreadable, RecordRefused):
            continue  # its start says what is to be done about it
        for what, now in misfits(store, flow, record.signatures, wanted[flow]).items():
            if what.partition(" ")[2] not in drop_state:
                lines.append(_line(flow, what, record.signatures[what], now))
    return lines


def _line(flow: str, what: str, before: str, now: str | None) -> str:
    name = what.partition(" ")[2]
    change = "is gone" if now is None else f"would be\n    {now}"
    return (
        f"{flow}: the stored state of {what} does not fit: it was made by\n"
        f"    {before}\n  which {change}\n"
        f"  reload with --drop-state {name} {drop_words(what)}"
    )
