"""The file of `bettong export`, whole, damaged and of other versions."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from appliance.errors import EnvironmentFailure
from appliance.store import Commit, Store
from appliance.store.examine import examine
from appliance.worker.export import import_export, look_into, write_export
from appliance.worker.export_file import ExportRefused, ExportWriter, read_export
from appliance.worker.record import FlowRecord, SinkRecord
from unit.stores import commit, section, spools_of, state_of
from unit.test_format_pages import example


def test_the_page_shows_a_file(tmp_path: Path) -> None:
    path = tmp_path / "page"
    path.write_bytes(example("export.md"))
    assert list(read_export(path)) == [("node", 1_793_500_000)]
    writer = ExportWriter(tmp_path / "made")
    writer.add("node", 1_793_500_000)
    writer.finish()
    assert (tmp_path / "made").read_bytes() == path.read_bytes()


def make(data: Path, chance: random.Random) -> dict[str, FlowRecord]:
    """Stores of two workers with whatever chance brings."""
    records = {}
    for worker, flows in (("shared", ("a", "b")), ("own-c", ("c",))):
        store = Store.open(data / "state" / worker, identity=worker)
        for flow in flows:
            stream = chance.randbytes(16)
            sinks = {"out": SinkRecord(7, {3: 9}, 12, True)}
            records[flow] = FlowRecord(stream, chance.randrange(1, 99), sinks=sinks)
            for _ in range(3):
                rows = [
                    ((shard, b"k%d" % chance.randrange(9), 0), chance.choice([1, 2, None]))
                    for shard in sorted(chance.choices(range(64), k=20))
                ]
                blocks = [(flow, "out", chance.randbytes(chance.randrange(1, 90_000)))]
                store.commit(
                    commit(
                        [section(flow, "step", "running", rows)],
                        {flow: records[flow].pack()},
                        blocks,
                    )
                )
            store.commit(Commit(trims={(flow, "out"): 1}))
        store.close()
    return records


@pytest.mark.parametrize("seed", range(5))
def test_what_is_imported_is_what_was_exported_in_a_new_epoch(tmp_path: Path, seed: int) -> None:
    records = make(tmp_path / "old", random.Random(seed))
    carried = write_export(tmp_path / "old", tmp_path / "file")
    assert look_into(tmp_path / "file") == carried
    (tmp_path / "new").mkdir()
    import_export(tmp_path / "file", tmp_path / "new")
    for worker, flows in (("shared", ("a", "b")), ("own-c", ("c",))):
        old = Store.open(tmp_path / "old" / "state" / worker)
        new = Store.open(tmp_path / "new" / "state" / worker, identity=worker)
        assert state_of(new, flows) == state_of(old, flows)
        waiting = {place: blocks for place, (_, blocks) in spools_of(old).items()}
        assert {place: blocks for place, (_, blocks) in spools_of(new).items()} == waiting
        for flow, packed in new.records().items():
            records[flow].epoch += 1
            assert FlowRecord.unpack(packed) == records[flow]
        old.close()
        new.close()
        assert not examine(tmp_path / "new" / "state" / worker).damage


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("exported")
    make(folder / "data", random.Random(1))
    write_export(folder / "data", folder / "file")
    return (folder / "file").read_bytes()


def test_a_bit_that_flipped_anywhere_is_found(tmp_path: Path, exported: bytes) -> None:
    chance, path = random.Random(2), tmp_path / "file"
    for place in (*range(64), *(chance.randrange(len(exported)) for _ in range(200))):
        data = bytearray(exported)
        data[place] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        with pytest.raises(ExportRefused, match="nothing was changed"):
            look_into(path)


def test_a_file_that_is_cut_off_or_longer_is_refused(tmp_path: Path, exported: bytes) -> None:
    chance, path = random.Random(3), tmp_path / "file"
    lengths = [0, 5, 17, len(exported) - 1, *(chance.randrange(len(exported)) for _ in range(50))]
    for length in lengths:
        path.write_bytes(exported[:length])
        with pytest.raises(ExportRefused, match="nothing was changed"):
            look_into(path)
    path.write_bytes(exported + b"\0")
    with pytest.raises(ExportRefused, match="its end does not fit"):
        look_into(path)


def test_a_newer_version_is_refused(tmp_path: Path, exported: bytes) -> None:
    (tmp_path / "file").write_bytes(exported.replace(b"export 1\n", b"export 2\n", 1))
    with pytest.raises(ExportRefused, match="has format 2"):
        look_into(tmp_path / "file")


@pytest.mark.parametrize("name", ["../out", "", ".hidden", "a/b", "a\nb"])
def test_a_store_cannot_leave_its_place(tmp_path: Path, name: str) -> None:
    writer = ExportWriter(tmp_path / "file")
    writer.add("node", 0)
    writer.add("store", name)
    writer.finish()
    with pytest.raises(ExportRefused, match="cannot be called"):
        look_into(tmp_path / "file")


def test_an_export_that_fails_leaves_no_file(tmp_path: Path) -> None:
    make(tmp_path / "data", random.Random(4))
    data = tmp_path / "data" / "state" / "shared" / "data.mdb"
    sound = data.read_bytes()
    # Everything behind the first pages: some of it is in use.
    data.write_bytes(sound[:8192] + bytes(len(sound) - 8192))
    with pytest.raises(EnvironmentFailure, match="damaged, and an export"):
        write_export(tmp_path / "data", tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
