"""Reading an environment's file without the engine: what a damaged one still holds.

The engine trusts its file: a wrong page number can end the process. So a file whose structure is
not sound is read here, page by page, as plain bytes. Every page says its own number and kind, and
every value has its checksum, so nothing is believed that is not what was written. Pages that a
damaged branch led to are found by what they are not: neither in the tree nor in the list of free
pages.

The form is that of LMDB 0.9 with 64-bit numbers, one tree, no duplicates; it is described beside
the structures in the engine's source, mdb.c.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from msgspec import Struct

from appliance.store.entries import Head, unpack_head
from appliance.store.environment import DATA
from appliance.store.values import copy_keys, without_checksum

_HEADER = struct.Struct("=QHHHH")  # number, pad, flags, lower, upper (or the count of pages)
_META = struct.Struct("=IIQQ")  # magic, version, address, size of the map
_TREE = struct.Struct("=IHHQQQQQ")  # page size, flags, depth, three counts, entries, root
_NODE = struct.Struct("=HHHH")  # size or page number in three parts, size of the key
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_BRANCH, _LEAF, _OVERFLOW, _META_FLAG = 1, 2, 4, 8
_BIG_DATA = 1
_NO_PAGE = (1 << 64) - 1
_DEPTH_MAX = 32
_KEY_MAX_BYTES = 511
_PAGE_SIZES = (4096, 8192, 16384, 32768)


class Meta(Struct, frozen=True):
    """One of the two first pages: which transaction it made visible, and where its trees begin."""

    transaction: int
    page_bytes: int
    free_root: int
    main_root: int
    last_page: int


class Salvage(Struct, frozen=True):
    """Keys and values of the newest transaction that can be read. `is_whole`: no page of its tree
    was missing. `is_newest`: no newer transaction can have been lost."""

    values: dict[bytes, bytes]
    is_whole: bool
    is_newest: bool


def page_faults(folder: Path) -> list[str]:
    """What the engine's verifier passes over in a file that it finds sound: the first pages are
    written in turns, so that their numbers follow one another; and what `_Reader.faults` says."""
    try:
        with _opened(folder) as file:
            metas = _metas(file)
            numbers = sorted(meta.transaction for meta in metas)
            if len(numbers) != 2 or numbers[1] - numbers[0] > 1:
                return [f"the first pages are of transactions {numbers}, which do not follow"]
            reader = _Reader(file, max(metas, key=lambda meta: meta.transaction))
            return list(reader.faults())
    except OSError as error:
        return [str(error)]


def salvage(folder: Path) -> Salvage | None:
    """What can be read. None if there is nothing. Takes memory for what the store holds."""
    try:
        with _opened(folder) as file:
            metas = _metas(file)
            found = [_Reader(file, meta) for meta in metas]
            for reader in found:
                reader.read()
    except OSError:
        return None
    ranked = sorted(found, key=lambda reader: reader.rank())
    if not ranked or not ranked[-1].values:
        return None
    best = ranked[-1]
    is_newest = len(metas) == 2 and best.meta.transaction == max(m.transaction for m in metas)
    return Salvage(best.values, best.is_whole, is_newest)


def _opened(folder: Path) -> BinaryIO:
    """Without a buffer, which would read neighbours of a page along: a sector that the disk cannot
    read costs its own page."""
    return cast(BinaryIO, (folder / DATA).open("rb", buffering=0))


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Fewer bytes than asked for at the end of the file, none where the disk cannot read them."""
    try:
        file.seek(offset)
        return file.read(size)
    except OSError:
        return b""


def _metas(file: BinaryIO) -> list[Meta]:
    """The sound ones of the two first pages."""
    found = [meta for meta in (_meta(file, 0),) if meta is not None]
    sizes = [found[0].page_bytes] if found else _PAGE_SIZES
    for size in sizes:
        second = _meta(file, size)
        if second is not None and second.page_bytes == size:
            return [*found, second]
    return found


