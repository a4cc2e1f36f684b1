"""`bettong run` as its users start it, supervisor and worker, killed at every named point and from
outside: what is there in the end is what an undisturbed run gives.
"""

from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from appliance.points import POINTS
from crash.scenario import Scenario
from crash.sequence import judge, lines, outputs
from crash.workers import PATIENCE_S, Nursery
from integration.processes import BETTONG, environment, is_alive, run

SOAK = os.environ.get("BETTONG_SOAK") == "1"

#: A base is merged from 64 KiB on, which so little input never makes; forked workers get there.
MERGES = ("merge.before", "merge.after")
LATER = [point for point in POINTS[2:] if point not in MERGES]

#: The first start's, then the later ones backwards: so most of them have something to lose. The
#: first transaction of a start raises the epoch, the second is a cut.
KILLS = [
    *(f"{point}:1" for point in POINTS[:2]),
    *(f"{point}:{2 if point.startswith('transaction') else 1}" for point in reversed(LATER)),
]
OUTSIDE = 60 if SOAK else 4

MESSAGES = 400


class Tree:
    """One `bettong run`, which is to be killed."""

    def __init__(self, folder: Path, crash_at: str = "") -> None:
        self._process = subprocess.Popen(
            [*BETTONG, "run", "flow.toml", "--data", "data"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**environment(), "BETTONG_CRASH_AT": crash_at},
        )

    def wait_for_the_end(self) -> list[bytes]:
        """The log, whole when all of the tree is gone."""
        assert self._process.stderr is not None
        with self._process.stderr as log:
            found = log.readlines()
        assert self._process.wait(PATIENCE_S) == -signal.SIGKILL, found
        return found

    def kill_when_running(self, chance: random.Random) -> list[bytes]:
        """Supervisor first or worker first, a moment after it says that it runs."""
        assert self._process.stderr is not None
        found = []
        for line in self._process.stderr:
            found.append(line)
            if b" running " in line:
                break
        pid = self._process.pid
        path = Path(f"/proc/{pid}/task/{pid}/children")
        pids = [pid, *map(int, path.read_text().split())]
        try:
            self._process.wait(chance.random() * 0.1)
        except subprocess.TimeoutExpired:
            chance.shuffle(pids)
        for one in pids:
            if is_alive(one):
                os.kill(one, signal.SIGKILL)
        return found + self.wait_for_the_end()


def wait_for_the_store(state: Path) -> None:
    """A dead worker lets go of its store last, when its log is closed already."""
    if state.exists():
        folder = os.open(state, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)
        os.close(folder)


@pytest.fixture
def box(workers: Nursery, quick_path: Path) -> Scenario:
    return Scenario(workers, quick_path / "box", lines(MESSAGES, 5))


@pytest.fixture
def undisturbed(workers: Nursery, quick_path: Path) -> dict[str, object]:
    scenario = Scenario(workers, quick_path / "undisturbed", lines(MESSAGES, 5))
    scenario.run([])
    return outputs(scenario.folder)


def test_whole_trees_are_killed_at_every_point_and_from_outside(
    box: Scenario, undisturbed: dict[str, object]
) -> None:
    chance, resumed = random.Random(9), Counter[bool]()
    for at in KILLS + [""] * OUTSIDE:
        box.input.feed(14 if not SOAK else 4)
        tree = Tree(box.folder, at)
        log = tree.wait_for_the_end() if at else tree.kill_when_running(chance)
        wait_for_the_store(box.state)
        resumed[any(b" resumed " in line for line in log)] += 1
        box.look(was_ready=any(b" running " in line for line in log))
    # Not the three without a cut before them, nor the two that end where the epoch is raised.
    assert resumed[True] == len(KILLS) + OUTSIDE - 5
    box.input.feed(MESSAGES)
    box.set_follow(False)
    ended = run(box.folder, "run", "flow.toml", "--once", "--data", "data")
    assert ended.returncode == 0, ended.stderr
    judge(box.folder, box.messages, undisturbed)
