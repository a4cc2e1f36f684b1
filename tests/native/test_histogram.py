"""Latency histograms: one per cent, five minutes, sums that add up; and the clock behind them."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.native import ffi, lib, read_packed

SLOT_NS = 10_000_000_000
TOP = 2**40 - 1
BUCKETS = 34 * 128
EDGES = [lib.histogram_bucket_ns(bucket) for bucket in range(BUCKETS)]

durations = st.one_of(st.integers(0, 1000), st.integers(0, TOP), st.integers(TOP, 2**64 - 1))


@contextmanager
def histogram() -> Iterator[Any]:
    made = lib.histogram_new()
    yield made
    lib.histogram_destroy(ffi.new("histogram_t **", made))


def record(own: Any, values: Iterable[int]) -> None:
    numbers = list(values)
    lib.histogram_record_all(own, ffi.new("uint64_t[]", numbers), len(numbers))


def counts(own: Any) -> dict[int, int]:
    """The packed form: bucket → count."""
    flat = msgpack.unpackb(read_packed(lambda out, size: lib.histogram_copy(own, out, size)))
    return dict(zip(flat[::2], flat[1::2], strict=True))


@given(st.lists(durations, min_size=1), st.floats(0, 1))
def test_a_quantile_is_at_most_one_per_cent_above_the_true_one(values: list[int], q: float) -> None:
    with histogram() as own:
        record(own, values)
        rank = max(math.ceil(q * len(values)), 1)
        true = min(sorted(values)[rank - 1], TOP)
        for everything in (False, True):
            assert true <= lib.histogram_quantile(own, q, everything) <= true * 1.01


def test_every_bucket_follows_the_one_before() -> None:
    assert EDGES[:256] == list(range(256))
    assert EDGES[-1] == TOP
    for bucket in range(1, BUCKETS):
        lowest = EDGES[bucket - 1] + 1
        assert lowest <= EDGES[bucket] <= lowest + lowest / 128


@given(st.lists(durations, max_size=50))
def test_values_fall_into_the_buckets_whose_edges_hold_them(values: list[int]) -> None:
    with histogram() as own:
        record(own, values)
        expected: dict[int, int] = {}
        for value in values:
            bucket = bisect_left(EDGES, min(value, TOP))
            expected[bucket] = expected.get(bucket, 0) + 1
        assert counts(own) == expected


def test_what_is_older_than_five_minutes_is_only_in_the_total() -> None:
    with histogram() as own:
        lib.histogram_turn(own, 7 * SLOT_NS)
        record(own, [100])
        for slot in range(8, 37):
            lib.histogram_turn(own, slot * SLOT_NS)
            record(own, [200])
        assert counts(own) == {100: 1, 200: 29}
        lib.histogram_turn(own, 37 * SLOT_NS)
        assert counts(own) == {200: 29}
        lib.histogram_turn(own, 100 * SLOT_NS)
        assert counts(own) == {}
        assert lib.histogram_count(own, False) == 0
        assert lib.histogram_count(own, True) == 30
        assert lib.histogram_quantile(own, 0.01, True) == 100
        assert lib.histogram_quantile(own, 0.5, True) == 200


def test_a_turn_within_a_slot_and_back_in_time_changes_nothing() -> None:
    with histogram() as own:
        lib.histogram_turn(own, 50 * SLOT_NS)
        record(own, [5])
        lib.histogram_turn(own, 50 * SLOT_NS + SLOT_NS - 1)
        lib.histogram_turn(own, 49 * SLOT_NS)
        record(own, [5])
        assert counts(own) == {5: 2}


@given(st.lists(st.tuples(st.integers(0, 40), durations), max_size=60))
def test_five_minutes_move_along(events: list[tuple[int, int]]) -> None:
    kept: list[tuple[int, int]] = []
    slot = 0
    with histogram() as own:
        lib.histogram_turn(own, 0)
        for ahead, value in events:
            slot += ahead
            lib.histogram_turn(own, slot * SLOT_NS)
            record(own, [value])
            kept.append((slot, value))
        recent = [value for at, value in kept if slot - at < 30]
        assert lib.histogram_count(own, False) == sum(counts(own).values()) == len(recent)
        assert lib.histogram_count(own, True) == len(kept)


def test_an_empty_histogram_has_no_quantile() -> None:
    with histogram() as own:
        assert lib.histogram_quantile(own, 0.99, True) == 0


@pytest.fixture(scope="module")
def _clock() -> None:
    lib.clock_start()


@pytest.mark.usefixtures("_clock")
def test_ticks_and_the_monotonic_clock_agree_within_a_tenth_of_a_per_cent() -> None:
    """The best of several: a processor taken away between two readings is not the clock's fault."""
    monotonic = ffi.new("int64_t *")
    errors = []
    for _ in range(10):
        ticks = lib.clock_spin(2_000_000, monotonic)
        errors.append(abs(ticks / monotonic[0] - 1))
    assert min(errors) < 0.001


def test_the_clocks_tell_the_time() -> None:
    before = time.monotonic_ns()
    assert before <= lib.clock_monotonic_ns() <= time.monotonic_ns()
    before = time.time_ns() // 1000
    assert before <= lib.clock_wall_us() <= time.time_ns() // 1000 + 1
