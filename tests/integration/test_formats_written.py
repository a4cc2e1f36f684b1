"""Data of other versions: what the one before wrote is read, and what a later one wrote is refused
and left as it is, byte for byte.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections import defaultdict
from pathlib import Path

import msgpack
import pytest

from appliance import formats
from appliance.errors import BettongError
from appliance.formats import Format
from appliance.link.history import History
from appliance.store import Commit, Store, StoreRefused, entries, folder
from appliance.store.examine import examine
from appliance.worker import capture_form
from integration.formats_written import FOLDER
from integration.processes import eventually, run, running
from integration.stateful import contents, forge_record, lines, snapshot, store_folder

WRITTEN = sorted(FOLDER.glob("written-by-*.tar.xz"))


@pytest.fixture(params=WRITTEN, ids=lambda path: path.name)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What a version has left."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def versions_in(files: Path) -> dict[str, int]:
    """The stamps, read without our own code."""
    (stored,) = re.findall(rb"^bettong-store (\d+) ", (store_folder(files) / "FORMAT").read_bytes())
    (exported,) = re.findall(rb"^bettong-export (\d+)\n", (files / "export").read_bytes())
    record = contents(files).record
    assert record is not None
    return {
        "store": int(stored),
        "record": msgpack.unpackb(record)["version"],
        "export": int(exported),
        "capture": (files / "capture").read_bytes()[7],
    }


def test_what_is_written_and_what_is_read_is_all_under_test(tmp_path: Path) -> None:
    """A format that counts up needs a new file, made with the program before and after it."""
    seen: dict[str, set[int]] = defaultdict(set)
    for path in WRITTEN:
        with tarfile.open(path) as archive:
            archive.extractall(tmp_path / path.name, filter="data")
        for name, version in versions_in(tmp_path / path.name).items():
            seen[name].add(version)
    for form in (formats.STORE, formats.RECORD, formats.EXPORT, formats.CAPTURE):
        assert {form.oldest, form.version} <= seen[form.name], (
            f"{form.name}: run `python -m integration.formats_written` with the version that "
            "writes what is missing, and commit its file"
        )


def test_a_position_of_an_upstream_source_is_read() -> None:
    """Format 1, as bytes; a new format adds its own."""
    position = bytes.fromhex(
        "98 01 a3 62 6f 78 a3 73 75 6d a3 6f 75 74 07 c4 10 02 02 02 02 02 02 02 02 02 02 02 02"
        "02 02 02 02 c4 00 05"
    )
    assert formats.UPSTREAM_POSITION.version == 1
    found = History.restored("01" * 16 + ".out", position)
    assert (found.node, found.flow, found.sink, found.epoch, found.lost) == (
        "box", "sum", "out", 7, 5
    )  # fmt: skip
    newer = bytes([position[0], 2]) + position[2:]
    with pytest.raises(ValueError, match="position has format 2, and this program knows 1"):
        History.restored("01" * 16 + ".out", newer)


def counts(path: Path, name: str) -> dict[object, list[int]]:
    found = defaultdict(list)
    for line in lines(path):
        result = json.loads(line)
        found[result["device"]].append(result[name])
    return found


def test_a_run_goes_on_with_what_was_written(written: Path) -> None:
    """No number is missing, and none is there twice: positions, states and places were read."""
    sound = run(written, "fsck", "--data", "data")
    assert sound.returncode == 0, sound.stdout + sound.stderr
    waiting = {spool.sink: spool for spool in contents(written).spools}["waiting"]
    assert waiting.next_seq > waiting.first_seq
    before = len(lines(written / "totals.jsonl"))
    with running(written, "run", "flow.toml", "--data", "data") as flow:
        flow.wait_for(" running ")
        for name in ("totals.jsonl", "times.jsonl"):
            path = written / name
            eventually(lambda path=path: len(lines(path)) > before + 20, name)  # type: ignore[misc]
        assert flow.stop() == 0
    for path, name in (("totals.jsonl", "count"), ("times.jsonl", "times")):
        for numbers in counts(written / path, name).values():
            assert numbers == list(range(1, len(numbers) + 1))


def test_an_export_is_imported(written: Path) -> None:
    ended = run(written, "import", "export", "--data", "new", "--takeover")
    assert ended.returncode == 0, ended.stderr
    assert run(written, "fsck", "--data", "new").returncode == 0
    assert contents(written, "new").steps == contents(written).steps


def test_a_capture_is_read(written: Path) -> None:
    with (written / "capture").open("rb") as file:
        found = list(capture_form.read_entries(file))
    assert found[0][0] == capture_form.HEAD and found[-1][0] == capture_form.DIGEST
    assert capture_form.Head.unpack(found[0][1]).flow == "things"
    assert capture_form.Digest.unpack(found[-1][1]).why == "asked"


# ---- what a later version wrote ----


def later(store: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """A later version of the program runs with the store for a while."""
    with monkeypatch.context() as patch:
        for module in (entries, folder):
            patch.setattr(module, "STORE", Format("store", version))
        opened = Store.open(store)
        assert not opened.damage
        opened.commit(Commit((), {}, (), {}))
        opened.close()


COMMANDS = (
    ("run", "flow.toml", "--data", "data"),
    ("run", "flow.toml", "--data", "data", "--accept-damage"),
    ("run", "flow.toml", "--data", "data", "--drop-state", "total"),
    ("fsck", "--data", "data"),
    ("fsck", "--data", "data", "--repair"),
    ("export", "out", "--data", "data"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("where", ["stamp", "head", "record"])
def test_newer_data_is_refused_and_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, words: tuple[str, ...]
) -> None:
    with tarfile.open(WRITTEN[-1]) as archive:
        archive.extractall(tmp_path, filter="data")
    stamp = store_folder(tmp_path) / "FORMAT"
    if where == "stamp":
        stamp.write_bytes(stamp.read_bytes().replace(b"store 1", b"store 2"))
    elif where == "head":
        later(store_folder(tmp_path), monkeypatch, 2)
    else:
        known = msgpack.unpackb(contents(tmp_path).record or b"")
        forge_record(tmp_path, msgpack.packb({**known, "version": 2}))
    before = snapshot(tmp_path)
    ended = run(tmp_path, *words)
    said = (ended.stdout + ended.stderr).decode()
    # A record is one flow's: `fsck` and `export` deal with the rest, and carry it as it is.
    if where != "record":
        assert ended.returncode == 3, said
    if where != "record" or words[0] != "export":
        assert "has format 2, and this program knows 1" in said, said
        assert "newer version; use that one" in said and "nothing was changed" in said
    (tmp_path / "out").unlink(missing_ok=True)
    assert snapshot(tmp_path) == before


# ---- the rule, on versions that do not exist yet ----


def test_a_program_reads_the_version_before_and_is_refused_by_the_one_before(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_folder(written)
    later(store, monkeypatch, 2)  # it has read what we wrote
    before = snapshot(written)
    with pytest.raises(StoreRefused, match="format 2, and this program knows 1"):
        Store.open(store)
    with pytest.raises(StoreRefused, match="format 2, and this program knows 1"):
        examine(store)
    assert snapshot(written) == before


def test_what_is_older_than_the_version_before_is_refused(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(written)
    words = r"format 1, and this program knows 2 and 3: go by a version of bettong in between"
    with pytest.raises(StoreRefused, match=words):
        later(store_folder(written), monkeypatch, 3)
    assert snapshot(written) == before


def test_what_a_format_reads() -> None:
    first, third = Format("thing", 1), Format("thing", 3)
    assert [first.refusal(version) == "" for version in (0, 1, 2)] == [False, True, False]
    assert [third.refusal(version) == "" for version in range(5)] == [
        False, False, True, True, False
    ]  # fmt: skip
    assert len({form.name for form in formats.ALL}) == len(formats.ALL)
    assert issubclass(StoreRefused, BettongError)
