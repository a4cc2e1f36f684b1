"""`bettong fsck`: what a data folder holds, and whether all of it is what was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from appliance.cli.columns import columns
from appliance.metrics.summary import size_words
from appliance.store import Damage
from appliance.store.examine import Examined, FlowContents, examine
from appliance.supervisor.folder import data_folder, quiet
from appliance.worker.damage import DamageNotes, is_loss, open_store
from appliance.worker.record import FlowRecord, RecordRefused, RecordUnreadable
from appliance.worker.stores import store_folders


@click.command()
@click.argument("flow", required=False)
@click.option("--data", metavar="DIR", help="The data folder (else that of FLOW).")
@click.option("--repair", is_flag=True, help="Take out what is damaged; it goes to a quarantine.")
def command(flow: str | None, data: str | None, repair: bool) -> int:
    """Verify and explain what the data folder of FLOW holds. Exit code 1: there are findings."""
    with quiet(data_folder(data, flow)) as folder:
        found = store_folders(folder)
        if not found:
            print(f"{folder} holds no state")
        is_sound = True
        for store in found:
            is_sound &= _look(store, repair)
        for aside in _set_aside(folder):
            print(f"{aside}: set aside by an earlier repair; delete it when nobody needs it")
    return 0 if is_sound else 1


def _look(folder: Path, repair: bool) -> bool:
    """Print all there is to say of one store; whether it is sound."""
    found = examine(folder)
    records, unreadable = read_records(found)
    damage = [*found.damage, *unreadable]
    print("\n".join(_contents(folder, found, records)))
    for one in damage:
        print(f"  damaged: {words(one)}")
    if found.damage and repair:
        _repair(folder)
    known = DamageNotes(folder).all()
    for flow_name, text in known:
        print(f"  lost, and nobody has accepted it yet: flow {flow_name}: {text}")
    if damage or known:
        print("\n".join(_advice(bool(found.damage) and not repair, known, damage)))
    else:
        print("  sound: every checksum, directory and sequence is as it was written")
    return not damage and not known


def read_records(found: Examined) -> tuple[dict[str, FlowRecord], list[Damage]]:
    """The records of the flows that have one, and what is wrong with those that cannot be read."""
    records: dict[str, FlowRecord] = {}
    damage = []
    for flow in found.flows:
        try:
            if flow.record is not None:
                records[flow.name] = FlowRecord.unpack(flow.record)
        except RecordRefused as error:
            damage.append(Damage("copy", str(error), flow=flow.name))
        except RecordUnreadable as error:
            damage.append(Damage("record", str(error), flow=flow.name))
    return records, damage


def _repair(folder: Path) -> None:
    """Opening a store makes it sound; what was lost is kept in mind until somebody accepts it."""
    store = open_store(folder)
    try:
        store.repair_spools()
        for one in store.damage:
            print(f"  repaired: {words(one)}" + f" (kept in {one.file})" * bool(one.file))
    finally:
        store.close()


def _advice(can_repair: bool, known: list[tuple[str, str]], damage: list[Damage]) -> Iterator[str]:
    if can_repair:
        yield (
            "  what to do: keep a copy of the data folder, then `bettong fsck --repair`, or run the"
            " flow: both take out what is damaged, and keep its bytes in a quarantine"
        )
    # Results that were lost are a gap that their receiver is told of: nobody has to accept it.
    if known or any(is_loss(one) and one.kind != "spool" for one in damage):
        yield (
            "  a flow that lost something runs again with `bettong run --accept-damage`, on what is"
            " left and under a new stream id; or import an export that was made before"
        )


def words(one: Damage) -> str:
    """Damage in a line: what it is about, what happened, whether something is lost."""
    about = [f"flow {one.flow}"] if one.flow else []
    about += [f"step {one.step}"] if one.step and one.kind == "rows" else []
    about += [f"shard {one.shard}"] if one.shard >= 0 else []
    where = ", ".join(about) + ": " * bool(about)
    return where + one.text + ("" if is_loss(one) else " (nothing is lost)")


# ---- what is there ----


def _contents(folder: Path, found: Examined, records: dict[str, FlowRecord]) -> Iterator[str]:
    yield f"{folder}: worker {found.identity}, cut {found.cut}, {size_words(found.bytes)}"
    for flow in found.flows:
        if flow.record is None and not flow.steps and not flow.spools:
            continue  # dropped: its name goes with its last rows
        yield f"  flow {flow.name}"
        rows = list(_flow_rows(flow, records.get(flow.name)))
        yield from (f"    {line}" for line in columns(rows))


def _flow_rows(flow: FlowContents, record: FlowRecord | None) -> Iterator[list[str]]:
    if record is not None:
        yield ["stream", record.stream.hex(), f"epoch {record.epoch}"]
        yield from _positions(record)
    else:
        yield ["record", "none"]
    for step in flow.steps:
        kind = "keys and windows" if step.kind == "window" else "keys"
        yield ["step", step.step, f"{step.keys:,} {kind}", size_words(step.bytes)]
    spools = {info.sink: info for info in flow.spools}
    sinks = record.sinks if record is not None else {}
    for name in sorted(spools.keys() | sinks.keys()):
        row = ["sink", name]
        if name in sinks:
            one = sinks[name]
            row.append(f"{one.records:,} results")
            if one.place >= 0:
                row.append(f"to byte {one.place:,}")
        if name in spools and (count := spools[name].next_seq - spools[name].first_seq):
            row.append(f"{count:,} blocks wait, {size_words(spools[name].bytes)}")
        yield row


def _positions(record: FlowRecord) -> Iterator[list[str]]:
    for one in record.positions.partitions if record.positions is not None else ():
        row = ["source", record.names.sources[one.source], one.name or "(all of it)"]
        yield [*row, f"at {_position(one.position)}"]


def _position(position: int | bytes) -> str:
    if isinstance(position, int):
        return f"byte {position:,}"
    text = position.decode("utf-8", "replace")
    return text if text.isprintable() and len(text) <= 40 else position.hex()[:40]


def _set_aside(folder: Path) -> list[Path]:
    return sorted((folder / "state").glob("*.damaged-*"))
