"""Keys and values of the environment: docs/formats/store.md.

Every value begins with a checksum over its key and its bytes, so that a value under a wrong key is
found as well. Larger things are cut into blocks that fill whole pages of the environment.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import msgpack

#: The first byte of a key. Their order matters for what a commit writes: first copies stand beside
#: bases, second copies between the newest deltas and the spools, so that the usual commit touches
#: two leaves of the tree, and the two copies are in different ones. The end is a value that says
#: nothing: a full leaf is split in its middle, but where its last value grows that gets a leaf of
#: its own, which would be a third one for ever.
FIRST_COPY, BASE, DELTA, SECOND_COPY, SPOOL, END = b"A", b"B", b"C", b"D", b"E", b"F"

CHECKSUM_BYTES = 4

#: The bytes of a full block, without its checksum. The environment keeps a large value in pages of
#: 4,096 bytes behind a header of 16: so 16 pages are filled to the last byte.
BLOCK_BYTES = 16 * 4096 - 16 - CHECKSUM_BYTES

#: What is smaller than LARGE_BYTES is cut into blocks of two pages. Those fit into nearly any free
#: pages, so that the list of free pages, which is written with every commit, stays short.
SMALL_BLOCK_BYTES = 2 * 4096 - 16 - CHECKSUM_BYTES
LARGE_BYTES = 8 * BLOCK_BYTES

_CHECKSUM = struct.Struct("<I")


def with_checksum(key: bytes, *payload: bytes | memoryview) -> bytes:
    """The value that is stored under `key`; the payload may come in parts."""
    checksum = zlib.crc32(key)
    for part in payload:
        checksum = zlib.crc32(part, checksum)
    return b"".join((_CHECKSUM.pack(checksum), *payload))


def without_checksum(key: bytes, value: bytes | memoryview) -> memoryview | None:
    """The bytes of a value; None if they are not what was stored under this key."""
    view = memoryview(value)
    if len(view) < CHECKSUM_BYTES:
        return None
    payload = view[CHECKSUM_BYTES:]
    sound: bool = _CHECKSUM.unpack_from(view)[0] == zlib.crc32(payload, zlib.crc32(key))
    return payload if sound else None


def name_id(*names: str) -> bytes:
    """Eight bytes that stand for a name in keys. The name itself is in the value."""
    text = "\0".join(names).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=8).digest()


def copy_keys(flow: str | None) -> tuple[bytes, bytes]:
    """The two places of the head (None) or of a flow's entry."""
    suffix = b"" if flow is None else name_id(flow)
    return FIRST_COPY + suffix, SECOND_COPY + suffix


def delta_prefix(cut: int) -> bytes:
    return DELTA + cut.to_bytes(8, "big")


def base_prefix(flow: str, shard: int) -> bytes:
    return BASE + name_id(flow) + bytes((shard,))


def spool_prefix(flow: str, sink: str) -> bytes:
    return SPOOL + name_id(flow, sink)


def spool_block_prefix(flow: str, sink: str, seq: int) -> bytes:
    return spool_prefix(flow, sink) + seq.to_bytes(8, "big")


def block_key(prefix: bytes, number: int) -> bytes:
    """The key of one block of a segment or of a spool block."""
    return prefix + number.to_bytes(4, "big")


def key_prefix(key: bytes) -> tuple[bytes, int]:
    """What `block_key` was made of."""
    return key[:-4], int.from_bytes(key[-4:], "big")


def is_block_key(key: bytes) -> bool:
    """Whether a key of a base or a delta is as long as those are. A shorter one would be the
    beginning of others."""
    return len(key) == (14 if key[:1] == BASE else 13)


def block_bytes(length: int) -> int:
    """The size of all blocks but the last of data of that length."""
    return SMALL_BLOCK_BYTES if length < LARGE_BYTES else BLOCK_BYTES


def block_count(length: int) -> int:
    """How many blocks so many bytes take."""
    return max(1, -(-length // block_bytes(length)))


def blocks(prefix: bytes, *data: bytes | memoryview) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of data, which may come in parts, cut into blocks."""
    parts = [memoryview(part) for part in data]
    length = sum(map(len, parts))
    for number in range(block_count(length)):
        key = block_key(prefix, number)
        taken, room = [], block_bytes(length)
        while parts and room:
            taken.append(parts[0][:room])
            room -= len(taken[-1])
            parts[0] = parts[0][len(taken[-1]) :]
            if not parts[0]:
                del parts[0]
        yield key, with_checksum(key, *taken)


def unpack(data: bytes | memoryview) -> Any:
    """One msgpack value from the disk, with nothing behind it; ValueError if it is not one.

    Its checksum has held already; the limits keep a forged one from growing in memory.
    """
    size = len(data)
    try:
        return msgpack.unpackb(
            data,
            strict_map_key=True,
            max_str_len=size,
            max_bin_len=size,
            max_array_len=size,
            max_map_len=size,
            max_ext_len=0,
        )
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise ValueError(f"no msgpack value: {error}") from error
