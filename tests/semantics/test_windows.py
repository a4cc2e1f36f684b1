"""Windows and event time: random ones against the oracle, and the rules one by one (S6–S8,
S13–S16, S25, S27, S29)."""

from __future__ import annotations

import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.plan.logical import Plan
from appliance.testing import LaneRun
from semantics import strategies
from semantics.compare import assert_agree, assert_files_agree, by_lane, lines, plan_of
from semantics.strategies import examples

SECONDS = {"field": "ts", "unit": "s"}


@examples(100)
@given(st.data())
def test_windows_close_as_the_oracle_says(data: Any) -> None:
    """Several partitions, disorder, windows behind windows."""
    made = data.draw(strategies.flows(strategies.window_tables(), steps_max=3))
    assert_agree(made.plan, data.draw(strategies.inputs(made.sources, partitions_max=3)))


@examples(40)
@given(st.data())
def test_s7_named_files_count_from_the_start(data: Any) -> None:
    """The second file may be far behind the first when its turn comes: nothing of it is late."""
    made = data.draw(strategies.flows(strategies.window_tables(), sources_max=1, steps_max=2))
    sinks = {f"out{number}": {"from": name} for number, name in enumerate([*made.steps, "a"])}
    plan = plan_of(made.sources, made.steps, sinks)
    streams = st.lists(strategies.streams(made.sources["a"], most=12), min_size=1, max_size=3)
    with TemporaryDirectory() as folder:
        files = {f"{folder}/{n}": content for n, content in enumerate(data.draw(streams))}
        for name, content in files.items():
            Path(name).write_bytes(content)
        assert_files_agree(plan, files)


ALIGNED = [one for one in strategies.WINDOWS if "global" not in one]


