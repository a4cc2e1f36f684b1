"""Data folders that a run cannot use: one clear message, exit code 3, nothing touched."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgpack
import pytest
from msgspec.structs import replace

from integration.processes import BETTONG, PATIENCE_S, environment, eventually, run, running
from integration.stateful import (
    COUNT,
    FLOW,
    append,
    forge_record,
    lines,
    prepare,
    record,
    run_until,
    snapshot,
    store_folder,
)

OTHER = """
version = 1
name = "other"
[source.readings]
file = { path = "in.jsonl", follow = true }
[sink.out]
file = { path = "other.jsonl" }
"""


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A run that was stopped."""
    prepare(tmp_path)
    append(tmp_path, 0, COUNT)
    run_until(tmp_path, COUNT)
    return tmp_path


def refused(folder: Path, *words: str) -> str:
    """What a run that must not begin says; nothing is touched by it."""
    held = snapshot(folder / "data") if (folder / "data").is_dir() else {}
    ended = run(folder, "run", "flow.toml", "--data", "data", *words)
    said = ended.stderr.decode()
    assert ended.returncode == 3, said
    assert "Traceback" not in said
    if held:
        assert snapshot(folder / "data") == held
    return said


def test_the_folder_of_another_flow_of_that_name(stopped: Path) -> None:
    (stopped / "other.jsonl").write_text("")
    (stopped / "flow.toml").write_text(
        'version = 1\nname = "things"\n[source.lines]\nfile = { path = "other.jsonl" }\n'
        "[sink.out]\nstdout = {}\n"
    )
    said = refused(stopped)
    assert "does not fit" in said and "name another data folder" in said


def test_another_flow_leaves_what_is_there_alone(stopped: Path) -> None:
    before = record(stopped)
    (stopped / "flow.toml").write_text(FLOW.replace('"things"', '"others"'))
    flow = run_until(stopped, 2 * COUNT)
    assert any("state of a flow that does not run now" in line for line in flow.log)
    (stopped / "flow.toml").write_text(FLOW)
    run_until(stopped, 2 * COUNT)
    assert "\0" not in (stopped / "out.jsonl").read_text()
    assert before.epoch == 1


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("FORMAT", b"bettong-store 2 shared\n", "format 2, and this program knows 1"),
        ("FORMAT", b"bettong-store 1 own-x\n", 'this is the store of "own-x"'),
    ],
)
def test_stores_that_are_not_ours(stopped: Path, name: str, data: bytes, words: str) -> None:
    (store_folder(stopped) / name).write_bytes(data)
    assert words in refused(stopped)


def forged(folder: Path, **values: object) -> bytes:
    """The flow's record with other values."""
    packed = msgpack.unpackb(record(folder).pack())
    return bytes(msgpack.packb({**packed, **values}, use_bin_type=True))


def test_a_record_of_a_newer_version(stopped: Path) -> None:
    forge_record(stopped, forged(stopped, version=2))
    said = refused(stopped, "--accept-damage")
    assert "record has format 2, and this program knows 1" in said and "nothing was changed" in said


@pytest.mark.parametrize(
    "values",
    [
        {"epoch": 1 << 63},
        {"epoch": -1},
        {"epoch": "one"},
        {"sinks": {"out": [1 << 62, [], 0, True, ""]}},
        {"sinks": {"out": [0, [[3, 1 << 63]], 0, True, ""]}},
        {"sinks": {"out": [0, [[3, 0]], 0, True, ""]}},
        {"sinks": {"out": [0, [[64, 1]], 0, True, ""]}},
        {"sources": []},
    ],
    ids=str,
)
def test_numbers_that_cannot_be(stopped: Path, values: dict[str, object]) -> None:
    forge_record(stopped, forged(stopped, **values))
    ended = run(stopped, "run", "flow.toml", "--data", "data")
    assert ended.returncode == 3, ended.stderr
    assert b"the record cannot be read" in ended.stderr and b"--accept-damage" in ended.stderr


def test_without_positions_it_begins_anew_and_says_without_which_state(stopped: Path) -> None:
    forge_record(stopped, b"nothing")
    steps = run(stopped, "run", "flow.toml", "--data", "data").stderr.decode()
    (line,) = [line for line in steps.splitlines() if "begins anew" in line]
    assert "its positions and numbers are lost" in line
    assert line.endswith("without the state of average, seen, total")
    with running(stopped, "run", "flow.toml", "--data", "data", "--accept-damage") as flow:
        flow.wait_for(" running ")
        assert flow.stop() == 0
    assert any("the state of a step is dropped" in said for said in flow.log)
    exported = list((stopped / "data" / "state").glob("dropped-things-total-*.msgpack"))
    assert exported and all(file.stat().st_size for file in exported)


