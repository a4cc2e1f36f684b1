"""The example flows, and the ways of framing, decoding and telling time, restarted after every
event."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from msgspec.structs import replace

from appliance.load import load_file
from appliance.plan.logical import Plan
from appliance.testing import LaneRun, Saved
from appliance.worker.cut_form import IDLE
from semantics.compare import Piece, lines, plan_of
from semantics.functions import Silence, function
from semantics.restarts import Model, assert_restarts_do_not_show, rows_of, undisturbed

FLOWS = Path(__file__).parents[2] / "config" / "flows"
EVENTS = 200

#: Flow, and for each source its file and the bytes of an event (0: a line).
EXAMPLES: dict[str, dict[str, tuple[str, int]]] = {
    "alerts": {"transactions": ("transactions.csv", 0)},
    "alphabet_votes": {"votes": ("votes.bin", 9)},
    "celsius": {"readings": ("celsius.bin", 8)},
    "market_spread": {"quotes": ("quotes.jsonl", 0), "orders": ("orders.jsonl", 0)},
    "sensors": {"readings": ("readings.jsonl", 0)},
    "word_count": {"lines": ("text.txt", 0)},
}


def events(data: bytes, size: int) -> list[bytes]:
    """One piece an event; every third ends in the middle of the next."""
    found = [data[at : at + size] for at in range(0, len(data), size)] if size else []
    found = (found or data.splitlines(keepends=True))[:EVENTS]
    for number in range(0, len(found) - 1, 3):
        half = len(found[number + 1]) // 2
        found[number] += found[number + 1][:half]
        found[number + 1] = found[number + 1][half:]
    return found


def test_every_example_is_here() -> None:
    assert {path.parent.name for path in FLOWS.glob("*/expected")} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_restarted_after_every_event(name: str) -> None:
    plan = load_file(FLOWS / name / "flow.toml")
    pieces: list[Piece] = []
    for source, (file, size) in EXAMPLES[name].items():
        pieces += [(source, file, one) for one in events((FLOWS / name / file).read_bytes(), size)]
    assert_restarts_do_not_show(plan, pieces)


# ---- frames and formats ----


def whole_plan(**source: Any) -> Any:
    return plan_of({"a": source}, {}, {"out": {"from": "a"}, "bad": {"from": "errors"}})


def singly(data: bytes, step: int = 1) -> list[Piece]:
    return [("a", "p", data[at : at + step]) for at in range(0, len(data), step)]


@pytest.mark.parametrize("ended", [True, False])
def test_frames_cut_anywhere(ended: bool) -> None:
    """A length of four bytes, cut within the length and within the message."""
    texts = [b'{"v":1}', b"", b'{"v":[1,2,3]}', b"nothing"]
    data = b"".join(struct.pack(">I", len(text)) + text for text in texts)
    plan = whole_plan(format="json", frame="u32")
    assert_restarts_do_not_show(plan, singly(data if ended else data[:-3]))


def test_delimiters_of_several_bytes_and_messages_that_are_too_long() -> None:
    """What is skipped of a long message stays skipped, and is reported once."""
    data = b"one<>" + b"x" * 40 + b"<" + b"y" * 9 + b"<>two<><>three"
    plan = whole_plan(format="text", frame={"delimiter": "<>"}, frame_max="20B")
    assert_restarts_do_not_show(plan, singly(data))
    data = data.replace(b"<>", b"\r\n")
    assert_restarts_do_not_show(whole_plan(format="text", frame_max="20B"), singly(data))


@pytest.mark.parametrize(
    "head", [b"a,b\n", b"\xef\xbb\xbfb,a,a\n", b'"a\n', b'"a ""x""",b\n', b"\xff,b\n"]
)
def test_the_header_of_csv_is_read_once_a_partition(head: bytes) -> None:
    plan = whole_plan(format={"csv": {"header": True}})
    data = head + b"1,2\nx,\n3,4,5\n6,7\n"
    pieces = [(one[0], name, one[2]) for one in singly(data, 4) for name in ("p", "q")]
    assert_restarts_do_not_show(plan, pieces)


def test_the_header_of_a_csv_sink_is_written_once() -> None:
    plan = plan_of(
        {"a": {}},
        {"s": {"select": ["v"]}},
        {"out": {"from": "s", "format": {"csv": {"header": True}}}},
    )
    pieces = [("a", "", lines({"v": number})) for number in range(4)]
    assert undisturbed(plan, pieces)["out"] == b"v\n0\n1\n2\n3\n"
    assert_restarts_do_not_show(plan, pieces)


