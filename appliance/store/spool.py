"""Spool blocks: results that a cut has committed and a sink has not yet taken.

A block's bytes begin with their number and the names of flow and sink; then they are cut into the
environment's blocks. Sequence numbers have no gaps.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from msgspec import Struct

from appliance.store.environment import Reading, Writing
from appliance.store.values import (
    CHECKSUM_BYTES,
    block_count,
    block_key,
    blocks,
    key_prefix,
    spool_block_prefix,
    spool_prefix,
    without_checksum,
)

_HEADER = struct.Struct("<QHH")  # bytes of data, bytes of the names of flow and sink


class SpoolBlock(Struct, frozen=True):
    """Results of one sink, in parts that follow each other. Opaque to the store; the block gets the
    next number, from 1, of its (flow, sink)."""

    flow: str
    sink: str
    parts: tuple[bytes | memoryview, ...]

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(map(len, self.parts))


class SpoolInfo(Struct, frozen=True):
    """The blocks that wait for one sink: `first_seq` to `next_seq` − 1, in all so many bytes."""

    flow: str
    sink: str
    first_seq: int
    next_seq: int
    bytes: int


def spool_values(block: SpoolBlock, seq: int) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a block."""
    flow, sink = block.flow.encode(), block.sink.encode()
    header = _HEADER.pack(block.size, len(flow), len(sink))
    prefix = spool_block_prefix(block.flow, block.sink, seq)
    yield from blocks(prefix, header, flow, sink, *block.parts)


def read_spool_block(reading: Reading, flow: str, sink: str, seq: int) -> bytes:
    """The data of a block. ValueError if it is missing or damaged."""
    prefix = spool_block_prefix(flow, sink, seq)
    pieces: list[bytes] = []
    length, number = 1, 0
    start = 0
    while number < block_count(length):
        key = block_key(prefix, number)
        value = reading.get(key)
        payload = without_checksum(key, value) if value is not None else None
        if payload is None:
            raise ValueError(f"block {seq}, part {number} is missing or damaged")
        if number == 0:
            start, size = data_place(payload)
            length = start + size
        pieces.append(bytes(payload))
        number += 1
    whole = b"".join(pieces)
    if len(whole) != length:
        raise ValueError(f"block {seq} has {len(whole)} bytes instead of {length}")
    return whole[start:]


def data_place(payload: memoryview) -> tuple[int, int]:
    """Where the data of a block begin, counted from the block's first byte, and how long they are.
    ValueError if this is no block."""
    if len(payload) < _HEADER.size:
        raise ValueError("a spool block without its header")
    size, flow, sink = _HEADER.unpack_from(payload)
    return _HEADER.size + flow + sink, size


def block_names(payload: memoryview) -> tuple[str, str]:
    """Flow and sink of a block, from its first part. ValueError if this is no block."""
    start, _ = data_place(payload)
    _, flow, _ = _HEADER.unpack_from(payload)
    names = bytes(payload[_HEADER.size : start])
    return names[:flow].decode(), names[flow:].decode()


def delete_blocks(writing: Writing, flow: str, sink: str, upto: int) -> int:
    """Delete the blocks whose number is at most `upto`, damaged ones too. Gives the bytes of data
    that were in them, as far as they say so."""
    prefix = spool_prefix(flow, sink)
    freed = 0
    with writing.cursor() as cursor:
        found = cursor.set_range(prefix)
        while found:
            key = cursor.key()
            if not key.startswith(prefix) or int.from_bytes(key[9:17], "big") > upto:
                break
            if key_prefix(key)[1] == 0:
                freed += _data_bytes(cursor.value())
            found = cursor.delete() and bool(cursor.key())
    return freed


def _data_bytes(value: bytes) -> int:
    try:
        return data_place(memoryview(value)[CHECKSUM_BYTES:])[1]
    except ValueError:
        return 0
