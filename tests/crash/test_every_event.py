"""Each example flow, ended and started again after every single event: its files are in the end
what one run gives, byte for byte.

What a lane restores by itself is tested in `semantics`; here it goes through recovery, committer,
store and senders, and real files are read and written.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from appliance.load import load_file
from crash.box import Box, feed, stages

FLOWS = Path(__file__).parents[2] / "config" / "flows"

EVENTS = 200

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
    """File and bytes of each event, `EVENTS` of them; a smaller input is repeated."""
    found: list[tuple[str, bytes]] = []
    for file, size in EXAMPLES[name].items():
        data = (FLOWS / name / file).read_bytes()
        found += [
            (file, one)
            for one in (
                [data[at : at + size] for at in range(0, len(data), size)]
                if size
                else data.splitlines(keepends=True)
            )
        ]
    if len(EXAMPLES[name]) > 1:
        half = EVENTS // 2
        files = list(EXAMPLES[name])
        return [one for file in files for one in [each for each in found if each[0] == file][:half]]
    while len(found) < EVENTS:
        found += found
    return found[:EVENTS]


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


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_restart_after_every_event_changes_nothing(name: str, quick_path: Path) -> None:
    pieces = events(name)
    assert len(pieces) == EVENTS
    one = box(name, quick_path / "one")
    for file, data in pieces:
        feed(quick_path / "one" / file, data)
    one.start("", once=True)
    expected = written(quick_path / "one")
    assert expected["out-screen"]

    many = box(name, quick_path / "many")
    for (file, data), stage in zip(pieces, stages(EVENTS), strict=True):
        feed(quick_path / "many" / file, data)
        many.start(stage)
    many.start("", once=True)
    assert written(quick_path / "many") == expected
    assert many.cuts >= EVENTS, "there was a cut in every start"
