"""Running steps: random ones against the oracle, and the rules one by one (S3, S12, S17, S23)."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from semantics import strategies
from semantics.compare import assert_agree, by_lane, lines, plan_of
from semantics.strategies import RUNNING, examples

OPERATIONS = st.one_of(
    strategies.tables_of(RUNNING, 5).map(lambda table: {"running": table}),
    strategies.tables_of(RUNNING, 5).map(lambda table: {"running": table}),
    strategies.window_tables(),
)


@examples(100)
@given(st.data())
def test_running_steps_answer_as_the_oracle_says(data: Any) -> None:
    made = data.draw(strategies.flows(OPERATIONS, steps_max=3))
    assert_agree(made.plan, data.draw(strategies.inputs(made.sources)))


# ---- rules ----


def answers(aggregates: dict[str, str], *records: Any, **step: Any) -> list[dict[str, Any]]:
    """What the aggregates say for each record, by key `k`."""
    plan = plan_of(
        {"a": {"time": {"field": "ts", "unit": "s"}}},
        {"r": {"key_by": "k", "running": aggregates, **step}},
        {"out": {}},
    )
    full = [{"k": "x", "ts": number, **one} for number, one in enumerate(records)]
    assert_agree(plan, [("a", "", lines(*full))])
    output = by_lane(plan, [("a", "", lines(*full))])[0]["out"]
    found = [json.loads(line) for line in output.splitlines()]
    return [{name: one[name] for name in aggregates} for one in found]


def test_s24_a_running_step_keeps_the_records_fields_and_adds_to_them() -> None:
    plan = plan_of({"a": {}}, {"r": {"running": {"n": "count()", "v": "sum(v)"}}}, {"out": {}})
    outputs, _ = by_lane(plan, [("a", "", lines({"v": 1, "w": "é"}, {"v": 2, "x": None}))])
    assert outputs["out"].decode() == ('{"v":1,"w":"é","n":1}\n{"v":3,"x":null,"n":2}\n')


def test_s12_an_average_a_difference_and_a_rate() -> None:
    found = answers(
        {"e": "ema(v, 0.5)", "d": "delta(v)", "r": "rate(v)"}, {"v": 4}, {"v": 8}, {"v": 1.5}
    )
    assert found == [
        {"e": 4.0, "d": None, "r": None},
        {"e": 6.0, "d": 4, "r": 4.0},
        {"e": 3.75, "d": -6.5, "r": -6.5},
    ]


def test_s12_a_rate_needs_time_between_two_records() -> None:
    found = answers({"r": "rate(v)"}, {"v": 1, "ts": 5}, {"v": 2, "ts": 5}, {"v": 3, "ts": 4},
                    {"v": 5, "ts": 8})  # fmt: skip
    assert [one["r"] for one in found] == [None, None, None, 0.5]


def test_s12_lag_counts_records_and_changed_tells_nulls_apart() -> None:
    found = answers({"l": "lag(v, 2)", "c": "changed(v)"}, {"v": 1}, {"v": None}, {}, {"v": 1.0},
                    {"v": 1})  # fmt: skip
    assert [one["l"] for one in found] == [None, None, 1, None, None]
    assert [one["c"] for one in found] == [True, True, False, True, False]


def test_s17_nulls_are_skipped_and_count_without_an_argument_counts_records() -> None:
    found = answers(
        {"n": "count()", "v": "count(v)", "s": "sum(v)", "d": "delta(v)"},
        {"v": 1}, {"v": None}, {}, {"v": 3},
    )  # fmt: skip
    assert found == [
        {"n": 1, "v": 1, "s": 1, "d": None},
        {"n": 2, "v": 1, "s": 1, "d": None},
        {"n": 3, "v": 1, "s": 1, "d": None},
        {"n": 4, "v": 2, "s": 4, "d": 2},
    ]


def test_s17_the_condition_of_an_aggregate_stands_before_its_argument() -> None:
    """Where it does not hold, the argument is not even looked at."""
    found = answers({"s": "sum(v / w, where = w != 0)"}, {"v": 1, "w": 0}, {"v": 1, "w": 2})
    assert [one["s"] for one in found] == [None, 0.5]


def test_s17_order_does_not_show_in_a_sum_of_floats() -> None:
    found = answers({"s": "sum(v)", "m": "mean(v)"}, {"v": 1e16}, {"v": 1.0}, {"v": -1e16})
    assert found[-1] == {"s": 1.0, "m": 1.0 / 3}


def test_s17_sums_of_ints_are_ints_and_beyond_64_bits_an_error() -> None:
    found = answers({"s": "sum(v)"}, {"v": 2**63 - 1}, {"v": 1}, {"v": -1})
    assert [one["s"] for one in found] == [2**63 - 1, 2**63 - 2]


def test_s3_a_record_goes_into_all_aggregates_or_into_none() -> None:
    found = answers({"n": "count()", "s": "sum(v)", "m": "max(v)"}, {"v": 1}, {"v": "x"}, {"v": 2})
    assert [one["n"] for one in found] == [1, 2]


def test_s17_first_and_last_go_by_event_time_and_ties_by_arrival() -> None:
    found = answers(
        {"f": "first(v)", "l": "last(v)"},
        {"v": 1, "ts": 5}, {"v": 2, "ts": 5}, {"v": 3, "ts": 4}, {"v": 4, "ts": 4},
    )  # fmt: skip
    assert [one["f"] for one in found] == [1, 1, 3, 3]
    assert [one["l"] for one in found] == [1, 2, 2, 2]


def test_s29_the_best_of_equals_is_the_earliest() -> None:
    found = answers({"b": "max_by(w, v)", "s": "min_by(w, v)"}, {"v": 1, "w": "a"},
                    {"v": 1.0, "w": "b"}, {"v": 2, "w": "c"}, {"w": "d"})  # fmt: skip
    assert [one["b"] for one in found] == ["a", "a", "c", "c"]
    assert [one["s"] for one in found] == ["a"] * 4


def test_s23_any_of_nothing_is_false_and_all_of_nothing_is_true() -> None:
    found = answers({"any": "any(v)", "all": "all(v)", "min": "min(v)", "sd": "stddev(v)"}, {})
    assert found == [{"any": False, "all": True, "min": None, "sd": None}]


def test_s10_numbers_that_are_equal_are_one_key_and_types_are_not() -> None:
    plan = plan_of(
        {"a": {}}, {"r": {"key_by": "k", "running": {"n": "count()"}}},
        {"out": {"format": {"text": "{n}"}}},
    )  # fmt: skip
    keys: list[Any] = [1, 1.0, "1", True, -0.0, 0, False, "", 1e300, 1e300]
    outputs, _ = by_lane(plan, [("a", "", lines(*({"k": key} for key in keys)))])
    assert outputs["out"].split() == [b"1", b"2", b"1", b"1", b"1", b"2", b"1", b"1", b"1", b"2"]


def test_s10_null_is_a_key_only_where_it_is_asked_for() -> None:
    assert answers({"n": "count()"}, {"k": None}, {"k": "x"}) == [{"n": 1}]
    found = answers({"n": "count()"}, {"k": None}, {"k": "x"}, {"k": None}, null_key=True)
    assert found == [{"n": 1}, {"n": 1}, {"n": 2}]


def test_s10_the_key_ends_where_its_field_is_dropped() -> None:
    """Then the step behind works on one constant key (S29)."""
    plan = plan_of(
        {"a": {}},
        {
            "one": {"key_by": "k", "running": {"n": "count()"}},
            "still": {"set": {"k": "1"}, "running": {"m": "count()"}},
            "gone": {"drop": ["k"], "running": {"all": "count()"}},
        },
        {"out": {}},
    )
    outputs, _ = by_lane(plan, [("a", "", lines({"k": "x"}, {"k": "y"}, {"k": "x"}))])
    assert outputs["out"] == (
        b'{"n":1,"m":1,"all":1}\n{"n":1,"m":1,"all":2}\n{"n":2,"m":2,"all":3}\n'
    )


def test_s12_changed_looks_into_lists_and_maps() -> None:
    """As `==` does (S2): an int equals its float, and the order of keys does not count."""
    found = answers({"c": "changed(v)"}, {"v": [1, "a"]}, {"v": [1.0, "a"]},
                    {"v": {"a": 1, "b": []}},
                    {"v": {"b": [], "a": 1.0}}, {"v": {"b": [0], "a": 1}})  # fmt: skip
    assert [one["c"] for one in found] == [True, False, True, False, True]
