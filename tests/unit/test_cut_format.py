"""The pages of the cut and of the program say what is really made."""

from __future__ import annotations

import re
from pathlib import Path

import msgpack
import pytest

from appliance.errors import BettongError
from appliance.load import load_file
from appliance.native import lib
from appliance.plan.program import compile_plan
from appliance.worker.cut_form import unpack_cut, unpack_positions
from appliance.worker.lane import Lane

FORMATS = Path(__file__).parents[2] / "docs/formats"

COUNTS = """
version = 1
name = "counts"
[source.in]
stdin = {}
time = { field = "t", unit = "s" }
[step.n]
key_by = "k"
window = { tumbling = "10s" }
aggregate = { n = "count()" }
[sink.out]
blackhole = {}
delivery = "at_least_once"
"""


def example(page: str) -> bytes:
    """The bytes of a page's example."""
    found = re.search(r"```hex\n(.*?)```", (FORMATS / page).read_text(), re.DOTALL)
    assert found is not None
    return bytes.fromhex(re.sub(r"#.*", "", found[1]))


def test_a_cut_is_what_cut_md_says(tmp_path: Path) -> None:
    path = tmp_path / "counts.toml"
    path.write_text(COUNTS)
    program = compile_plan(load_file(path))
    program.document["sources"][0].update(kind="chunks", bounded=True, replayable=True)
    program.document["sinks"][0].update(kind="spool", numbered=True)
    lane = Lane()
    lane.set_clock(0, 0)
    lane.load(program.pack(), [], once=False)
    assert lane.start()
    data = b'{"t":1,"k":"a"}\n{"t":12,"k":"a"}\n{"t"'
    assert lane.mail_chunk(0, 0, b"", b"37", data)
    lane.set_clock(2_000_000_000, 2_000_000)
    cuts = []
    for _ in range(3):
        lane.turn()
        cuts += [post.data for post in lane.posts() if post.kind == lib.POST_CUT]
    lane.destroy()
    assert cuts == [example("cut.md")]
    (flow,) = unpack_cut(cuts[0])
    assert flow.name == "counts" and flow.sinks[0].shards == b"5"
    assert [(section.kind, section.count) for section in flow.sections] == [("window", 1)]
    assert flow.sections[0].sizes[53] == len(flow.sections[0].rows)
    positions = flow.positions()
    assert unpack_positions(positions.pack()) == positions


@pytest.mark.parametrize("size", [0, 48, 50, 10_000, 1 << 63])
def test_results_that_are_not_as_long_as_a_cut_says_are_refused(size: int) -> None:
    cut = example("cut.md")
    with pytest.raises(BettongError, match="a cut cannot be read"):
        unpack_cut(size.to_bytes(8, "little") + cut[8:])


def test_a_block_keeps_no_more_in_memory_than_twice_itself() -> None:
    """What waits for a sink that is away must not keep the results of all the others."""

    def cut(*sizes: int) -> bytes:
        sinks = [[0, size, 0, b"", True, 0] for size in sizes]
        empty: list[object] = []
        flow = {"flow": "f", "now": 0, "sources": empty, "partitions": empty, "steps": empty}
        document = msgpack.packb([{**flow, "states": empty, "sinks": sinks}]) + msgpack.packb(empty)
        return sum(sizes).to_bytes(8, "little") + bytes(sum(sizes)) + document

    (flow,) = unpack_cut(cut(10_000, 100_000))
    small, large = (sink.block for sink in flow.sinks)
    assert isinstance(small, bytes) and len(small) == 10_000
    assert isinstance(large, memoryview) and len(large) == 100_000


def test_an_operator_is_what_program_md_says() -> None:
    assert msgpack.unpackb(example("program.md")) == {"op": "where", "result": 7, "next": [2]}
