"""A lane in the test's hands: its document may be changed before it is loaded, and its clock may be
the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack

from appliance.load import load_file
from appliance.plan.program import compile_plan
from appliance.worker.lane import Lane

Document = dict[str, Any]


def document_of(folder: Path, text: str) -> Document:
    """The program of this flow, with sources fed by mail and sinks in memory."""
    path = folder / "flow.toml"
    path.write_text(text)
    document = compile_plan(load_file(path)).document
    for entry in document["sources"]:
        entry.update(kind="chunks", bounded=False, replayable=True)
    for entry in document["sinks"]:
        entry.update(kind="memory")
    return document


@contextmanager
def loaded(document: Document, *, once: bool = False) -> Iterator[Lane]:
    """A started lane with this program."""
    lane = Lane()
    try:
        lane.load(pack(document), [], once=once)
        assert lane.start()
        yield lane
    finally:
        lane.destroy()


def pack(document: Document) -> bytes:
    packed = msgpack.packb(document, use_bin_type=True)
    assert isinstance(packed, bytes)
    return packed


def turn_until(lane: Lane, done: Callable[[], bool], most: int = 1000) -> None:
    """Turn until it is so."""
    for _ in range(most):
        if done():
            return
        lane.turn()
    raise AssertionError("it does not come to pass")
