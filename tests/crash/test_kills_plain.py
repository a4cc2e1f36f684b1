"""Plain TCP knows no acknowledgement: what came since the last cut may be lost with a kill. Still
nothing comes twice, and state and results have lost the same: each result follows from the last.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from pathlib import Path

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


def killed(workers: Nursery, folder: Path, broken: str, seed: int) -> Scenario:
    """A run that was killed at every point, in an order of the seed's, and from outside."""
    chance = random.Random(seed)
    kills = [Kill(at=f"{point}:1") for point in POINTS[2:]]
    kills += [Kill(at=f"transaction.before:{count}") for count in (3, 4, 5, 6)] * 2
    kills += [Kill(after_s=chance.random() * 0.08) for _ in range(10)]
    chance.shuffle(kills)
    scenario = Scenario(workers, folder, lines(MESSAGES, seed), "tcp", broken, seed=seed)
    scenario.run(kills)
    assert outputs(scenario.folder)["faults"] == b""
    return scenario


def is_sound(scenario: Scenario) -> bool:
    assert isinstance(scenario.input, PlainInput)
    try:
        judge(scenario.folder, scenario.messages, scenario.input.last)
    except AssertionError:
        return False
    return True


def test_what_is_lost_is_lost_everywhere(workers: Nursery, quick_path: Path) -> None:
    scenario = killed(workers, quick_path / "box", "", 6)
    assert isinstance(scenario.input, PlainInput)
    last = scenario.input.last
    judge(scenario.folder, scenario.messages, last)
    count = len(outputs(scenario.folder)["four"].splitlines())
    assert 0 < last < count < MESSAGES, "some are lost, as they may be"


def test_rows_that_are_committed_ahead_of_their_results_are_noticed(
    workers: Nursery, quick_path: Path
) -> None:
    """What such a transaction has in it depends on when the kernel hands bytes over: some runs, not
    each, are hit where it shows."""
    runs = (killed(workers, quick_path / str(s), "merge-committed", s) for s in range(6, 16))
    assert not all(map(is_sound, runs))
