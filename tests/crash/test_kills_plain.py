"""Plain TCP knows no acknowledgement: what came since the last cut may be lost with a kill. Still
nothing comes twice, and state and results have lost the same: each result follows from the last.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections import defaultdict
from pathlib import Path

import pytest

from appliance.points import POINTS
from crash.inputs import PlainInput
from crash.scenario import Kill, Scenario
from crash.sequence import lines, outputs, rows
from crash.workers import Nursery

MESSAGES = 500


def judge(folder: Path, sent: list[bytes], last: int) -> None:
    """Results of each key in their order, none twice, each with the three that came before it, and
    the last messages all there."""
    found = [json.loads(line) for line in outputs(folder)["four"].splitlines()]
    query = "SELECT key, seen FROM four ORDER BY rowid"
    stored = [{"key": key, "seen": json.loads(seen)} for key, seen in rows(folder, query)]
    assert stored == found
    seen: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for result in found:
        before = seen[result["key"]]
        assert result["seen"] == [*before[-3:], result["seen"][-1]]
        assert result["seen"][-1] > before[-1]
        before.append(result["seen"][-1])
    for line in sent[-last:]:
        record = json.loads(line)
        assert record["n"] in seen[record["key"]], record


@pytest.mark.parametrize("broken", ["", "merge-committed"])
def test_what_is_lost_is_lost_everywhere(broken: str, workers: Nursery, quick_path: Path) -> None:
    """Rows that a transaction of their own commits ahead of the results are noticed."""
    chance = random.Random(6)
    kills = [Kill(at=f"{point}:1") for point in POINTS[2:]]
    kills += [Kill(at=f"transaction.before:{count}") for count in (3, 4, 5, 6)] * 2
    kills += [Kill(after_s=chance.random() * 0.08) for _ in range(10)]
    chance.shuffle(kills)
    scenario = Scenario(workers, quick_path / "box", lines(MESSAGES, 6), "tcp", broken, seed=6)
    scenario.run(kills)
    assert outputs(scenario.folder)["faults"] == b""
    assert isinstance(scenario.input, PlainInput)
    last = scenario.input.last
    with pytest.raises(AssertionError) if broken else contextlib.nullcontext():
        judge(scenario.folder, scenario.messages, last)
    count = len(outputs(scenario.folder)["four"].splitlines())
    assert 0 < last < count < MESSAGES, "some are lost, as they may be"
