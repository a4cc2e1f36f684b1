"""Chunks of sources written in Python around a stop and a restart: none is glued or lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from appliance.native import lib
from appliance.worker.cut_form import FlowPositions
from native.lanes import document_of
from native.test_restore import PASS, Running


@pytest.mark.parametrize("position", [b"", b"here"])
def test_a_source_that_says_no_positions_begins_with_a_whole_message(
    tmp_path: Path, position: bytes
) -> None:
    """It does not go on where it was, so what it brings is not the rest of a message cut off."""

    def started(positions: FlowPositions | None) -> Running:
        document = document_of(tmp_path, PASS)
        document["commit_every"] = 0
        document["sources"][0].update(replayable=False)
        document["sinks"][0].update(kind="spool")
        return Running(document, positions)

    run = started(None)
    assert run.lane.mail_chunk(0, 0, b"", position, b'{"v":1}\n{"v":')
    run.turn()
    positions = run.cuts[-1].positions()
    run.lane.destroy()
    assert positions.partitions[0].unfinished == b'{"v":'
    run = started(replace(positions, sinks=()))
    assert run.lane.mail_chunk(0, 0, b"", position, b"2}\n" if position else b'{"v":3}\n')
    run.turn()
    assert run.cuts[-1].sinks[0].block == (b"2\n" if position else b"3\n")
    assert run.lane.metrics()["sources"][0]["lost"] == (0 if position else 5)
    run.lane.destroy()


def test_a_chunk_that_comes_after_the_windows_were_closed_is_the_next_runs(tmp_path: Path) -> None:
    """It would be late for all of them, and its position would say that it has been read."""
    document = document_of(
        tmp_path,
        'version = 1\n[source.in]\nstdin = {}\ntime = { field = "t", unit = "s" }\n'
        '[step.n]\nwindow = { tumbling = "10s" }\naggregate = { n = "count()" }\n'
        '[sink.out]\nstdout = {}\nfrom = ["n.late", "n"]\n',
    )
    document["commit_every"] = 0
    document["sinks"][0].update(kind="spool")
    run = Running(document, None)
    assert run.lane.mail_chunk(0, 0, b"", b"1", b'{"t":1}\n')
    run.turn()
    run.lane.mail_stop(close=True)
    run.commit()
    assert run.lane.mail_chunk(0, 0, b"", b"2", b'{"t":2}\n')
    while run.end == lib.LANE_RUNNING:
        run.commit()
    results = b"".join(cut.sinks[0].block for cut in run.cuts)
    assert results == b'{"window_start":0,"window_end":10,"n":1}\n'
    assert {one.position for one in run.cuts[-1].partitions} <= {b"1"}
    assert run.lane.metrics()["sources"][0]["refused"] == 1
    run.lane.destroy()
