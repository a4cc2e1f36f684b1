"""A flow whose worker changes: its state is in one store before and after, and complete."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from appliance.errors import EnvironmentFailure
from appliance.logs import WARNING, Logger
from appliance.store import Store
from appliance.worker.damage import DamageNotes
from appliance.worker.moving import move_flows
from appliance.worker.record import FlowRecord
from unit.stores import commit, section, spools_of, state_of

STREAM, OTHER = b"s" * 16, b"o" * 16


def fill(folder: Path, flow: str, stream: bytes = STREAM) -> None:
    """Rows, results that wait and a record of a flow."""
    store = Store.open(folder, identity=folder.name)
    rows = [((shard, b"key", 0), shard) for shard in range(64)]
    sections = [section(flow, "step", "running", rows)]
    blocks = [(flow, "out", b"one"), (flow, "out", b"two")]
    store.commit(commit(sections, {flow: FlowRecord(stream, 3).pack()}, blocks))
    store.close()


def held(folder: Path, flow: str) -> tuple[object, ...]:
    """What a store has of a flow."""
    store = Store.open(folder, identity=folder.name)
    try:
        spools = {place: found for place, found in spools_of(store).items() if place[0] == flow}
        return state_of(store, [flow]), spools, store.records().get(flow)
    finally:
        store.close()


@pytest.fixture
def log() -> Logger:
    return Logger("worker", level=WARNING)


def test_there_and_back(tmp_path: Path, log: Logger) -> None:
    for flow in ("a", "b"):
        fill(tmp_path / "shared", flow)
    before = {flow: held(tmp_path / "shared", flow) for flow in ("a", "b")}
    DamageNotes(tmp_path / "shared").add([("a", "lost"), ("b", "lost too")])
    move_flows(tmp_path, ["b"], ["a"], log)
    assert held(tmp_path / "own-a", "a") == before["a"]
    assert held(tmp_path / "shared", "b") == before["b"]
    assert held(tmp_path / "shared", "a")[2] is None
    assert DamageNotes(tmp_path / "own-a").of("a") == ["lost"]
    assert DamageNotes(tmp_path / "shared").all() == [("b", "lost too")]
    move_flows(tmp_path, ["a", "b"], [], log)
    assert held(tmp_path / "shared", "a") == before["a"]


def test_a_move_that_was_cut_off_is_finished(tmp_path: Path, log: Logger) -> None:
    """Between the two transactions both stores have the flow."""
    fill(tmp_path / "shared", "a")
    before = held(tmp_path / "shared", "a")
    shutil.copytree(tmp_path / "shared", tmp_path / "copy")
    move_flows(tmp_path, [], ["a"], log)
    shutil.rmtree(tmp_path / "shared")
    (tmp_path / "copy").rename(tmp_path / "shared")
    move_flows(tmp_path, [], ["a"], log)
    assert held(tmp_path / "own-a", "a") == before
    assert held(tmp_path / "shared", "a")[2] is None


def test_two_histories_are_not_mixed(tmp_path: Path, log: Logger) -> None:
    fill(tmp_path / "shared", "a")
    fill(tmp_path / "own-a", "a", OTHER)
    before = [held(tmp_path / name, "a") for name in ("shared", "own-a")]
    for names in ((["a"], list[str]()), (list[str](), ["a"])):
        with pytest.raises(EnvironmentFailure, match="two workers' stores"):
            move_flows(tmp_path, *names, log)
    assert [held(tmp_path / name, "a") for name in ("shared", "own-a")] == before


def test_nothing_moves_where_nothing_is(tmp_path: Path, log: Logger) -> None:
    move_flows(tmp_path, ["a"], ["b"], log)
    assert not list(tmp_path.iterdir())
