"""The results of a block, as a sink sees them."""

from __future__ import annotations

import msgpack
import pytest

from appliance.connect import Records
from appliance.native import count_shards


def test_records_are_a_sequence_of_what_was_packed() -> None:
    apart = [b"", b"a", b"b" * 300, b"c" * 70_000]
    packed = b"".join(map(msgpack.packb, apart))
    for records in (Records(packed, 4), Records.of(apart)):
        assert records.packed == packed
        assert (len(records), list(records)) == (4, apart)
        assert (records[1], records[-1], records[1:3]) == (b"a", apart[3], apart[1:3])
        assert Records.of(records) is records
    assert list(Records(b"", 0)) == []


def test_records_are_counted_by_shard_and_no_other_shard_is_taken() -> None:
    assert count_shards(b"") == {}
    assert count_shards(b"\x05\x3f\x05\x00") == {0: 1, 5: 2, 63: 1}
    with pytest.raises(ValueError, match="shard 64; the last is 63"):
        count_shards(b"\x05\x40")