def test_positions_of_errors_go_on() -> None:
    """Also where the connector's own positions are no numbers of bytes."""
    assert_restarts_do_not_show(whole_plan(), singly(b'{"a":1}\nbad\n{"a":2}\nworse\n', 5))


# ---- time ----


def timed(**time: Any) -> dict[str, Any]:
    return {"time": {"field": "ts", "unit": "s", "idle": "never", **time}}


COUNT = {"window": {"tumbling": "10s"}, "aggregate": {"n": "count()"}}


def test_late_and_future_records_stay_what_they_are() -> None:
    plan = plan_of(
        {"a": timed(max_ahead="1h")},
        {"n": COUNT},
        {"out": {"from": "n"}, "late": {"from": "n.late"}, "future": {"from": "a.late"}},
    )
    times = [1, 12, 5, 1_900_000_000, 25, 11, 19, 26, 3]
    assert_restarts_do_not_show(plan, [("a", "", lines({"ts": at})) for at in times])


def test_a_slow_partition_and_a_slow_source_hold_windows_open() -> None:
    plan = plan_of({"a": timed(), "b": timed()}, {"n": {"from": ["a", "b"], **COUNT}}, {"out": {}})
    pieces = [
        ("a", "p", lines({"ts": 1})), ("b", "", lines({"ts": 2})), ("a", "q", lines({"ts": 31})),
        ("b", "", lines({"ts": 42})), ("a", "p", lines({"ts": 9})), ("a", "p", lines({"ts": 22})),
        ("a", "q", lines({"ts": 33})), ("b", "", lines({"ts": 44})), ("a", "p", lines({"ts": 41})),
    ]  # fmt: skip
    assert_restarts_do_not_show(plan, pieces)


