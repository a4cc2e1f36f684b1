"""SQLite: results as rows of a table, each exactly once.

    sqlite = { path = "out.db", table = "results" }

What makes it exact is one transaction a batch, with the rows and, in `_bettong_numbers`, the number
of the last result of each shard. Whatever is sent again has a number that is there already.

Values are stored as they are: null, whole numbers, numbers and texts; true and false as 1 and 0;
lists and maps as JSON text. Columns are the records' fields. A field without a column gets one,
unless the flow declares the columns: then the record is refused. A record that cannot be stored
goes to the table `_bettong_refused` with the reason, and the others are stored.
"""

from __future__ import annotations

import base64
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec

from appliance import clock
from appliance.connect import Batch, Later, Log, Resume, sink
from appliance.errors import EnvironmentFailure
from appliance.limits import SQLITE_BUSY_S, SQLITE_COLUMN_MAX_COUNT, SQLITE_REFUSED_MAX_COUNT

_TYPES = ("INTEGER", "REAL", "TEXT", "BLOB", "NUMERIC")

#: Another program writes, or the disk is full: it passes.
_PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)

#: What SQLite or Python says of a record, not of the database.
_RECORD_ERRORS = (
    sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, OverflowError, UnicodeError,
)  # fmt: skip

_OWN_TABLES = """
CREATE TABLE IF NOT EXISTS _bettong_numbers (
    stream BLOB, flow TEXT, sink TEXT, shard INTEGER, epoch INTEGER, number INTEGER,
    PRIMARY KEY (stream, sink, shard)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _bettong_gaps (
    at TEXT, stream BLOB, flow TEXT, sink TEXT, shard INTEGER, epoch INTEGER,
    first INTEGER, last INTEGER);
CREATE TABLE IF NOT EXISTS _bettong_refused (
    at TEXT, stream BLOB, flow TEXT, sink TEXT, shard INTEGER, number INTEGER,
    reason TEXT, record BLOB);
"""

#: The tables of ours that say something of one sink.
_OF_A_SINK = ("_bettong_numbers", "_bettong_gaps", "_bettong_refused")


class Result(NamedTuple):
    """An encoded record and its number in its shard; 0: it has none."""

    record: bytes
    shard: int = 0
    number: int = 0


class Row(NamedTuple):
    """A result as it will be stored: columns (all quoted) and their values."""

    columns: tuple[str, ...]
    values: tuple[Any, ...]
    result: Result


class _NoRow(Exception):
    """Why a record cannot be a row."""


