"""Each example flow, ended and started again after every single event: its files are in the end
what one run gives, byte for byte.

What a lane restores by itself is tested in `semantics`; here it goes through recovery, committer,
store and senders, and real files are read and written.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from appliance import points
from appliance.load import load_file
from crash.box import Box, feed, stages

FLOWS = Path(__file__).parents[2] / "config" / "flows"

EVENTS = 1000 if os.environ.get("BETTONG_SOAK") == "1" else 200

#: Flow, and its files of input with the bytes of an event; 0: a line.
EXAMPLES = {
    "alerts": {"transactions.csv": 0},
    "alphabet_votes": {"votes.bin": 9},
    "celsius": {"celsius.bin": 8},
    "market_spread": {"quotes.jsonl": 0, "orders.jsonl": 0},
    "sensors": {"readings.jsonl": 0},
    "word_count": {"text.txt": 0},
}


def test_every_example_is_here() -> None:
    assert {path.parent.name for path in FLOWS.glob("*/expected")} == set(EXAMPLES)


def events(name: str) -> list[tuple[str, bytes]]:
    """File and bytes of each event, `EVENTS` of them; a smaller input is repeated. Every third ends
    in the middle of the next."""
    found: list[tuple[str, bytes]] = []
    each = EVENTS // len(EXAMPLES[name])
    for file, size in EXAMPLES[name].items():
        data = (FLOWS / name / file).read_bytes()
        pieces = [data[at : at + size] for at in range(0, len(data), size)] if size else []
        pieces = pieces or data.splitlines(keepends=True)
        pieces = (pieces * (each // len(pieces) + 1))[:each]
        for number in range(0, each - 1, 3):
            half = len(pieces[number + 1]) // 2
            pieces[number] += pieces[number + 1][:half]
            pieces[number + 1] = pieces[number + 1][half:]
        found += [(file, piece) for piece in pieces]
    return found


def box(name: str, folder: Path) -> Box:
    """The example with results in files, and without input."""
    shutil.copytree(FLOWS / name, folder, ignore=shutil.ignore_patterns("expected", "out-*"))
    for file in EXAMPLES[name]:
        (folder / file).write_bytes(b"")
    text = (folder / "flow.toml").read_text()
    text = text.replace("stdout = {}", 'file = { path = "out-screen" }')
    assert "[settings]" not in text
    (folder / "flow.toml").write_text(text + '\n[settings]\ncommit_every = "1ms"\n')
    return Box(load_file(folder / "flow.toml"), folder)


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("out-*")}


def run_through(name: str, pieces: list[tuple[str, bytes]], folder: Path) -> Box:
    """One start an event, ended at each stage in turn, and a last one to the end."""
    many = box(name, folder)
    for (file, data), stage in zip(pieces, stages(len(pieces)), strict=True):
        feed(folder / file, data)
        many.start(stage)
    many.start("", once=True)
    return many


def run_at_once(name: str, pieces: list[tuple[str, bytes]], folder: Path) -> dict[str, bytes]:
    one = box(name, folder)
    for file, data in pieces:
        feed(folder / file, data)
    one.start("", once=True)
    return written(folder)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_restart_after_every_event_changes_nothing(name: str, quick_path: Path) -> None:
    pieces = events(name)
    assert len(pieces) == EVENTS
    expected = run_at_once(name, pieces, quick_path / "one")
    assert expected["out-screen"]
    many = run_through(name, pieces, quick_path / "many")
    assert written(quick_path / "many") == expected
    assert many.cuts >= EVENTS, "there was a cut in every start"


def test_it_would_be_noticed(quick_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = events("word_count")[:30]
    expected = run_at_once("word_count", pieces, quick_path / "one")
    monkeypatch.setattr(points, "_broken", frozenset({"unfinished-kept"}))
    run_through("word_count", pieces, quick_path / "many")
    assert written(quick_path / "many") != expected