def test_many_keys_keep_the_order_of_their_first_appearance() -> None:
    plan = plan_of({"a": timed()}, {"n": {"key_by": "k", **COUNT}}, {"out": {}})
    records = [{"ts": at // 40, "k": (at * 37) % 60} for at in range(1200)]
    pieces = [("a", "", lines(*records[at : at + 30])) for at in range(0, len(records), 30)]
    assert_restarts_do_not_show(plan, pieces)


def test_timers_set_first_fire_first() -> None:
    step = {"key_by": "k", "python": function(Silence)}
    plan = plan_of({"a": timed()}, {"p": step}, {"out": {}, "bad": {"from": "errors"}})
    records = [{"ts": at // 6, "k": (at * 7) % 11, "v": 3 + at % 2} for at in range(90)]
    assert_restarts_do_not_show(plan, [("a", "", lines(one)) for one in records])


def test_an_input_that_has_ended_stays_so() -> None:
    """What its end has fired is not fired again, though others go on."""
    step = {"from": "a", "key_by": "k", "python": function(Silence)}
    plan = plan_of(
        {"a": timed(), "b": timed()}, {"p": step, "n": {"from": "b", **COUNT}},
        {"out": {"from": "p"}, "n": {"from": "n"}},
    )  # fmt: skip
    records = [{"ts": 1, "k": "x", "v": 5}] * 3
    pieces = [("a", "", lines(*records)), ("b", "", lines({"ts": 3}))]
    assert_restarts_do_not_show(plan, pieces)


# ---- arrival time: S6 ----

ARRIVAL = plan_of(
    {"a": {}}, {"p": {"key_by": "k", "python": function(Silence)}},
    {"out": {"from": "p", "format": {"text": "{k} {v}"}}},
)  # fmt: skip


def stop_and_go(remaining_us: int, away_us: int) -> tuple[bytes, bytes]:
    """A timer of three seconds has so much left when the box goes away: what is there shortly
    before it is due, and after."""
    model = Model()
    start_us = 1_700_000_000_000_000
    with LaneRun(ARRIVAL, spooled=True, start_us=start_us) as run:
        run.feed("a", lines({"k": "x", "v": 3_000_000}))
        run.advance(3_000_000 - remaining_us)
        run.feed("a", lines({"k": "y", "v": 600_000_000}))
        run.freeze()
        model.take(run.cuts)
    again_us = start_us + 3_000_000 - remaining_us + away_us
    with LaneRun(ARRIVAL, spooled=True, saved=model.saved(), start_us=again_us) as run:
        run.advance(remaining_us - 1)
        run.freeze()
        before = run.output("out")
        run.advance(1)
        run.freeze()
        return before, run.output("out")


@pytest.mark.parametrize("away_us", [0, 1, 10_000_000, 3_000_000_000_000, -1_600_000_000_000_000])
def test_s6_downtime_does_not_count_whatever_the_clock_says(away_us: int) -> None:
    """Not even a boot in 1973."""
    assert stop_and_go(2_000_000, away_us) == (b"", b"x 1\n")


def test_s6_no_downtime_counts_when_the_box_goes_away_twice() -> None:
    """What the first restart has put off is in the next cut, though nobody touched that key."""
    model, now_us = Model(), 1_700_000_000_000_000
    for away_us in (0, 10_000_000, 50_000_000):
        now_us += away_us
        saved = model.saved() if away_us else None
        with LaneRun(ARRIVAL, spooled=True, saved=saved, start_us=now_us) as run:
            if not away_us:
                run.feed("a", lines({"k": "x", "v": 3_000_000}))
            run.advance(500_000)
            now_us += 500_000
            run.feed("a", lines({"k": "y", "v": 600_000_000}))
            run.freeze()
            assert b"x 1" not in run.output("out")
            model.take(run.cuts)
    with LaneRun(ARRIVAL, spooled=True, saved=model.saved(), start_us=now_us) as run:
        run.advance(1_499_999)
        run.freeze()
        assert run.output("out") == b""
        run.advance(1)
        run.freeze()
        assert run.output("out") == b"x 1\n"


def test_s6_windows_of_arrival_time_go_on_after_a_boot_in_the_past() -> None:
    plan = plan_of({"a": {}}, {"n": COUNT}, {"out": {}})
    model = Model()
    with LaneRun(plan, spooled=True) as run:
        run.feed("a", lines({}, {}))
        run.freeze()
        model.take(run.cuts)
    with LaneRun(plan, spooled=True, saved=model.saved(), start_us=100_000_000) as run:
        run.feed("a", lines({}))
        assert b'"n":3' in run.finish()["out"]


# ---- idle: S7 ----


def cuts_of(run: LaneRun) -> Model:
    model = Model()
    run.freeze()
    model.take(run.cuts)
    return model


def feed(run: LaneRun, times: Iterable[int], partition: str = "") -> None:
    for at in times:
        run.feed("a", lines({"ts": at}), partition)


LIVE = plan_of(
    {"a": timed(idle="5s"), "b": {}},
    {"n": {"from": "a", **COUNT}},
    {"out": {"from": "n"}, "b": {"from": "b"}},
)


def test_s7_all_idle_the_watermark_goes_on_from_where_it_was() -> None:
    with LaneRun(LIVE, spooled=True, live=True) as run:
        feed(run, [1])
        run.advance(5_000_000)  # idle, the clock moves it on from here
        run.advance(6_000_000)
        feed(run, [8])
        run.advance(5_000_000)
        run.feed("b", lines({}))  # something to make a cut of
        model = cuts_of(run)
        assert run.output("out") == b""
        assert model.cut is not None and model.cut.sources[0].idle
        assert model.cut.sources[0].watermark_us == 8_000_000
    with LaneRun(LIVE, spooled=True, live=True, saved=model.saved()) as run:
        run.advance(1_900_000)
        run.freeze()
        assert run.output("out") == b""
        run.advance(200_000)
        run.freeze()
        assert b'"n":2' in run.output("out")


def test_s7_a_restart_is_no_time_in_which_a_partition_was_idle() -> None:
    with LaneRun(LIVE, spooled=True, live=True) as run:
        feed(run, [1], "p")
        feed(run, [30], "q")
        run.advance(4_000_000)
        model = cuts_of(run)
    with LaneRun(LIVE, spooled=True, live=True, saved=model.saved()) as run:
        run.advance(4_000_000)
        feed(run, [31], "q")
        run.freeze()
        assert run.output("out") == b""
        run.advance(1_000_000)
        run.freeze()
        assert b'"n":1' in run.output("out")


def test_s7_the_next_run_goes_on_from_the_largest_time() -> None:
    """An ended run is not gone on with: the next one's records of its windows are late."""
    plan = plan_of({"a": timed(late="2s")}, {"n": COUNT}, {"out": {}, "late": {"from": "n.late"}})
    with LaneRun(plan, spooled=True) as run:
        feed(run, [1, 14])
        run.finish()
        model = Model()
        model.take(run.cuts)
        assert model.rows == {}
    with LaneRun(plan, spooled=True, saved=model.saved()) as run:
        feed(run, [9, 13])
        assert run.finish() == {
            "out": b'{"window_start":10,"window_end":20,"n":1}\n',
            "late": b'{"ts":9}\n',
        }


# ---- each part of a cut is needed ----


def on_positions(**change: Any) -> Callable[[Saved], Saved]:
    return lambda saved: replace(saved, positions=replace(saved.positions, **change))


def on_partitions(**change: Any) -> Callable[[Saved], Saved]:
    def act(saved: Saved) -> Saved:
        partitions = tuple(
            replace(one, **{name: make(one) for name, make in change.items()})
            for one in saved.positions.partitions
        )
        return replace(saved, positions=replace(saved.positions, partitions=partitions))

    return act


def on_rows(change: Callable[[list[Any]], list[Any]]) -> Callable[[Saved], Saved]:
    def act(saved: Saved) -> Saved:
        rows = [
            (op, msgpack.packb(change(row)))
            for op, packed in saved.rows
            for row, _ in rows_of(packed)
        ]
        return replace(saved, rows=rows)

    return act


LATE = plan_of({"a": timed()}, {"n": COUNT}, {"out": {"from": ["n", "n.late"]}})
OUT_OF_ORDER: list[Piece] = [("a", "", lines({"ts": at})) for at in (1, 12, 5, 13, 25)]
BY_KEY = plan_of({"a": timed()}, {"n": {"key_by": "k", **COUNT}}, {"out": {}})
KEYS: list[Piece] = [("a", "", lines({"ts": 1, "k": f"{at * 7 % 10}"})) for at in range(10)]
GLOBAL = plan_of(
    {"a": timed()},
    {"n": {"key_by": "k", "window": {"global": True, "every": "10s"},
           "aggregate": {"n": "count()"}}},
    {"out": {}},
)  # fmt: skip
CSV = whole_plan(format={"csv": {"header": True}})
LONG = whole_plan(format="text", frame_max="20B")
TWO = plan_of({"a": timed()}, {"n": COUNT}, {"out": {}})
SLOW: list[Piece] = [
    ("a", name, lines({"ts": at})) for name, at in [("p", 1), ("q", 30), ("q", 31), ("p", 2)]
]
TIMERS = plan_of({"a": timed()}, {"p": {"key_by": "k", "python": function(Silence)}}, {"out": {}})
TIMED_KEYS: list[Piece] = [
    ("a", "", lines({"ts": 1, "k": f"{at * 7 % 10}", "v": 5})) for at in range(10)
]


@pytest.mark.parametrize(
    ("plan", "pieces", "change"),
    [
        (LATE, OUT_OF_ORDER, on_positions(steps=(), partitions=(), sources=())),
        (BY_KEY, KEYS, on_rows(lambda row: [*row[:4], 0, row[5]])),
        (GLOBAL, KEYS, on_rows(lambda row: [*row[:4], -1, row[5]])),
        (CSV, singly(b"a,b\n1,2\n3,4\n", 4), on_partitions(format=lambda one: b"")),
        (LONG, singly(b"x" * 50 + b"\nb\n", 7), on_partitions(
            frame=lambda one: (one.frame[0], 0, False, 0))),
        (LONG, singly(b"one\ntwo\n", 3), on_partitions(
            unfinished=lambda one: b"", frame=lambda one: (one.frame[0], 0, False, 0))),
        (TWO, SLOW, on_partitions(flags=lambda one: IDLE)),
        (TWO, SLOW, on_partitions(watermark_us=lambda one: 50_000_000)),
        (TIMERS, TIMED_KEYS, on_rows(lambda row: [*row[:3], [row[3][0], 1]])),
        (TIMERS, TIMED_KEYS, on_rows(lambda row: [*row[:3], None])),
        (whole_plan(), singly(b"bad\nbad\n", 2), on_partitions(
            frame=lambda one: (len(one.unfinished), *one.frame[1:]))),
    ],
)  # fmt: skip
def test_what_is_forgotten_shows(
    plan: Plan, pieces: list[Piece], change: Callable[[Saved], Saved]
) -> None:
    assert_restarts_do_not_show(plan, pieces)
    with pytest.raises(AssertionError):
        assert_restarts_do_not_show(plan, pieces, change=change)
