"""Random flows over random input: the lane gives what the oracle gives, to the byte."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from appliance.plan.shape import Shapes
from semantics import strategies
from semantics.compare import assert_agree, by_lane
from semantics.oracle import Oracle
from semantics.strategies import examples


@examples(100)
@given(st.data())
def test_flows_mean_what_the_oracle_says(data: Any) -> None:
    """S1–S4, S9–S17, S19, S23–S29 together: sinks, errors by reason, late records, counts."""
    made = data.draw(strategies.flows())
    assert_agree(made.plan, data.draw(strategies.inputs(made.sources)))


@examples(40)
@given(st.data())
def test_s9_chunks_do_not_show(data: Any) -> None:
    """The same bytes, in pieces that end anywhere and one by one, give the same results."""
    made = data.draw(strategies.flows(sources_max=1))
    stream = data.draw(strategies.streams(made.sources["a"]))
    whole, _ = by_lane(made.plan, [("a", "", stream)])
    pieces = [("a", "", part) for part in data.draw(strategies.chunks(stream))]
    assert by_lane(made.plan, pieces)[0] == whole
    single = [("a", "", stream[at : at + 1]) for at in range(len(stream))]
    assert by_lane(made.plan, single)[0] == whole


@examples(60)
@given(st.data())
def test_s9_a_cut_after_every_piece_changes_nothing(data: Any) -> None:
    """Only the clock has moved on, for the oracle too."""
    made = data.draw(strategies.flows())
    pieces = data.draw(strategies.inputs(made.sources))
    assert_agree(made.plan, pieces, pause_us=1_000_000)


@examples(100)
@given(st.data())
def test_s10_check_knows_the_fields_and_keys_that_records_have(data: Any) -> None:
    """What `check` and `explain` take the shape of records to be is what the oracle gives."""
    plan = data.draw(strategies.flows()).plan
    shapes, ports = Shapes(plan), Oracle(plan).ports
    for name, port in ports.items():
        shape = shapes.output(name)
        assert shape.keys == (port.key[0] if port.key is not None else ())
        if port.closed is not None:
            assert not shape.is_open and shape.fields == port.closed
