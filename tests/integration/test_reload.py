"""A running flow goes on as its files say now: all of it, or as it was."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.processes import Running, eventually, is_alive, run, running, start, status_of
from integration.stateful import FLOW, SEEN, append, lines, prepare, record

RUN = ("run", "flow.toml", "--data", "data")


@pytest.fixture
def things(tmp_path: Path) -> Iterator[Running]:
    """The flow with every kind of state, ten readings into it; it has no terminal."""
    prepare(tmp_path)
    append(tmp_path, 0, 10)
    with running(tmp_path, *RUN) as flow:
        flow.wait_for(" running ")
        has_lines(tmp_path, "times.jsonl", 10)
        yield flow


def has_lines(folder: Path, name: str, count: int) -> None:
    eventually(lambda: len(lines(folder / name)) == count, f"{name}: {count}")


def reload(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    return run(folder, "reload", "--data", "data", *words)


def counts(folder: Path) -> list[int]:
    return [json.loads(line)["n"] for line in lines(folder / "out.jsonl")]


def test_steps_that_were_not_touched_keep_their_state(things: Running, tmp_path: Path) -> None:
    """A condition is new; every count goes on."""
    text = FLOW.replace('from = "total"\n', 'from = "total"\nwhere = "n > 2"\n')
    (tmp_path / "flow.toml").write_text(text)
    ended = reload(tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == b"reloaded\n"
    append(tmp_path, 10, 20)
    has_lines(tmp_path, "times.jsonl", 20)
    has_lines(tmp_path, "out.jsonl", 20)
    assert counts(tmp_path) == [n // 5 + 1 for n in range(20)]
    assert things.stop() == 0
    assert record(tmp_path).epoch == 2


def test_the_signal_does_the_same(things: Running, tmp_path: Path) -> None:
    text = FLOW.replace('from = "total"\n', 'from = "total"\nwhere = "n > 2"\n')
    (tmp_path / "flow.toml").write_text(text)
    things.signal(signal.SIGHUP)
    things.wait_for(" reloaded")
    append(tmp_path, 10, 20)
    has_lines(tmp_path, "out.jsonl", 20)
    assert things.stop() == 0


def test_faults_are_all_said_and_nothing_changes(things: Running, tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text(FLOW.replace("follow", "folow").replace("tumbling", "x"))
    (worker,) = things.worker_pids()
    ended = reload(tmp_path)
    assert ended.returncode == 78
    said = ended.stderr.decode()
    assert "flow.toml:7:" in said and "flow.toml:12:" in said and "not reloaded" in said
    for place in ("flow.toml:7:", "flow.toml:12:"):
        things.wait_for(f"reload refused: {place}")
    assert things.worker_pids() == [worker]  # not even for a moment
    append(tmp_path, 10, 15)
    has_lines(tmp_path, "out.jsonl", 15)
    assert counts(tmp_path)[-1] == 3
    # Whatever the file says, a worker that dies starts again with what runs.
    os.kill(worker, signal.SIGKILL)
    things.wait_for("worker died; starting it again")
    append(tmp_path, 15, 20)
    has_lines(tmp_path, "out.jsonl", 20)
    assert things.stop() == 0


def test_python_that_cannot_be_loaded_is_refused(things: Running, tmp_path: Path) -> None:
    (tmp_path / "seen.py").write_text(SEEN + "import nothing_of_that_name\n")
    ended = reload(tmp_path)
    assert ended.returncode == 78 and b"nothing_of_that_name" in ended.stderr
    (tmp_path / "seen.py").write_text(SEEN + "import os\nos._exit(7)\n")
    ended = reload(tmp_path)
    assert ended.returncode == 1 and b"exit code 7" in ended.stderr
    append(tmp_path, 10, 15)
    has_lines(tmp_path, "times.jsonl", 15)
    assert things.stop() == 0


def test_state_that_does_not_fit_is_refused_until_it_is_given_up(
    things: Running, tmp_path: Path
) -> None:
    (worker,) = things.worker_pids()
    (tmp_path / "flow.toml").write_text(FLOW.replace('"count()"', '"sum(temp)"'))
    eventually(lambda: _has_rows(tmp_path), "a cut with rows")
    ended = reload(tmp_path)
    assert ended.returncode == 1
    assert b"the stored state of step total does not fit" in ended.stderr
    assert b"--drop-state total" in ended.stderr
    assert things.worker_pids() == [worker]
    ended = reload(tmp_path, "--drop-state", "total")
    assert ended.returncode == 0, ended.stderr
    append(tmp_path, 10, 15)
    has_lines(tmp_path, "out.jsonl", 15)
    assert counts(tmp_path)[-5:] == [n % 7 for n in range(10, 15)]
    assert list((tmp_path / "data/state").glob("dropped-things-total-*.msgpack"))
    assert things.stop() == 0


def _has_rows(folder: Path) -> bool:
    found = status_of(folder, "--data", "data")["cuts"]
    assert isinstance(found, int)
    return found > 0


def test_what_the_world_refuses_brings_the_flow_back_as_it_was(
    things: Running, tmp_path: Path
) -> None:
    """A port that is taken is only known when the new workers open it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        more = f'[source.more]\ntcp = {{ listen = "{address}" }}\n'
        (tmp_path / "flow.toml").write_text(FLOW.replace("[step.average]", more + "[step.average]"))
        ended = reload(tmp_path)
        assert ended.returncode == 1 and b"another program has this port" in ended.stderr
        things.wait_for("going back")
        things.wait_for(" running ", 2)
        append(tmp_path, 10, 15)
        has_lines(tmp_path, "out.jsonl", 15)
        assert counts(tmp_path)[-1] == 3
    assert reload(tmp_path).returncode == 0  # the port is free now
    assert things.stop() == 0


