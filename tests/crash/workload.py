"""What a store is made to do while its writes are recorded or made to fail.

Run as a program, under the shim: `workload.py trace FOLDER NAME` does the acts of a trace and marks
each one that was acknowledged; `workload.py fail FOLDER` does one trace again and again, the n-th
write or sync failing, and checks the store each time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import struct
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

from appliance.store import DiskFull, Store, StoreFailed, index
from unit.stores import Key, Model, assert_like, commit, section

FLOWS = ("one", "two")
MARK_DESCRIPTOR = 777

Act = Callable[[Store, Model], None]

#: Name → seed, acts, keys, bytes of a row's value. In "growth" the table grows in every cut while
#: its bases are being merged; "spools" has few rows and large blocks.
TRACES = {
    "mixed": (1, 24, 60, 20),
    "growth": (2, 16, 2000, 120),
    "spools": (3, 20, 10, 5),
}

#: For what is done to a store many times over. "small" has blocks over several pages all the same.
MORE_TRACES = {"short": (1, 8, 60, 20), "small": (8, 12, 600, 60)}


#: With these, bases are merged every few cuts, and deltas dropped.
SMALL_MERGES = {
    "STORE_MERGE_MIN_BYTES": 200,
    "STORE_DEAD_MIN_BYTES": 2000,
    "STORE_DELTA_MAX_COUNT": 10,
}


def acts(name: str) -> Iterator[Act]:
    """The acts of a trace, the same each time."""
    seed, count, keys, width = (TRACES | MORE_TRACES)[name]
    chance = random.Random(seed)
    for number in range(count):
        what = chance.random()
        if what < 0.05:
            yield _drop_step
        elif what < 0.08:
            yield _drop_spool
        else:
            grown = keys * (number + 1) // count if name in ("growth", "small") else keys
            yield _cut(chance.randrange(1 << 30), grown, width, name == "spools")


def _cut(seed: int, keys: int, width: int, is_large: bool) -> Act:
    def act(store: Store, model: Model) -> None:
        chance = random.Random(seed)
        sections, records, blocks, trims = [], {}, [], {}
        for flow in FLOWS:
            rows = []
            for _ in range(chance.randrange(1, 40 if keys < 100 else keys // 4 + 2)):
                number = chance.randrange(keys)
                key: Key = (number % 7, b"%d" % number, 0)
                value = None if chance.random() < 0.1 else f"{chance.random()}" + "x" * width
                rows.append((key, value))
            rows.sort(key=lambda one: one[0][0])
            sections.append(section(flow, "mean", "window", rows))
            model.change(flow, "mean", "window", rows)
            records[flow] = b"%d" % seed * chance.randrange(1, 200)
            for _ in range(chance.randrange(3)):
                size = chance.choice((20, 2000, 6000, 150_000 if is_large else 100))
                blocks.append((flow, "out", bytes([seed % 256]) * size))
            if chance.random() < 0.4:
                trims[flow, "out"] = store.spool(flow, "out").next_seq - chance.randrange(1, 4)
        for (flow, sink), upto in trims.items():
            model.trim(flow, sink, upto)
        for block in blocks:
            model.append(*block)
        model.records |= records
        model.cut += 1
        made = commit(sections, records, blocks, trims)
        try:
            store.commit(made)
        except DiskFull:
            store.commit(made)

    return act


def _drop_step(store: Store, model: Model) -> None:
    model.steps.pop(("two", "mean", "window"), None)
    _twice(lambda: store.drop_step("two", "mean"))


def _drop_spool(store: Store, model: Model) -> None:
    model.trim("one", "out", store.spool("one", "out").next_seq)
    _twice(lambda: store.drop_spool("one", "out"))


def _twice(act: Callable[[], bool]) -> None:
    """A full disk is one that has room again the next time."""
    try:
        act()
    except DiskFull:
        act()


def histories(name: str, folder: Path) -> list[Model]:
    """What the store holds after each act, and before the first."""
    store, model = Store.open(folder), Model()
    found = [deepcopy(model)]
    for act in acts(name):
        act(store, model)
        found.append(deepcopy(model))
    store.close()
    return found


def trace(folder: Path, name: str) -> None:
    store, model = Store.open(folder), Model()
    _mark(0)
    for number, act in enumerate(acts(name), 1):
        act(store, model)
        _mark(number)
    store.close()


def _mark(number: int) -> None:
    libc = ctypes.CDLL(None)
    libc.write(MARK_DESCRIPTOR, struct.pack("<Q", number), 8)


def fail_each(folder: Path) -> None:
    """Every write and every sync of one trace fails once, in each way."""
    name = "short"
    shim = ctypes.CDLL(None)
    shim.shim_fail(0, 0, 0)
    models = histories(name, folder / "counted")
    total = shim.shim_counted()
    outcomes = {"full": 0, "failed": 0}
    for error, is_short in ((errno.ENOSPC, 0), (errno.EIO, 0), (errno.EIO, 1)):
        for n in range(1, total + 1):
            place = folder / f"{error}-{is_short}-{n}"
            outcomes[_fail(shim, place, name, models, (n, error, is_short))] += 1
    assert outcomes["full"] and outcomes["failed"]
    print(total, outcomes)


def _fail(
    shim: ctypes.CDLL, folder: Path, name: str, models: list[Model], how: tuple[int, int, int]
) -> str:
    """One trace with one failure: every act is done or the store says that it failed, and what it
    holds after opening it again is what was acknowledged, or one act more."""
    done, outcome = 0, "full"
    shim.shim_fail(*how)
    store = None
    try:
        store, model = Store.open(folder), Model()
        for act in acts(name):
            act(store, model)
            done += 1
    except DiskFull:
        assert store is None, "a full disk is tried again"
    except StoreFailed:
        outcome = "failed"
        if store is not None:
            try:
                store.commit(commit())
                raise AssertionError("a failed store took another transaction")
            except StoreFailed:
                pass
    finally:
        shim.shim_fail(0, 0, 0)
        if store is not None:
            store.close()
    again = Store.open(folder)
    assert not again.damage, (how, again.damage)
    _assert_one_of(again, models[done : done + 2])
    again.close()
    return outcome


def _assert_one_of(store: Store, models: list[Model]) -> None:
    """The store holds what one of them does."""
    try:
        assert_like(store, models[0], FLOWS)
    except AssertionError:
        if len(models) == 1:
            raise
        assert_like(store, models[1], FLOWS)


if __name__ == "__main__":
    os.environ.pop("LD_PRELOAD", None)
    for bound, value in SMALL_MERGES.items():
        setattr(index, bound, value)
    if sys.argv[1] == "trace":
        trace(Path(sys.argv[2]), sys.argv[3])
    else:
        fail_each(Path(sys.argv[2]))
