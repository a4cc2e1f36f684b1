"""Restart at every event: a flow that goes on from its cuts gives the bytes of an undisturbed run
(S9, S11, S15–S17, S22)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from semantics import strategies
from semantics.functions import STEPS
from semantics.restarts import assert_restarts_do_not_show
from semantics.strategies import examples

PYTHON = st.one_of(st.sampled_from(STEPS), st.sampled_from(STEPS), strategies.window_tables())


@examples(24)
@given(st.data())
def test_a_restart_after_every_piece_does_not_show(data: Any) -> None:
    made = data.draw(strategies.flows())
    pieces = data.draw(strategies.inputs(made.sources))
    assert_restarts_do_not_show(made.plan, by_events(pieces))


@examples(20)
@given(st.data())
def test_restarts_between_cuts_repeat_what_no_cut_has(data: Any) -> None:
    made = data.draw(strategies.flows())
    pieces = by_events(data.draw(strategies.inputs(made.sources)))
    every = data.draw(st.integers(1, 7))
    restarts = set(data.draw(st.lists(st.integers(0, 40), max_size=4)))
    assert_restarts_do_not_show(made.plan, pieces, every, restarts)


@examples(20)
@given(st.data())
def test_s11_states_and_timers_of_python_steps_survive(data: Any) -> None:
    made = data.draw(strategies.flows(PYTHON, steps_max=3))
    pieces = data.draw(strategies.inputs(made.sources))
    assert_restarts_do_not_show(made.plan, by_events(pieces))


def by_events(pieces: list[tuple[str, str, bytes]]) -> list[tuple[str, str, bytes]]:
    """Pieces of about one line, that end in the middle of some."""
    found = []
    for source, partition, data in pieces:
        parts = data.splitlines(keepends=True) or [data]
        found += [(source, partition, part) for part in parts]
    return found
