"""What a run says: of user code's own words, of the end of its input, of how long it took."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

from integration.processes import run, running

FLOW = """
version = 1
name = "words"
[source.numbers]
stdin = {}
[step.say]
python = "say.py:say"
[sink.out]
stdout = {}
"""


def write(folder: Path, code: str) -> None:
    (folder / "flow.toml").write_text(FLOW)
    (folder / "say.py").write_text(code)


def test_what_user_code_prints_does_not_stand_among_the_records(tmp_path: Path) -> None:
    write(
        tmp_path,
        "print('loaded')\n\ndef say(event):\n    print('seen', event.n)\n    return event\n",
    )
    ended = run(tmp_path, "run", "flow.toml", "--once", stdin='{"n":1}\n')
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == b'{"n":1}\n'
    assert b"loaded\n" in ended.stderr and b"seen 1\n" in ended.stderr


def test_every_line_of_a_json_log_is_json_whatever_user_code_logs(tmp_path: Path) -> None:
    write(
        tmp_path,
        "import logging\n\ndef say(event):\n    logging.warning('hot')\n    return event\n",
    )
    ended = run(tmp_path, "run", "flow.toml", "--once", "--log-format", "json", stdin='{"n":1}\n')
    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [line["level"] for line in lines if line["message"] == "hot"] == ["warning"]


def test_the_time_of_a_run_is_not_that_of_its_start(tmp_path: Path) -> None:
    write(
        tmp_path,
        "import threading\nthreading.Event().wait(1.0)\n\ndef say(event):\n    return event\n",
    )
    ended = run(tmp_path, "run", "flow.toml", "--once", stdin='{"n":1}\n')
    found = re.search(rb"1 event in ([0-9.]+) s", ended.stderr)
    assert found is not None, ended.stderr
    assert float(found[1]) < 1.0


def test_without_once_it_says_that_all_sources_have_ended(tmp_path: Path) -> None:
    write(tmp_path, "def say(event):\n    return event\n")
    with running(tmp_path, "run", "flow.toml") as flow:  # its standard input is empty
        flow.wait_for("all sources have ended; waiting (use --once to end then)")
        assert flow.stop() == 0
        assert sum("all sources have ended" in line for line in flow.log) == 1


def test_an_interrupted_run_with_once_says_that_its_input_had_not_ended(tmp_path: Path) -> None:
    write(tmp_path, "def say(event):\n    return event\n")
    reading, writing = os.pipe()
    with running(tmp_path, "run", "flow.toml", "--once", stdin=reading) as flow:
        flow.wait_for(" running ")
        flow.signal(signal.SIGINT)
        assert flow.end() == 0
        flow.wait_for("stopped before its sources had ended")
        assert not any("all sources have ended" in line for line in flow.log)
    os.close(reading)
    os.close(writing)


def test_a_run_with_once_that_ends_by_itself_was_not_stopped(tmp_path: Path) -> None:
    write(tmp_path, "def say(event):\n    return event\n")
    ended = run(tmp_path, "run", "flow.toml", "--once", stdin='{"n":1}\n')
    assert ended.returncode == 0
    assert b"stopped before" not in ended.stderr and b"waiting" not in ended.stderr
