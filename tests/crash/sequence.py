"""The sequence window: per key 1, 2, 3, … come, the state is the last four, and result i must be
[max(0, i − 3), …, i]. It shows loss, duplication, reordering and lost state at once.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

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


def released(folder: Path) -> int:
    """Messages whose results have left."""
    path = folder / FILES["four"]
    return path.read_bytes().count(b"\n") if path.exists() else 0


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
