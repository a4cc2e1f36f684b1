"""A store that is given the cuts of a long run: `python cuts_on_disk.py FOLDER DIRTY`.

The rows are those of the sensors job for 100,000 devices. Each cut changes DIRTY of them, drawn at
random, appends a tenth as many results of 100 bytes to a spool and lets go of those of the cut
before. Prints as JSON how many bytes of rows and results there were, and how many were written:
those of the write calls. (The kernel's own count, `write_bytes`, takes a page for the whole run of
pages that the cache holds it in, twenty times what reaches the disk.) The first half of the cuts
brings the bases and deltas to where they stay, and is not counted.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import msgpack

import processes
from appliance.store import Commit, Section, SpoolBlock, Store

LIVE_KEYS = 100_000
RESULT_BYTES = 100
RESULTS_SHARE = 10
#: Enough for each shard to be merged at least once in the half that counts.
CUTS = {10_000: 120, 1_000: 400, 100: 3_000}
SHARDS = 64
RECORD = bytes(600)  # as large as that of a flow with one source, one step and one sink


def row(key: int, draw: random.Random) -> bytes:
    """A window's row with the aggregates of the sensors job."""
    count = 1 + int(draw.random() * 100)
    start = 1_699_999_200_000_000
    name = msgpack.packb(f"d{key:06d}")
    low, high = draw.random(), 30 + draw.random()
    accumulators = [count, [count, 20.5 * count + low, draw.random()], low, high]
    ends = [start, start + 3_600_000_000]
    return bytes(msgpack.packb([shard_of(key), name, *ends, key, accumulators]))


def shard_of(key: int) -> int:
    return (key * 2_654_435_761 & 0xFFFF_FFFF) >> 26


def section(keys: list[int], draw: random.Random) -> Section:
    shards: list[list[bytes]] = [[] for _ in range(SHARDS)]
    for key in keys:
        shards[shard_of(key)].append(row(key, draw))
    rows = [b"".join(one) for one in shards]
    return Section("sensors", "hot", "window", [len(one) for one in rows], b"".join(rows))


def main(folder: Path, dirty: int) -> None:
    draw = random.Random(1)
    store = Store.open(folder / "store")
    results = bytes(RESULT_BYTES * dirty // RESULTS_SHARE)
    store.commit(Commit([section(list(range(LIVE_KEYS)), draw)], {"sensors": RECORD}, (), {}))
    count = CUTS[dirty]
    counted = merges = 0
    trims: dict[tuple[str, str], int] = {}
    for number in range(count):
        if number == count // 2:
            before = processes.write_calls_bytes()
            counted = merges = 0
        changed = section(draw.sample(range(LIVE_KEYS), dirty), draw)
        spools = [SpoolBlock("sensors", "results", (results,))]
        result = store.commit(Commit([changed], {"sensors": RECORD}, spools, trims))
        trims = {("sensors", "results"): result.seqs[0]}
        counted += len(changed.rows) + len(results)
        merges += result.merges
    written = processes.write_calls_bytes() - before
    store.close()
    found = {"cuts": count - count // 2, "bytes": counted, "written": written, "merges": merges}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
