"""Durations, sizes and rates: as written, inside, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.limits import DURATION_MAX_US, SIZE_MAX_BYTES
from appliance.units import (
    duration_text,
    parse_duration,
    parse_rate,
    parse_size,
    rate_text,
    size_text,
)


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("0s", 0),
        ("1us", 1),
        ("200ms", 200_000),
        ("10s", 10_000_000),
        ("1.5s", 1_500_000),
        ("0.1s", 100_000),
        ("5m", 300_000_000),
        ("24h", 86_400_000_000),
        ("7d", 604_800_000_000),
        ("36500d", DURATION_MAX_US),
    ],
)
def test_durations_are_microseconds(text: str, us: int) -> None:
    assert parse_duration(text) == us


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("64KiB", 65_536), ("512MiB", 512 << 20), ("2GB", 2_000_000_000), ("1.5kB", 1500)],
)
def test_sizes_are_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "rate"), [("200/s", 200.0), ("30/m", 0.5), ("0.5/s", 0.5), ("3600/h", 1.0)]
)
def test_rates_are_events_a_second(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text",
    ["", "10", "s", "10 minutes", "1h30m", "-5s", "٣s", "1e3s", "0.0000001s", "36501d", "1.s"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "10", "-1B", "1.5B", "10 MiBs", "10mb", "17000GiB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "10", "/s", "-1/s", "0/s", "10/d", "10 per s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rate(text)


def test_a_refusal_shows_a_right_example() -> None:
    with pytest.raises(ValueError, match='write one like "200ms", "10s"'):
        parse_duration("10 seconds")


def test_a_negative_duration_must_be_asked_for() -> None:
    assert parse_duration("-5s", negative=True) == -5_000_000


@given(st.integers(0, DURATION_MAX_US))
def test_a_duration_is_read_back_as_it_was(us: int) -> None:
    assert parse_duration(duration_text(us)) == us


@given(st.integers(0, SIZE_MAX_BYTES))
def test_a_size_is_read_back_as_it_was(size: int) -> None:
    assert parse_size(size_text(size)) == size


@given(st.integers(1, 10**9), st.sampled_from("smh"))
def test_a_rate_is_read_back_within_rounding(amount: int, unit: str) -> None:
    rate = parse_rate(f"{amount}/{unit}")
    assert parse_rate(rate_text(rate)) == pytest.approx(rate, rel=1e-5)


def test_the_shortest_text_is_chosen() -> None:
    assert duration_text(86_400_000_000) == "1d"
    assert duration_text(90_000_000) == "90s"
    assert size_text(1 << 20) == "1MiB"
    assert size_text(1000) == "1000B"
    assert rate_text(0.5) == "30/m"