def test_a_place_behind_the_end_of_the_file_is_said(stopped: Path) -> None:
    """As after a restore of a file: results go on at its end."""
    known = record(stopped)
    known.sinks["out"] = replace(known.sinks["out"], place=known.sinks["out"].place + 1000)
    forge_record(stopped, known.pack())
    append(stopped, COUNT, COUNT + 5)
    flow = run_until(stopped, COUNT + 5)
    assert any("has become shorter" in line for line in flow.log)
    assert len(lines(stopped / "out.jsonl")) == COUNT + 5
    assert b"\0" not in (stopped / "out.jsonl").read_bytes()


def test_two_processes_on_one_folder(tmp_path: Path) -> None:
    prepare(tmp_path)
    with running(tmp_path, "run", "flow.toml", "--data", "data") as flow:
        flow.wait_for(" running ")
        ended = run(tmp_path, "run", "flow.toml", "--data", "data")
        assert ended.returncode == 3
        said = ended.stderr.decode()
        assert f"in use by process {flow.process.pid}" in said and "Traceback" not in said
        assert flow.stop() == 0


@pytest.mark.parametrize("what", ["data", "data/state", "data/state/shared"])
def test_a_folder_that_is_a_file(tmp_path: Path, what: str) -> None:
    prepare(tmp_path)
    (tmp_path / what).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / what).write_text("mine")
    ended = run(tmp_path, "run", "flow.toml", "--data", "data")
    said = ended.stderr.decode()
    assert ended.returncode == 3 and "Traceback" not in said, said
    assert "data" in said
    assert (tmp_path / what).read_text() == "mine"


def test_a_folder_with_files_of_others(tmp_path: Path) -> None:
    prepare(tmp_path)
    strange = store_folder(tmp_path) / "photo.jpg"
    strange.parent.mkdir(parents=True)
    strange.write_text("mine")
    assert "holds other files (photo.jpg)" in refused(tmp_path)
    assert strange.read_text() == "mine"


@contextmanager
def mounted(folder: Path, *words: str) -> Iterator[None]:
    """Something mounted there; skips where that is not allowed."""
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount")
    done = subprocess.run([mount, *words, str(folder)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=True)


def test_no_room_at_the_start(tmp_path: Path) -> None:
    prepare(tmp_path)
    (tmp_path / "data").mkdir()
    with mounted(tmp_path / "data", "-t", "tmpfs", "-o", "size=64k", "tmpfs"):
        said = refused(tmp_path)
        assert "No space left" in said or "the disk is full" in said, said
        assert "make room" in said


def test_a_folder_on_a_disk_that_is_read_only(stopped: Path) -> None:
    with mounted(stopped / "data", "-t", "tmpfs", "-o", "size=1m,ro", "tmpfs"):
        said = refused(stopped)
        assert "Read-only" in said, said


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """As a user without rights; root may write everywhere."""
    if os.geteuid() != 0:
        pytest.skip("needs another user to be refused as")
    tmp_path.chmod(0o755)
    prepare(tmp_path)
    (tmp_path / "data").mkdir(mode=0o755)
    try:
        ended = subprocess.run(
            [*BETTONG, "run", "flow.toml", "--data", "data"],
            cwd=tmp_path,
            capture_output=True,
            timeout=PATIENCE_S,
            env=environment(),
            user=65534,
            check=False,
        )
    except PermissionError:
        pytest.skip("another user cannot reach this folder")
    if b"No module named" in ended.stderr or b"Permission denied: 'flow" in ended.stderr:
        pytest.skip("another user cannot read the program")
    said = ended.stderr.decode()
    assert ended.returncode == 3 and "Traceback" not in said, said
    assert "Permission denied" in said and "data" in said


def test_a_damaged_flow_is_held_back_while_the_others_run(stopped: Path) -> None:
    """One of two flows has lost its record: the other goes on; the first keeps what it has until
    somebody accepts the loss."""
    (stopped / "flow.toml").rename(stopped / "things.toml")
    (stopped / "other.toml").write_text(OTHER)
    forge_record(stopped, b"nothing")
    command = ("run", "things.toml", "other.toml", "--data", "data")
    with running(stopped, *command) as both:
        said = both.wait_for("a flow is held back")
        assert "things" in said and "--accept-damage" in said
        eventually(lambda: lines(stopped / "other.jsonl"), "the other flow's result")
        status = run(stopped, "status", "--data", "data").stdout.decode()
        assert "flow things is held back" in status and "other" in status
        before = (stopped / "out.jsonl").read_bytes()
        assert both.stop() == 0
    assert (stopped / "out.jsonl").read_bytes() == before
    with running(stopped, *command, "--accept-damage") as both:
        both.wait_for("flow=things")
        assert both.stop() == 0
