"""The results of one block, as the store keeps them and one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import msgpack


class Records(Sequence[bytes]):
    """`count` results; `packed` is all of them, each as a msgpack bin, one behind the other. They
    are taken apart when somebody asks for one: who sends them on as they are need not."""

    def __init__(self, packed: bytes | memoryview, count: int) -> None:
        self.packed = packed
        self._count = count
        self._apart: list[bytes] | None = None

    @classmethod
    def of(cls, records: Sequence[bytes]) -> Records:
        """The same of results that somebody has one by one."""
        if isinstance(records, Records):
            return records
        return cls(b"".join(msgpack.packb(bytes(record)) for record in records), len(records))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._list())

    @overload
    def __getitem__(self, at: int) -> bytes: ...

    @overload
    def __getitem__(self, at: slice) -> list[bytes]: ...

    def __getitem__(self, at: int | slice) -> bytes | list[bytes]:
        return self._list()[at]

    def _list(self) -> list[bytes]:
        if self._apart is None:
            size = len(self.packed)
            unpacker = msgpack.Unpacker(max_buffer_size=size, max_bin_len=size, max_str_len=0)
            unpacker.feed(self.packed)
            self._apart = list(unpacker)
        return self._apart
