"""A store whose file was damaged: it opens, says what it lost, and has everything else."""

from __future__ import annotations

import errno
import io
import itertools
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from copy import deepcopy
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest

from appliance.store import Damage, Store
from appliance.store.examine import examine
from crash.workload import FLOWS, SMALL_MERGES, acts
from unit.stores import Model, commit, spools_of, state_of

PAGE = 4096

#: How often a bit flips in the nodes of each page.
TIMES = 20 if os.environ.get("BETTONG_SOAK") == "1" else 2
LOSSES = {"store", "history", "record", "rows", "spool"}


@pytest.fixture(scope="module")
def original() -> Iterator[tuple[Path, list[Model]]]:
    """A store with bases, deltas and spools, and what it holds now and held before."""
    with (
        tempfile.TemporaryDirectory() as temporary,
        patch.multiple("appliance.store.index", **SMALL_MERGES),
    ):
        folder, models = Path(temporary) / "store", [Model()]
        store = Store.open(folder, identity="worker 1")
        for act in acts("small"):
            models.append(deepcopy(models[-1]))
            act(store, models[-1])
        stats = store.stats()
        assert stats.base_count and stats.delta_count and stats.spool_bytes
        store.close()
        yield folder, models


def flip_a_bit(page: bytearray, chance: random.Random) -> None:
    page[chance.randrange(len(page))] ^= 1 << chance.randrange(8)


def flip_in_the_head(page: bytearray, chance: random.Random) -> None:
    page[chance.randrange(24)] ^= 1 << chance.randrange(8)


def flip_in_a_node(page: bytearray, chance: random.Random) -> None:
    """Where the nodes of a page begin, how large they are, and their keys: what the engine goes by,
    without a checksum."""
    lower = int.from_bytes(page[12:14], "little")
    places = [
        int.from_bytes(page[at : at + 2], "little") for at in range(16, min(lower, PAGE - 1), 2)
    ]
    nodes = [at for place in places for at in range(place, min(place + 30, PAGE))]
    at = chance.choice([*range(16, min(lower, PAGE)), *nodes] or [0])
    page[at] ^= 1 << chance.randrange(8)


def lose(page: bytearray, chance: random.Random) -> None:
    page[:] = bytes(len(page))


def lose_a_sector(page: bytearray, chance: random.Random) -> None:
    start = 512 * chance.randrange(8)
    page[start : start + 512] = chance.randbytes(512)


