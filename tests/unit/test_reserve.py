"""The reserve: blocks of the disk that only a transaction which makes room may have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.limits import STORE_RESERVE_BYTES
from appliance.store import Commit, DiskFull, SpoolBlock, Store, reserve
from appliance.store.environment import Environment


def held(folder: Path) -> int:
    """The blocks of the disk that its file has."""
    return (folder / "reserve").stat().st_blocks * 512


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """From its call on only transactions with the reserve's blocks have room."""
    really = Environment._write

    def write(environment: Environment, work: object, payload_bytes: int) -> object:
        if held(tmp_path / "store"):
            raise DiskFull("full")
        return really(environment, work, payload_bytes)  # type: ignore[arg-type]

    return lambda: monkeypatch.setattr(Environment, "_write", write)


def test_a_store_holds_its_reserve_and_has_it_again_when_it_is_opened(tmp_path: Path) -> None:
    for _ in range(2):
        store = Store.open(tmp_path / "store")
        assert store.reserve_bytes == STORE_RESERVE_BYTES <= held(tmp_path / "store")
        store.close()
        (tmp_path / "store" / "reserve").write_bytes(b"")  # as a crash may leave it


def test_it_is_lent_to_what_makes_room_and_to_nothing_else(
    tmp_path: Path, full: Callable[[], None]
) -> None:
    store = Store.open(tmp_path / "store")
    result = SpoolBlock("flow", "out", (b"x" * 100,))
    store.commit(Commit((), {"flow": b"1"}, [result] * 3))
    full()
    with pytest.raises(DiskFull):
        store.commit(Commit((), {"flow": b"2"}, [result]))
    store.commit(Commit(trims={("flow", "out"): 2}))
    store.commit(Commit(records={"flow": b"2"}))
    assert store.drop_spool("flow", "out")
    assert store.reserve_bytes == STORE_RESERVE_BYTES <= held(tmp_path / "store")
    assert store.records() == {"flow": b"2"}
    store.close()


def test_without_room_to_spare_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = [STORE_RESERVE_BYTES * 2]
    monkeypatch.setattr(reserve, "free_bytes", lambda folder: room[0])
    store = Store.open(tmp_path / "store")
    store.commit(Commit(records={"flow": b"1"}))
    assert store.reserve_bytes == 0
    room[0] *= 2
    store.commit(Commit(records={"flow": b"1"}))
    assert store.reserve_bytes == STORE_RESERVE_BYTES
    store.close()


def test_a_disk_with_less_room_gives_it_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = STORE_RESERVE_BYTES // 4 + 8192
    really = reserve.os.posix_fallocate

    def allocate(descriptor: int, offset: int, size: int) -> None:
        if offset + size > left:
            raise OSError(28, "No space left on device")
        really(descriptor, offset, size)

    monkeypatch.setattr(reserve.os, "posix_fallocate", allocate)
    store = Store.open(tmp_path / "store")
    assert store.reserve_bytes == left
    store.close()