def _meta(file: BinaryIO, offset: int) -> Meta | None:
    data = _read_at(file, offset, _HEADER.size + 136)
    if len(data) < _HEADER.size + 136:
        return None
    number, _, flags, _, _ = _HEADER.unpack_from(data)
    magic, version, _, _ = _META.unpack_from(data, _HEADER.size)
    free = _TREE.unpack_from(data, _HEADER.size + _META.size)
    main = _TREE.unpack_from(data, _HEADER.size + _META.size + _TREE.size)
    last, transaction = struct.unpack_from("=QQ", data, _HEADER.size + _META.size + 2 * _TREE.size)
    is_sound = (
        (magic, version) == (_MAGIC, _VERSION)
        and flags == _META_FLAG
        and number == (offset > 0)
        and free[0] in _PAGE_SIZES
    )
    return Meta(transaction, free[0], free[-1], main[-1], last) if is_sound else None


class _Reader:
    """One transaction's view of the file."""

    def __init__(self, file: BinaryIO, meta: Meta) -> None:
        self.meta = meta
        self.values: dict[bytes, bytes] = {}
        self.is_whole = True
        self._file = file
        self._page_bytes = meta.page_bytes
        self._page_count = min(meta.last_page + 1, self._size() // meta.page_bytes)
        self._seen: set[int] = set()
        self._free: set[int] = set()

    def _size(self) -> int:
        return self._file.seek(0, 2)

    def rank(self) -> int:
        """The transaction that wrote the head: that is what the values are of."""
        heads: list[Head] = []
        for key in copy_keys(None):
            payload = without_checksum(key, self.values.get(key, b""))
            if payload is not None:
                with suppress(ValueError):
                    heads.append(unpack_head(payload))
        return max((head.transaction for head in heads), default=-1)

    def read(self) -> None:
        """Fill `values`: from the tree, then from pages that the tree should have led to."""
        self.values.update(self._walk(self.meta.main_root, 0))
        if self.is_whole:
            return
        if not self._read_free():
            return
        for number in range(2, self._page_count):
            if number not in self._seen and number not in self._free:
                page = self._page(number)
                if page is not None and _HEADER.unpack_from(page)[2] == _LEAF:
                    for key, value in self._leaf(page):
                        self.values.setdefault(key, value)

    def faults(self) -> Iterator[str]:
        """What the engine relies on in both trees and its verifier does not look at: nodes fill
        their page without gap or overlap, and keys lie between those of the branches above."""
        for root, to_order in ((self.meta.main_root, bytes), (self.meta.free_root, _number)):
            waiting: list[tuple[int, Any, Any]] = [(root, None, None)] * (root != _NO_PAGE)
            while waiting:
                number, low, high = waiting.pop()
                page = self._page(number)
                if page is None or not _is_filled(page):
                    yield f"the nodes of page {number} do not fill it"
                    continue
                is_branch = _HEADER.unpack_from(page)[2] == _BRANCH
                offsets = list(self._nodes(page))
                keys = [to_order(_key(page, offset)) for offset in offsets]
                if is_branch:
                    keys[0] = low  # the first one's is not looked at
                    pairs = zip(keys, [*keys[1:], high], strict=True)
                    children = (_child(page, offset) for offset in offsets)
                    waiting += [(one, *pair) for one, pair in zip(children, pairs, strict=True)]
                known = [key for key in keys if key is not None]
                if any(low is not None and key < low for key in known) or any(
                    high is not None and key >= high for key in known
                ):
                    yield f"page {number} has keys that belong elsewhere"

    def _read_free(self) -> bool:
        """The list of free pages; False if it is damaged itself."""
        self.is_whole = True
        for _, value in self._walk(self.meta.free_root, 0):
            numbers = struct.unpack(f"={len(value) // 8}Q", value[: len(value) // 8 * 8])
            self._free.update(numbers[1:])
        is_sound, self.is_whole = self.is_whole, False
        return is_sound

    def _page(self, number: int, count: int = 1) -> bytes | None:
        """So many pages; None if they are not there or say that they are others."""
        if not 2 <= number <= self._page_count - count:
            return None
        data = _read_at(self._file, number * self._page_bytes, count * self._page_bytes)
        is_sound = len(data) == count * self._page_bytes and _HEADER.unpack_from(data)[0] == number
        return data if is_sound else None

    def _walk(self, root: int, depth: int) -> Iterator[tuple[bytes, bytes]]:
        """The keys and values below a page, as far as its pages are sound."""
        if root == _NO_PAGE and depth == 0:
            return
        page = self._page(root) if root not in self._seen and depth < _DEPTH_MAX else None
        flags = _HEADER.unpack_from(page)[2] if page is not None else 0
        if page is None or flags not in (_BRANCH, _LEAF):
            self.is_whole = False
            return
        self._seen.add(root)
        if flags == _LEAF:
            yield from self._leaf(page)
            return
        for offset in self._nodes(page):
            yield from self._walk(_child(page, offset), depth + 1)

    def _nodes(self, page: bytes) -> Iterator[int]:
        """Where the nodes of a page begin."""
        lower = _HEADER.unpack_from(page)[3]
        count = (lower - _HEADER.size) // 2
        if not 0 <= count <= (self._page_bytes - _HEADER.size) // 2:
            self.is_whole = False
            return
        for (offset,) in struct.iter_unpack("=H", page[_HEADER.size : _HEADER.size + 2 * count]):
            if _HEADER.size <= offset <= self._page_bytes - _NODE.size:
                yield offset
            else:
                self.is_whole = False

    def _leaf(self, page: bytes) -> Iterator[tuple[bytes, bytes]]:
        for offset in self._nodes(page):
            low, high, flags, key_size = _NODE.unpack_from(page, offset)
            size, start = low | high << 16, offset + _NODE.size + key_size
            key = page[offset + _NODE.size : start]
            value = page[start : start + size]
            if flags == _BIG_DATA:
                value = self._overflow(page[start : start + 8], size)
            if len(value) == size and 0 < len(key) == key_size <= _KEY_MAX_BYTES:
                yield key, value
            else:
                self.is_whole = False

    def _overflow(self, number: bytes, size: int) -> bytes:
        """A value on pages of its own; empty if they are not what they should be."""
        first = _number(number)
        count = (_HEADER.size - 1 + size) // self._page_bytes + 1
        data = self._page(first, count)
        if data is None or _HEADER.unpack_from(data)[2] != _OVERFLOW:
            return b""
        self._seen.update(range(first, first + count))
        return data[_HEADER.size : _HEADER.size + size]


def _number(data: bytes) -> int:
    """A number as the engine writes it: in the order of this machine."""
    return int.from_bytes(data, sys.byteorder)


def _child(page: bytes, offset: int) -> int:
    """The page that a node of a branch leads to."""
    low, high, top, _ = _NODE.unpack_from(page, offset)
    return int(low | high << 16 | top << 32)


def _key(page: bytes, offset: int) -> bytes:
    size = _NODE.unpack_from(page, offset)[3]
    return page[offset + _NODE.size : offset + _NODE.size + size]


def _is_filled(page: bytes) -> bool:
    """Whether a page's nodes, each of an even number of bytes, lie one behind the other from where
    the page says that they begin to its end."""
    _, _, flags, lower, upper = _HEADER.unpack_from(page)
    places = struct.unpack_from(f"={(lower - _HEADER.size) // 2}H", page, _HEADER.size)
    end = upper
    for place in sorted(places):
        if place != end or place + _NODE.size > len(page):
            return False
        low, high, kind, key_size = _NODE.unpack_from(page, place)
        size = _NODE.size + key_size
        if flags == _LEAF:
            if kind not in (0, _BIG_DATA):
                return False
            size += 8 if kind == _BIG_DATA else low | high << 16
        end = place + size + size % 2
    return bool(end == len(page))
