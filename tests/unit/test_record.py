"""Records of flows and spool blocks: their pages, and what happens when a flow was changed."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from appliance.limits import POSITIONS_DEFLATE_MAX_BYTES
from appliance.worker import record as record_module
from appliance.worker.block import Block
from appliance.worker.cut_form import (
    FlowPositions,
    PartitionCut,
    SourceCut,
    StepCut,
    unpack_positions,
)
from appliance.worker.record import FlowRecord, Names, RecordUnreadable, SinkRecord

FORMATS = Path(__file__).parents[2] / "docs/formats"


def examples(page: str) -> list[bytes]:
    found = re.findall(r"```hex\n(.*?)```", (FORMATS / page).read_text(), re.DOTALL)
    return [bytes.fromhex(re.sub(r"#.*", "", text)) for text in found]


POSITIONS = FlowPositions(
    5,
    (SourceCut(0, 10, 20, False, False),),
    (PartitionCut(0, "in.jsonl", 37, b'{"t"', 12, 10, 1, (0, 4, False, 0), b"", b""),),
    (StepCut(1, 10),),
)
RECORD = FlowRecord(
    bytes(range(16)),
    3,
    {"step avg": "key device; tumbling"},
    Names(("readings",), ("", "avg")),
    POSITIONS,
    {
        "out": SinkRecord(120, {}, 2, True, "placed file path=o"),
        "hq": SinkRecord(-1, {5: 10, 63: 2}, 11, True),
    },
)


def test_the_page_of_spool_blocks_shows_two_S21() -> None:
    placed, numbered = map(Block.unpack, examples("spool.md"))
    assert placed == Block(b'{"n":1}\n', 1_793_500_000, 120, first={})
    assert list(numbered.records()) == [b'{"n":1}', b'{"n":2}']
    assert numbered.stream == bytes(range(16))
    assert (numbered.epoch, numbered.first, numbered.shards) == (3, {5: 9, 63: 1}, b"\x05\x3f")


def test_the_page_of_records_shows_one() -> None:
    (shown,) = examples("record.md")
    assert FlowRecord.unpack(shown) == RECORD
    assert RECORD.pack() == shown


def many(count: int, unfinished: bytes = b"") -> FlowRecord:
    """The record of a source with so many files."""
    partitions = tuple(
        PartitionCut(
            0, f"/var/log/machine-{n:05d}.log", 1000 + n, unfinished, 12, 10, 1,
            (1000 + n, len(unfinished), False, 0), b"", n.to_bytes(20, "little"),
        )
        for n in range(count)
    )  # fmt: skip
    return FlowRecord(
        bytes(16),
        names=Names(("in",)),
        positions=replace(POSITIONS, steps=(), partitions=partitions),
    )


def test_positions_of_ten_thousand_files_are_written_small() -> None:
    record = many(10_000)
    assert record.positions is not None
    packed = record.pack()
    assert len(packed) < len(record.positions.pack()) / 5
    assert FlowRecord.unpack(packed) == record


def test_positions_above_the_bound_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_module, "POSITIONS_DEFLATE_MAX_BYTES", 1 << 20)
    record = many(50, b"x" * 50_000)
    packed = record.pack()
    assert b"x" * 50_000 in packed
    assert FlowRecord.unpack(packed) == record


@pytest.mark.parametrize(
    "damage",
    [
        lambda deflated: deflated[:-1],
        lambda deflated: deflated + b"x",
        lambda deflated: deflated[:50] + bytes([deflated[50] ^ 1]) + deflated[51:],
        lambda deflated: zlib.compress(bytes(POSITIONS_DEFLATE_MAX_BYTES + 1)),
    ],
)
def test_deflated_positions_that_are_damaged_are_refused(damage: Callable[[bytes], bytes]) -> None:
    document = msgpack.unpackb(many(1000).pack())
    document["positions"] = damage(document["positions"])
    with pytest.raises(RecordUnreadable, match="positions"):
        FlowRecord.unpack(msgpack.packb(document))


def test_a_name_that_is_no_text_is_kept_among_many() -> None:
    record = many(3)
    assert record.positions is not None
    first, *others = record.positions.partitions
    odd = replace(first, name=b"\xff.log".decode("utf-8", "surrogateescape"))
    positions = replace(record.positions, partitions=(*others, odd))
    assert unpack_positions(positions.pack()) == positions


def test_indexes_follow_the_names_when_the_flow_was_changed() -> None:
    now = RECORD.positions_for(Names(("other", "readings"), ("hot", "", "avg")), [0, 2])
    assert now is not None
    assert [one.index for one in now.sources] == [1]
    assert [one.source for one in now.partitions] == [1]
    assert now.steps == (StepCut(2, 10),)
    gone = RECORD.positions_for(Names(("other",), ("hot",)), [0])
    assert gone == FlowPositions(5, (), (), ())


def test_a_record_of_a_newer_version_is_refused_by_its_name() -> None:
    newer = msgpack.packb({**msgpack.unpackb(RECORD.pack()), "version": 2})
    with pytest.raises(RecordUnreadable, match="format 2"):
        FlowRecord.unpack(newer)


@given(st.data())
def test_a_record_that_was_changed_on_the_disk_is_read_or_refused(data: st.DataObject) -> None:
    packed = bytearray(RECORD.pack())
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(FlowRecord.unpack(bytes(packed)), FlowRecord)
    except RecordUnreadable as error:
        assert "record" in str(error)
