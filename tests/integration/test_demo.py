"""`bettong demo`, and what starting costs."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from integration.processes import BETTONG, PATIENCE_S, ROOT, run, running


def test_without_a_terminal_it_is_plain_json_lines_and_says_what_to_try_next(
    tmp_path: Path,
) -> None:
    ended = run(tmp_path, "demo", "--count", "5000", "--rate", "1000000/s")
    assert ended.returncode == 0, ended.stderr
    results = [json.loads(line) for line in ended.stdout.splitlines()]
    assert {"machine", "window_start", "window_end", "n", "mean", "low", "high"} == set(results[0])
    assert 3000 < sum(result["n"] for result in results) < 5000
    assert b"Try next:" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_it_shows_its_flow_file_to_be_changed(tmp_path: Path) -> None:
    shown = run(tmp_path, "demo", "--show")
    (tmp_path / "my.toml").write_bytes(shown.stdout)
    assert shown.returncode == run(tmp_path, "check", "my.toml").returncode == 0


def test_ctrl_c_ends_it_well(tmp_path: Path) -> None:
    with running(tmp_path, "demo") as demo:
        demo.line()
        demo.signal(signal.SIGINT)
        assert demo.end() == 0
        assert not any("Traceback" in line for line in demo.log)


def test_on_a_terminal_it_is_a_table_that_lives(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*BETTONG, "demo", "--count", "5000", "--rate", "1000000/s"],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 65536):
            shown += data
    except OSError:
        # The terminal reports EIO when its last user has gone: that is its end of file.
        assert process.wait(PATIENCE_S) == 0
    os.close(ours)
    assert "temperatures, windows of 2 s" in shown.decode()
    assert "boiler" in shown.decode()
    assert shown.decode().index("The first windows close") < shown.decode().index("boiler")
    assert re.search(r"boiler *│ +\d\d:\d\d:\d\d │", shown.decode())


def test_what_to_try_next_can_be_typed_as_it_stands(tmp_path: Path) -> None:
    """Where the shell does not find the program by its name, its path is shown."""
    program = ROOT / ".venv" / "bin" / "bettong"
    if not program.exists():
        pytest.skip("make build has not left a bettong in .venv/bin")
    for path, shown in (("/usr/bin:/bin", str(program)), (str(program.parent), "bettong")):
        ended = subprocess.run(
            [program, "demo", "--count", "10"],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        )
        assert f"\n  {shown} check my.toml" in ended.stderr


@pytest.mark.parametrize(
    "forbidden", [["click", "msgspec", "appliance._native", "asyncio", "rich", "subprocess"]]
)
def test_the_version_is_said_before_anything_is_imported(forbidden: list[str]) -> None:
    code = (
        "import sys; from appliance.cli.main import main; main(['version']); "
        f"print([name for name in {forbidden!r} if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout.splitlines()[-1] == "[]"


def test_a_worker_imports_nothing_of_the_faces(tmp_path: Path) -> None:
    """Start-up is paid at every restart: no click, rich or asyncio in a worker."""
    code = (
        "import sys; import appliance.worker.main, appliance.worker.loading, "
        "appliance.worker.mailroom; "
        "print([name for name in ('click', 'rich', 'asyncio', 'aiohttp') if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout == "[]\n"
