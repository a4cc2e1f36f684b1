"""A flow that was changed between two runs: what no longer fits its state is refused, or dropped
where that was asked for; what still fits goes on."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest

from integration.processes import eventually, run, running
from integration.stateful import (
    COUNT,
    FLOW,
    SEEN,
    append,
    contents,
    lines,
    prepare,
    record,
    run_until,
    snapshot,
)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run that was stopped with state of every kind. Tests that change it take turns: what is
    refused changes nothing."""
    folder = tmp_path_factory.mktemp("stopped")
    prepare(folder)
    append(folder, 0, COUNT)
    run_until(folder, COUNT)
    yield folder


CHANGES = {
    "key": ("step average", 'key_by = "device"\nwindow', 'key_by = "room"\nwindow'),
    "window": ("step average", 'tumbling = "10s"', 'tumbling = "20s"'),
    "window aggregate": ("step average", '"mean(temp)"', '"max(temp)"'),
    "running aggregate": ("step total", '"count()"', '"sum(temp)"'),
    "kind": ("step total", "running = {", 'window = { tumbling = "10s" }\naggregate = {'),
    "source": ("source readings", "in.jsonl", "other.jsonl"),
    "gone": (
        "step average",
        FLOW[FLOW.index("[step.average]") : FLOW.index("[step.total]")],
        "",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_does_not_fit_is_refused_and_nothing_is_touched(
    stopped: Path, change: str
) -> None:
    what, before, after = CHANGES[change]
    text = FLOW.replace(before, after)
    assert text != FLOW
    if change == "gone":
        text = text.replace('[sink.means]\nfrom = "average"\nfile = { path = "means.jsonl" }\n', "")
    held = snapshot(stopped / "data")
    (stopped / "flow.toml").write_text(text)
    ended = run(stopped, "run", "flow.toml", "--data", "data")
    said = ended.stderr.decode()
    assert ended.returncode == 3, said
    assert f"the stored state of {what} does not fit" in said
    assert f"--drop-state {what.split()[1]}" in said
    assert "Traceback" not in said
    assert snapshot(stopped / "data") == held


@pytest.mark.parametrize(("before", "after"), [("Seen", "Saw"), ("times", "visits")])
def test_another_state_class_is_refused(stopped: Path, before: str, after: str) -> None:
    """Another name, or other fields."""
    (stopped / "flow.toml").write_text(FLOW.replace(before, after))
    (stopped / "seen.py").write_text(SEEN.replace(before, after))
    ended = run(stopped, "run", "flow.toml", "--data", "data")
    (stopped / "seen.py").write_text(SEEN)
    assert ended.returncode == 3, ended.stderr
    assert b"the stored state of step seen does not fit" in ended.stderr


def test_all_that_does_not_fit_is_said_at_once(stopped: Path) -> None:
    text = FLOW.replace('"mean(temp)"', '"max(temp)"').replace('"count()"', '"sum(temp)"')
    (stopped / "flow.toml").write_text(text)
    ended = run(stopped, "run", "flow.toml", "--data", "data")
    assert ended.returncode == 3
    assert b"step average" in ended.stderr and b"step total" in ended.stderr


def test_nothing_is_dropped_while_something_else_is_refused(stopped: Path) -> None:
    """Whoever then puts the flow back as it was finds its state."""
    held = snapshot(stopped / "data")
    text = FLOW.replace('"mean(temp)"', '"max(temp)"').replace('"count()"', '"sum(temp)"')
    (stopped / "flow.toml").write_text(text)
    ended = run(stopped, "run", "flow.toml", "--data", "data", "--drop-state", "total")
    assert ended.returncode == 3 and b"step average" in ended.stderr
    assert b"step total" not in ended.stderr
    assert snapshot(stopped / "data") == held


def test_a_dropped_state_is_exported_and_the_others_go_on(tmp_path: Path) -> None:
    prepare(tmp_path)
    append(tmp_path, 0, COUNT)
    run_until(tmp_path, COUNT)
    keys = {step.step: step.keys for step in contents(tmp_path).steps}
    assert keys == {"average": 5, "seen": 5, "total": 5}
    (tmp_path / "flow.toml").write_text(FLOW.replace('"count()"', '"sum(temp)"'))
    append(tmp_path, COUNT, COUNT + 5)
    run_until(tmp_path, COUNT + 5, "--drop-state", "total")
    (path,) = (tmp_path / "data" / "state").glob("dropped-things-total-*.msgpack")
    unpacker = msgpack.Unpacker()
    unpacker.feed(path.read_bytes())
    assert len(list(unpacker)) == 5
    totals = [json.loads(line)["n"] for line in lines(tmp_path / "out.jsonl")][-5:]
    assert totals == [n % 7 for n in range(COUNT, COUNT + 5)]  # from nothing
    times = [json.loads(line)["times"] for line in lines(tmp_path / "times.jsonl")][-5:]
    assert times == [COUNT // 5 + 1] * 5  # from where they were


def test_a_dropped_source_begins_anew(tmp_path: Path) -> None:
    prepare(tmp_path)
    append(tmp_path, 0, COUNT)
    run_until(tmp_path, COUNT)
    (tmp_path / "other.jsonl").write_bytes((tmp_path / "in.jsonl").read_bytes())
    (tmp_path / "flow.toml").write_text(FLOW.replace("in.jsonl", "other.jsonl"))
    run_until(tmp_path, 2 * COUNT, "--drop-state", "readings")
    last = json.loads(lines(tmp_path / "out.jsonl")[-1])
    assert last["n"] == 2 * COUNT // 5  # the steps' state was not asked to go


def test_a_name_under_which_nothing_is_dropped_is_said(tmp_path: Path) -> None:
    prepare(tmp_path)
    append(tmp_path, 0, COUNT)
    run_until(tmp_path, COUNT)
    keys = {step.step: step.keys for step in contents(tmp_path).steps}
    drops = ("--drop-state", "total", "--drop-state", "totl", "--drop-spool", "out")
    said = [line for line in run_until(tmp_path, COUNT, *drops).log if "nothing is dropped" in line]
    assert [line.split("name=")[1].strip() for line in said] == ["out", "total", "totl"]
    assert {step.step: step.keys for step in contents(tmp_path).steps} == keys


UPLINK = '\n[sink.far]\nfrom = "total"\ndelivery = "at_least_once"\ntcp = {{ connect = "{}" }}\n'


def test_what_waits_for_a_sink_that_has_gone_is_kept_until_it_comes_back(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))  # not listening: connections are refused
        flow = FLOW + UPLINK.format(f"127.0.0.1:{server.getsockname()[1]}")
        prepare(tmp_path, flow)
        append(tmp_path, 0, COUNT)
        run_until(tmp_path, COUNT)
        known = record(tmp_path).sinks["far"]
        waiting = [info for info in contents(tmp_path).spools if info.sink == "far"]
        assert waiting[0].bytes > 0 and known.records == COUNT
        (tmp_path / "flow.toml").write_text(FLOW)
        said = "".join(run_until(tmp_path, COUNT).log)
        assert "a sink that is gone has undelivered results" in said and "sink=far" in said
        assert record(tmp_path).sinks["far"] == known
        (tmp_path / "flow.toml").write_text(flow)
        server.listen()
        with running(tmp_path, "run", "flow.toml", "--data", "data"):
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as received:
                arrived = [received.readline() for _ in range(COUNT)]
    assert arrived == [f"{line}\n".encode() for line in lines(tmp_path / "out.jsonl")]


def test_what_waits_for_a_sink_that_has_gone_can_be_given_up(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        prepare(tmp_path, FLOW + UPLINK.format(f"127.0.0.1:{server.getsockname()[1]}"))
        append(tmp_path, 0, COUNT)
        run_until(tmp_path, COUNT)
        (tmp_path / "flow.toml").write_text(FLOW)
        said = "".join(run_until(tmp_path, COUNT, "--drop-spool", "far").log)
    assert "undelivered results are given up" in said
    (spool,) = [info for info in contents(tmp_path).spools if info.sink == "far"]
    assert spool.first_seq == spool.next_seq


def test_an_exact_file_that_is_another_now_begins_at_its_own_end(tmp_path: Path) -> None:
    prepare(tmp_path)
    append(tmp_path, 0, COUNT)
    run_until(tmp_path, COUNT)
    (tmp_path / "flow.toml").write_text(FLOW.replace('"out.jsonl"', '"new.jsonl"'))
    append(tmp_path, COUNT, COUNT + 5)
    with running(tmp_path, "run", "flow.toml", "--data", "data") as flow:
        eventually(lambda: len(lines(tmp_path / "new.jsonl")) == 5, "five results in the new file")
        assert flow.stop() == 0
    assert b"\0" not in (tmp_path / "new.jsonl").read_bytes()
    assert len(lines(tmp_path / "out.jsonl")) == COUNT


def test_a_flow_takes_its_state_to_a_worker_of_its_own_and_back(tmp_path: Path) -> None:
    prepare(tmp_path)
    for number, worker in enumerate(("shared", "own", "shared")):
        (tmp_path / "flow.toml").write_text(
            FLOW.replace("[settings]", f'[settings]\nworker = "{worker}"')
        )
        append(tmp_path, number * 10, number * 10 + 10)
        run_until(tmp_path, number * 10 + 10)
    counts = [json.loads(line)["n"] for line in lines(tmp_path / "out.jsonl")]
    assert counts == [n // 5 + 1 for n in range(30)]
    assert record(tmp_path).epoch == 3
