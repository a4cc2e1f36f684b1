"""docs/formats/capture.md: its example, and files that are not whole or not ours."""

from __future__ import annotations

import zlib
from io import BytesIO
from pathlib import Path

import pytest

from appliance.errors import BettongError
from appliance.worker import capture_form as form

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats" / "capture.md"


def example() -> bytes:
    block = PAGE.read_text().split("```hex\n")[1].split("```")[0]
    return bytes.fromhex("".join(line.split("#")[0] for line in block.splitlines()))


def read(data: bytes) -> list[tuple[int, bytes]]:
    return list(form.read_entries(BytesIO(data)))


def test_the_page_is_what_is_written() -> None:
    (tick, members), (results, total) = read(example())
    assert (tick, results) == (form.TICK, form.RESULTS)
    assert form.wall_us(members) == 1
    assert form.total(total) == (0, 3, zlib.crc32(b"hi\n"))
    written = form.MAGIC + form.framed(tick, members) + form.framed(results, total)
    assert written == example()


def test_a_file_cut_anywhere_has_its_whole_entries() -> None:
    data = example()
    first = len(form.MAGIC) + len(form.framed(*read(data)[0]))
    for end in range(len(form.MAGIC), len(data) + 1):
        assert len(read(data[:end])) == (end >= first) + (end == len(data))


def test_a_damaged_entry_ends_it() -> None:
    data = bytearray(example())
    data[-1] ^= 1
    assert len(read(bytes(data))) == 1


def test_other_files_and_versions_are_refused() -> None:
    for data, words in (
        (b"", "no capture"),
        (b"BTNGCAP", "no capture"),
        (b"version = 1\n", "no capture"),
        (b"BTNGCAP\x02", "capture has format 2, and this program knows 1"),
    ):
        with pytest.raises(BettongError, match=words):
            read(data)


def test_malformed_heads_and_ends_are_refused() -> None:
    for packed in (b"", b"\xc0", b"\x80", b"\x81\xa4flow\x01", b"\xff" * 9):
        with pytest.raises(BettongError, match="capture"):
            form.Head.unpack(packed)
        with pytest.raises(BettongError, match="capture"):
            form.Digest.unpack(packed)


def test_members_of_the_wrong_size_are_refused() -> None:
    for read_members in (form.total, form.wall_us, form.ending):
        with pytest.raises(BettongError, match="entry"):
            read_members(b"\x00" * 5)
