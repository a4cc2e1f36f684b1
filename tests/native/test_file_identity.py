"""Which file it was: the same, another, or the same written anew (file_identity.h)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.native import ffi, lib

SAME, REPLACED, TRUNCATED = lib.FILE_SAME, lib.FILE_REPLACED, lib.FILE_TRUNCATED
HEAD = 4096
LINES = b"".join(b"line %d\n" % number for number in range(2000))


class Known:
    """A file of which `size` bytes have been read."""

    def __init__(self, path: Path, size: int) -> None:
        self.size = size
        self.identity = ffi.new("file_identity_t *")
        with path.open("rb") as file:
            assert lib.file_identity_open(self.identity, file.fileno())
            lib.file_identity_read(self.identity, data := file.read(size), len(data))

    def match(self, path: Path) -> int:
        with path.open("rb") as file:
            found: int = lib.file_match(self.identity, file.fileno(), self.size)
            assert file.tell() == 0  # nothing has been read as far as others can see
        return found


def known(folder: Path, size: int = len(LINES)) -> tuple[Path, Known]:
    path = folder / "log"
    path.write_bytes(LINES)
    return path, Known(path, size)


@pytest.mark.parametrize("size", [0, 1, 100, HEAD - 1, HEAD, HEAD + 1, len(LINES)])
def test_a_file_that_grew_or_moved_is_the_same(tmp_path: Path, size: int) -> None:
    path, before = known(tmp_path, size)
    assert before.identity.head_size == min(size, HEAD)
    assert before.match(path) == SAME
    with path.open("ab") as file:
        file.write(LINES)
    assert before.match(path) == SAME
    moved = path.rename(tmp_path / "log.1")
    assert before.match(moved) == SAME


def test_another_file_of_the_name_is_told_apart_even_with_the_same_content(tmp_path: Path) -> None:
    path, before = known(tmp_path)
    path.rename(tmp_path / "log.1")
    path.write_bytes(LINES)
    assert before.match(path) == REPLACED


@pytest.mark.parametrize("size", [1, 100, HEAD, HEAD + 1])
def test_a_file_that_was_written_anew_is_read_from_its_start(tmp_path: Path, size: int) -> None:
    path, before = known(tmp_path, size)
    os.truncate(path, size - 1)
    assert before.match(path) == TRUNCATED  # shorter than what has been read of it
    path.write_bytes(b"x" + LINES[1:])
    assert before.match(path) == TRUNCATED  # as long, but its head is another


def test_a_head_that_is_read_in_pieces_is_the_same(tmp_path: Path) -> None:
    path, before = known(tmp_path, 5000)
    pieces = Known(path, 0)
    for start in range(0, 5000, 7):
        piece = LINES[start : min(start + 7, 5000)]
        lib.file_identity_read(pieces.identity, piece, len(piece))
    pieces.size = 5000
    assert pieces.match(path) == SAME
    assert pieces.identity.head == before.identity.head


def test_a_file_without_an_inode_of_its_own_is_none_that_has_one(tmp_path: Path) -> None:
    """0 stands for a file system that makes inodes up anew at each mount; this one does not."""
    path, before = known(tmp_path, 100)
    before.identity.inode = 0
    assert before.match(path) == REPLACED


def test_a_descriptor_that_is_none_is_said_to_be_unreadable(tmp_path: Path) -> None:
    _, before = known(tmp_path)
    assert lib.file_match(before.identity, -1, 0) == lib.FILE_UNREADABLE


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, HEAD))
def test_it_is_packed_and_read_back(inode: int, head: int, head_size: int) -> None:
    identity, again = (
        ffi.new("file_identity_t *", (inode, head, head_size)),
        ffi.new("file_identity_t *"),
    )
    packed = ffi.new("char[20]")
    lib.file_identity_pack(identity, packed)
    data = bytes(ffi.buffer(packed))
    assert data == b"".join(
        (inode.to_bytes(8, "little"), head.to_bytes(8, "little"), head_size.to_bytes(4, "little"))
    )
    assert lib.file_identity_unpack(again, data, len(data))
    assert (again.inode, again.head, again.head_size) == (inode, head, head_size)


@pytest.mark.parametrize("data", [b"", bytes(19), bytes(21), bytes(16) + b"\x01\x10\0\0"])
def test_what_no_identity_is_is_refused(data: bytes) -> None:
    assert not lib.file_identity_unpack(ffi.new("file_identity_t *"), data, len(data))
