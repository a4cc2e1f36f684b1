"""What was lost is written down before it is taken out, and kept until every flow accepts it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from appliance.errors import EnvironmentFailure
from appliance.store import Damage, Store
from appliance.worker.damage import DamageNotes, open_store
from unit.stores import commit, section


def damaged(folder: Path, start: int, end: int | None) -> bytes:
    """A store of two flows with a run of its bytes lost; what its file holds now."""
    store = Store.open(folder, identity=folder.name)
    for number in range(4):
        rows = [((shard, b"key", 0), number) for shard in range(64)]
        sections = [section(flow, "step", "running", rows) for flow in ("a", "b")]
        store.commit(commit(sections, {"a": b"record", "b": b"record"}))
    store.close()
    path = folder / "data.mdb"
    data = bytearray(path.read_bytes())
    data[start:end] = bytes(len(data[start:end]))
    path.write_bytes(data)
    return bytes(data)


@pytest.mark.parametrize("start", [8192, 8192 + 4096 * 2, 8192 + 4096 * 4])
def test_damage_that_could_not_be_noted_is_still_there(tmp_path: Path, start: int) -> None:
    folder = tmp_path / "shared"
    damaged(folder, start, None)

    def refuse(damage: Sequence[Damage]) -> None:
        if damage:
            raise EnvironmentFailure("no room")

    for _ in range(2):
        with pytest.raises(EnvironmentFailure, match="no room"):
            Store.open(folder, identity="shared", note=refuse)
    open_store(folder).close()
    assert DamageNotes(folder).all()


def test_what_was_lost_is_known_to_later_openings(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    damaged(folder, 8192, None)
    for _ in range(2):
        open_store(folder).close()
        assert DamageNotes(folder).of("whichever")
    assert (tmp_path / "shared.damaged-1").is_dir()


def test_each_flow_accepts_for_itself(tmp_path: Path) -> None:
    notes = DamageNotes(tmp_path / "shared")
    notes.add([("", "all of it"), ("a", "some\nof it")])
    notes.give_to(["a", "b"])
    assert DamageNotes(tmp_path / "shared").of("a") == ["all of it", "some of it"]
    notes.accept("a")
    again = DamageNotes(tmp_path / "shared")
    assert (again.of("a"), again.of("b")) == ([], ["all of it"])
    again.accept("b")
    assert not list(tmp_path.iterdir())
