"""A node's state as one file, and a data folder made of one: rows, records, undelivered results."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance import clock
from appliance.disk import sync_folder
from appliance.errors import EnvironmentFailure, UsageError
from appliance.limits import EXPORT_BATCH_BYTES, SHARD_COUNT
from appliance.store import Commit, Section, SpoolBlock, Store, one_shard
from appliance.store.examine import examine
from appliance.worker.damage import DamageNotes, open_store
from appliance.worker.export_file import ExportRefused, ExportWriter, read_export
from appliance.worker.record import FlowRecord, RecordUnreadable
from appliance.worker.stores import STATE, store_folders


@dataclass
class Carried:
    """What an export holds: when it was made (seconds since 1970; 0: the box did not know the
    time), its stores and flows, bytes of rows, blocks of undelivered results."""

    made_s: int = 0
    stores: list[str] = field(default_factory=list)
    flows: list[str] = field(default_factory=list)
    row_bytes: int = 0
    blocks: int = 0


def write_export(data: Path, path: Path) -> Carried:
    """Write the state of a data folder that nobody runs with. EnvironmentFailure: there is none, it
    is damaged, or the file cannot be written; then there is no file."""
    folders = store_folders(data)
    if not folders:
        raise EnvironmentFailure(f"{data} holds no state to export")
    for folder in folders:
        if examine(folder).damage:
            raise EnvironmentFailure(
                f"{folder} is damaged, and an export would lose what it lost: see `bettong fsck`"
            )
    carried = Carried(clock.known_s())
    writer = ExportWriter(path)
    try:
        writer.add("node", carried.made_s)
        for folder in folders:
            _write_store(folder, writer, carried)
        writer.finish()
    except BaseException:
        writer.abandon()
        raise
    return carried


def _write_store(folder: Path, writer: ExportWriter, carried: Carried) -> None:
    store = open_store(folder)
    try:
        writer.add("store", folder.name)
        carried.stores.append(folder.name)
        for flow, record in store.records().items():
            for part in store.rows(flow):
                writer.add("rows", flow, part.step, part.kind, part.shard, part.rows)
                carried.row_bytes += len(part.rows)
            for sink, block in _blocks(store, flow):
                writer.add("block", flow, sink, block)
                carried.blocks += 1
            writer.add("record", flow, record)
            carried.flows.append(flow)
        if store.damage:
            raise EnvironmentFailure(f"{folder}: {store.damage[0].text}: see `bettong fsck`")
    finally:
        store.close()
    for flow, text in DamageNotes(folder).all():
        writer.add("lost", flow, text)


def _blocks(store: Store, flow: str) -> Iterator[tuple[str, bytes]]:
    for info in store.spools():
        if info.flow == flow:
            for seq in range(info.first_seq, info.next_seq):
                block = store.read_block(flow, info.sink, seq)
                if block is not None:
                    yield info.sink, block


def look_into(path: Path) -> Carried:
    """Check all of a file, and say what it holds. ExportRefused."""
    carried = Carried()
    for kind, *values in read_export(path):
        if kind == "node":
            carried.made_s = values[0]
        elif kind == "store":
            _check_name(path, values[0], carried.stores)
            carried.stores.append(values[0])
        elif not carried.stores:
            raise ExportRefused(f"{path}: {kind} stands before its store (nothing was changed)")
        elif kind == "rows":
            if not 0 <= values[3] < SHARD_COUNT:
                raise ExportRefused(f"{path}: rows of shard {values[3]} (nothing was changed)")
            carried.row_bytes += len(values[4])
        elif kind == "block":
            carried.blocks += 1
        elif kind == "record":
            _next_epoch(path, *values)
            carried.flows.append(values[0])
    return carried


def _check_name(path: Path, name: str, known: Iterable[str]) -> None:
    """A store's name becomes a folder's: it must stay in its place."""
    is_name = name and not name.startswith(".") and not {"/", "\0", "\n"} & set(name)
    if not is_name or name in known:
        raise ExportRefused(f"{path}: a store cannot be called {name!r} (nothing was changed)")


def _next_epoch(path: Path, flow: str, packed: bytes) -> bytes:
    """The record as the new node goes on from it: in a new epoch."""
    try:
        record = FlowRecord.unpack(packed)
    except RecordUnreadable as error:
        raise ExportRefused(f"{path}: flow {flow}: {error}") from error
    record.epoch += 1
    return record.pack()


def import_export(path: Path, data: Path) -> None:
    """Make the stores of a data folder, which the caller holds, from a file that `look_into` has
    read. They are there all together, or not at all. EnvironmentFailure."""
    state, fresh = data / STATE, data / f".{STATE}-import"
    refuse_state(data)
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        for name, frames in _by_store(path):
            _make_store(path, fresh / name, frames)
        sync_folder(fresh)
        fresh.rename(state)
        sync_folder(data)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise EnvironmentFailure(f"{state}: cannot be made: {error.strerror or error}") from error
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def refuse_state(data: Path) -> None:
    """UsageError when a data folder holds something that an import would replace."""
    state = data / STATE
    if state.is_dir() and any(state.iterdir()):
        raise UsageError(
            f"{data} holds state already; import into a new data folder, or move {state} away "
            "(nothing was changed)"
        )


def _by_store(path: Path) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """The frames of each store in batches: a store comes several times when it is large."""
    name, batch, size = "", list[tuple[Any, ...]](), 0
    for frame in read_export(path):
        kind = frame[0]
        if kind == "store" or size >= EXPORT_BATCH_BYTES:
            if name:
                yield name, batch
            batch, size = [], 0
        if kind == "store":
            name = frame[1]
        elif name:
            batch.append(frame)
            size += sum(len(value) for value in frame if isinstance(value, bytes))
    yield name, batch


def _make_store(path: Path, folder: Path, frames: list[tuple[Any, ...]]) -> None:
    sections: list[Section] = []
    spools: list[SpoolBlock] = []
    records: dict[str, bytes] = {}
    lost: list[tuple[str, str]] = []
    for kind, *values in frames:
        if kind == "rows":
            flow, step, form, shard, rows = values
            sections.append(one_shard(flow, step, form, shard, rows))
        elif kind == "block":
            spools.append(SpoolBlock(values[0], values[1], (values[2],)))
        elif kind == "record":
            records[values[0]] = _next_epoch(path, *values)
        elif kind == "lost":
            lost.append((values[0], values[1]))
    store = open_store(folder)
    try:
        store.commit(Commit(sections, records, spools))
    finally:
        store.close()
    DamageNotes(folder).add(lost)
