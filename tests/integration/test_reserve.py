"""A disk that our own results have filled gets free again by itself, for what lets go of them has a
reserve that nothing else may use; and what starts on a full disk starts, or waits and says so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from appliance.limits import STORE_RESERVE_BYTES
from appliance.store import Store
from integration.chain import LINES_TAKEN, LINES_UP
from integration.disks import fill, small_disk
from integration.processes import eventually, run, running, status_of, wait_for_text
from unit.ports import held_port

DISK_BYTES = 48 << 20
LINE = "{:08d} " + "x" * 90 + "\n"
FIRST, THEN, LAST = 120_000, 160_000, 160_010

SETTINGS = 'memory = "1MiB"\ncommit_every = "50ms"'

COPY = """
version = 1
name = "copy"
[source.lines]
file = { path = "in.txt", follow = true }
format = "text"
[sink.out]
file = { path = "out.txt" }
format = { text = "{line}" }
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", DISK_BYTES) as place:
        yield place


def feed(folder: Path, first: int, end: int) -> None:
    with (folder / "in.txt").open("a") as out:
        out.write(text(first, end))


def text(first: int, end: int) -> str:
    return "".join(LINE.format(number) for number in range(first, end))


def test_results_that_fill_the_disk_leave_and_all_goes_on(tmp_path: Path, disk: Path) -> None:
    """Upstream is away, its results and another's file take the disk; when it is back nobody has to
    delete anything."""
    data = ["--data", str(disk / "data")]
    out = tmp_path / "out.txt"

    def store() -> dict[str, Any]:
        found: dict[str, Any] = status_of(tmp_path, *data)["stores"][0]
        return found

    def read() -> int:
        found: int = status_of(tmp_path, *data)["flows"][0]["sources"][0]["records"]
        return found

    feed(tmp_path, 0, FIRST)
    with ExitStack() as here, ExitStack() as away:
        words = {"port": away.enter_context(held_port())}
        (tmp_path / "box.toml").write_text(LINES_UP.format_map({**words, "settings": SETTINGS}))
        (tmp_path / "centre.toml").write_text(LINES_TAKEN.format_map(words))
        box = here.enter_context(running(tmp_path, "run", "box.toml", *data))
        box.wait_for(" running ")
        eventually(lambda: read() == FIRST, "all is read")
        eventually(lambda: store()["spool_bytes"] > FIRST * 100, "all waits in the spool")
        assert store()["reserve_bytes"] == STORE_RESERVE_BYTES
        filler = fill(disk)
        feed(tmp_path, FIRST, THEN)
        box.wait_for("the disk is full")
        eventually(lambda: store()["refused"] > 3, "it is tried again")
        assert store()["reserve_bytes"] > STORE_RESERVE_BYTES // 2, "what grows does not get it"
        away.close()
        centre = here.enter_context(running(tmp_path, "run", "centre.toml", "--data", "centre"))
        eventually(lambda: out.exists() and out.stat().st_size == THEN * 100, "all arrives")
        box.wait_for("there is room on the disk again")
        eventually(lambda: not store()["disk_full"], "cuts are committed")
        filler.unlink()
        feed(tmp_path, THEN, LAST)
        eventually(lambda: out.stat().st_size == LAST * 100, "the rest arrives")
        eventually(lambda: not store()["reserve_short"], "the reserve is whole again")
        assert (box.stop(), centre.stop()) == (0, 0)
    assert out.read_text() == text(0, LAST)
    assert not any("Traceback" in line for line in (*box.log, *centre.log))


def new_store(disk: Path) -> Path:
    """A data folder whose store has nothing yet, not even a page that it could use again."""
    (disk / "data" / "state").mkdir(parents=True)
    (disk / "data" / "lock").write_text("1\n")
    store = disk / "data" / "state" / "shared"
    Store.open(store, identity="shared").close()
    return store


def test_a_new_store_starts_on_a_full_disk_from_its_reserve(tmp_path: Path, disk: Path) -> None:
    (tmp_path / "copy.toml").write_text(COPY)
    feed(tmp_path, 0, 10)
    new_store(disk)
    filler = fill(disk)
    with running(tmp_path, "run", "copy.toml", "--data", str(disk / "data")) as flow:
        flow.wait_for(" running ")
        filler.unlink()
        wait_for_text(tmp_path / "out.txt", text(0, 10))
        assert flow.stop() == 0
    assert not any("waits for room to start" in line for line in flow.log)


def test_a_store_starts_on_a_full_disk(tmp_path: Path, disk: Path) -> None:
    (tmp_path / "copy.toml").write_text(COPY)
    data = ["--data", str(disk / "data")]
    feed(tmp_path, 0, 10)
    with running(tmp_path, "run", "copy.toml", *data) as flow:
        wait_for_text(tmp_path / "out.txt", text(0, 10))
        assert flow.stop() == 0
    filler = fill(disk)
    with running(tmp_path, "run", "copy.toml", *data) as flow:
        flow.wait_for(" running ")
        feed(tmp_path, 10, FIRST)
        filler.unlink()
        wait_for_text(tmp_path / "out.txt", text(0, FIRST))
        assert flow.stop() == 0
    assert not any("Traceback" in line for line in flow.log)


def test_a_store_that_cannot_start_waits_for_room(tmp_path: Path, disk: Path) -> None:
    """For its reserve is gone too."""
    (tmp_path / "copy.toml").write_text(COPY)
    feed(tmp_path, 0, 10)
    data = ["--data", str(disk / "data")]
    (new_store(disk) / "reserve").unlink()
    filler = fill(disk)
    with running(tmp_path, "run", "copy.toml", *data) as flow:
        flow.wait_for("the disk is full: a worker waits for room to start")

        def restarts() -> int:
            (worker,) = status_of(tmp_path, *data)["workers"]
            return int(worker["restarts"])

        eventually(lambda: restarts() > 1, "it is tried again")
        words = run(tmp_path, "status", *data).stdout.decode()
        assert "worker shared: " in words and "full" in words
        filler.unlink()
        wait_for_text(tmp_path / "out.txt", text(0, 10))
        flow.wait_for("there is room on the disk again")
        assert sum("the disk is full" in line for line in flow.log) == 1
        assert flow.stop() == 0


@pytest.mark.parametrize("left", [0, 16 << 10])
def test_a_first_start_without_room_is_refused(left: int, tmp_path: Path, disk: Path) -> None:
    """There is nothing that could be gone on with: somebody has chosen this disk just now."""
    (tmp_path / "copy.toml").write_text(COPY)
    feed(tmp_path, 0, 10)
    filler = fill(disk)
    os.truncate(filler, filler.stat().st_size - left)
    ended = run(tmp_path, "run", "copy.toml", "--data", str(disk / "data"))
    said = [line for line in ended.stderr.decode().splitlines() if "starting" not in line]
    assert ended.returncode == 3 and len(said) == 1, said
    assert str(disk / "data") in said[0] and "No space left on device" in said[0]
    assert not (disk / "data" / "state" / "shared").exists()
