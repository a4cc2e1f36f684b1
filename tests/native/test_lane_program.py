"""A program with something missing is refused by its name, not run into the ground."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliance.errors import BettongError
from appliance.worker.lane import Lane
from native.lanes import Document, document_of, pack

FLOW = """
version = 1
[source.a]
stdin = {}
time = { field = "ts", unit = "s" }
[step.some]
where = "x > 1"
[step.keyed]
key_by = "k"
[step.windows]
window = { tumbling = "10s" }
aggregate = { n = "count()" }
[step.run]
from = "some"
running = { n = "count()" }
[step.elements]
from = "some"
each = "xs"
[sink.out]
from = ["windows"]
stdout = {}
[sink.more]
from = ["run", "elements"]
stdout = {}
"""

NEEDED = [
    ("where", "result"),
    ("key", "key"),
    ("window", "key"),
    ("window", "key_out"),
    ("window", "step"),
    ("running", "key"),
    ("each", "result"),
    ("each", "to"),
    ("emit", "sink"),
    ("emit", "layout"),
]


def refusal(document: Document) -> str:
    lane = Lane()
    try:
        with pytest.raises(BettongError) as caught:
            lane.load(pack(document), [], once=True)
    finally:
        lane.destroy()
    return str(caught.value)


def ops_of(document: Document, kind: str) -> list[dict[str, Any]]:
    return [op for op in document["ops"] if op["op"] == kind]


@pytest.mark.parametrize(("kind", "key"), NEEDED)
def test_an_operator_without_what_it_needs_is_refused(tmp_path: Path, kind: str, key: str) -> None:
    document = document_of(tmp_path, FLOW)
    del ops_of(document, kind)[0][key]
    assert refusal(document).endswith(f"program: {kind}")


def test_a_time_without_a_slot_is_refused(tmp_path: Path) -> None:
    document = document_of(tmp_path, FLOW)
    del document["sources"][0]["time"]["slot"]
    assert refusal(document).endswith("program: time")


def test_only_what_watches_time_is_timed(tmp_path: Path) -> None:
    document = document_of(tmp_path, FLOW)
    document["timed"] = [document["ops"].index(ops_of(document, "where")[0])]
    assert refusal(document).endswith("program: timed")


def test_the_name_of_a_step_is_text(tmp_path: Path) -> None:
    document = document_of(tmp_path, FLOW)
    document["steps"][0] = 7
    assert refusal(document).endswith("program: steps")
