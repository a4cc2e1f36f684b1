"""Would it be noticed? Each rule of durability is broken on purpose, and a scenario that passes
otherwise must fail for the reason that belongs to the rule.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.points import RULES
from crash.sequence import Kill, Scenario, Wrong, judge, lines
from crash.workers import Nursery

#: For each rule: source, kills, and what the judge says when it is broken.
CASES = {
    "ack-after-commit": (
        "acknowledged_tcp",
        [Kill(hold="commit.before", after_s=0.5)],
        "are acknowledged, 0 are committed",
    ),
    "release-after-commit": (
        "file",
        [Kill(hold="commit.before", after_s=0.3)],
        "results without a commit|bytes, .* are committed|rows, .* are committed",
    ),
    # The fourth transaction: after those of the creation, the epoch and the positions alone.
    "one-transaction": ("file", [Kill(at="transaction.before:4")], "the file: "),
    "numbers-restored": ("file", [Kill(at="trim.before:1")] * 2, "the database: "),
    "epoch-raised": ("file", [Kill(at="commit.after:1")] * 2, "epoch 1 after epoch 1|after epoch"),
    "unfinished-kept": ("file", [Kill(at="commit.after:1")] * 6, "faults: |the file: "),
    "merge-committed": (
        "file",
        [Kill(at="transaction.before:3"), Kill(at="transaction.before:4")] * 8,
        "the file: ",
    ),
}

MESSAGES = 200


def run(workers: Nursery, folder: Path, rule: str, broken: str) -> None:
    source, kills, _ = CASES[rule]
    scenario = Scenario(workers, folder, lines(MESSAGES, 7), source, broken)
    scenario.run(kills)
    judge(folder, scenario.messages, None)


def test_every_rule_has_its_case() -> None:
    assert CASES.keys() == RULES.keys()


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_is_noticed(rule: str, workers: Nursery, quick_path: Path) -> None:
    with pytest.raises(Wrong, match=CASES[rule][2]):
        run(workers, quick_path / "box", rule, broken=rule)


@pytest.mark.parametrize("rule", RULES)
def test_the_same_passes_with_the_rule_whole(rule: str, workers: Nursery, quick_path: Path) -> None:
    run(workers, quick_path / "box", rule, broken="")
