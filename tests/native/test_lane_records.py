"""What becomes of single records: stopping at the first error, excerpts, metadata (S3)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from appliance.load import load_file
from appliance.testing import LaneRun, run_flow


def flow(folder: Path, text: str) -> Any:
    path = folder / "flow.toml"
    path.write_text(f"version = 1\n{text}")
    return load_file(path)


def test_a_flow_that_stops_at_its_first_error_leaves_what_follows(tmp_path: Path) -> None:
    plan = flow(
        tmp_path,
        '[settings]\non_error = "stop"\n[source.in]\nstdin = {}\n'
        '[step.s]\nset = { y = "x + 1" }\n[sink.out]\nstdout = {}\n',
    )
    with LaneRun(plan) as run:
        run.feed("in", b'{"x":1}\n{"x":"a"}\n{"x":3}\n')
        run.feed("in", b'{"x":4}\n')
        assert run.output("out") == b'{"x":1,"y":2}\n'
        assert any("step s, source in at 8" in line for line in run.logs)


def test_the_head_of_a_line_that_is_too_long_says_that_it_was_cut(tmp_path: Path) -> None:
    plan = flow(
        tmp_path,
        '[source.in]\nstdin = {}\nframe_max = "1KiB"\n'
        '[sink.out]\nstdout = {}\n[sink.bad]\nfrom = "errors"\nstdout = {}\n',
    )
    got = run_flow(plan, {"in": [b"x" * 5000 + b"\nshort\n"]})
    long, short = (json.loads(line) for line in got["bad"].splitlines())
    assert (long["reason"], long["raw_truncated"]) == ("frame", True)
    assert (short["reason"], short["raw_truncated"]) == ("decode", False)


def test_metadata_that_a_source_does_not_have_is_null(tmp_path: Path) -> None:
    plan = flow(
        tmp_path,
        "[source.in]\nstdin = {}\n"
        '[step.s]\nselect = { p = "_path", peer = "_peer", at = "_position", s = "_source" }\n'
        "[sink.out]\nstdout = {}\n",
    )
    got = run_flow(plan, {"in": [b"{}\n{}\n"]})
    rows = [json.loads(line) for line in got["out"].splitlines()]
    assert rows == [{"p": None, "peer": None, "at": at, "s": "in"} for at in (0, 3)]