def test_flows_come_go_and_change_their_worker(tmp_path: Path) -> None:
    folder = tmp_path / "flows"
    prepare(folder)
    append(folder, 0, 10)
    own = FLOW.replace("[settings]", '[settings]\nworker = "own"')
    other = (
        FLOW.replace('name = "things"', 'name = "other"').replace(".jsonl", "2.jsonl")
    ).replace("in2.jsonl", "in.jsonl")
    with running(tmp_path, "run", "flows", "--data", "data") as flow:
        has_lines(folder, "out.jsonl", 10)
        (folder / "flow.toml").write_text(own)
        (folder / "other.toml").write_text(other)
        assert reload(tmp_path).returncode == 0
        assert "flow=things" in flow.wait_for("the state of a flow has moved")
        append(folder, 10, 15)
        has_lines(folder, "out.jsonl", 15)
        has_lines(folder, "out2.jsonl", 15)
        assert counts(folder)[-1] == 3
        names = {one["name"] for one in status_of(tmp_path, "--data", "data")["workers"]}
        assert names == {"shared", "things"}
        (folder / "flow.toml").write_text(FLOW)
        (folder / "other.toml").unlink()
        assert reload(tmp_path).returncode == 0
        append(folder, 15, 20)
        has_lines(folder, "out.jsonl", 20)
        assert counts(folder)[-1] == 4
        assert len(lines(folder / "out2.jsonl")) == 15
        (folder / "flow.toml").unlink()
        ended = reload(tmp_path)
        assert ended.returncode == 78 and b"there is no *.toml" in ended.stderr
        assert flow.stop() == 0


def check_without_end(things: Running, tmp_path: Path) -> None:
    """A reload has begun, and its check does not come back."""
    (tmp_path / "seen.py").write_text(
        f"{SEEN}\nimport threading\n"
        f"open({str(tmp_path / 'loading')!r}, 'w').close()\n"
        "threading.Event().wait()\n"
    )
    things.signal(signal.SIGHUP)
    eventually((tmp_path / "loading").exists, "the check has begun")


def test_a_stop_during_a_reload_stops(things: Running, tmp_path: Path) -> None:
    check_without_end(things, tmp_path)
    pids = things.worker_pids()
    assert len(pids) == 2
    ended = reload(tmp_path)
    assert ended.returncode == 1 and b"a reload is under way" in ended.stderr
    assert things.stop() == 0
    assert not any(is_alive(pid) for pid in pids)


def test_a_worker_that_dies_again_and_again_is_mended_by_a_reload(
    things: Running, tmp_path: Path
) -> None:
    """It is not running, so it cannot be asked; it need not be."""
    (tmp_path / "seen.py").write_text(SEEN + "import os\nos._exit(7)\n")
    (worker,) = things.worker_pids()
    os.kill(worker, signal.SIGKILL)
    things.wait_for("exit code 7", 2)
    (tmp_path / "twin.py").write_text(SEEN)
    (tmp_path / "flow.toml").write_text(FLOW.replace("seen.py:", "twin.py:"))
    ended = reload(tmp_path)
    assert ended.returncode == 0, ended.stderr
    append(tmp_path, 10, 15)
    has_lines(tmp_path, "times.jsonl", 15)
    assert json.loads(lines(tmp_path / "times.jsonl")[-1])["times"] == 3
    assert things.stop() == 0


def test_a_drain_during_a_reload_drains(things: Running, tmp_path: Path) -> None:
    check_without_end(things, tmp_path)
    assert run(tmp_path, "drain", "--data", "data", "--close").returncode == 0
    assert things.end() == 0
    assert len(lines(tmp_path / "means.jsonl")) == 5  # the windows were closed


def test_a_run_under_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    prepare(tmp_path)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does
    try:
        flow = start(tmp_path, *RUN)
    finally:
        signal.signal(signal.SIGHUP, before)
    try:
        flow.wait_for(" running ")
        flow.signal(signal.SIGHUP)
        append(tmp_path, 0, 5)
        has_lines(tmp_path, "out.jsonl", 5)
        assert flow.stop() == 0
        assert not any("SIGHUP" in line or "reload" in line for line in flow.log)
    finally:
        flow.remove()


def test_a_run_to_an_end_is_not_reloaded(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text(
        "version = 1\n[source.all]\nstdin = {}\n[sink.out]\nstdout = {}\n"
    )
    flow = start(tmp_path, "run", "flow.toml", "--once", "--data", "data", stdin=subprocess.PIPE)
    try:
        flow.wait_for(" running ")
        ended = reload(tmp_path)
        assert ended.returncode == 1 and b"a run to an end is not reloaded" in ended.stderr
        flow.signal(signal.SIGHUP)  # as before: nothing to reload, so it stops
        assert flow.end() == 0
    finally:
        flow.remove()


def test_nothing_runs_that_could_be_reloaded(tmp_path: Path) -> None:
    ended = reload(tmp_path)
    assert ended.returncode == 1 and b"nothing runs with the data folder data" in ended.stderr
