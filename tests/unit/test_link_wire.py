"""The messages of a link: made and read again, and what is refused of what a peer may send."""

from __future__ import annotations

import re
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.connect import Records
from appliance.limits import LINK_MESSAGE_BYTES, LINK_MESSAGE_MAX_BYTES, LINK_RECORD_MAX_BYTES
from appliance.link import wire
from appliance.link.history import History
from appliance.link.numbers import Numbers
from appliance.link.wire import Ack, Data, Gap, Garbled, Reset, ResumeAt
from appliance.native import lib
from unit.links import STREAM, hello

PAGE = Path(__file__).parents[2] / "docs/formats/link.md"


def summed(message: bytes) -> bytes:
    return message + int(lib.xxh64_bytes(message, len(message))).to_bytes(8, "little")


def control(kind: int, values: object) -> bytes:
    return summed(bytes((kind, wire.VERSION)) + msgpack.packb(values))


def packed(epoch: int, first: dict[int, int], shards: bytes, records: list[bytes]) -> bytes:
    packer = wire.DataPacker(hello(epoch))
    (message,) = packer.messages(Numbers(first), shards, Records.of(records))
    return bytes(message)


def test_messages_are_what_link_md_says() -> None:
    found = re.search(r"```hex\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    said = wire.pack(hello(2, end={5: 4, 9: 2}))
    answered = wire.pack(ResumeAt(STREAM, 2, False, {5: 3}, {5: 2}, 2 << 20))
    sent = packed(2, {5: 3, 9: 1}, bytes([5, 9]), [b"hi", b"you"])
    assert bytes.fromhex(re.sub(r"#.*", "", found[1])) == said + answered + sent


@pytest.mark.parametrize(
    "message",
    [
        hello(7, token="t" * 48, end={0: 1, 63: 1 << 40}),
        hello(end=None),
        ResumeAt(STREAM, 1, True, {}, {}, 1),
        Ack(STREAM, {3: 9}, 5),
        Gap(STREAM, 1, 63, 1, 10),
        Reset("epoch", "it is over"),
    ],
)
def test_a_control_message_reads_as_it_was_made(message: wire.Hello) -> None:
    assert wire.read(wire.pack(message)) == message


@given(st.lists(st.tuples(st.integers(0, 63), st.binary(max_size=30)), min_size=1))
def test_records_read_as_they_were_packed(records: list[tuple[int, bytes]]) -> None:
    shards = bytes(shard for shard, _ in records)
    first = {shard: shard + 1 for shard in shards}
    message = packed(4, first, shards, [record for _, record in records])
    data = wire.read(message)
    assert isinstance(data, Data)
    assert (data.stream, data.epoch, wire.read_vector(data.numbers), data.shards) == (
        STREAM,
        4,
        first,
        shards,
    )
    framed = b"".join(len(record).to_bytes(4, "big") + record for _, record in records)
    assert data.framed == framed


@given(st.binary(max_size=200), st.sampled_from(range(8)))
def test_whatever_comes_is_a_message_or_garbled(body: bytes, kind: int) -> None:
    for message in (body, summed(bytes((kind, wire.VERSION)) + body)):
        try:
            wire.read(message)
        except Garbled:
            continue


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_byte_is_noticed(at: int, bits: int) -> None:
    message = bytearray(packed(1, {0: 1}, bytes(3), [b"a", b"bb", b""]))
    message[at % len(message)] ^= bits
    with pytest.raises(Garbled):
        wire.read(bytes(message))


@pytest.mark.parametrize("size", [0, 1, 9, 10, LINK_MESSAGE_MAX_BYTES + 1])
def test_a_message_of_an_impossible_size_is_garbled(size: int) -> None:
    with pytest.raises(Garbled, match=f"it has {size} bytes"):
        wire.read(bytes(size))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (control(wire.GAP, [STREAM, 1, 64, 1, 1]), "a value is not as it must be: 64"),
        (control(wire.GAP, [STREAM, 1, True, 1, 1]), "a value is not as it must be: True"),
        (control(wire.GAP, [STREAM, 0, 1, 1, 1]), "a value is not as it must be: 0"),
        (control(wire.GAP, [STREAM, 1, 1, 1 << 63, 1]), "a value is not"),
        (control(wire.GAP, [STREAM, 1]), "it has 2 values, not 5"),
        (control(wire.GAP, {"a": 1}), "it is no list of values"),
        (control(wire.ACK, [STREAM[1:], b"", 1]), "a value is not as it must be"),
        (control(wire.ACK, [STREAM, b"12345", 1]), "a vector of numbers has a wrong size"),
        (control(wire.ACK, [STREAM, bytes(9), 1]), "a vector has number 0 for shard 0"),
        (control(wire.ACK, [STREAM, b"\1" + bytes(7) + b"\1" + bytes(9), 1]), "for shard"),
        (control(wire.RESET, ["code", "x" * 501]), "a value is not as it must be"),
        (control(wire.RESET, ["code", "two\nlines"]), "a value is not as it must be"),
        (control(wire.RESET, [["", [[]]], "x"]), "a value is not as it must be"),
        (control(wire.RESET, [[0] * 17, "x"]), "it is no list of values"),
        (control(9, []), "there is no message of kind 9"),
        (summed(b"\6\2" + bytes(100)), "its counts do not fit its size"),
        (summed(b"\6\2" + bytes(20)), "it is cut short"),
        (summed(b"\1\1" + bytes(100)), "it is of version 1 of the protocol; this is 2"),
    ],
)
def test_what_no_peer_of_ours_says_is_garbled(message: bytes, reason: str) -> None:
    with pytest.raises(Garbled, match=reason):
        wire.read(message)