@pytest.mark.parametrize(
    "harm", [flip_a_bit, flip_in_the_head, *[flip_in_a_node] * TIMES, lose, lose_a_sector]
)
def test_damage_to_any_page_is_named_and_the_rest_is_kept(
    harm: Callable[[bytearray, random.Random], None],
    original: tuple[Path, list[Model]],
    quick_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    source, models = original
    chance = random.Random(request.node.name)
    data = (source / "data.mdb").read_bytes()
    found = set[str]()
    for start in range(0, len(data), PAGE):
        folder = quick_path / str(start)
        shutil.copytree(source, folder)
        page = bytearray(data[start : start + PAGE])
        harm(page, chance)
        (folder / "data.mdb").write_bytes(data[:start] + page + data[start + PAGE :])
        found |= {one.kind for one in check(folder, models)}
        for one in quick_path.iterdir():
            shutil.rmtree(one)
    assert "rows" in found


class BadSector(io.FileIO):
    """A file of which the disk cannot read one page any more."""

    def __init__(self, path: Path, start: int) -> None:
        super().__init__(path)
        self._start = start

    def read(self, size: int | None = -1, /) -> bytes | None:
        if self._start - (size or 0) < self.tell() < self._start + PAGE:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(size)


def test_a_page_that_cannot_be_read_costs_what_a_lost_one_does(
    original: tuple[Path, list[Model]], quick_path: Path
) -> None:
    source, _ = original
    data = (source / "data.mdb").read_bytes()
    found = set[str]()
    for start in range(0, len(data), 5 * PAGE):
        lost, unread = quick_path / f"{start}-lost", quick_path / f"{start}-unread"
        for folder in (lost, unread):
            shutil.copytree(source, folder)
        (lost / "data.mdb").write_bytes(data[:start] + bytes(PAGE) + data[start + PAGE :])
        opened = partial(BadSector, unread / "data.mdb", start)
        fault = OSError(errno.EIO, "Input/output error")
        held = []
        for folder in (lost, unread):
            with ExitStack() as patches:
                patches.enter_context(patch("lmdb.verify.verify", side_effect=fault))
                if folder is unread:
                    name = "appliance.store.pages._opened"
                    patches.enter_context(patch(name, lambda _, opened=opened: opened()))
                store = Store.open(folder, identity="worker 1")
            with closing(store):
                damage = {(one.kind, one.flow, one.step, one.shard) for one in store.damage}
                held.append((store.cut, damage, state_of(store, FLOWS), spools_of(store)))
        assert held[0] == held[1]
        found |= {kind for kind, *_ in held[1][1]}
        for one in quick_path.iterdir():
            shutil.rmtree(one)
    assert "rows" in found and "store" not in found


def check(folder: Path, models: list[Model]) -> list[Damage]:
    """What is there is right, and what is not there is named. A second opening finds it sound, and
    it takes cuts, which change every tree, and gives up its spools."""
    data = (folder / "data.mdb").read_bytes()
    foreseen = {(one.kind, one.flow, one.step, one.shard) for one in examine(folder).damage}
    assert (folder / "data.mdb").read_bytes() == data
    store = Store.open(folder, identity="worker 1")
    damage = list(store.damage)
    foreseen_in_opening = {one for one in foreseen if one[0] != "spool"}
    assert {(one.kind, one.flow, one.step, one.shard) for one in damage} <= foreseen_in_opening
    kinds = {one.kind for one in damage}
    if "store" in kinds:
        assert store.cut == 0
    else:
        model = models[-1]
        if "history" in kinds:
            model = max((one for one in models if one.cut <= store.cut), key=lambda one: one.cut)
        assert store.cut in (model.cut, models[-1].cut)
        check_records(store, model, damage)
        check_rows(store, model, damage)
        check_spools(store, model, damage)
    state = state_of(store, FLOWS)
    store.close()
    store = Store.open(folder, identity="worker 1")
    assert not store.damage
    assert state_of(store, FLOWS) == state
    for act in itertools.islice(acts("small"), 3):
        act(store, Model())
    ends = {(flow, "out"): store.spool(flow, "out").next_seq - 1 for flow in FLOWS}
    store.commit(commit(trims=ends))
    store.close()
    store = Store.open(folder, identity="worker 1")
    assert not store.damage
    store.close()
    return damage


def check_records(store: Store, model: Model, damage: list[Damage]) -> None:
    lost = {one.flow for one in damage if one.kind == "record"}
    assert store.records() == {
        flow: record for flow, record in model.records.items() if flow not in lost
    }


def check_rows(store: Store, model: Model, damage: list[Damage]) -> None:
    state = state_of(store, FLOWS)
    for (flow, step, kind), rows in model.live().items():
        held = state.get((flow, step, kind), {})
        for shard in range(64):
            expected = {key: value for key, value in rows.items() if key[0] == shard}
            actual = {key: value for key, value in held.items() if key[0] == shard}
            if actual != expected:
                assert not actual
                assert [one for one in damage if names(one, flow, step, shard)], (flow, shard)


def names(one: Damage, flow: str, step: str, shard: int) -> bool:
    return (
        one.kind == "rows"
        and one.flow == flow
        and one.step in ("", step)
        and one.shard in (-1, shard)
    )


def check_spools(store: Store, model: Model, damage: list[Damage]) -> None:
    lost = {one.flow for one in damage if one.kind == "record"}
    for (flow, sink), (first, blocks) in model.spools.items():
        if flow in lost:
            continue
        info = store.spool(flow, sink)
        assert (info.first_seq, info.next_seq) == (first, first + len(blocks))
        for seq, block in enumerate(blocks, first):
            read = store.read_block(flow, sink, seq)
            if read != block:
                assert read is None
                assert [one for one in store.damage if (one.kind, one.step) == ("spool", sink)]


def test_a_file_that_is_cut_off_or_gone_is_set_aside(
    original: tuple[Path, list[Model]], quick_path: Path
) -> None:
    source, models = original
    for size in (0, 100, PAGE, 3 * PAGE, 40 * PAGE + 7):
        folder = quick_path / str(size)
        shutil.copytree(source, folder)
        (folder / "data.mdb").write_bytes((source / "data.mdb").read_bytes()[:size])
        damage = check(folder, models)
        assert damage and damage[0].file.endswith(".damaged-1")
        assert Path(damage[0].file, "data.mdb").stat().st_size == size


def test_without_its_head_a_store_keeps_its_rows_or_names_them(
    original: tuple[Path, list[Model]], quick_path: Path
) -> None:
    source, models = original
    folder = quick_path / "store"
    shutil.copytree(source, folder)
    data = (source / "data.mdb").read_bytes()
    (folder / "data.mdb").write_bytes(data.replace(b"worker 1", b"worker 9"))
    damage = check(folder, models)
    assert "stamp" in {one.kind for one in damage}
    with closing(Store.open(folder)) as store:
        assert any(state_of(store, FLOWS).values())


def test_a_stamp_that_is_gone_is_made_again(
    original: tuple[Path, list[Model]], quick_path: Path
) -> None:
    source, models = original
    folder = quick_path / "store"
    shutil.copytree(source, folder)
    (folder / "FORMAT").write_bytes(b"\xff")
    again = shutil.copytree(folder, quick_path / "again")
    assert [one.kind for one in check(folder, models)] == ["stamp"]
    assert (folder / "FORMAT").read_text() == "bettong-store 1 worker 1\n"
    with closing(Store.open(again)) as store:
        assert spools_of(store) == models[-1].spools
