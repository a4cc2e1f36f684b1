"""Histograms as lanes hand them over: a sparse list `[bucket, count, bucket, count, …]`.

Log-linear: 128 buckets a power of two, so a value read back is at most 1 % below what was recorded;
mergeable by adding. The C side is `native/include/histogram.h`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil

#: The percentiles that are shown everywhere, with their names.
QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999))

_SUB_BUCKET_BITS = 7
_SUB_BUCKETS = 1 << _SUB_BUCKET_BITS


def bucket_value(bucket: int) -> int:
    """The smallest value that falls into this bucket."""
    if bucket < _SUB_BUCKETS:
        return bucket
    shift = (bucket >> _SUB_BUCKET_BITS) - 1
    return (_SUB_BUCKETS | (bucket & (_SUB_BUCKETS - 1))) << shift


def bucket_of(value: int) -> int:
    """The bucket that this value falls into."""
    if value < _SUB_BUCKETS:
        return value
    shift = value.bit_length() - 1 - _SUB_BUCKET_BITS
    return ((shift + 1) << _SUB_BUCKET_BITS) | ((value >> shift) & (_SUB_BUCKETS - 1))


def merge(histograms: Iterable[Sequence[int]]) -> dict[int, int]:
    """The sum of several, as {bucket: count}."""
    total: dict[int, int] = {}
    for pairs in histograms:
        for bucket, count in zip(pairs[::2], pairs[1::2], strict=True):
            total[bucket] = total.get(bucket, 0) + count
    return total


def quantile(counts: Mapping[int, int], share: float) -> int | None:
    """The value that `share` (0 to 1) of all records do not exceed; None when there are none."""
    total = sum(counts.values())
    if total == 0:
        return None
    wanted = max(1, ceil(share * total))
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= wanted:
            return bucket_value(bucket)
    raise AssertionError("the counts add up to the total")


def percentiles_us(counts: Mapping[int, int]) -> dict[str, float | int | None]:
    """The percentiles of a histogram of nanoseconds, in microseconds, and the count of records."""
    found: dict[str, float | int | None] = {"count": sum(counts.values())}
    for name, share in QUANTILES:
        value_ns = quantile(counts, share)
        found[name] = None if value_ns is None else value_ns / 1000
    return found
