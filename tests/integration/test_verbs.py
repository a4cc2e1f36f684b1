"""`bettong fsck`, `export` and `import` on what real runs left."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from integration.chain import LINES_TAKEN, LINES_UP
from integration.processes import eventually, run, running, status_of, wait_for_text
from integration.stateful import (
    COUNT,
    OUTPUTS,
    append,
    forge_record,
    prepare,
    record,
    run_until,
    snapshot,
    store_folder,
)
from unit.ports import held_port


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run that was stopped; tests that use it change nothing."""
    folder = tmp_path_factory.mktemp("stopped")
    prepare(folder)
    append(folder, 0, COUNT)
    run_until(folder, COUNT)
    yield folder


def test_fsck_explains_and_changes_nothing(stopped: Path) -> None:
    held = snapshot(stopped / "data")
    ended = run(stopped, "fsck", "--data", "data")
    said = ended.stdout.decode()
    assert ended.returncode == 0, ended.stderr
    assert snapshot(stopped / "data") == held
    size = (stopped / "in.jsonl").stat().st_size
    for words in (
        "worker shared",
        "flow things",
        record(stopped).stream.hex(),
        f"byte {size:,}",
        "5 keys and windows",
        f"{COUNT:,} results",
        f"to byte {(stopped / 'out.jsonl').stat().st_size:,}",
        "sound:",
    ):
        assert words in said, said


def test_fsck_and_export_are_refused_while_it_runs(tmp_path: Path) -> None:
    prepare(tmp_path)
    with running(tmp_path, "run", "flow.toml", "--data", "data") as flow:
        flow.wait_for(" running ")
        for words in (("fsck",), ("export", "file")):
            ended = run(tmp_path, *words, "--data", "data")
            assert ended.returncode == 3
            assert f"in use by process {flow.process.pid}" in ended.stderr.decode()
        assert not (tmp_path / "file").exists()


def test_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    for words in (("fsck",), ("export", "file")):
        ended = run(tmp_path, *words, "--data", "data")
        assert ended.returncode == 3 and b"there is none" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_a_node_goes_on_elsewhere_as_if_nothing_had_been(tmp_path: Path) -> None:
    """Against a run that nobody touched: the exact files are the same, byte by byte."""
    chance = random.Random(5)
    ends = sorted(chance.sample(range(5, 60), 3))
    moved, undisturbed = tmp_path / "moved", tmp_path / "undisturbed"
    for folder in (moved, undisturbed):
        prepare(folder)
    append(undisturbed, 0, ends[-1])
    run_until(undisturbed, ends[-1])
    data, start, epochs = "data-0", 0, []
    for number, end in enumerate(ends):
        append(moved, start, end)
        run_until(moved, end, data=data)
        file, new = f"file-{number}", f"data-{number + 1}"
        assert run(moved, "export", file, "--data", data).returncode == 0
        assert run(moved, "import", file, "--data", new, "--takeover").returncode == 0
        epochs.append(record(moved, data).epoch)
        data, start = new, end
    assert epochs == [1, 3, 5]  # one more for each import and each start
    for name in OUTPUTS:
        assert (moved / name).read_bytes() == (undisturbed / name).read_bytes()


