"""The SQLite sink: rows, columns, and each result once whatever is sent again."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from appliance.connect import (
    Batch,
    Later,
    Numbered,
    Resume,
    Telling,
    check_options,
    construct,
    sink_class,
)
from appliance.errors import EnvironmentFailure
from connectors import sqlite

STREAM = bytes(range(16))
RESUME = Resume(stream=STREAM, epoch=1, flow="f", sink="out")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "out.db"


def opened(path: Path, resume: Resume = RESUME, **options: Any) -> Any:
    made = construct(sink_class("sqlite"), {"path": str(path), "table": "t", **options})
    made.open(resume)
    return made


def ask(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def encoded(*records: Any) -> list[bytes]:
    return [json.dumps(record).encode() + b"\n" for record in records]


def store(path: Path, *records: Any, **options: Any) -> dict[str, int]:
    """Write these records in one batch without numbers; what was counted."""
    made = opened(path, **options)
    made.write(encoded(*records))
    made.close()
    return dict(made.counts())


# ---- rows and columns ----


def test_fields_become_columns_and_values_stay_what_they_are(db: Path) -> None:
    record = {
        "b": True,
        "i": 2**63 - 1,
        "f": 1.0,
        "s": "é",
        "n": None,
        "l": [1, "a"],
        "m": {"x": 1},
    }
    store(db, record)
    names = [name for _, name, *_ in ask(db, "PRAGMA table_info(t)")]
    assert names == list(record)
    assert ask(db, "SELECT * FROM t") == [
        (1, 2**63 - 1, 1.0, "é", None, '[1,"a"]', '{"x":1}'),
    ]
    assert ask(db, "SELECT typeof(i), typeof(f) FROM t") == [("integer", "real")]


def test_a_new_field_gets_a_column(db: Path) -> None:
    assert store(db, {"a": 1}, {"a": 2, "b": "x"}, {"b": "y"}) == {"columns": 1}
    assert ask(db, "SELECT a, b FROM t ORDER BY rowid") == [(1, None), (2, "x"), (None, "y")]


def test_columns_can_be_declared(db: Path) -> None:
    columns = {"a": "integer", "data": "BLOB", "more": "TEXT"}
    records = [{"a": 1, "data": "aGk="}, {"a": 2, "b": 1}, {"a": 3, "data": "no base64"}]
    assert store(db, *records, columns=columns) == {"refused": 2}
    assert ask(db, "SELECT * FROM t") == [(1, b"hi", None)]
    assert ask(db, "SELECT reason FROM _bettong_refused ORDER BY rowid") == [
        ("'b' is no column of t, whose columns are declared",),
        ("'data' is no base64 text: Only base64 data is allowed",),
    ]


def test_a_table_that_lacks_declared_columns_is_refused(db: Path) -> None:
    change(db, "CREATE TABLE t (a)")
    with pytest.raises(EnvironmentFailure, match=r"the table t in .* is there without b"):
        opened(db, columns={"A": "TEXT", "b": "TEXT"})


@pytest.mark.parametrize("name", ['a"b', "select", "a b", "", "é", "rowid", "a;--", "x'y"])
def test_any_name_can_be_a_column_and_most_a_table(db: Path, name: str) -> None:
    store(db, {name: 1}, table=name or "t")
    quoted = '"' + (name or "t").replace('"', '""') + '"'
    assert ask(db, f"SELECT * FROM {quoted}") == [(1,)]


def test_names_that_differ_only_in_case_are_one_column(db: Path) -> None:
    assert store(db, {"Temp": 1}, {"temp": 2}, {"temp": 3, "TEMP": 4}) == {"refused": 1}
    assert ask(db, "SELECT temp FROM t") == [(1,), (2,)]


def test_what_cannot_be_stored_is_kept_aside_and_the_rest_is_stored(db: Path) -> None:
    change(db, "CREATE TABLE t (a INTEGER PRIMARY KEY CHECK (a < 10))")
    made = opened(db)
    records = encoded({"a": 1}, {"a": 1}, {"a": 11}, {}, [1], {"a": 2**64}, {"\0": 1}, {"a": 2})
    made.write([*records, b"\xff"])
    made.close()
    assert ask(db, "SELECT a FROM t") == [(1,), (2,)]
    refused = ask(db, "SELECT reason, record FROM _bettong_refused ORDER BY rowid")
    assert made.counts()["refused"] == len(refused) == 7
    assert {record for _, record in refused} == {*records[1:7], b"\xff"}
    assert any("UNIQUE" in reason for reason, _ in refused)
    assert any("CHECK" in reason for reason, _ in refused)


def test_the_table_of_the_refused_is_bounded(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "SQLITE_REFUSED_MAX_COUNT", 3)
    assert store(db, *([number] for number in range(10)))["refused"] == 10
    assert ask(db, "SELECT record FROM _bettong_refused") == [(b"[7]\n",), (b"[8]\n",), (b"[9]\n",)]


def test_columns_are_bounded(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "SQLITE_COLUMN_MAX_COUNT", 2)
    assert store(db, {"a": 1, "b": 1}, {"c": 1}) == {"refused": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": ""}, "is no name"),
        ({"table": "_bettong_numbers"}, "system's own"),
        ({"table": "SQLITE_x"}, "system's own"),
        ({"columns": {}}, "at least one"),
        ({"columns": {"a": "WIDGET"}}, "a: 'WIDGET' is no type of SQLite's"),
        ({"columns": {"a": "TEXT", "A": "TEXT"}}, "differ only in case"),
    ],
)
def test_wrong_options_are_said(options: dict[str, Any], message: str) -> None:
    (fault,) = check_options(sink_class("sqlite"), {"path": "x.db", "table": "t", **options})
    assert message in fault.message


# ---- transactions ----


def test_a_run_that_starts_from_nothing_empties_the_table_once(db: Path) -> None:
    store(db, {"a": 1})
    made = opened(db, Resume(fresh=True))
    made.write(encoded({"a": 2}))
    made.close()
    made.open(Resume(fresh=True))  # after a failure, in the same run
    made.close()
    assert ask(db, "SELECT a FROM t") == [(2,)]


def test_a_locked_database_means_later(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "SQLITE_BUSY_S", 0.001)
    made = opened(db)
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Later, match="locked"):
            made.write(encoded({"a": 1}))
    made.write(encoded({"a": 1}))
    made.close()
    assert ask(db, "SELECT a FROM t") == [(1,)]


def test_a_full_disk_means_later_and_nothing_is_half_done(db: Path) -> None:
    made = opened(db)
    made.write_batch(batch({3: 1}, {"a": 0}))
    made._db.execute("PRAGMA max_page_count = 12")
    large = batch({3: 2}, *({"a": "x" * 1000} for _ in range(100)))
    with pytest.raises(Later, match="full"):
        made.write_batch(large)
    assert ask(db, "SELECT count(*) FROM t") == [(1,)]
    made._db.execute("PRAGMA max_page_count = 100000")
    made.write_batch(large)
    made.close()
    assert ask(db, "SELECT count(*) FROM t") == [(101,)]
    assert made.counts()["again"] == 0


def test_what_is_no_database_is_said_so(db: Path) -> None:
    db.write_text("This is a letter, and no database. " * 100)
    with pytest.raises(EnvironmentFailure, match=r"cannot use .*out\.db: file is not a database"):
        opened(db)
    with pytest.raises(EnvironmentFailure, match="there is no folder"):
        opened(db.parent / "no" / "out.db")


def test_a_table_that_says_rollback_is_told_to_say_abort(db: Path) -> None:
    change(db, "CREATE TABLE t (a UNIQUE ON CONFLICT ROLLBACK)")
    made = opened(db)
    with pytest.raises(EnvironmentFailure, match="ABORT"):
        made.write(encoded({"a": 1}, {"a": 1}))
    made.close()
    assert ask(db, "SELECT a FROM t") == []


# ---- numbers ----


def batch(first: dict[int, int], *records: Any, shards: bytes = b"", **more: Any) -> Batch:
    """Records of the one shard in `first`, or of these shards."""
    shards = shards or bytes([next(iter(first), 0)]) * len(records)
    return Batch(**{"stream": STREAM, "epoch": 1, **more}, first=first, shards=shards,
                 records=encoded(*records))  # fmt: skip


def numbers(path: Path) -> list[Any]:
    return ask(path, "SELECT shard, epoch, number FROM _bettong_numbers ORDER BY stream, shard")


def test_it_has_the_traits_of_an_exact_sink(db: Path) -> None:
    made = construct(sink_class("sqlite"), {"path": str(db), "table": "t"})
    assert isinstance(made, Numbered)
    assert isinstance(made, Telling)
    assert made.exact


def test_the_numbers_stand_with_the_rows(db: Path) -> None:
    made = opened(db)
    made.write_batch(batch({5: 1, 9: 1}, {"a": 1}, {"a": 2}, {"a": 3}, shards=b"\5\x09\5"))
    made.close()
    assert ask(
        db, "SELECT hex(stream), flow, sink, shard, epoch, number FROM _bettong_numbers"
    ) == [
        (STREAM.hex().upper(), "f", "out", 5, 1, 2),
        (STREAM.hex().upper(), "f", "out", 9, 1, 1),
    ]


def test_a_lower_start_is_refused(db: Path) -> None:
    made = opened(db)
    made.write_batch(batch({1: 1}, {"a": 1}, epoch=7))
    with pytest.raises(
        EnvironmentFailure, match="results of start 7 of this flow; this is start 6"
    ):
        made.write_batch(batch({2: 1}, {"a": 2}, epoch=6))
    made.write_batch(batch({2: 1}, {"a": 3}, epoch=8))
    made.close()
    assert ask(db, "SELECT a FROM t") == [(1,), (3,)]
    assert numbers(db) == [(1, 7, 1), (2, 8, 1)]


def test_a_start_sends_once_more_what_an_earlier_one_has_left_behind(db: Path) -> None:
    """Start 2 left a block, start 3 sent it and one of its own, and died before either was let go:
    start 4 sends both again."""
    left, own = batch({1: 1}, {"a": 1}, epoch=2), batch({1: 2}, {"a": 2}, epoch=3)
    for start in (3, 4):
        made = opened(db, replace(RESUME, epoch=start))
        made.write_batch(left)
        made.write_batch(own)
        made.close()
    assert ask(db, "SELECT a FROM t") == [(1,), (2,)]
    with pytest.raises(EnvironmentFailure, match="another copy of it runs"):
        opened(db, replace(RESUME, epoch=3)).write_batch(own)


def test_a_gap_is_recorded_and_what_follows_is_stored(db: Path) -> None:
    made = opened(db)
    made.write_batch(batch({1: 1}, {"a": 1}))
    made.write_batch(batch({1: 5}, {"a": 5}))
    made.write_batch(batch({1: 8}))
    made.write_batch(batch({1: 8}, {"a": 8}))
    made.close()
    assert ask(db, "SELECT a FROM t") == [(1,), (5,), (8,)]
    assert ask(db, "SELECT shard, first, last FROM _bettong_gaps") == [(1, 2, 4), (1, 6, 7)]
    assert made.counts()["gaps"] == 2


def test_a_table_that_is_newer_than_the_flow_is_noticed(db: Path) -> None:
    made = opened(db)
    made.write_batch(batch({1: 1}, {"a": 1}, {"a": 2}))
    made.close()
    opened(db, Resume(stream=STREAM, flow="f", sink="out", end={1: 3})).close()
    with pytest.raises(EnvironmentFailure, match="result 2 of shard 1, which this flow has not"):
        opened(db, Resume(stream=STREAM, flow="f", sink="out", end={1: 2}))
    with pytest.raises(EnvironmentFailure, match="result 2 of shard 1, which this flow has not"):
        opened(db, Resume(stream=STREAM, flow="f", sink="out", end={}))


def test_opened_again_by_the_same_start_the_table_may_have_what_that_has_made(db: Path) -> None:
    """After a failure a sink is opened with what it was told first."""
    resume = Resume(stream=STREAM, epoch=2, flow="f", sink="out", end={1: 1})
    made = opened(db, resume)
    made.write_batch(batch({1: 1}, {"a": 1}))
    made.close()
    made.open(resume)
    made.write_batch(batch({1: 1}, {"a": 1}))
    made.write_batch(batch({1: 2}, {"a": 2}))
    assert ask(db, "SELECT a FROM t") == [(1,), (2,)]


def test_two_sinks_of_a_flow_count_by_themselves(db: Path) -> None:
    for name in ("one", "two"):
        made = opened(db, Resume(stream=STREAM, flow="f", sink=name))
        made.write_batch(batch({1: 1}, {"a": name}))
        made.close()
    assert ask(db, "SELECT a FROM t") == [("one",), ("two",)]


class Notes:
    def __init__(self) -> None:
        self.said: list[str] = []

    def info(self, message: str, **fields: object) -> None: ...

    def warning(self, message: str, **fields: object) -> None:
        self.said.append(message)


def test_a_new_stream_under_an_old_name_is_a_new_history(db: Path) -> None:
    notes = Notes()
    for stream in (STREAM, bytes(16)):
        made = construct(sink_class("sqlite"), {"path": str(db), "table": "t"})
        made.tell(notes)
        made.open(Resume(stream=stream, flow="f", sink="out"))
        made.write_batch(batch({1: 1}, {"a": 1}, stream=stream))
        made.close()
    assert ask(db, "SELECT a FROM t") == [(1,), (1,)]
    assert notes.said == ["a new history begins in a table that has an older one"]


def test_a_batch_that_does_not_fit_together_is_refused(db: Path) -> None:
    made = opened(db)
    for wrong in (batch({1: 1}, {"a": 1}, shards=b"\1\1"), batch({1: 1}, {"a": 1}, shards=b"\2")):
        with pytest.raises(ValueError, match="shard"):
            made.write_batch(wrong)
    made.close()


#: Results of three shards, in the order in which they were made.
SHARDS = st.lists(st.integers(0, 2), min_size=1, max_size=12)
#: From where results are sent, how many, and what happens then.
SENDINGS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 12), st.sampled_from(["go on", "crash", "later"])),
    max_size=8,
)


def cut(made: list[tuple[int, int]], start: int, stop: int, epoch: int) -> Batch:
    """The results from `start` to `stop` as one batch."""
    part = made[start:stop]
    first: dict[int, int] = {}
    for shard, number in part:
        first.setdefault(shard, number)
    records = [{"shard": shard, "number": number, f"c{shard}": 1} for shard, number in part]
    return batch(first, *records, shards=bytes(shard for shard, _ in part), epoch=epoch)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("sqlite", numbered=True)
    yield folder / "out.db"


@settings(max_examples=60, deadline=None)
@given(SHARDS, SENDINGS)
def test_every_result_is_there_once_and_in_order(
    scratch: Path, shards: list[int], sendings: list[tuple[int, int, str]]
) -> None:
    """Any part of what was sent may be sent again, from any point and after any crash."""
    for ending in ("", "-wal", "-shm"):
        Path(f"{scratch}{ending}").unlink(missing_ok=True)
    made = [(shard, shards[: index + 1].count(shard)) for index, shard in enumerate(shards)]
    reached, epoch, ours = 0, 1, opened(scratch)
    for start, length, then in [*sendings, (0, len(made), "go on")]:
        start = min(start, reached)  # a sender goes back as far as it likes, and leaves nothing out
        stop = min(start + length, len(made))
        sent = cut(made, start, stop, epoch)
        if then == "later":
            with closing(sqlite3.connect(scratch, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                ours._db.execute("PRAGMA busy_timeout = 0")
                with pytest.raises(Later):
                    ours.write_batch(sent)
            continue
        ours.write_batch(sent)
        reached = max(reached, stop)
        if then == "crash":
            ours.close()
            epoch += 1
            ours = opened(scratch)
    ours.close()
    assert ask(scratch, "SELECT shard, number FROM t ORDER BY rowid") == made
    assert ask(scratch, "SELECT * FROM _bettong_gaps") == []


KILLED = """
import os, sys
from appliance.connect import Batch, Resume, construct, sink_class
made = construct(sink_class("sqlite"), {"path": sys.argv[1], "table": "t"})
made.open(Resume(stream=bytes(16), flow="f", sink="out"))
calls = 0
def count(statement):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        os._exit(9)
made._db.set_trace_callback(count)
for number in range(1, 4):
    records = [b'{"n":%d,"m%d":1}' % (number, number)]
    made.write_batch(Batch(bytes(16), 1, {1: number}, b"\\1", records))
print(calls)
"""


def test_killed_before_any_statement_it_is_as_if_nothing_had_happened(db: Path) -> None:
    """Each start sends all again, and is killed one statement later than the one before."""
    for at in range(1, 100):
        words = [sys.executable, "-c", KILLED, str(db), str(at)]
        code = subprocess.run(words, check=False, capture_output=True).returncode
        assert code in (0, 9)
        if ask(db, "SELECT name FROM sqlite_master WHERE name = 't'"):
            rows = [number for (number,) in ask(db, "SELECT n FROM t")]
            assert rows == [1, 2, 3][: len(rows)]
            assert ask(db, "SELECT number FROM _bettong_numbers") == [(len(rows),)]
        if code == 0:
            break
    assert code == 0
    assert ask(db, "SELECT n FROM t") == [(1,), (2,), (3,)]
    assert ask(db, "SELECT number FROM _bettong_numbers") == [(3,)]
