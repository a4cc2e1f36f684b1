"""The messages of a link: made and read again, and what is refused of what a peer may send."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.limits import LINK_MESSAGE_MAX_BYTES
from appliance.link import wire
from appliance.link.history import History
from appliance.link.numbers import Numbers
from appliance.link.wire import Ack, Data, Gap, Garbled, Reset, ResumeAt
from unit.links import STREAM, hello

PAGE = Path(__file__).parents[2] / "docs/formats/link.md"


def summed(message: bytes) -> bytes:
    return message + zlib.crc32(message).to_bytes(4, "little")


def control(kind: int, values: object) -> bytes:
    return summed(bytes((kind, wire.VERSION)) + msgpack.packb(values))


def packed(epoch: int, first: dict[int, int], shards: bytes, records: list[bytes]) -> bytes:
    numbers = Numbers(first)
    message, count = wire.DataPacker().pack(hello(epoch), numbers, shards, records, 0)
    assert count == len(records)
    return message


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
    assert data.framed() == framed


@given(st.binary(max_size=200), st.sampled_from(range(8)))
def test_whatever_comes_is_a_message_or_garbled(body: bytes, kind: int) -> None:
    for message in (body, summed(bytes((kind, wire.VERSION)) + body)):
        try:
            found = wire.read(message)
            if isinstance(found, Data):
                found.framed()
        except Garbled:
            continue


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_byte_is_noticed(at: int, bits: int) -> None:
    message = bytearray(packed(1, {0: 1}, bytes(3), [b"a", b"bb", b""]))
    message[at % len(message)] ^= bits
    with pytest.raises(Garbled):
        wire.read(bytes(message))


@pytest.mark.parametrize("size", [0, 1, 5, LINK_MESSAGE_MAX_BYTES + 1])
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
        (summed(b"\6\1" + bytes(100)), "its counts do not fit its size"),
        (summed(b"\1\2" + bytes(100)), "it is of version 2 of the protocol; this is 1"),
    ],
)
def test_what_no_peer_of_ours_says_is_garbled(message: bytes, reason: str) -> None:
    with pytest.raises(Garbled, match=reason):
        wire.read(message)


def test_lengths_that_do_not_add_up_are_garbled() -> None:
    message = bytearray(packed(1, {0: 1}, bytes(2), [b"abc", b"de"])[:-4])
    for length in (2, 4, 0xFFFFFFFF):
        message[43:47] = length.to_bytes(4, "little")
        data = wire.read(summed(bytes(message)))
        assert isinstance(data, Data)
        with pytest.raises(Garbled, match="other lengths"):
            data.framed()


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
