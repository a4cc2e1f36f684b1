"""What is fetched ahead for the first record of a buffer changes no result, whatever it is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from native.lanes import document_of, loaded, turn_until

FLOW = """
version = 1
[source.readings]
stdin = {}
time = { field = "ts", unit = "s", late = "1h" }
[step.mean]
where = 'temp > 15'
key_by = "device"
window = { %s }
aggregate = { n = "count()", mean = "mean(temp)" }
[sink.out]
from = "mean"
stdout = {}
"""
TUMBLING, HOPPING = 'tumbling = "10s"', 'hopping = "10s", every = "5s"'

#: Texts inside and outside of a row, keys that are no text or none, and what no window will see.
KEYS = ["a", "b" * 30, "c" * 200, 7, 2.5, True, None, [1], "", "a", "déjà vu"]
RECORDS = [
    json.dumps({"device": key, "ts": 1_700_000_000 + turn, "temp": temp}).encode() + b"\n"
    for turn in range(0, 30, 3)
    for key in KEYS
    for temp in (3, 21.5)
] + [b"{\n", b'{"ts":1700000000,"temp":20}\n', b'{"device":"a","temp":20}\n']


def results(folder: Path, window: str, buffers: list[bytes]) -> bytes:
    """Of a lane that reads each of `buffers` by itself."""
    document = document_of(folder, FLOW % window)
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    document["sources"][0].update(kind="stream", fd=reader, bounded=True)
    with loaded(document, once=True) as lane:
        for count, buffer in enumerate(buffers, 1):
            os.write(writer, buffer)
            size = sum(map(len, buffers[:count]))
            turn_until(lane, lambda size=size: lane.metrics()["sources"][0]["bytes"] == size)
        os.close(writer)
        turn_until(lane, lambda: bool(lane.metrics()["sources"][0]["ended"]))
        return lane.take_memory(0, 0)


@pytest.mark.parametrize("window", [TUMBLING, HOPPING])
def test_records_that_come_alone_give_what_they_give_together(tmp_path: Path, window: str) -> None:
    alone = results(tmp_path, window, RECORDS)
    together = results(tmp_path, window, [b"".join(RECORDS)])
    assert alone.count(b"\n") > len(KEYS)
    assert alone == together