def test_an_import_asks_before_it_takes_over(stopped: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert run(stopped, "export", str(file), "--data", "data").returncode == 0
    ended = run(tmp_path, "import", "file", "--data", "new")
    assert ended.returncode == 2
    assert b"must not run on" in ended.stderr and b"--takeover" in ended.stderr
    assert not (tmp_path / "new").exists()
    assert run(tmp_path, "import", "file", "--data", "new", "--takeover").returncode == 0
    held = snapshot(tmp_path / "new")
    ended = run(tmp_path, "import", "file", "--data", "new", "--takeover")
    assert ended.returncode == 2 and b"holds state already" in ended.stderr
    assert snapshot(tmp_path / "new") == held
    ended = run(stopped, "export", str(file), "--data", "data")
    assert ended.returncode == 3 and b"is there already" in ended.stderr


def test_of_two_imports_of_one_export_the_second_is_heard_of(tmp_path: Path) -> None:
    """It writes to the places that the first has written to; nobody else could notice."""
    prepare(tmp_path)
    append(tmp_path, 0, COUNT)
    run_until(tmp_path, COUNT)
    assert run(tmp_path, "export", "file", "--data", "data").returncode == 0
    for data in ("one", "two"):
        ended = run(tmp_path, "import", "file", "--data", data, "--takeover")
        assert ended.returncode == 0, ended.stderr
    append(tmp_path, COUNT, 2 * COUNT)
    words = "a file is longer than what this state has written to it"
    for data, is_heard in (("one", False), ("two", True)):
        flow = run_until(tmp_path, 2 * COUNT, data=data)
        assert any(words in line for line in flow.log) == is_heard, flow.log


def test_a_damaged_export_changes_nothing(stopped: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert run(stopped, "export", str(file), "--data", "data").returncode == 0
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    ended = run(tmp_path, "import", "file", "--data", "new", "--takeover")
    assert ended.returncode == 3 and b"nothing was changed" in ended.stderr
    assert b"Traceback" not in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_damage_is_found_repaired_and_remembered(tmp_path: Path) -> None:
    """Until somebody accepts what was lost, no run goes on."""
    prepare(tmp_path)
    append(tmp_path, 0, COUNT)
    run_until(tmp_path, COUNT)
    stream = record(tmp_path).stream
    path = store_folder(tmp_path) / "data.mdb"
    sound = path.read_bytes()
    path.write_bytes(sound[:8192] + bytes(len(sound) - 8192))
    held = snapshot(tmp_path / "data")
    ended = run(tmp_path, "fsck", "--data", "data")
    assert ended.returncode == 1 and b"damaged:" in ended.stdout, ended.stdout
    assert b"--accept-damage" in ended.stdout
    assert snapshot(tmp_path / "data") == held
    ended = run(tmp_path, "fsck", "--data", "data", "--repair")
    assert ended.returncode == 1 and b"repaired:" in ended.stdout
    ended = run(tmp_path, "fsck", "--data", "data")
    assert ended.returncode == 1 and b"nobody has accepted it yet" in ended.stdout, ended.stdout
    for _ in range(2):
        ended = run(tmp_path, "run", "flow.toml", "--data", "data")
        assert ended.returncode == 3 and b"run it with --accept-damage" in ended.stderr
    run_until(tmp_path, COUNT, "--accept-damage")
    assert record(tmp_path).stream != stream
    assert run(tmp_path, "fsck", "--data", "data").returncode == 0


def test_a_record_that_is_none_is_found(tmp_path: Path) -> None:
    prepare(tmp_path)
    append(tmp_path, 0, COUNT)
    run_until(tmp_path, COUNT)
    forge_record(tmp_path, b"no record")
    ended = run(tmp_path, "fsck", "--data", "data")
    assert ended.returncode == 1 and b"the record cannot be read" in ended.stdout


def test_a_damaged_block_of_results_is_taken_out_and_its_gap_is_told(tmp_path: Path) -> None:
    """As in a run that finds it; the others arrive, and the store is sound again."""
    names = ("first", "second", "third")
    with held_port() as port:
        (tmp_path / "box.toml").write_text(
            LINES_UP.format(port=port, settings='commit_every = "10ms"')
        )
        (tmp_path / "centre.toml").write_text(LINES_TAKEN.format(port=port))
        with running(tmp_path, "run", "box.toml", "--data", "data") as box:
            box.wait_for(" running ")
            for count, name in enumerate(names, 1):
                with (tmp_path / "in.txt").open("a") as out:
                    out.write(f"the {name} line\n")
                eventually(partial(waiting, tmp_path, count), name)
            assert box.stop() == 0
    path = store_folder(tmp_path) / "data.mdb"
    path.write_bytes(path.read_bytes().replace(b"the second line", b"the s_cond line"))
    ended = run(tmp_path, "fsck", "--data", "data")
    assert ended.returncode == 1 and b"these results are lost" in ended.stdout, ended.stdout
    ended = run(tmp_path, "fsck", "--data", "data", "--repair")
    assert ended.returncode == 1 and ended.stdout.count(b"repaired: ") == 1, ended.stdout
    (kept,) = (path.parent / "quarantine").iterdir()
    assert kept.name.encode() in ended.stdout and b"the s_cond line" in kept.read_bytes()
    assert b"--accept-damage" not in ended.stdout
    ended = run(tmp_path, "fsck", "--data", "data")
    assert ended.returncode == 0 and b"sound" in ended.stdout, ended.stdout
    with (
        running(tmp_path, "run", "centre.toml", "--data", "centre"),
        running(tmp_path, "run", "box.toml", "--data", "data") as box,
    ):
        wait_for_text(tmp_path / "out.txt", "the first line\nthe third line\n")
        box.wait_for("a block of results cannot be sent")
        eventually(partial(waiting, tmp_path, 0), "nothing waits any more")
        (sink,) = status_of(tmp_path, "--data", "data")["flows"][0]["sinks"]
        assert sink["spool"]["damaged"] == 1
        (source,) = status_of(tmp_path, "--data", "centre")["flows"][0]["sources"]
        assert (source["counts"]["gaps"], source["counts"]["lost"]) == (1, 1)


def waiting(folder: Path, count: int) -> bool:
    """Whether so many blocks wait for the one sink."""
    (sink,) = status_of(folder, "--data", "data")["flows"][0]["sinks"]
    return bool(sink["spool"]["blocks"] == count)