@sink("sqlite")
class SqliteSink:
    """Store results as rows of `table` in the database at `path`, each exactly once.

    `columns = { device = "TEXT", n = "INTEGER" }` declares the columns with SQLite's types; without
    it they are the fields that records have.
    """

    exact: ClassVar[bool] = True
    format: ClassVar[str] = "json"  # the only one: it is taken apart here

    path: Path
    table: str
    columns: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if not self.table.isprintable() or not self.table:
            raise ValueError(f"table: {self.table!r} is no name")
        if self.table.lower().startswith(("_bettong", "sqlite_")):
            raise ValueError(f"table: {self.table!r} has the name of a table of the system's own")
        if self.columns is not None:
            _check_columns(self.columns)
        declared = (self.columns or {}).items()
        self._blobs = {_folded(name) for name, kind in declared if kind.upper() == "BLOB"}
        self._table = _quoted(self.table)
        self._db: sqlite3.Connection | None = None
        self._resume = Resume()
        self._emptied = False
        self._compared: set[bytes] = set()  # streams
        self._log: Log | None = None
        self._counts: Counter[str] = Counter()

    # ---- the contract ----

    def tell(self, log: Log) -> None:
        self._log = log

    def counts(self) -> Mapping[str, int]:
        """`again`: results that were there already; `refused`: records that could not be stored;
        `gaps`: times that numbers were missing; `columns`: that were added; `histories`: streams
        that took the place of another.
        """
        return dict(self._counts)

    def open(self, resume: Resume) -> None:
        self._resume = resume
        try:
            self._db = sqlite3.connect(self.path, timeout=SQLITE_BUSY_S, isolation_level=None)
            self._prepare(self._db)
        except sqlite3.Error as error:
            self.close()
            where = "" if self.path.parent.is_dir() else f": there is no folder {self.path.parent}"
            raise EnvironmentFailure(f"cannot use {self.path}: {error}{where}") from error
        except EnvironmentFailure:
            self.close()
            raise
        self._emptied = True
        self._compared.add(resume.stream)

    def write(self, records: Sequence[bytes]) -> None:
        self._transact([Result(record) for record in records], None)

    def write_batch(self, batch: Batch) -> None:
        self._transact(numbered(batch), batch)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    # ---- opening ----

    def _prepare(self, db: sqlite3.Connection) -> None:
        # Where WAL cannot be had (a network folder) SQLite keeps its older journal, as safe.
        db.execute("PRAGMA journal_mode = WAL")
        # What `write` has returned for must survive a power cut: the spool forgets it.
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN IMMEDIATE")
        for statement in _OWN_TABLES.split(";")[:-1]:
            db.execute(statement)
        if self.columns is not None:
            listed = ", ".join(f"{_quoted(name)} {kind}" for name, kind in self.columns.items())
            db.execute(f"CREATE TABLE IF NOT EXISTS {self._table} ({listed})")
            missing = {_folded(name) for name in self.columns} - self._known(db).keys()
            if missing:
                listed = ", ".join(sorted(missing))
                message = f"the table {self.table} in {self.path} is there without {listed}"
                raise EnvironmentFailure(f"{message}: name another table, or add them")
        if self._resume.fresh and not self._emptied:
            self._empty(db)
        self._compare(db)
        db.execute("COMMIT")

    def _empty(self, db: sqlite3.Connection) -> None:
        """The run starts from nothing: so does the table. Its columns and indexes stay."""
        if self._known(db):
            db.execute(f"DELETE FROM {self._table}")
        whose = (self._resume.flow, self._resume.sink)
        for table in _OF_A_SINK:
            db.execute(f"DELETE FROM {table} WHERE flow = ? AND sink = ?", whose)

    def _compare(self, db: sqlite3.Connection) -> None:
        """What the table knows of this stream must be of its past, not of its future. Opened again,
        the table also has what this start has made since.
        """
        stream, end = self._resume.stream, self._resume.end
        if end is None or stream in self._compared:
            return
        for shard, (_, number) in self._vector(db, stream).items():
            if number >= end.get(shard, 1):
                raise EnvironmentFailure(
                    f"{self.path} has result {number} of shard {shard}, which this flow has not "
                    "made yet: its data folder is older than the table. Restore the newer one, or "
                    "name another table"
                )

    # ---- one transaction ----

    def _transact(self, results: list[Result], batch: Batch | None) -> None:
        """All or nothing. Later: the database is locked or the disk is full."""
        assert self._db is not None, "it is open"
        db, met = self._db, Counter[str]()
        try:
            db.execute("BEGIN IMMEDIATE")
            try:
                if batch is not None:
                    results = self._take_numbers(db, batch, results, met)
                self._store(db, results, met)
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING:
                raise Later(f"{self.path}: {error}") from error
            raise EnvironmentFailure(f"cannot write to {self.path}: {error}") from error
        self._counts.update(met)

    def _take_numbers(
        self, db: sqlite3.Connection, batch: Batch, results: list[Result], met: Counter[str]
    ) -> list[Result]:
        """The results that are new here; their numbers are noted in the same transaction."""
        known = self._vector(db, batch.stream)
        newest = max((epoch for epoch, _ in known.values()), default=0)
        # A start sends what earlier ones have left behind, too, and maybe once more.
        epoch = max(batch.epoch, self._resume.epoch)
        if epoch < newest:
            raise EnvironmentFailure(
                f"{self.path} has results of start {newest} of this flow; this is start "
                f"{epoch}: another copy of it runs, or its data folder is an older one"
            )
        if not known:
            self._note_history(db, batch, met)
        self._note_gaps(db, batch, known, met)
        numbers = {shard: number for shard, (_, number) in known.items()}
        new = [each for each in results if each.number > numbers.get(each.shard, 0)]
        met["again"] += len(results) - len(new)
        # A gap at the end of a batch is one, too: `first` names shards without a record here.
        last = {
            shard: max(first - 1, numbers.get(shard, 0)) for shard, first in batch.first.items()
        }
        last.update({each.shard: each.number for each in new})
        whose = (self._resume.flow, self._resume.sink)
        db.executemany(
            "INSERT INTO _bettong_numbers VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE "
            "SET flow = excluded.flow, epoch = excluded.epoch, number = excluded.number",
            [(batch.stream, *whose, shard, epoch, last[shard]) for shard in sorted(last)],
        )
        return new

    def _vector(self, db: sqlite3.Connection, stream: bytes) -> dict[int, tuple[int, int]]:
        """By shard: the epoch and the number of the last result of this sink."""
        found = db.execute(
            "SELECT shard, epoch, number FROM _bettong_numbers WHERE stream = ? AND sink = ?",
            (stream, self._resume.sink),
        )
        return {shard: (epoch, number) for shard, epoch, number in found}

    def _note_history(self, db: sqlite3.Connection, batch: Batch, met: Counter[str]) -> None:
        """Say so when this flow and sink were here under another stream: a state was lost."""
        older = db.execute(
            "SELECT count(DISTINCT stream) FROM _bettong_numbers WHERE flow = ? AND sink = ?",
            (self._resume.flow, self._resume.sink),
        ).fetchone()[0]
        if older:
            met["histories"] += 1
            self._warn("a new history begins in a table that has an older one", older=older)

    def _note_gaps(
        self, db: sqlite3.Connection, batch: Batch, known: Mapping[int, tuple[int, int]],
        met: Counter[str],
    ) -> None:  # fmt: skip
        for shard, first in sorted(batch.first.items()):
            due = known.get(shard, (0, 0))[1] + 1
            if first <= due:
                continue
            met["gaps"] += 1
            self._warn("results are missing", shard=shard, first=due, last=first - 1)
            whose = (batch.stream, self._resume.flow, self._resume.sink, shard, batch.epoch)
            gap = (_now(), *whose, due, first - 1)
            db.execute("INSERT INTO _bettong_gaps VALUES (?, ?, ?, ?, ?, ?, ?, ?)", gap)

    # ---- rows ----

    def _store(self, db: sqlite3.Connection, results: list[Result], met: Counter[str]) -> None:
        known = self._known(db)
        shapes: dict[tuple[str, ...], tuple[str, ...]] = {}  # fields, and their columns
        rows: list[Row] = []
        for result in results:
            try:
                fields = _fields(result.record)
                shape = tuple(fields)
                if shape not in shapes:
                    shapes[shape] = self._columns_of(db, shape, known, met)
                values = tuple(self._value(*field) for field in fields.items())
                rows.append(Row(shapes[shape], values, result))
            except _NoRow as reason:
                self._refuse(db, result, str(reason), met)
        for columns, group in groupby(rows, lambda row: row.columns):
            self._insert(db, columns, list(group), met)
        if met["refused"]:
            newest = "(SELECT max(rowid) FROM _bettong_refused)"
            db.execute(
                f"DELETE FROM _bettong_refused WHERE rowid <= {newest} - {SQLITE_REFUSED_MAX_COUNT}"
            )

    def _known(self, db: sqlite3.Connection) -> dict[str, str]:
        """The table's columns; empty when there is no table. SQLite's names know no case."""
        found = db.execute(f"PRAGMA table_info({self._table})")
        return {_folded(name): name for _, name, *_ in found}

    def _columns_of(
        self,
        db: sqlite3.Connection,
        fields: tuple[str, ...],
        known: dict[str, str],
        met: Counter[str],
    ) -> tuple[str, ...]:
        """The columns of these fields, quoted; they are there afterwards."""
        if len({_folded(name) for name in fields}) < len(fields):
            raise _NoRow("two of its fields differ only in case, which SQLite's columns do not")
        if any("\0" in name for name in fields):
            raise _NoRow("the name of a field has a zero character")
        missing = [name for name in fields if _folded(name) not in known]
        if missing:
            self._add_columns(db, missing, known, met)
        return tuple(_quoted(known[_folded(name)]) for name in fields)

    def _add_columns(
        self, db: sqlite3.Connection, names: list[str], known: dict[str, str], met: Counter[str]
    ) -> None:
        if self.columns is not None:
            raise _NoRow(f"{names[0]!r} is no column of {self.table}, whose columns are declared")
        if len(known) + len(names) > SQLITE_COLUMN_MAX_COUNT:
            most = SQLITE_COLUMN_MAX_COUNT
            raise _NoRow(f"{names[0]!r} would be a column too many: {most} are the most")
        if not known:
            listed = ", ".join(map(_quoted, names))
            db.execute(f"CREATE TABLE {self._table} ({listed})")
        else:
            for name in names:
                db.execute(f"ALTER TABLE {self._table} ADD COLUMN {_quoted(name)}")
            met["columns"] += len(names)
        known.update({_folded(name): name for name in names})

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, (list, dict)):
            return msgspec.json.encode(value).decode()
        if self._blobs and isinstance(value, str) and _folded(name) in self._blobs:
            try:
                return base64.b64decode(value, validate=True)  # as JSON has bytes (S4)
            except ValueError as error:
                raise _NoRow(f"{name!r} is no base64 text: {error}") from error
        return value

    def _insert(
        self, db: sqlite3.Connection, columns: tuple[str, ...], rows: list[Row], met: Counter[str]
    ) -> None:
        """Rows of the same columns: together, or one by one when some of them cannot be stored."""
        listed, marks = ", ".join(columns), ", ".join("?" * len(columns))
        statement = f"INSERT INTO {self._table} ({listed}) VALUES ({marks})"
        db.execute("SAVEPOINT rows")
        try:
            db.executemany(statement, [row.values for row in rows])
        except _RECORD_ERRORS:
            self._still_in_transaction(db)
            db.execute("ROLLBACK TO rows")
            for row in rows:
                try:
                    db.execute(statement, row.values)
                except _RECORD_ERRORS as error:
                    self._still_in_transaction(db)
                    self._refuse(db, row.result, str(error), met)
        db.execute("RELEASE rows")

    def _still_in_transaction(self, db: sqlite3.Connection) -> None:
        if not db.in_transaction:
            raise EnvironmentFailure(
                f"a constraint or trigger of {self.table} in {self.path} says ROLLBACK, which "
                "undoes the records around it, too: let it say ABORT"
            )

    def _refuse(
        self, db: sqlite3.Connection, result: Result, reason: str, met: Counter[str]
    ) -> None:
        met["refused"] += 1
        self._warn("a record could not be stored; it is in _bettong_refused", reason=reason)
        whose = (self._resume.stream, self._resume.flow, self._resume.sink)
        place = (result.shard, result.number) if result.number else (None, None)
        row = (_now(), *whose, *place, reason, result.record)
        db.execute("INSERT INTO _bettong_refused VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _warn(self, message: str, **fields: object) -> None:
        if self._log is not None:
            self._log.warning(message, path=self.path, table=self.table, **fields)


def numbered(batch: Batch) -> list[Result]:
    """The records of a batch with their numbers. ValueError when they do not fit together."""
    if len(batch.shards) != len(batch.records):
        raise ValueError(f"{len(batch.shards)} shards for {len(batch.records)} records")
    following = dict(batch.first)
    results: list[Result] = []
    for record, shard in zip(batch.records, batch.shards, strict=True):
        if shard not in following:
            raise ValueError(f"shard {shard} has records and no first number")
        results.append(Result(record, shard, following[shard]))
        following[shard] += 1
    return results


def _fields(record: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(record)
    except msgspec.DecodeError as error:
        raise _NoRow(f"it is no JSON: {error}") from error
    if not isinstance(fields, dict) or not fields:
        raise _NoRow("it has no fields")
    return fields


def _check_columns(columns: Mapping[str, str]) -> None:
    if not columns:
        raise ValueError("columns: at least one is needed")
    if len(columns) > SQLITE_COLUMN_MAX_COUNT:
        raise ValueError(f"columns: {len(columns)} are more than {SQLITE_COLUMN_MAX_COUNT}")
    for name, kind in columns.items():
        if not isinstance(kind, str) or kind.upper() not in _TYPES:
            raise ValueError(f"{name}: {kind!r} is no type of SQLite's: {', '.join(_TYPES)}")
    if len({_folded(name) for name in columns}) < len(columns):
        raise ValueError("columns: two of them differ only in case, which SQLite's do not")


@lru_cache(maxsize=2 * SQLITE_COLUMN_MAX_COUNT)
def _folded(name: str) -> str:
    """As SQLite compares names: the case of ASCII letters, and of no others, is nothing."""
    return "".join(each.lower() if each.isascii() else each for each in name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _now() -> str:
    return clock.utc_text(clock.wall_us())
