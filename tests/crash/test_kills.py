"""At least 200 kills of real processes, fed from a file, by a client or by another appliance:
nothing is lost, nothing comes twice, and what a cut has is not worked on again.

Most kill a worker that was forked (nursery.py), because a start of a whole tree takes the better
part of a second; `test_kill_trees.py` kills those. BETTONG_SOAK=1 does twenty times as many.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from appliance.points import POINTS
from crash.scenario import Kill, Scenario
from crash.sequence import judge, lines, outputs
from crash.workers import Nursery

ROUNDS = 20 if os.environ.get("BETTONG_SOAK") == "1" else 1

FIRST_START = ("create.before", "create.after")
#: Not more than once in a start, or only when there is time for it.
ONCE = ("epoch.before", "epoch.after", "trim.before", "trim.after")
LATER = tuple(point for point in POINTS if point not in FIRST_START)

#: Source and seed of each scenario.
SCENARIOS = (
    ("file", 1), ("file", 2),
    ("acknowledged_tcp", 3), ("acknowledged_tcp", 4),
    ("upstream", 5), ("upstream", 6),
)  # fmt: skip

MESSAGES = 800


def schedule(seed: int) -> list[Kill]:
    """Every point, in an order of its own, the first or second time that it is reached; and kills
    from outside, at any moment of a start or of the work."""
    chance = random.Random(seed)
    at = [Kill(at=f"{point}:1") for point in LATER]
    more = [Kill(at=f"{point}:{1 if point in ONCE else 2}") for point in LATER]
    outside = [Kill(after_s=chance.random() * 0.08, cuts=n % 4) for n in range(14)]
    early = [Kill(after_s=chance.random() * 0.05, early=True) for _ in range(5)]
    kills = [*at, *more, *outside, *early]
    chance.shuffle(kills)
    return [*(Kill(at=f"{point}:1") for point in FIRST_START), *kills]


def test_there_are_enough_kills() -> None:
    assert sum(len(schedule(seed)) for _, seed in SCENARIOS) >= 200


@pytest.fixture(scope="module")
def undisturbed(workers: Nursery, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """What runs without a kill give, by seed."""
    found = {}
    for _, seed in SCENARIOS:
        folder = tmp_path_factory.mktemp("undisturbed") / str(seed)
        scenario = Scenario(workers, folder, lines(MESSAGES, seed))
        scenario.run([])
        judge(folder, scenario.messages, None)
        found[seed] = outputs(folder)
    return found


@pytest.mark.parametrize("round_number", range(ROUNDS))
@pytest.mark.parametrize(("source", "seed"), SCENARIOS)
def test_nothing_is_lost_and_nothing_comes_twice(
    source: str,
    seed: int,
    round_number: int,
    undisturbed: dict[int, Any],
    workers: Nursery,
    quick_path: Path,
) -> None:
    kills = schedule(seed + 100 * round_number)
    messages = lines(MESSAGES, seed)
    scenario = Scenario(workers, quick_path / "box", messages, source, seed=seed + round_number)
    scenario.run(kills)
    judge(scenario.folder, messages, undisturbed[seed])
    assert scenario.kills == len(kills)
    missed = [point for point in POINTS if not scenario.reached[point]]
    assert not missed, f"{missed} were never reached: {scenario.log()}"
    assert scenario.resumed > len(LATER)
