"""`id` of a source: a record whose id was seen within `id_within` goes no further, also after a
restart; one without an id is set aside."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from appliance.plan.logical import Plan
from appliance.testing import START_US, LaneRun
from semantics.compare import Piece, assert_agree, plan_of
from semantics.restarts import Model, assert_restarts_do_not_show
from semantics.strategies import examples

SECOND_US = 1_000_000

#: Few ids, so that they come again; some are none.
IDS = st.sampled_from([1, 1.0, 2, "1", "a", "b" * 40, "", True, 2.5, None, [1], {"x": 1}])

RECORDS = st.lists(st.tuples(st.booleans(), IDS, st.integers(0, 40)), max_size=40)


def plan(within: str = "10s", **source: Any) -> Plan:
    return plan_of(
        {"a": {"id": "id", "id_within": within, **source}},
        {
            "sum": {"key_by": "k", "running": {"n": "count()"}},
            "wins": {"from": "a", "window": {"tumbling": "10s"}, "aggregate": {"n": "count()"}},
        },
        {"out": {"from": "sum"}, "counts": {"from": "wins"}, "bad": {"from": "errors"}},
    )


def pieces_of(records: list[tuple[bool, Any, int]]) -> list[Piece]:
    """Partition p or q; every seventh has no id at all."""
    found: list[Piece] = []
    for number, (first, ident, ts) in enumerate(records):
        record = {"id": ident, "k": ts % 3, "ts": ts, "number": number}
        if number % 7 == 6:
            del record["id"]
        found.append(("a", "p" if first else "q", json.dumps(record).encode() + b"\n"))
    return found


@examples(60)
@given(RECORDS, st.sampled_from([0, SECOND_US, 4 * SECOND_US, 11 * SECOND_US]))
def test_the_lane_agrees_with_the_oracle(records: list[tuple[bool, Any, int]], pause: int) -> None:
    time = {"field": "ts", "unit": "s", "late": "60s"}
    assert_agree(plan(time=time), pieces_of(records), pause)


@examples(30)
@given(RECORDS)
def test_a_restart_after_every_record_does_not_show(records: list[tuple[bool, Any, int]]) -> None:
    time = {"field": "ts", "unit": "s", "late": "60s"}
    assert_restarts_do_not_show(plan(time=time), pieces_of(records))


def record(ident: object) -> bytes:
    return json.dumps({"id": ident, "k": 1, "ts": 1}).encode() + b"\n"


def outputs(run: LaneRun, *idents: object) -> int:
    """How many of them are new."""
    before = run.metrics()["sources"][0]["repeated"]
    for ident in idents:
        run.feed("a", record(ident))
    return len(idents) - int(run.metrics()["sources"][0]["repeated"] - before)


def test_an_id_is_known_from_its_first_sight_until_that_time_has_passed() -> None:
    with LaneRun(plan()) as run:
        assert outputs(run, "x", "x", 1, "1", 1.0) == 3
        run.advance(9 * SECOND_US)
        assert outputs(run, "x") == 0
        run.advance(SECOND_US)
        assert outputs(run, "x", "x") == 1, "the second sight did not prolong it"


def test_ids_that_are_over_go_from_memory_and_from_the_store() -> None:
    """A thousand of them, without another record."""
    with LaneRun(plan(), spooled=True) as run:
        model = Model()
        assert outputs(run, *range(1000)) == 1000
        run.freeze()
        model.take(run.cuts)
        stored = len(model.rows)
        run.advance(11 * SECOND_US)
        run.freeze()
        model.take(run.cuts[1:])
        assert len(model.rows) <= stored - 1000


def test_time_in_which_nothing_runs_does_not_count() -> None:
    """S6: an hour off, then eight seconds, off again: what is left of ten seconds is two."""
    with LaneRun(plan(), spooled=True) as run:
        assert outputs(run, "x") == 1
        run.freeze()
        model = Model()
        model.take(run.cuts)
    hour_us = 3600 * SECOND_US
    with LaneRun(plan(), spooled=True, saved=model.saved(), start_us=START_US + hour_us) as run:
        run.advance(8 * SECOND_US)
        assert outputs(run, "x", "y") == 1
        run.freeze()
        model.take(run.cuts)
    start_us = START_US + 2 * hour_us
    with LaneRun(plan(), spooled=True, saved=model.saved(), start_us=start_us) as run:
        run.advance(SECOND_US)
        assert outputs(run, "x", "y") == 0
        run.advance(SECOND_US)
        assert outputs(run, "x", "y") == 1
