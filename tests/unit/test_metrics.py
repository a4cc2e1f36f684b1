"""From what lanes count to what people read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cli.status import table
from appliance.metrics.histogram import (
    bucket_of,
    bucket_value,
    merge,
    percentiles_us,
    quantile,
)
from appliance.metrics.status import document
from appliance.metrics.summary import size_words, summary_lines, time_words


@given(st.integers(0, 2**62))
def test_a_bucket_is_at_most_one_percent_below_its_values(value: int) -> None:
    found = bucket_value(bucket_of(value))
    assert found <= value
    assert value - found <= value / 100


@given(st.integers(0, 57 * 128))
def test_a_bucket_begins_where_the_one_before_ends(bucket: int) -> None:
    assert bucket_of(bucket_value(bucket)) == bucket
    assert bucket_of(bucket_value(bucket + 1) - 1) == bucket


@given(st.lists(st.integers(0, 10**12), min_size=1), st.floats(0, 1))
def test_a_quantile_is_that_of_the_sorted_list(values: list[int], share: float) -> None:
    counts = merge([bucket_of(value), 1] for value in values)
    ordered = sorted(values)
    index = max(0, -int(-(share * len(values)) // 1) - 1)
    assert quantile(counts, share) == bucket_value(bucket_of(ordered[index]))


def test_histograms_are_merged_by_adding() -> None:
    assert merge([[1, 2, 5, 1], [], [5, 3]]) == {1: 2, 5: 4}
    assert quantile({}, 0.5) is None
    assert percentiles_us({}) == dict.fromkeys(("p50", "p95", "p99", "p99.9", "p99.99"), None) | {
        "count": 0
    }


def lane(flow: str, events: int) -> dict[str, Any]:
    return {
        "ticks": 1,
        "events": events,
        "cuts": 2,
        "latency_ns": [100, events],
        "closing_ns": [],
        "pause_ns": [],
        "sources": [
            {"flow": flow, "name": "in", "records": events, "bytes": 77, "errors": 1, "future": 0}
        ],
        "steps": [{"flow": flow, "name": "avg", "in": events, "out": 3, "late": 2, "error": 0}],
        "sinks": [
            {"flow": flow, "name": "out", "records": 3, "bytes": 9, "errors": 0, "queued": 0}
        ],
        "errors": [{"flow": flow, "errors": 1, "reasons": {"decode": 1}}],
    }


def reply(flow: str, events: int) -> dict[str, Any]:
    ends = [
        {"flow": flow, "name": "in", "role": "source", "kind": "tcp", "label": "127.0.0.1:9"},
        {"flow": flow, "name": "out", "role": "sink", "kind": "stdout", "label": "standard output"},
    ]
    return {"flows": [flow], "metrics": lane(flow, events), "ends": ends}


WORKER = {"name": "shared", "state": "running", "reason": "", "restarts": 1, "held": {}}


def test_the_status_of_several_workers_is_one_document() -> None:
    found = document("running", [WORKER], [reply("a", 10), reply("b", 30)])
    assert found["events"] == 40
    assert found["latency_us"]["count"] == 40
    assert found["latency_us"]["p50"] == 0.1
    assert [flow["name"] for flow in found["flows"]] == ["a", "b"]
    assert found["flows"][0]["sources"][0]["kind"] == "tcp"
    assert found["flows"][1]["sinks"][0]["label"] == "standard output"
    assert found["flows"][0]["reasons"] == {"decode": 1}


def test_the_table_names_everything() -> None:
    found = document("running", [WORKER], [reply("a", 1234567)]) | {"uptime_s": 12.5}
    text = "\n".join(table(found))
    for words in (
        "running for 12 s",
        "1,234,567 events",
        "source in (tcp)",
        "step avg",
        "decode 1",
    ):
        assert words in text
    assert "worker shared: running, started again 1 time" in text


@pytest.mark.parametrize(
    ("partitions", "words"), [(0, "not connected"), (1, "connected"), (None, "")]
)
def test_a_source_that_connects_says_whether_it_is(partitions: int | None, words: str) -> None:
    answer = reply("a", 10)
    answer["ends"][0]["connects"] = partitions is not None
    answer["metrics"]["sources"][0]["partitions"] = partitions or 0
    found = document("running", [WORKER], [answer]) | {"uptime_s": 1.0}
    (row,) = [line for line in table(found) if "source in (tcp)" in line]
    assert row.split("(tcp)")[1].split("10")[0].strip() == words
    assert ("connected" in found["flows"][0]["sources"][0]) == (partitions is not None)


def test_why_a_source_is_tried_again_is_said() -> None:
    answer = reply("a", 10)
    answer["ends"][0] |= {"state": "failed", "trouble": "OSError: no entry"}
    found = document("running", [WORKER], [answer]) | {"uptime_s": 1.0}
    assert "  in has failed and is tried again: OSError: no entry" in table(found)


def test_the_summary_has_rates_percentiles_and_what_went_wrong() -> None:
    lines = summary_lines(document("stopping", [], [reply("a", 3000)]), 1.5)
    assert lines[0] == "3,000 events in 1.50 s (2,000/s), 77 bytes in, 3 results out"
    assert lines[1].startswith("in-process latency: p50 0.1 µs  p95 0.1 µs")
    assert lines[2] == "2 too late for a window"
    assert lines[3] == "1 record set aside as errors (1 decode)"
    assert len(lines) == 4


def test_the_summary_does_not_pass_over_records_of_the_future() -> None:
    """S8: they go no further than `SOURCE.late`, so that somebody has to say it."""
    ahead = reply("a", 3000)
    ahead["metrics"]["sources"][0]["future"] = 7
    lines = summary_lines(document("stopping", [], [ahead]), 1.5)
    assert lines[2] == "2 too late for a window, 7 too far ahead of the clock"


def test_times_are_said_in_the_unit_that_fits() -> None:
    values = (None, 0.25, 82.944, 9699.0, 26_870.0, 1_250_000.0, 999.6, 999_940.0, 7_200e6)
    words = ["–", "0.25 µs", "82.9 µs", "9.7 ms", "26.9 ms", "1.25 s", "1 ms", "1 s", "7,200 s"]
    assert [time_words(value) for value in values] == words


def test_the_summary_shows_the_last_errors_that_no_sink_took() -> None:
    error = {"flow": "a", "step": None, "source": "in", "position": 7, "reason": "decode"}
    last = reply("a", 1) | {"errors": [error | {"message": f"no {n}"} for n in range(5)]}
    lines = summary_lines(document("stopping", [], [last]), 1.0)
    assert lines[4:] == [f"  a.in at 7: decode: no {n}" for n in (2, 3, 4)]


def test_sizes_are_said_in_decimal_units() -> None:
    assert [size_words(n) for n in (0, 999, 1000, 2_500_000, 7e12)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "2.5 MB",
        "7,000.0 GB",
    ]
