"""Would it be noticed? Each rule of durability is broken on purpose, and a scenario that passes
otherwise must fail for the reason that belongs to the rule.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.points import RULES
from crash.scenario import Kill, Scenario
from crash.sequence import Wrong, judge, lines
from crash.workers import Nursery

#: Rule, source, kills, and what the judge says when the rule is broken. An upstream source has no
#: unfinished frames: what it hands over is whole messages.
CASES = [
    (
        "ack-after-commit",
        source,
        [Kill(hold="commit.before", after_s=0.5)],
        "are acknowledged, 0 are committed",
    )
    for source in ("acknowledged_tcp", "upstream")
]
CASES += [
    (
        "release-after-commit",
        "file",
        [Kill(hold="commit.before", after_s=0.3)],
        "results without a commit|bytes, .* are committed|rows, .* are committed",
    ),
    # The fourth transaction: after those of the creation, the epoch and the positions alone.
    *(
        ("one-transaction", source, [Kill(at="transaction.before:4")], "the file: ")
        for source in ("file", "acknowledged_tcp", "upstream")
    ),
    ("numbers-restored", "file", [Kill(at="trim.before:1")] * 2, "has result .* not made yet"),
    ("epoch-raised", "file", [Kill(at="commit.after:1")] * 2, "epoch 1 after epoch 1|after epoch"),
    ("unfinished-kept", "file", [Kill(at="commit.after:1")] * 6, "faults: |the file: "),
    (
        "merge-committed",
        "file",
        [Kill(at="transaction.before:3"), Kill(at="transaction.before:4")] * 8,
        "the file: ",
    ),
]
NAMES = [f"{rule}-{source}" for rule, source, _, _ in CASES]

MESSAGES = 200


def run(workers: Nursery, folder: Path, source: str, kills: list[Kill], broken: str) -> None:
    scenario = Scenario(workers, folder, lines(MESSAGES, 7), source, broken)
    scenario.run(kills)
    judge(folder, scenario.messages, None)


def test_every_rule_has_its_case() -> None:
    assert {rule for rule, _, _, _ in CASES} == RULES.keys()


@pytest.mark.parametrize(("rule", "source", "kills", "verdict"), CASES, ids=NAMES)
def test_a_broken_rule_is_noticed(
    rule: str, source: str, kills: list[Kill], verdict: str, workers: Nursery, quick_path: Path
) -> None:
    with pytest.raises(Wrong, match=verdict):
        run(workers, quick_path / "box", source, kills, broken=rule)


@pytest.mark.parametrize(("rule", "source", "kills", "verdict"), CASES, ids=NAMES)
def test_the_same_passes_with_the_rule_whole(
    rule: str, source: str, kills: list[Kill], verdict: str, workers: Nursery, quick_path: Path
) -> None:
    run(workers, quick_path / "box", source, kills, broken="")
