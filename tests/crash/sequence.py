"""The sequence window: per key 1, 2, 3, … come, the state is the last four, and result i must be
[max(0, i − 3), …, i]. It shows loss, duplication, reordering and lost state at once.

A `Scenario` is one flow with a history of kills; it is judged from outside: by what stands in its
files, its database and its store.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import sqlite3
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance import clock
from appliance.client import Client, ClientError
from appliance.store import Store
from appliance.worker.job import Job
from appliance.worker.record import FlowRecord
from crash.workers import PATIENCE_S, Nursery, Worker

STEPS = """
class LastFour:
    def __init__(self):
        self.seen = [0, 0, 0]

    def on_event(self, event):
        self.seen = [*self.seen, event.n][-4:]
        return {"key": event.key, "seen": self.seen}
"""

FLOW = """
version = 1
name = "sequence"
[settings]
commit_every = "20ms"
[source.numbers]
{source}
time = {{ field = "ts", unit = "ms", late = "1s" }}
[step.last-four]
from = "numbers"
key_by = "key"
python = "steps.py:LastFour"
[step.total]
from = "numbers"
key_by = "key"
running = {{ n = "count()", total = "sum(n)" }}
[step.windows]
from = "numbers"
key_by = "key"
window = {{ tumbling = "10s" }}
aggregate = {{ n = "count()", first = "min(n)", last = "max(n)" }}
[sink.four]
from = "last-four"
file = {{ path = "four.jsonl" }}
[sink.four-rows]
from = "last-four"
sqlite = {{ path = "out.db", table = "four" }}
[sink.totals]
from = "total"
file = {{ path = "totals.jsonl" }}
[sink.windows]
from = "windows"
sqlite = {{ path = "out.db", table = "windows" }}
[sink.faults]
from = "errors"
file = {{ path = "faults.jsonl" }}
"""

FILES = {"four": "four.jsonl", "totals": "totals.jsonl", "faults": "faults.jsonl"}
TABLES = {"four-rows": "four", "windows": "windows"}

KEYS = tuple(f"key{number}" for number in range(9))


class Wrong(AssertionError):
    """Something was lost, came twice, or was done too early."""


def lines(count: int, seed: int) -> list[bytes]:
    """Messages 1 to `count`, the same for a seed; keys come in an irregular order."""
    chance, numbers, found = random.Random(seed), Counter[str](), []
    for number in range(count):
        key = chance.choice(KEYS)
        numbers[key] += 1
        record = {"key": key, "n": numbers[key], "ts": 1_700_000_000_000 + number * 700}
        found.append(json.dumps(record).encode() + b"\n")
    return found


def outputs(folder: Path) -> dict[str, Any]:
    """Everything the flow has given, by sink."""
    found: dict[str, Any] = {}
    for sink, name in FILES.items():
        path = folder / name
        found[sink] = path.read_bytes() if path.exists() else b""
    for sink, table in TABLES.items():
        found[sink] = rows(folder, f"SELECT * FROM {table} ORDER BY rowid")
    return found


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    if not (folder / "out.db").exists():
        return []
    db = sqlite3.connect(folder / "out.db")
    try:
        return db.execute(query).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return []
    finally:
        db.close()


def check(true: bool, what: object) -> None:
    if not true:
        raise Wrong(what)


def judge_sequence(results: list[dict[str, Any]], sent: list[bytes], where: str) -> None:
    """The oracle, which needs no other run."""
    expected = Counter(json.loads(line)["key"] for line in sent)
    seen: dict[str, list[list[int]]] = defaultdict(list)
    for result in results:
        seen[result["key"]].append(result["seen"])
    check(seen.keys() == expected.keys(), f"{where}: keys {sorted(seen)}")
    for key, count in expected.items():
        wanted = [[max(0, i - back) for back in (3, 2, 1, 0)] for i in range(1, count + 1)]
        for i, (got, want) in enumerate(zip(seen[key], wanted, strict=False), 1):
            check(got == want, f"{where}: result {i} of {key} is {got}")
        check(len(seen[key]) == count, f"{where}: {len(seen[key])} of {count} results of {key}")


def judge(folder: Path, sent: list[bytes], undisturbed: dict[str, Any] | None) -> None:
    """Nothing lost, nothing twice; all that it gave is what an undisturbed run gives."""
    found = outputs(folder)
    check(found["faults"] == b"", f"faults: {found['faults'][:500]!r}")
    four = [json.loads(line) for line in found["four"].splitlines()]
    judge_sequence(four, sent, "the file")
    db_four = rows(folder, "SELECT key, seen FROM four ORDER BY rowid")
    results = [{"key": key, "seen": json.loads(seen)} for key, seen in db_four]
    judge_sequence(results, sent, "the database")
    check(not rows(folder, "SELECT * FROM _bettong_gaps"), "the database has seen gaps")
    check(not rows(folder, "SELECT * FROM _bettong_refused"), "the database has refused results")
    if undisturbed is not None:
        for sink, what in undisturbed.items():
            check(found[sink] == what, f"{sink} is not what an undisturbed run gives")


@dataclass
class Kill:
    """How one start ends. `at`: a named point and its count; `hold`: the point at which it waits
    to be killed from outside; neither: killed from outside `after_s` it is ready, or, `early`, has
    begun to start. `feed`: messages that come before the start and after it is ready."""

    at: str = ""
    hold: str = ""
    after_s: float = 0.0
    early: bool = False
    feed: tuple[int, int] = (6, 3)


#: A start that does not come to its point in so long is killed from outside instead; meanwhile a
#: message comes every moment, so that there is a cut every other moment.
REACH_S = 3.0
TRICKLE_S = 0.02
TRICKLE_MAX_COUNT = 8

#: Between two looks at a worker whose client waits to be welcome.
SETTLE_S = 0.1

#: A worker that is to wait at a point is there by then.
HOLD_S = 30.0


@dataclass
class Scenario:
    """One flow with its data, from its first start on. `reached`: how often each point ended it."""

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
    port: int = 0
    _fed: int = 0  # bytes of the file, or messages that the client may send
    _epoch: int = 0
    _acknowledged: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir()
        (self.folder / "steps.py").write_text(STEPS)
        self._chance = random.Random(self.seed)
        self._bytes = b"".join(self.messages)
        if self.source != "file":
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        else:
            (self.folder / "in.jsonl").touch()
        self.set_follow(True)

    def set_follow(self, follow: bool) -> None:
        words = f'file = {{ path = "in.jsonl", follow = {str(follow).lower()} }}'
        if self.source != "file":
            words = f'{self.source} = {{ listen = "127.0.0.1:{self.port}" }}'
        (self.folder / "flow.toml").write_text(FLOW.format(source=words))

    @property
    def state(self) -> Path:
        return self.folder / "data" / "state" / "shared"

    @property
    def fed(self) -> int:
        """Whole messages that the source has been given."""
        if self.source == "file":
            return self._bytes[: self._fed].count(b"\n")
        return self._fed

    def run(self, kills: list[Kill]) -> None:
        """Every kill in its turn, then a run to the end."""
        for kill in kills:
            self.run_until_killed(kill)
        self.run_to_the_end()

    # ---- one start ----

    def run_until_killed(self, kill: Kill) -> None:
        committed = self.committed()
        self.feed(kill.feed[0])
        worker = self._start(kill)
        client = None
        if not kill.early and worker.wait_for("ready"):
            self.feed(kill.feed[1])
            if self.source != "file":
                client = self._connect(worker)
        self._wait_for_the_kill(worker, client, kill)
        codes, events = worker.end(kill=not worker.is_gone)
        check(set(codes) <= {-9, 0} and -9 in codes, f"{codes} {worker.messages} {self.log()}")
        if kill.at and worker.is_gone:
            self.reached[kill.at.partition(":")[0]] += 1
        self._note_client(client)
        self.kills += 1
        self.redone += max(events - (self.fed - committed), 0)
        check(
            events <= self.fed - committed,
            f"{events} records were worked on, {committed} of {self.fed} were committed",
        )
        self.look("ready" in worker.messages)

    def _wait_for_the_kill(self, worker: Worker, client: Client | None, kill: Kill) -> None:
        if kill.hold:
            mark = self._log.with_name(self._log.name + ".held")
            until_s = clock.monotonic_s() + HOLD_S
            while not mark.exists() and clock.monotonic_s() < until_s:
                worker.wait_until_gone(0.01)
            check(mark.exists(), f"{kill.hold} is never reached")
        for _ in range(TRICKLE_MAX_COUNT if kill.at else 0):
            if worker.wait_until_gone(TRICKLE_S):
                return
            before = self._fed
            self.feed(1)
            if client is not None and self._fed > before:
                client.send(self.messages[before])
        worker.wait_until_gone(kill.after_s if not kill.at else REACH_S)

    def _start(self, kill: Kill, once: bool = False) -> Worker:
        job = Job(
            paths=(str(self.folder / "flow.toml"),), store=str(self.state), once=once, fresh=False
        )
        self.state.parent.mkdir(parents=True, exist_ok=True)
        return self.nursery.start(job, self._log, kill.at, self.broken, kill.hold)

    def run_to_the_end(self) -> None:
        """All that is left of the input, without a kill."""
        if self.source == "file":
            self.feed(len(self._bytes))
            self.set_follow(False)
            worker = self._start(Kill(), once=True)
        else:
            worker = self._start(Kill())
            check(worker.wait_for("ready"), self.log())
            self.feed(len(self.messages))
            client = self._connect(worker)
            client.flush(PATIENCE_S)
            client.close()
            worker.stop()
        check(worker.wait_until_gone(PATIENCE_S), f"it does not end: {self.log()}")
        codes, _ = worker.end(kill=False)
        check(codes == [0] and "ended" in worker.messages, f"{codes}: {self.log()}")

    # ---- input ----

    def feed(self, count: int) -> None:
        """About so many messages more; a file mostly ends within one."""
        if self.source != "file":
            self._fed = min(self._fed + count, len(self.messages))
            return
        average = len(self._bytes) // len(self.messages)
        upto = min(self._fed + count * average + self._chance.randrange(average), len(self._bytes))
        with (self.folder / "in.jsonl").open("ab") as out:
            out.write(self._bytes[self._fed : upto])
        self._fed = upto

    def _connect(self, worker: Worker) -> Client:
        """A client that has forgotten what was acknowledged, and gives all that comes after it."""
        client = Client(f"127.0.0.1:{self.port}", "s", first=self._acknowledged + 1)
        try:
            if not self._settle(client, worker):
                return client
            begin, before = client.acknowledged, self._acknowledged
            check(begin >= before, f"{before} were acknowledged, {begin} are")
            for message in self.messages[begin : self._fed]:
                client.send(message)
        except ClientError as error:
            client.close()
            raise Wrong(f"{self._acknowledged} were acknowledged: {error}") from error
        return client

    def _settle(self, client: Client, worker: Worker) -> bool:
        """Wait for the answer to its greeting; False when the worker was killed before."""
        while not worker.wait_until_gone(0):
            with contextlib.suppress(TimeoutError):
                client.flush(SETTLE_S)
                return True
        return False

    def _note_client(self, client: Client | None) -> None:
        if client is not None:
            client.close()
            self._acknowledged = max(self._acknowledged, client.acknowledged)

    # ---- looking from outside ----

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def log(self) -> str:
        return self._log.read_text()[-3000:]

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
        if record is None or record.positions is None or not record.positions.partitions:
            return 0
        (partition,) = record.positions.partitions
        if isinstance(partition.position, bytes):
            return int(partition.position)
        return self._bytes[: partition.position].count(b"\n")

    def look(self, was_ready: bool) -> None:
        """Between two starts: nothing has left that is not committed, and epochs grow."""
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
        check(
            self._acknowledged <= self.committed(),
            f"{self._acknowledged} are acknowledged, {self.committed()} are committed",
        )
