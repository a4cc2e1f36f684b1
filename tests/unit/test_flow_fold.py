"""How the verbs of a chain fold into step tables."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from appliance import Flow, Stream, blackhole, col, count, stdin, stdout, tumbling, udp
from appliance.expression import parse
from appliance.plan.logical import Step


def words(event: Any) -> list[str]:
    return list(event.line.split())


def keep(event: Any) -> bool:
    return bool(event)


def steps(build: Callable[[Stream], Stream]) -> dict[str, Step]:
    """The steps of a chain between one source and one sink."""
    flow = Flow("test")
    build(flow.source(stdin(), name="in")).sink(blackhole(), name="out")
    return dict(flow.plan().steps)


def test_verbs_in_the_order_of_a_table_make_one_step() -> None:
    made = steps(
        lambda s: s.where("a > 1").set(b=col.a).drop("a").each("c").key_by("d").running(n=count())
    )
    assert list(made) == ["running"]


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (lambda s: s.where("a > 1").where(col.b > 2), ["step"]),
        (lambda s: s.set(a="b").set(c="a"), ["step", "step-2"]),
        (lambda s: s.set(a="b").select("a"), ["step", "step-2"]),
        (lambda s: s.drop("a").set(c="b"), ["step", "step-2"]),
        (lambda s: s.drop("a").drop("b"), ["step"]),
        (lambda s: s.set(a="b").where("a > 1"), ["step", "step-2"]),
        (lambda s: s.key_by("a").key_by("b"), ["step", "step-2"]),
        (lambda s: s.filter(keep).map(keep), ["keep", "keep-2"]),
        (lambda s: s.where("a > 1").step("b").where("c > 1"), ["step", "b"]),
        (lambda s: s.step("step").where("a > 1").set(b="a").set(c="b"), ["step", "step-2"]),
        (lambda s: s.map(words).having("n > 1"), ["words"]),
    ],
)
def test_a_verb_out_of_order_begins_a_step(
    build: Callable[[Stream], Stream], names: list[str]
) -> None:
    assert list(steps(build)) == names


def test_conditions_fold_into_one() -> None:
    made = steps(lambda s: s.where("a > 1").where(col.b == "x").where("c or d"))
    assert made["step"].where == parse('a > 1 and b == "x" and (c or d)')


def test_what_two_read_ends_a_step() -> None:
    flow = Flow("test")
    shared = flow.source(stdin()).where("a > 1")
    shared.set(b="a").sink(stdout())
    shared.set(c="a").sink(blackhole())
    plan = flow.plan()
    assert [step.inputs for step in plan.steps.values()] == [("stdin",), ("step",), ("step",)]


def test_a_sink_in_the_middle_ends_a_step() -> None:
    flow = Flow("test")
    flow.source(stdin()).where("a > 1").sink(stdout()).set(b="a").sink(blackhole())
    assert len(flow.plan().steps) == 2


def test_reading_late_records_ends_no_step() -> None:
    flow = Flow("test")
    averages = flow.source(stdin()).window(tumbling("1s")).aggregate(n=count())
    averages.late.sink(blackhole())
    averages.having("n > 1").sink(stdout())
    plan = flow.plan()
    assert list(plan.steps) == ["window"]
    assert [sink.inputs for sink in plan.sinks.values()] == [("window.late",), ("window",)]


def test_merged_streams_are_inputs_of_the_next_step() -> None:
    flow = Flow("test")
    a, b = flow.source(stdin(), name="a"), flow.source(udp.listen(1), name="b")
    a.merge(b.where("x > 1")).map(keep).sink(stdout())
    assert flow.plan().steps["keep"].inputs == ("a", "step")


@given(
    st.lists(
        st.sampled_from(["where", "set", "select", "drop", "each", "key_by", "running"]), max_size=8
    )
)
def test_any_chain_is_a_plan_with_every_verb_in_it_once(verbs: list[str]) -> None:
    """Records are open until `select`, which keeps all that is used: fields never run out."""

    def build(stream: Stream) -> Stream:
        for number, verb in enumerate(verbs):
            if verb == "where":
                stream = stream.where(f"x > {number}")
            elif verb == "set":
                stream = stream.set(y=f"x + {number}")
            elif verb == "select":
                stream = stream.select("x", "items", *(f"f{n}" for n in range(8)))
            elif verb == "drop":
                stream = stream.drop(f"f{number}")
            elif verb == "each":
                stream = stream.each("items")
            elif verb == "key_by":
                stream = stream.key_by("x", f"x + {number}")
            else:
                stream = stream.running(**{f"n{number}": "count()"})
        return stream

    selects = [number for number, verb in enumerate(verbs) if verb == "select"]
    assume(not selects or "drop" not in verbs[: selects[-1]])  # what is gone cannot be selected
    made = steps(build).values()
    found = sum(
        (step.where is not None) + bool(step.set) + (step.select is not None) + bool(step.each)
        + bool(step.key_by) + (step.operation is not None)
        for step in made
    )  # fmt: skip
    folded = sum(one == other == "where" for one, other in pairwise(verbs))
    drops = sum(len(step.drop) for step in made)
    assert found + drops == len(verbs) - folded
