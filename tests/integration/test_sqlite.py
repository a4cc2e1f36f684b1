"""A flow whose results go into an SQLite table."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from integration.processes import READINGS, run, windows


def rows(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def test_results_are_rows(tmp_path: Path) -> None:
    sink = 'sqlite = { path = "out.db", table = "averages" }'
    (tmp_path / "flow.toml").write_text(windows("stdin = {}", sink))
    for _ in range(2):  # each run starts from nothing, and so does the table
        done = run(tmp_path, "run", "--once", "flow.toml", stdin=READINGS)
        assert done.returncode == 0, done.stderr
    assert rows(tmp_path / "out.db", "SELECT * FROM averages") == [
        ("d1", 1700000000000, 1700000010000, 2, 22.0),
        ("d1", 1700000010000, 1700000020000, 1, 20.0),
    ]


def test_a_result_that_fits_no_column_is_kept_aside(tmp_path: Path) -> None:
    sink = 'sqlite = { path = "out.db", table = "t", columns = { device = "TEXT" } }'
    (tmp_path / "flow.toml").write_text(
        f"version = 1\n[source.in]\nstdin = {{}}\n[sink.out]\n{sink}"
    )
    data = '{"device":"d1"}\n{"device":"d2","temp":1.5}\n'
    assert run(tmp_path, "run", "--once", "flow.toml", stdin=data).returncode == 0
    assert rows(tmp_path / "out.db", "SELECT * FROM t") == [("d1",)]
    ((reason, record),) = rows(tmp_path / "out.db", "SELECT reason, record FROM _bettong_refused")
    assert "'temp' is no column of t" in reason
    assert record.strip() == b'{"device":"d2","temp":1.5}'


def test_what_a_database_cannot_take_is_a_fault_of_the_flow(tmp_path: Path) -> None:
    sink = 'sqlite = { path = "out.db", table = "t" }\nformat = "csv"\nframe = "u32"'
    (tmp_path / "flow.toml").write_text(windows("stdin = {}", sink))
    done = run(tmp_path, "check", "flow.toml")
    assert done.returncode == 78
    for key in ("format", "frame"):
        assert f"{key}: a sqlite sink takes records apart by itself" in done.stderr.decode()
    (tmp_path / "flow.toml").write_text(windows("stdin = {}", sink.partition("\n")[0]))
    explained = run(tmp_path, "explain", "flow.toml").stdout.decode()
    assert "exactly once" in explained
