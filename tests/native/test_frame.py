"""The framer: bytes in, however they are cut into reads, messages out."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.native import ffi, lib
from native.values import block_of, message, packed

EXCERPT = 4096

MESSAGE, MORE, FAULT, BROKEN = (
    lib.FRAMED_MESSAGE,
    lib.FRAMED_MORE,
    lib.FRAMED_FAULT,
    lib.FRAMED_BROKEN,
)

Found = tuple[int, bytes]


class Stream:
    """A partition as the lane keeps it: the unread bytes at the front of a buffer."""

    def __init__(self, kind: str = "lines", maximum: int = 1 << 20, delimiter: bytes = b"") -> None:
        self.framer = ffi.new("framer_t *")
        self.state = ffi.new("frame_state_t *")
        self.fault = ffi.new("fault_t *")
        self.unread = b""
        settings = {"kind": kind, "max": maximum, "delimiter": delimiter}
        value, self.memory = packed(settings)
        assert lib.framer_init(self.framer, value, self.fault), message(self.fault)

    def feed(self, chunk: bytes) -> list[Found]:
        return self._drain(self.unread + chunk, lib.framer_take)

    def end(self) -> list[Found]:
        return self._drain(self.unread, lib.framer_end)

    def _drain(self, data: bytes, step: Any) -> list[Found]:
        # A block of its own each time, so that the sanitizer sees every byte beyond the slack.
        block = block_of(data)
        start, text, size = ffi.new("size_t *"), ffi.new("char **"), ffi.new("uint32_t *")
        found: list[Found] = []
        while True:
            got = step(self.framer, self.state, block, start, len(data), text, size, self.fault)
            if got == MORE:
                break
            found.append((got, bytes(ffi.buffer(text[0], size[0]))))
            if got != MESSAGE:
                assert self.fault.reason == lib.REASON_FRAME
            if got == BROKEN:
                break
        self.unread = data[start[0] :]
        return found


def run(stream: Stream, chunks: Iterable[bytes]) -> list[Found]:
    found: list[Found] = []
    for chunk in chunks:
        found += stream.feed(chunk)
        if found and found[-1][0] == BROKEN:
            return found
    return found + stream.end()


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(places)]


def delimited(data: bytes, delimiter: bytes, maximum: int, is_lines: bool) -> list[Found]:
    """What the framer should find: the obvious way."""
    *messages, rest = data.split(delimiter)
    if rest:
        messages.append(rest)
    found = []
    for text in messages:
        if len(text) > maximum:
            found.append((FAULT, text[: min(maximum, EXCERPT)]))
        elif is_lines and text.endswith(b"\r"):
            found.append((MESSAGE, text[:-1]))
        else:
            found.append((MESSAGE, text))
    return found


def counted(data: bytes, maximum: int) -> list[Found]:
    found = []
    while data:
        if len(data) < 4:
            return [*found, (FAULT, data[:maximum])]
        (size,) = struct.unpack(">I", data[:4])
        if size > maximum:
            return [*found, (BROKEN, data[:4])]
        if len(data) < 4 + size:
            return [*found, (FAULT, data[: min(maximum, EXCERPT)])]
        found.append((MESSAGE, data[4 : 4 + size]))
        data = data[4 + size :]
    return found


CUTS = st.lists(st.integers(0, 1000), max_size=12)


def test_lines_come_without_their_ends() -> None:
    found = run(Stream(), [b"one\ntwo\r\n\n\r\nlast"])
    assert found == [(MESSAGE, text) for text in (b"one", b"two", b"", b"", b"last")]


def test_only_one_carriage_return_is_taken_off() -> None:
    assert run(Stream(), [b"a\r\r\n\rb\n"]) == [(MESSAGE, b"a\r"), (MESSAGE, b"\rb")]


def test_a_line_at_the_limit_is_whole_and_one_beyond_is_a_fault() -> None:
    found = run(Stream(maximum=4), [b"1234\n12345\nok\n"])
    assert found == [(MESSAGE, b"1234"), (FAULT, b"1234"), (MESSAGE, b"ok")]


@given(st.text("ab\r\n", max_size=60), st.integers(1, 8), CUTS)
def test_lines_are_the_same_however_they_are_split(
    text: str, maximum: int, cuts: list[int]
) -> None:
    """S9: chunk boundaries change nothing."""
    data = text.encode()
    expected = delimited(data, b"\n", maximum, True)
    assert run(Stream(maximum=maximum), split(data, cuts)) == expected
    assert run(Stream(maximum=maximum), [bytes([byte]) for byte in data]) == expected


@given(
    st.text("aab|", max_size=60),
    st.sampled_from(["|", "ab", "aab", "|a|", "aaa"]),
    st.integers(1, 8),
    CUTS,
)
def test_delimiters_are_found_across_reads(
    text: str, delimiter: str, maximum: int, cuts: list[int]
) -> None:
    data = text.encode()
    expected = delimited(data, delimiter.encode(), maximum, False)
    for chunks in (split(data, cuts), [data], [bytes([byte]) for byte in data]):
        stream = Stream("delimiter", maximum, delimiter.encode())
        assert run(stream, chunks) == expected


@given(st.lists(st.binary(max_size=9), max_size=6), st.binary(max_size=6), st.integers(1, 8), CUTS)
def test_counted_frames_are_the_same_however_they_are_split(
    messages: list[bytes], tail: bytes, maximum: int, cuts: list[int]
) -> None:
    data = b"".join(struct.pack(">I", len(message)) + message for message in messages) + tail
    expected = counted(data, maximum)
    for chunks in (split(data, cuts), [data], [bytes([byte]) for byte in data]):
        assert run(Stream("u32", maximum), chunks) == expected


def test_a_length_beyond_the_limit_breaks_the_stream() -> None:
    """Where the next message begins cannot be known: nothing behind it is taken."""
    stream = Stream("u32", 100)
    assert run(stream, [b"\0\0\0\2ok\xff\xff\xff\xff\0\0\0\1x"]) == [
        (MESSAGE, b"ok"),
        (BROKEN, b"\xff\xff\xff\xff"),
    ]
    assert stream.unread.startswith(b"\xff\xff\xff\xff")


def test_whole_reads_are_messages() -> None:
    stream = Stream("whole", 5)
    assert stream.feed(b"one\n") == [(MESSAGE, b"one\n")]
    assert stream.feed(b"123456") == [(FAULT, b"12345")]
    assert stream.feed(b"two") == [(MESSAGE, b"two")]
    assert stream.end() == []


def test_a_message_without_end_takes_no_memory_and_is_one_fault() -> None:
    stream = Stream(maximum=10_000)
    found = stream.feed(b"start\n")
    for _ in range(100):
        found += stream.feed(b"x" * 1000)
        assert len(stream.unread) <= 10_000
    found += stream.feed(b"tail\nnext\n")
    assert found == [(MESSAGE, b"start"), (FAULT, b"x" * EXCERPT), (MESSAGE, b"next")]
    assert stream.state.skipped == 100 * 1000 + 4
    assert stream.end() == []


def test_a_slow_client_is_not_scanned_again() -> None:
    """One byte at a time: what was looked at is remembered, so the work stays linear."""
    lines, pairs = Stream(), Stream("delimiter", delimiter=b"\r\n")
    for count in range(1, 50):
        assert lines.feed(b"x") == [] and lines.state.scanned == count
        assert pairs.feed(b"x") == [] and pairs.state.scanned == count - 1
    assert lines.feed(b"\n") == [(MESSAGE, b"x" * 49)] and lines.state.scanned == 0
    assert pairs.feed(b"\r\n") == [(MESSAGE, b"x" * 49)] and pairs.state.scanned == 0


def test_nothing_is_left_after_the_end() -> None:
    for kind in ("lines", "u32", "whole"):
        stream = Stream(kind, 8)
        stream.feed(b"\0\0\0")
        stream.end()
        assert stream.unread == b"" and stream.end() == []


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"kind": "rings"},
        {"kind": 1},
        {"kind": "delimiter"},
        {"kind": "delimiter", "delimiter": b""},
        {"kind": "delimiter", "delimiter": b"x" * 17},
        {"kind": "delimiter", "delimiter": 7},
        {"kind": "lines", "max": 0},
        {"kind": "lines", "max": 1 << 29},
        {"kind": "lines", "max": "1MiB"},
        ["lines"],
    ],
)
def test_a_frame_that_is_described_wrongly_is_refused(settings: object) -> None:
    framer, fault = ffi.new("framer_t *"), ffi.new("fault_t *")
    value, _memory = packed(settings)
    assert not lib.framer_init(framer, value, fault)
    assert fault.reason == lib.REASON_FRAME and ffi.string(fault.message)


def test_the_limit_has_a_default() -> None:
    framer, fault = ffi.new("framer_t *"), ffi.new("fault_t *")
    value, _memory = packed({"kind": "lines"})
    assert lib.framer_init(framer, value, fault)
    assert framer.max_bytes == 1 << 20 and framer.kind == lib.FRAME_LINES
