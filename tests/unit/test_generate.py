"""The generator: the same seed gives the same records, however they are read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance import clock
from appliance.connect import EndOfInput, check_options, construct, guarantee, is_bounded
from connectors.generate import BLOCK_COUNT, GenerateSource

FIELDS = {
    "device": "choice(100)",
    "status": 'choice("ok", "fault")',
    "n": "counter(5, 2)",
    "dice": "int(1, 6)",
    "share": "uniform(0, 1)",
    "temp": "normal(20, 5, 1)",
}


def read_all(limit: int = 4096, start: int = 0, **options: Any) -> list[dict[str, Any]]:
    made = construct(GenerateSource, {"fields": FIELDS, **options})
    made.open({"": b"%d" % start} if start else {})
    data = b""
    try:
        while True:
            chunk = made.read(limit)
            data += chunk.data
            assert int(chunk.position) == start + data.count(b"\n")
    except EndOfInput:
        return [json.loads(line) for line in data.splitlines()]


def test_fields_are_what_their_words_say() -> None:
    records = read_all(count=2000)
    assert len(records) == 2000
    assert [record["n"] for record in records[:3]] == [5, 7, 9]
    assert {record["dice"] for record in records} == {1, 2, 3, 4, 5, 6}
    assert {record["status"] for record in records} == {"ok", "fault"}
    assert {record["device"] for record in records} <= {f"device-{n}" for n in range(100)}
    assert all(0 <= record["share"] <= 1 for record in records)
    assert 19 < sum(record["temp"] for record in records) / 2000 < 21
    assert all(record["temp"] == round(record["temp"], 1) for record in records)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 3 * BLOCK_COUNT), st.integers(1, 10_000), st.integers(0, 2**40))
def test_any_position_is_reached_however_it_is_cut(start: int, limit: int, seed: int) -> None:
    count = start + 50
    whole = read_all(count=count, seed=seed)
    assert read_all(limit, start, count=count, seed=seed) == whole[start:]


def test_another_seed_gives_other_records() -> None:
    assert read_all(count=10, seed=1) == read_all(count=10, seed=1)
    assert read_all(count=10, seed=1) != read_all(count=10, seed=2)


def test_it_is_bounded_by_a_count_and_replayable_without_a_clock() -> None:
    endless = construct(GenerateSource, {"fields": {"ts": 'time("s")'}})
    counted = construct(GenerateSource, {"fields": FIELDS, "count": 1})
    assert (is_bounded(endless), is_bounded(counted)) == (False, True)
    assert (guarantee(endless), guarantee(counted)) == ("fire and forget", "replayable")


def test_a_rate_is_never_exceeded() -> None:
    made = construct(GenerateSource, {"fields": FIELDS, "rate": "100/s"})
    before_s = clock.monotonic_s()
    made.open({})
    made_count = 0
    while made_count < 10:
        chunk = made.read(4096)
        made_count += chunk.data.count(b"\n") if chunk is not None else 0
        assert made_count <= (clock.monotonic_s() - before_s) * 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("norml(1, 2)", "there is no 'norml'"),
        ("normal(1)", "wrong arguments"),
        ('normal("a", 2)', "a number was expected"),
        ("int(6, 1)", "6 is above 1"),
        ("choice()", "choice needs"),
        ("choice(0)", "at least 1"),
        ("1 + 1", "is not of the form"),
        ("__import__('os').system('true')", "is not of the form"),
        ("int(open('x'), 2)", "is not of the form"),
        ("(" * 1000, "is not of the form"),
        ('time("h")', "the unit is one of s, ms, us"),
    ],
)
def test_a_word_that_means_nothing_is_a_fault_and_never_run(text: str, message: str) -> None:
    (fault,) = check_options(GenerateSource, {"fields": {"f": text}})
    assert message in fault.message