@examples(40)
@given(st.data())
def test_s15_how_partitions_interleave_does_not_show(data: Any) -> None:
    """Once all have begun, windows hold the same and the same records are late (S9)."""
    window = data.draw(st.sampled_from(ALIGNED))
    aggregate = {"n": "count()", "low": "min(v)", "high": "max(v)", "first": "first(v)"}
    plan = plan_of(
        {"a": {"time": {"field": "ts", "unit": "s", "late": "1s", "idle": "never"}}},
        {"w": {"key_by": "k", "window": window, "aggregate": aggregate}},
        {"w": {"from": "w"}, "late": {"from": "w.late"}},
    )
    moments = st.lists(st.tuples(st.integers(0, 400), st.sampled_from("xyz")), max_size=20)
    waiting, number = {}, 0
    for name in "pqr":
        times = sorted(data.draw(moments), key=lambda one: one[0] // 40)
        waiting[name] = []
        for tenths, key in times:
            number += 1
            waiting[name].append(lines(at(tenths / 10 + number / 1e6, key, v=number)))
    begun = [("a", name, lines(at(-100, "x", v=0))) for name in waiting]

    def interleaved() -> list[Any]:
        left = {name: list(parts) for name, parts in waiting.items() if parts}
        found = list(begun)
        while left:
            name = data.draw(st.sampled_from(sorted(left)))
            found.append(("a", name, left[name].pop(0)))
            left = {name: parts for name, parts in left.items() if parts}
        return found

    one, other = (by_lane(plan, interleaved())[0] for _ in range(2))
    for sink in plan.sinks:
        assert sorted(one[sink].splitlines()) == sorted(other[sink].splitlines())


@pytest.mark.parametrize("seed", range(3))
def test_long_runs_with_many_keys_agree(seed: int) -> None:
    """Tables grow, windows are recycled, cuts are made on the way."""
    chance = random.Random(seed)
    window = ALIGNED[seed * 2 + 1]
    plan = plan_of(
        {"a": {"time": {"field": "ts", "unit": "ms", "late": "500ms", "idle": "never"}}},
        {
            "r": {"key_by": "k", "running": {"seen": "count()", "before": "lag(v)"}},
            "w": {"window": window, "aggregate": {"n": "count()", "m": "mean(v)", "s": "last(t)"}},
            "g": {"from": ["w"], "key_by": "n", "window": {"global": True, "every": "20s"},
                  "aggregate": {"k": "count()", "m": "max(m)"}},
        },
        {"w": {"from": "w"}, "late": {"from": "w.late"}, "g": {"from": "g"}, "r": {"from": "r"}},
    )  # fmt: skip
    records = [
        {
            "k": f"key {chance.randrange(1200)}" + "x" * chance.choice([0, 0, 40]),
            "v": chance.uniform(-100, 100),
            "t": "text " * chance.randrange(20),
            "ts": number * 10 + chance.randrange(1000),
        }
        for number in range(4000)
    ]
    data, pieces = lines(*records), []
    while data:
        size = chance.choice([1, 50, 5000, 60_000])
        pieces.append(("a", "", data[:size]))
        data = data[size:]
    assert_agree(plan, pieces, pause_us=300_000)


# ---- rules ----


def windows_plan(window: dict[str, Any], time: dict[str, Any] | None = None, **step: Any) -> Plan:
    """One window step `w` over source `a`, counted by key `k` unless the step says otherwise."""
    table = {"from": ["a"], "key_by": "k", "window": window, "aggregate": {"n": "count()"}, **step}
    source = {"time": time or SECONDS} if time != {} else {}
    sinks = {"w": {"from": "w"}}
    if window.get("late_policy") != "drop":
        sinks["late"] = {"from": "w.late"}
    return plan_of({"a": source}, {"w": table}, sinks)


def at(ts: float | str, k: str = "x", **more: Any) -> dict[str, Any]:
    return {"k": k, "ts": ts, **more}


def results(output: bytes) -> list[Any]:
    """(key, start, end, n) of each."""
    found = [json.loads(line) for line in output.splitlines()]
    return [(one.get("k"), one["window_start"], one["window_end"], one["n"]) for one in found]


def lane(plan: Plan, *pieces: tuple[str, bytes]) -> dict[str, bytes]:
    """Pieces of partitions of source `a`."""
    return by_lane(plan, [("a", partition, data) for partition, data in pieces])[0]


def test_s13_windows_are_half_open_and_aligned_to_the_epoch() -> None:
    plan = windows_plan({"tumbling": "10s"}, {"field": "ts", "unit": "s", "late": "1h"})
    output = lane(plan, ("", lines(at(-1), at(0), at(9.999), at(10), at(-10), at(-11))))["w"]
    assert results(output) == [("x", -20, -10, 1), ("x", -10, 0, 2), ("x", 0, 10, 2),
                               ("x", 10, 20, 1)]  # fmt: skip


def test_s13_an_offset_moves_the_windows() -> None:
    plan = windows_plan({"tumbling": "10s", "offset": "3s"})
    assert results(lane(plan, ("", lines(at(2), at(3))))["w"]) == [
        ("x", -7, 3, 1),
        ("x", 3, 13, 1),
    ]


def test_s13_without_a_key_there_is_one_window_for_all() -> None:
    plan = plan_of(
        {"a": {"time": SECONDS}},
        {"w": {"window": {"tumbling": "10s"}, "aggregate": {"n": "count()"}}},
        {"w": {}},
    )
    assert lane(plan, ("", lines(at(1, "x"), at(2, "y"))))["w"] == (
        b'{"window_start":0,"window_end":10,"n":2}\n'
    )


def test_s15_a_record_is_late_by_its_own_partitions_watermark() -> None:
    """Partition p is at 25, q at 3: what p sends for [0, 10) is late, what q sends is not."""
    plan = windows_plan({"tumbling": "10s"})
    outputs = lane(
        plan,
        ("p", lines(at(1))),
        ("q", lines(at(3))),
        ("p", lines(at(25), at(9))),
        ("q", lines(at(9))),
    )
    assert json.loads(outputs["late"]) == at(9)
    assert results(outputs["w"]) == [("x", 0, 10, 3), ("x", 20, 30, 1)]


def test_s15_the_record_that_moves_the_watermark_is_not_late_itself() -> None:
    plan = windows_plan({"tumbling": "10s"}, {"field": "ts", "unit": "s", "late": "2s"})
    outputs = lane(plan, ("", lines(at(11.9), at(1), at(12), at(2))))
    assert results(outputs["w"]) == [("x", 0, 10, 1), ("x", 10, 20, 2)]
    assert json.loads(outputs["late"]) == at(2)


def test_s15_dropped_late_records_are_counted() -> None:
    plan = windows_plan({"tumbling": "10s", "late_policy": "drop"})
    _, metrics = by_lane(plan, [("a", "", lines(at(20), at(1)))])
    assert metrics["steps"][0]["late"] == 1


def test_s16_windows_close_by_end_and_then_by_first_appearance() -> None:
    plan = windows_plan({"tumbling": "10s"}, {"field": "ts", "unit": "s", "late": "1h"})
    output = lane(plan, ("", lines(at(11, "b"), at(1, "c"), at(12, "a"), at(2, "b"), at(3, "c"))))
    assert results(output["w"]) == [("c", 0, 10, 2), ("b", 0, 10, 1), ("b", 10, 20, 1),
                                    ("a", 10, 20, 1)]  # fmt: skip


def test_s16_what_is_due_closes_before_the_next_record() -> None:
    plan = plan_of(
        {"a": {"time": SECONDS}},
        {"w": {"window": {"tumbling": "1s"}, "aggregate": {"n": "count()"}}},
        {"both": {"from": ["a", "w"]}},
    )
    output = lane(plan, ("", lines({"ts": 0}, {"ts": 5}, {"ts": 6})))["both"]
    assert output == (
        b'{"ts":0}\n{"ts":5}\n{"window_start":0,"window_end":1,"n":1}\n'
        b'{"ts":6}\n{"window_start":5,"window_end":6,"n":1}\n'
        b'{"window_start":6,"window_end":7,"n":1}\n'
    )


def test_s25_hopping_with_a_step_beyond_its_size_leaves_gaps() -> None:
    plan = windows_plan({"hopping": "2s", "every": "5s"})
    outputs = lane(plan, ("", lines(at(1), at(3), at(6))))
    assert results(outputs["w"]) == [("x", 0, 2, 1), ("x", 5, 7, 1)]
    assert outputs["late"] == b""


def test_s27_a_hopping_record_joins_the_windows_that_are_still_open() -> None:
    plan = windows_plan({"hopping": "10s", "every": "5s"})
    outputs = lane(plan, ("", lines(at(11), at(7), at(4))))
    assert results(outputs["w"]) == [("x", 5, 15, 2), ("x", 10, 20, 1)]
    assert json.loads(outputs["late"]) == at(4)


def test_s29_a_window_behind_a_window_is_never_late_by_itself() -> None:
    plan = plan_of(
        {"a": {"time": SECONDS}},
        {
            "one": {"window": {"tumbling": "1s"}, "aggregate": {"n": "count()"}},
            "ten": {"window": {"tumbling": "10s"}, "aggregate": {"n": "sum(n)"}},
        },
        {"ten": {"from": "ten"}, "late": {"from": "ten.late"}},
    )
    outputs = lane(plan, ("", lines({"ts": 0}, {"ts": 9.5}, {"ts": 9.9}, {"ts": 95}, {"ts": 96})))
    assert outputs["ten"] == (
        b'{"window_start":0,"window_end":10,"n":3}\n{"window_start":90,"window_end":100,"n":2}\n'
    )
    assert outputs["late"] == b""


def test_s29_window_times_of_a_source_with_text_are_text() -> None:
    plan = windows_plan({"tumbling": "500ms"}, {"field": "ts", "unit": "rfc3339"})
    output = lane(plan, ("", lines(at("2023-11-02T03:04:05.75+01:00"))))["w"]
    assert output == (
        b'{"k":"x","window_start":"2023-11-02T02:04:05.500000Z",'
        b'"window_end":"2023-11-02T02:04:06Z","n":1}\n'
    )


@pytest.mark.parametrize(("unit", "factor"), [("ms", 1000), ("us", 10**6), ("ns", 10**9)])
def test_s4_window_times_are_in_the_sources_unit(unit: str, factor: int) -> None:
    plan = windows_plan({"tumbling": "10s"}, {"field": "ts", "unit": unit})
    assert results(lane(plan, ("", lines(at(3 * factor))))["w"]) == [("x", 0, 10 * factor, 1)]


def test_a_record_beyond_all_windows_is_an_error_and_moves_nothing_out_of_range() -> None:
    plan = plan_of(
        {"a": {"time": {"field": "ts", "unit": "us", "late": "1s"}}},
        {"w": {"window": {"tumbling": "10s"}, "aggregate": {"n": "count()"}}},
        {"w": {"from": "w"}, "late": {"from": "w.late"}, "errors": {"from": "errors"}},
    )
    far = [{"ts": -(2**63)}, {"ts": -(2**63) + 5}, {"ts": 1}, {"ts": 2}]
    outcome = assert_agree(plan, [("a", "", lines(*far))])
    assert outcome.errors["w", "a", "time"] == 2
    assert outcome.output("w") == b'{"window_start":0,"window_end":10000000,"n":2}\n'


# ---- global windows (decisions 7 and 10) ----


def test_a_global_window_tells_the_smallest_and_the_largest_time() -> None:
    plan = windows_plan({"global": True})
    output = lane(plan, ("", lines(at(5), at(3), at(9), at(4))))["w"]
    assert results(output) == [("x", 5, 5, 1), ("x", 3, 5, 2), ("x", 3, 9, 3), ("x", 3, 9, 4)]


def test_a_global_window_answers_when_the_watermark_passes_a_multiple_of_every() -> None:
    plan = windows_plan({"global": True, "every": "10s"})
    with LaneRun(plan) as run:
        run.feed("a", lines(at(3), at(7, "y"), at(8)))
        assert run.output("w") == b""
        run.feed("a", lines(at(12)))
        assert results(run.output("w")) == [("x", 3, 12, 3), ("y", 7, 7, 1)]
        run.feed("a", lines(at(45, "y")))
        assert results(run.output("w"))[2:] == [("y", 7, 45, 2)]
        assert results(run.finish()["w"])[3:] == []


def test_a_global_windows_results_have_the_time_that_made_them_due() -> None:
    """So that a window behind it counts them, and none is late by itself."""
    plan = plan_of(
        {"a": {"time": SECONDS}},
        {
            "g": {"key_by": "k", "window": {"global": True, "every": "10s"},
                  "aggregate": {"n": "count()"}},
            "w": {"window": {"tumbling": "10s"}, "aggregate": {"n": "count()"}},
        },
        {"w": {"from": "w"}, "late": {"from": "w.late"}},
    )  # fmt: skip
    outputs = lane(plan, ("", lines(at(1), at(2, "y"), at(9.9, "z"), at(10, "y"), at(25))))
    assert results(outputs["w"]) == [("x", 0, 10, 1), ("y", 0, 10, 1), ("z", 0, 10, 1),
                                     ("x", 10, 20, 1)]  # fmt: skip
    assert outputs["late"] == b""


# ---- partitions that come and go (S7) ----


def test_s7_a_partition_that_appears_never_pulls_the_watermark_back() -> None:
    """p has taken the step to 99. What q brings for windows that ended before is late, however
    few windows there were to close."""
    plan = windows_plan({"tumbling": "10s"}, {"field": "ts", "unit": "s", "late": "1s"})
    outputs = lane(
        plan,
        ("p", lines(at(100))),
        ("q", lines(at(5))),
        ("q", lines(at(96))),
        ("p", lines(at(101))),
    )
    assert [json.loads(line)["ts"] for line in outputs["late"].splitlines()] == [5]
    assert results(outputs["w"]) == [("x", 90, 100, 1), ("x", 100, 110, 2)]


def test_s7_a_second_source_counts_from_its_first_record() -> None:
    plan = plan_of(
        {"a": {"time": SECONDS}, "b": {"time": SECONDS}},
        {"w": {"from": ["a", "b"], "window": {"tumbling": "10s"}, "aggregate": {"n": "count()"}}},
        {"w": {"from": "w"}, "late": {"from": "w.late"}},
    )
    pieces = [
        ("a", "", lines(at(5), at(25))),  # closes [0, 10): b has brought nothing yet
        ("b", "", lines(at(7), at(21))),
        ("a", "", lines(at(55))),  # b holds the step at 21
        ("b", "", lines(at(22))),
    ]
    outcome = assert_agree(plan, pieces)
    assert outcome.late["w"] == 1
    assert results(outcome.output("w")) == [(None, 0, 10, 1), (None, 20, 30, 3), (None, 50, 60, 1)]


# ---- idle inputs and the clock (S6–S8) ----


def idle_plan(**time: Any) -> Plan:
    table = {"field": "ts", "unit": "s", "late": "2s", "idle": "10s", **time}
    return windows_plan({"tumbling": "10s"}, table)


def test_s7_three_lines_and_silence_give_their_window_within_size_late_and_idle() -> None:
    with LaneRun(idle_plan(), live=True) as run:
        run.feed("a", lines(at(1), at(2), at(3)))
        run.advance(10_000_000)  # idle: now the watermark, 1, moves on with the clock
        run.advance(8_999_000)
        assert run.output("w") == b""
        run.advance(1_000)
        assert results(run.output("w")) == [("x", 0, 10, 3)]


def test_s7_when_idle_hold_keeps_the_watermark() -> None:
    with LaneRun(idle_plan(when_idle="hold"), live=True) as run:
        run.feed("a", lines(at(1), at(2), at(3)))
        for _ in range(10):
            run.advance(60_000_000)
        assert run.output("w") == b""
        assert results(run.finish()["w"]) == [("x", 0, 10, 3)]


def test_s7_an_input_that_is_never_idle_holds_the_others() -> None:
    with LaneRun(idle_plan(idle="never"), live=True) as run:
        run.feed("a", lines(at(1)), "p")
        run.feed("a", lines(at(1)), "q")
        run.advance(3_600_000_000)
        run.feed("a", lines(at(50)), "p")
        assert run.output("w") == b""


def test_s7_a_bounded_source_does_not_move_on_by_itself() -> None:
    with LaneRun(idle_plan()) as run:
        run.feed("a", lines(at(1), at(2), at(3)))
        run.advance(3_600_000_000)
        assert run.output("w") == b""


def test_s7_an_idle_partition_is_left_out_and_its_return_pulls_nothing_back() -> None:
    """q is silent for `idle`: p alone closes [0, 10). When q returns, what it has for closed
    windows is late (S15), and the step's watermark stays where it was."""
    with LaneRun(idle_plan(late="0s"), live=True) as run:
        run.feed("a", lines(at(1)), "p")
        run.feed("a", lines(at(2)), "q")
        run.advance(6_000_000)
        run.feed("a", lines(at(31)), "p")
        assert run.output("w") == b""
        run.advance(6_000_000)
        assert results(run.output("w")) == [("x", 0, 10, 2)]
        run.feed("a", lines(at(3), at(32)), "q")
        assert json.loads(run.output("late")) == at(3)
        run.feed("a", lines(at(30)), "q")
        outputs = run.finish()
        assert results(outputs["w"])[1:] == [("x", 30, 40, 3)]


def test_s7_the_watermark_moves_on_from_where_the_largest_time_was() -> None:
    """Two partitions, both idle: largest event time − late, and on with the clock."""
    with LaneRun(idle_plan(late="5s"), live=True) as run:
        run.feed("a", lines(at(1)), "p")
        run.feed("a", lines(at(12)), "q")
        run.advance(10_000_000)
        assert run.output("w") == b""  # 12 − 5 = 7
        run.advance(3_000_000)
        assert results(run.output("w")) == [("x", 0, 10, 1)]


def test_s7_a_record_after_moving_on_is_late_for_what_was_closed() -> None:
    with LaneRun(idle_plan(late="0s"), live=True) as run:
        run.feed("a", lines(at(1)))
        run.advance(10_000_000)
        run.advance(20_000_000)
        assert results(run.output("w")) == [("x", 0, 10, 1)]
        run.feed("a", lines(at(2), at(22)))
        assert json.loads(run.output("late")) == at(2)
        assert results(run.finish()["w"])[1:] == [("x", 20, 30, 1)]


def test_s6_without_a_declared_time_windows_go_by_arrival() -> None:
    """The clock of the tests stands at …20 seconds of its minute."""
    with LaneRun(windows_plan({"tumbling": "10s"}, {}), live=True) as run:
        run.feed("a", lines({"k": "x"}, {"k": "x"}))
        run.advance(9_999_999)
        assert run.output("w") == b""
        run.feed("a", lines({"k": "x"}))
        run.advance(1)
        start = 1_700_000_000_000_000
        assert results(run.output("w")) == [("x", start, start + 10_000_000, 3)]


def test_s8_a_record_far_ahead_is_future_and_moves_no_watermark() -> None:
    plan = plan_of(
        {"a": {"time": {"field": "ts", "unit": "s", "max_ahead": "24h"}}},
        {"w": {"window": {"tumbling": "10s"}, "aggregate": {"n": "count()"}}},
        {"w": {"from": "w"}, "late": {"from": "w.late"}, "future": {"from": "a.late"}},
    )
    day = 86_400
    now = 1_700_000_000
    records = [at(now), at(now + day), at(now + day + 1), at(now + 1)]
    outcome = assert_agree(plan, [("a", "", lines(*records))])
    assert json.loads(outcome.output("future")) == at(now + day + 1)
    assert [json.loads(line)["ts"] for line in outcome.sinks["late"]] == [now + 1]


def test_s8_a_clock_that_is_the_events_own_knows_no_future() -> None:
    plan = plan_of(
        {"a": {"time": SECONDS}},
        {"w": {"window": {"tumbling": "10s"}, "aggregate": {"n": "count()"}}},
        {"w": {"from": "w"}, "future": {"from": "a.late"}},
        {"clock": "event"},
    )
    outcome = assert_agree(plan, [("a", "", lines(at(1), at(2_000_000_000)))])
    assert outcome.output("future") == b""
    assert len(outcome.sinks["w"]) == 2