def test_lengths_that_do_not_add_up_are_garbled() -> None:
    message = bytearray(packed(1, {0: 1}, bytes(2), [b"abc", b"de"])[:-8])
    for length in (2, 4, 6, 0xFFFFFFFF):  # 6: two records, the second without its length
        message[43:47] = length.to_bytes(4, "big")
        with pytest.raises(Garbled, match="other lengths"):
            wire.read(summed(bytes(message)))
    message[43:47] = (3 + 4 + 2).to_bytes(4, "big")  # one record, where it says two
    with pytest.raises(Garbled, match="other lengths"):
        wire.read(summed(bytes(message)))


@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=12))
def test_records_are_cut_into_as_few_messages_as_hold_them(sizes: list[int]) -> None:
    records = [bytes([i]) * size for i, size in enumerate(sizes)]
    shards = bytes(i % 64 for i in range(len(records)))
    packer = wire.DataPacker(hello())
    came, counts = b"", []
    for message in packer.messages(Numbers(), shards, Records.of(records)):
        data = wire.read(bytes(message))
        assert isinstance(data, Data)
        assert len(message) <= LINK_MESSAGE_BYTES
        came += bytes(data.framed)
        counts.append(len(data.shards))
    assert came == b"".join(len(record).to_bytes(4, "big") + record for record in records)
    at = 0
    for count in counts[:-1]:  # the next one would not have fitted, whatever its numbers need
        at += count
        taken = sum(size + 5 for size in sizes[at - count : at + 1])
        assert taken > LINK_MESSAGE_BYTES - 700


def test_a_record_is_a_message_of_its_own_up_to_its_bound() -> None:
    packer = wire.DataPacker(hello())
    most = LINK_RECORD_MAX_BYTES
    for size in (LINK_MESSAGE_BYTES, most):
        (message,) = packer.messages(Numbers(), b"\7", Records.of([bytes(size)]))
        data = wire.read(bytes(message))
        assert isinstance(data, Data)
        assert data.framed == size.to_bytes(4, "big") + bytes(size)
    with pytest.raises(ValueError, match="larger than a link carries"):
        list(packer.messages(Numbers(), b"\7", Records.of([bytes(most + 1)])))


def test_records_that_are_fewer_than_their_shards_are_refused() -> None:
    with pytest.raises(ValueError, match="fewer records than shards"):
        list(wire.DataPacker(hello()).messages(Numbers(), b"\1\1", Records.of([b"a"])))


def test_a_position_is_read_as_it_was_made_and_nothing_else_is() -> None:
    made = History(STREAM, "box", "f", "out", 3, b"start-01", lost=4)
    made.next[5] = 17
    found = History.restored(made.partition, made.position())
    assert found == made
    for partition, position in [
        ("", made.position()),
        (made.partition + "2", made.position()),
        ("00" * 16, b""),
        ("00" * 16, b"37"),
        ("00" * 16, msgpack.packb([2, "box", "f", "out", 1, b"", b"", 0])),
        ("00" * 16, msgpack.packb([1, "box", "f", "out", 1, b"", 5, 0])),
        ("00" * 16, made.position()[:-1]),
    ]:
        with pytest.raises(ValueError, match="is no upstream source's"):
            History.restored(partition, position)
