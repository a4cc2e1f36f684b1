"""The committer: first the commit, then the lane and the sources; a full disk is waited for."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgpack
import pytest

from appliance.limits import STORE_RESERVE_BYTES
from appliance.logs import Logger
from appliance.store import Commit, CommitResult, DiskFull, Store, StoreFailed
from appliance.worker.committer import Budget, Committer

EMPTY = bytes(8) + 2 * msgpack.packb([])  # a cut of no flow at all: no results, no sections
PATIENCE_S = 10.0


class Disk:
    """A store whose commits raise these, then work."""

    reserve_bytes = STORE_RESERVE_BYTES

    def __init__(self, failures: Sequence[Exception] = ()) -> None:
        self.failures = list(failures)
        self.commits: list[Commit] = []

    def commit(self, commit: Commit) -> CommitResult:
        if self.failures:
            raise self.failures.pop(0)
        self.commits.append(commit)
        return CommitResult(len(self.commits), (), 10, 0, 0.0)


class Impatient(threading.Event):
    """Nothing is waited for."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


def run(disk: Any, cuts: Sequence[int] = (1,)) -> list[object]:
    """Commit these cuts; what was said, in order."""
    said: list[object] = []
    with open("/dev/null", "wb") as nowhere:
        committer = Committer(
            disk,
            (),
            lambda number: said.append(("committed", number, len(disk.commits))),
            lambda cut: said.append("acknowledged"),
            lambda error: said.append(type(error)),
            Logger("worker", fd=nowhere.fileno()),
            60.0,
        )
        committer._abandoned = Impatient()
        committer.start()
        for number in cuts:
            while committer._queue.full():  # one is in flight at a time, the lane sees to that
                threading.Event().wait(0.001)
            committer.put(number, EMPTY)
        committer.finish()
        committer.join(PATIENCE_S)
    assert not committer.is_alive()
    return said


def test_the_lane_and_the_sources_hear_of_a_cut_after_its_commit() -> None:
    assert run(Disk(), [1, 2]) == [
        ("committed", 1, 1),
        "acknowledged",
        ("committed", 2, 2),
        "acknowledged",
    ]


def test_a_full_disk_is_tried_again_until_there_is_room() -> None:
    disk = Disk([DiskFull("full"), DiskFull("full")])
    assert run(disk) == [("committed", 1, 1), "acknowledged"]


class Delivered:
    """A flow whose sink has taken block 7 while a cut waited."""

    name = "flow"

    def __init__(self) -> None:
        self.spools = {"out": self}
        self.left: int | None = None

    def take_trim(self) -> int | None:
        return self.left

    def trimmed(self, seq: int) -> None:
        assert seq == self.left
        self.left = None


def test_what_is_delivered_while_a_cut_waits_is_let_go_of_before_it_is_tried_again() -> None:
    """And once more nothing: what one transaction frees is free for the second after it."""
    flow, disk, cut = Delivered(), Disk([DiskFull("full")] * 3), Commit(records={"flow": b"1"})

    class Waits(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert not disk.commits, "it does not wait once there may be room"
            flow.left = 7
            return False

    with open("/dev/null", "wb") as nowhere:
        committer = Committer(
            disk,  # type: ignore[arg-type]  # a store in its place
            [flow],  # type: ignore[list-item]
            lambda number: None,
            lambda cut: None,
            lambda error: None,
            Logger("worker", fd=nowhere.fileno()),
            60.0,
        )
        committer._abandoned = Waits()
        assert committer._commit(cut) is not None
    assert disk.commits == [Commit(trims={("flow", "out"): 7}), Commit(), cut]
    assert flow.left is None and not committer.stats.disk_full


def test_a_disk_that_cannot_be_trusted_ends_the_committing() -> None:
    assert run(Disk([StoreFailed("gone")])) == [StoreFailed]


def test_a_cut_that_is_given_up_on_a_full_disk_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    said: list[object] = []
    committer = Committer(
        Disk([DiskFull("full")] * 2),  # type: ignore[arg-type]  # a store in its place
        (),
        said.append,
        said.append,
        said.append,
        Logger("worker"),
        60.0,
    )
    committer.abandon()
    committer.put(1, EMPTY)
    committer.finish()
    committer.run()
    assert said == []
    assert "the last cut is given up" in capfd.readouterr().err


def test_a_cut_that_cannot_be_read_is_not_committed() -> None:
    disk = Disk()
    said: list[object] = []
    with open("/dev/null", "wb") as nowhere:
        committer = Committer(
            disk,  # type: ignore[arg-type]  # a store in its place
            (),
            said.append,
            said.append,
            said.append,
            Logger("worker", fd=nowhere.fileno()),
            60.0,
        )
        committer.put(1, b"\xc1")
        committer.run()
    assert len(said) == 1 and isinstance(said[0], Exception) and not disk.commits


def test_a_real_store_counts_its_cuts(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    disk = Disk()
    disk.commit = store.commit  # type: ignore[method-assign]
    assert run(disk, [1, 2, 3])[-1] == "acknowledged"
    assert store.cut == 3
    store.close()


def test_a_budget_lets_a_cut_wait_as_long_as_it_is_overdrawn() -> None:
    budget = Budget(86_400)  # one byte a second, an hour's worth at once
    at_s = budget._at_s
    assert budget.wait_s(at_s) == 0
    budget.spend(3_600 + 20, at_s)
    assert budget.wait_s(at_s) == 20
    assert budget.wait_s(at_s + 15) == 5
    assert budget.wait_s(at_s + 20) == 0
    budget.spend(1_000_000, at_s + 20)
    assert budget.wait_s(at_s + 20) == 60  # results wait with the cut: never for ever
    assert Budget(None).wait_s(at_s) == 0
