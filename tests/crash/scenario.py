"""A `Scenario` is one flow with a history of kills. It is judged from outside: by what stands in
its files, its database and its store, and by what its input was told.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from appliance import clock
from appliance.store import Store
from appliance.worker.job import Job
from appliance.worker.record import FlowRecord
from crash.inputs import INPUTS, Input
from crash.sequence import FILES, FLOW, STEPS, TABLES, check, outputs, released, rows
from crash.workers import PATIENCE_S, Nursery, Worker
from integration.processes import eventually


@dataclass
class Kill:
    """How one start ends. `at`: a named point and its count; `hold`: the point at which it waits
    to be killed from outside; neither: killed from outside `after_s` it is ready, or, `early`, has
    begun to start. `feed`: messages that come before the start and after it is ready; `cuts`: how
    often the results of all that has come are awaited, and as many come again, before it is due."""

    at: str = ""
    hold: str = ""
    after_s: float = 0.0
    early: bool = False
    cuts: int = 0
    feed: tuple[int, int] = (6, 3)


#: A start that does not come to its point in so long is killed from outside instead; meanwhile a
#: message comes every moment, so that there is a cut every other moment.
REACH_S = 3.0
TRICKLE_S = 0.02
TRICKLE_MAX_COUNT = 8

#: A worker that is to wait at a point is there by then.
HOLD_S = 30.0


@dataclass
class Scenario:
    """One flow with its data, from its first start on. `reached`: how often each point ended it;
    `resumed`: starts that went on from a cut; `redone`: records that were worked on in vain, as no
    cut had them when the worker was killed."""

    nursery: Nursery
    folder: Path
    messages: list[bytes]
    source: str = "file"
    broken: str = ""
    seed: int = 1
    reached: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    resumed: int = 0
    redone: int = 0
    _epoch: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir()
        (self.folder / "steps.py").write_text(STEPS)
        self.input: Input = INPUTS[self.source](self.folder, self.messages, self.seed)
        self.set_follow(True)

    def set_follow(self, follow: bool) -> None:
        words = self.input.words(follow)
        (self.folder / "flow.toml").write_text(FLOW.format(source=words))

    @property
    def state(self) -> Path:
        return self.folder / "data" / "state" / "shared"

    def run(self, kills: list[Kill]) -> None:
        """Every kill in its turn, then a run to the end."""
        for kill in kills:
            self.run_until_killed(kill)
        self.run_to_the_end()

    # ---- one start ----

    def run_until_killed(self, kill: Kill) -> None:
        before = self.committed()
        self.input.feed(kill.feed[0])
        worker = self._start(kill)
        if not kill.early and worker.wait_for("ready"):
            self._begin(worker, kill)
        self._wait_for_the_kill(worker, kill)
        codes, events = worker.end(kill=not worker.is_gone)
        # A worker whose parent is gone before it has asked to die with it leaves by itself.
        usual = {-9, 0, 1} if kill.early and not worker.messages else {-9, 0}
        check(set(codes) <= usual and -9 in codes, f"{codes} {worker.messages} {self.log()}")
        if kill.at and worker.is_gone:
            self.reached[kill.at.partition(":")[0]] += 1
        self.input.part()
        self.kills += 1
        self._check_not_redone(events, before)
        self.look("ready" in worker.messages)
        self._check_to_redo(events, before)

    def _begin(self, worker: Worker, kill: Kill) -> None:
        self.input.connect(worker)
        self.input.feed(kill.feed[1])
        for _ in range(kill.cuts):
            eventually(lambda: released(self.folder) >= self.input.fed, "results of all are there")
            self.input.feed(kill.feed[1])

    def _wait_for_the_kill(self, worker: Worker, kill: Kill) -> None:
        if kill.hold:
            mark = self._log.with_name(self._log.name + ".held")
            until_s = clock.monotonic_s() + HOLD_S
            while not mark.exists() and clock.monotonic_s() < until_s:
                worker.wait_until_gone(0.01)
            check(mark.exists(), f"{kill.hold} is never reached")
        for _ in range(TRICKLE_MAX_COUNT if kill.at else 0):
            if worker.wait_until_gone(TRICKLE_S):
                return
            self.input.feed(1)
        worker.wait_until_gone(kill.after_s if not kill.at else REACH_S)

    def _start(self, kill: Kill, once: bool = False) -> Worker:
        job = Job(
            paths=(str(self.folder / "flow.toml"),), store=str(self.state), once=once, fresh=False
        )
        self.state.parent.mkdir(parents=True, exist_ok=True)
        return self.nursery.start(job, self._log, kill.at, self.broken, kill.hold)

    def run_to_the_end(self) -> None:
        """All that is left of the input, without a kill."""
        before = self.committed()
        self.input.feed(len(self.messages))
        self.set_follow(False)
        worker = self._start(Kill(), once=self.input.ends)
        if not self.input.ends:
            check(worker.wait_for("ready"), self.log())
            self.input.connect(worker)
            self.input.flush()
            worker.stop()
        check(worker.wait_until_gone(PATIENCE_S), f"it does not end: {self.log()}")
        codes, events = worker.end(kill=False)
        check(codes == [0] and "ended" in worker.messages, f"{codes}: {self.log()}")
        self.input.part()
        self._check_not_redone(events, before)
        check(self.committed() == len(self.messages), "the last cut does not have all")

    # ---- looking from outside ----

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def log(self) -> str:
        return self._log.read_text()[-3000:] if self._log.exists() else ""

    def record(self) -> FlowRecord | None:
        """What the store holds of the flow."""
        if not (self.state / "data.mdb").exists():
            return None
        store = Store.open(self.state)
        try:
            check(not store.damage, f"damaged: {store.damage}")
            packed = store.records().get("sequence")
        finally:
            store.close()
        return None if packed is None else FlowRecord.unpack(packed)

    def committed(self) -> int:
        """Messages that the store says were read."""
        record = self.record()
        positions = None if record is None else record.positions
        return self.input.committed(() if positions is None else positions.partitions)

    def _check_not_redone(self, events: int, before: int) -> None:
        """What was committed when a start began was not worked on again."""
        fed = self.input.fed
        what = f"{events} records were worked on, {before} of {fed} were committed"
        check(events <= fed - before, f"{what}: {self.log()}")

    def _check_to_redo(self, events: int, before: int) -> None:
        """What a start has done in vain came after the last cut, so it had no results yet."""
        redone, left = events - (self.committed() - before), self.input.fed - released(self.folder)
        check(redone <= left, f"{redone} records are to be done again, {left} have no results")
        self.redone += max(redone, 0)

    def look(self, was_ready: bool) -> None:
        """Between two starts: nothing has left that is not committed, no receiver knows more, and
        epochs grow."""
        check("has not made yet" not in self.log(), self.log())
        record = self.record()
        if record is None:
            check(self._epoch == 0, "the store has lost its record")
            check(not any(outputs(self.folder).values()), "results without a commit")
            return
        check(
            record.epoch >= self._epoch + was_ready,
            f"epoch {record.epoch} after epoch {self._epoch}",
        )
        self._epoch = record.epoch
        self.resumed += self._epoch > 1
        for sink, name in FILES.items():
            path = self.folder / name
            size = path.stat().st_size if path.exists() else 0
            place = record.sinks[sink].place
            check(size <= place, f"{name} has {size} bytes, {place} are committed")
        for sink, table in TABLES.items():
            ((count,),) = rows(self.folder, f"SELECT count(*) FROM {table}") or ((0,),)
            most = record.sinks[sink].records
            check(count <= most, f"{table} has {count} rows, {most} are committed")
        committed = self.committed()
        for count, what in (
            (released(self.folder), "have given results"),
            (self.input.acknowledged, "are acknowledged"),
        ):
            check(count <= committed, f"{count} {what}, {committed} are committed")
