"""The store: what is committed is there after every opening, whatever was merged meanwhile."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.store import SpoolInfo, Store, StoreRefused
from appliance.store.examine import FlowContents, StepContents, examine
from appliance.store.rows import merge_rows
from appliance.store.values import (
    BLOCK_BYTES,
    CHECKSUM_BYTES,
    LARGE_BYTES,
    SMALL_BLOCK_BYTES,
    block_bytes,
    block_count,
    block_key,
    blocks,
    delta_prefix,
)
from unit.stores import Model, assert_like, commit, row, section, spools_of, state_of

FLOWS = ("one", "two")
KINDS = {"windows": "window", "totals": "running", "all": "global", "code": "python"}

KEYS = st.tuples(st.integers(0, 5), st.binary(min_size=1, max_size=1), st.sampled_from([0, 10]))
ROWS = st.lists(st.tuples(KEYS, st.none() | st.integers(0, 99)), max_size=12)
CHANGES = st.dictionaries(st.tuples(st.sampled_from(FLOWS), st.sampled_from(list(KINDS))), ROWS)
SINKS = st.tuples(st.sampled_from(FLOWS), st.sampled_from(["out", "up"]))
BLOCKS = st.lists(st.tuples(SINKS, st.integers(0, 200_000)), max_size=3)
CUTS = st.tuples(
    CHANGES,
    st.dictionaries(st.sampled_from(FLOWS), st.binary(max_size=20)),
    BLOCKS,
    st.dictionaries(SINKS, st.integers(0, 9)),
)
DROPS = st.one_of(
    st.tuples(st.just("step"), st.sampled_from(FLOWS), st.sampled_from(list(KINDS))),
    st.tuples(st.just("flow"), st.sampled_from(FLOWS)),
    st.tuples(st.just("spool"), st.sampled_from(FLOWS), st.sampled_from(["out", "up"])),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    opened = Store.open(folder, identity="worker 1")
    yield opened
    opened.close()


def small_merges() -> ExitStack:
    """Merges come after a few bytes, and cold shards pin little."""
    stack = ExitStack()
    for name, value in (("MERGE_MIN_BYTES", 60), ("DEAD_MIN_BYTES", 300), ("DELTA_MAX_COUNT", 12)):
        stack.enter_context(patch(f"appliance.store.index.STORE_{name}", value))
    return stack


def cut(store: Store, model: Model, made: Any) -> int:
    """Do the same to both; how many shards were merged."""
    changes, records, blocks, trims = made
    sections = [section(flow, step, KINDS[step], rows) for (flow, step), rows in changes.items()]
    spools = [(*sink, bytes([size % 251]) * size) for sink, size in blocks]
    result = store.commit(commit(sections, records, spools, trims))
    for (flow, step), rows in changes.items():
        model.change(flow, step, KINDS[step], sorted(rows, key=lambda one: one[0][0]))
    model.records |= records
    for (flow, sink), upto in trims.items():
        model.trim(flow, sink, upto)
    for flow, sink, data in spools:
        model.append(flow, sink, data)
    model.cut += 1
    assert result.cut == model.cut
    ends = {sink: first + len(blocks) - 1 for sink, (first, blocks) in model.spools.items()}
    given_out = {sink: seq for (sink, _), seq in zip(blocks, result.seqs, strict=True)}
    assert given_out.items() <= ends.items()
    return result.merges


def drop(store: Store, model: Model, what: str, flow: str, name: str = "") -> None:
    if what == "step":
        store.drop_step(flow, name)
        model.steps.pop((flow, name, KINDS[name]), None)
    elif what == "spool":
        model.trim(flow, name, store.spool(flow, name).next_seq)
        store.drop_spool(flow, name)
    else:
        store.drop_flow(flow)
        model.records.pop(flow, None)
        for step in [step for step in model.steps if step[0] == flow]:
            del model.steps[step]
        for sink in [sink for sink in model.spools if sink[0] == flow]:
            del model.spools[sink]


@settings(max_examples=40)
@given(st.lists(CUTS | DROPS, min_size=1, max_size=25), st.booleans())
def test_the_store_holds_what_was_committed(acts: list[Any], reopened: bool) -> None:
    """Random cuts and drops against a dict, with merges at every turn, opened again after each."""
    with tempfile.TemporaryDirectory() as temporary, small_merges():
        folder, model = Path(temporary) / "store", Model()
        store = Store.open(folder)
        for act in acts:
            if isinstance(act[0], str):
                drop(store, model, *act)
            else:
                cut(store, model, act)
            if reopened:
                store.close()
                store = Store.open(folder)
            assert not store.damage
            assert_like(store, model, FLOWS)
        store.close()
        store = Store.open(folder)
        assert not store.damage
        assert_like(store, model, FLOWS)
        store.close()


def test_a_new_store_is_empty(store: Store) -> None:
    assert store.cut == 0
    assert not store.records()
    assert not store.spools()
    assert not list(store.rows("one"))
    assert not store.damage


def test_drops_of_nothing_say_so(store: Store) -> None:
    assert not store.drop_flow("one")
    assert not store.drop_step("one", "windows")
    assert not store.drop_spool("one", "out")


def test_numbers_of_a_spool_go_on_after_all_is_trimmed(store: Store, folder: Path) -> None:
    store.commit(commit(spools=[("one", "out", b"a"), ("one", "out", b"b")]))
    store.commit(commit(trims={("one", "out"): 2}))
    store.close()
    store = Store.open(folder)
    assert store.commit(commit(spools=[("one", "out", b"c")])).seqs == (3,)
    assert spools_of(store) == {("one", "out"): (3, [b"c"])}
    assert store.read_block("one", "out", 2) is None
    assert store.read_block("one", "out", 4) is None
    store.close()


def test_the_last_row_of_a_key_counts_and_a_tombstone_ends_it() -> None:
    key, other = (3, b"a", 0), (3, b"b", 0)
    first = row("window", key, 1) + row("window", other, 2)
    assert merge_rows("window", [first, row("window", key, None)]) == row("window", other, 2)
    again = row("window", key, None) + row("window", key, 5)
    merged = merge_rows("window", [first, again])
    assert merged == row("window", other, 2) + row("window", key, 5)
    assert merge_rows("window", [row("window", key, None)]) == b""


@pytest.mark.parametrize("data", [b"\x01", b"\x93\x01\x02\x03", b"\x96\x01", b"\xc1", b"\x96" * 9])
def test_what_is_no_row_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        merge_rows("window", [data])


def test_a_newer_format_is_refused_untouched(folder: Path) -> None:
    Store.open(folder).close()
    (folder / "FORMAT").write_text("bettong-store 2 somebody\n")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(StoreRefused, match="format 2, and this program knows 1"):
        Store.open(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["FORMAT", "data.mdb", "lock.mdb"])
def test_a_file_that_may_not_be_used_is_not_taken_for_a_damaged_one(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(folder, identity="worker 1").close()
    really = os.open

    def forbidden(path: str | Path, flags: int, *more: Any, **words: Any) -> int:
        if str(path).endswith(name):
            raise PermissionError(errno.EACCES, "Permission denied")
        return really(path, flags, *more, **words)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", forbidden)
        with pytest.raises(StoreRefused, match=f"{name} cannot be used: Permission denied"):
            Store.open(folder, identity="worker 1")
        if name != "lock.mdb":
            with pytest.raises(StoreRefused, match=f"{name} cannot be used"):
                examine(folder)
    with closing(Store.open(folder, identity="worker 1")) as store:
        assert not store.damage
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_another_workers_store_is_refused(folder: Path) -> None:
    Store.open(folder, identity="worker 1").close()
    with pytest.raises(StoreRefused, match='of "worker 1", not of "worker 2"'):
        Store.open(folder, identity="worker 2")
    Store.open(folder).close()


def test_two_at_once_are_refused(store: Store, folder: Path) -> None:
    with pytest.raises(StoreRefused, match="another process uses this store"):
        Store.open(folder)


def test_a_folder_with_other_files_is_refused(folder: Path) -> None:
    folder.mkdir()
    (folder / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(StoreRefused, match=r"holiday\.jpg"):
        Store.open(folder)
    assert [path.name for path in folder.iterdir()] == ["holiday.jpg"]


def test_the_map_grows_when_it_is_full(folder: Path) -> None:
    with patch("appliance.store.environment.STORE_MAP_FIRST_BYTES", 1 << 20):
        store = Store.open(folder)
        for number in range(40):
            store.commit(commit(spools=[("one", "out", bytes([number]) * 100_000)]))
        assert store.stats().map_bytes > 1 << 20
        first, blocks = spools_of(store)["one", "out"]
        assert (first, len(blocks)) == (1, 40)
        assert blocks[39] == bytes([39]) * 100_000
        store.close()


def test_cold_shards_do_not_pin_deltas_for_ever(store: Store) -> None:
    """One shard changes all the time, each cut touches one other shard a little."""
    with small_merges():
        for number in range(300):
            warm = [((0, b"%d" % (number % 9), 0), number)]
            cold = [((1 + number % 63, b"k", 0), number)]
            store.commit(commit([section("one", "windows", "window", [*warm, *cold])]))
        stats = store.stats()
    assert stats.delta_count < 40
    assert len(state_of(store, ["one"])["one", "windows", "window"]) == 63 + 9


def test_shards_that_grow_alike_are_not_merged_all_at_once(store: Store) -> None:
    """All have a base from the start, and each cut changes one row of each: after twice so many
    bytes all are due. Until then they have had their turns, so that deltas go one by one."""
    keys = [[(shard, b"%02d" % number, 0) for shard in range(64)] for number in range(40)]
    with small_merges(), patch("appliance.store.index.STORE_DELTA_MAX_COUNT", 1000):
        every = [(key, 1) for one in zip(*keys, strict=True) for key in one]
        store.commit(commit([section("one", "windows", "window", every)]))
        while store.stats().base_count < 64:
            store.commit(commit())
        counts, deltas = [], []
        for number in range(400):
            changed = [(key, number) for key in keys[number % 40]]
            result = store.commit(commit([section("one", "windows", "window", changed)]))
            counts.append(result.merges)
            deltas.append(store.stats().delta_count)
    assert set(counts) == {0, 1}
    assert max(deltas[i] - deltas[i + 1] for i in range(399)) < 8


def test_examining_says_what_there_is(store: Store, folder: Path) -> None:
    store.commit(commit([section("one", "all", "global", [((1, b"k", 0), 5)])], {"one": b"r"}))
    store.commit(commit(spools=[("one", "out", b"a"), ("two", "out", b"b")]))
    with pytest.raises(StoreRefused, match="another process"):
        examine(folder)
    store.close()
    found = examine(folder)
    assert not found.damage
    assert (found.identity, found.cut) == ("worker 1", 2)
    step = StepContents("all", "global", 1, len(row("global", (1, b"k", 0), 5)))
    assert found.flows == (
        FlowContents("one", b"r", (step,), (SpoolInfo("one", "out", 1, 2, 1),)),
        FlowContents("two", None, (), (SpoolInfo("two", "out", 1, 2, 1),)),
    )


def test_examining_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="no store here"):
        examine(tmp_path)


def test_values_are_what_the_page_says(store: Store) -> None:
    """docs/formats/store.md: its example is the delta of a cut with one row."""
    rows = row("window", (47, b"\xa2d1", 10_000_000), 2)
    store.commit(commit([section("counts", "n", "window", [((47, b"\xa2d1", 10_000_000), 2)])]))
    page = Path(__file__).parents[2] / "docs/formats/store.md"
    found = re.search(r"```hex\n(.*?)```", page.read_text(), re.DOTALL)
    assert found
    with store._environment.reading() as reading:
        value = bytes(reading.get(block_key(delta_prefix(1), 0)) or b"")
    assert rows in value
    assert value == bytes.fromhex(re.sub(r"#.*", "", found[1]))


@given(st.integers(0, LARGE_BYTES + 3 * BLOCK_BYTES))
def test_all_blocks_but_the_last_are_of_one_size(length: int) -> None:
    sizes = [len(value) - CHECKSUM_BYTES for _, value in blocks(b"A", bytes(length))]
    assert len(sizes) == block_count(length)
    assert sum(sizes) == length
    assert set(sizes[:-1]) <= {block_bytes(length)}
    assert sizes[-1] <= block_bytes(length)


@given(
    st.lists(st.sampled_from([0, 1, SMALL_BLOCK_BYTES, BLOCK_BYTES - 1, BLOCK_BYTES, LARGE_BYTES]))
)
def test_data_in_parts_gives_the_same_blocks(sizes: list[int]) -> None:
    parts = [bytes([1 + number % 255]) * size for number, size in enumerate(sizes)]
    assert list(blocks(b"D", *parts)) == list(blocks(b"D", b"".join(parts)))
