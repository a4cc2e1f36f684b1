"""Aggregates against plain Python: results, refusals, merging, the packed form (S12, S17, S29)."""

from __future__ import annotations

import math
import re
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native.accumulators import MERGEABLE, TAKES, Twin
from native.keyed import ADDED, FAULT, Keyed, Refused, aggregate, unpack_all
from native.values import Time

VALUE, BY, WHERE, FIRST_RESULT = 0, 1, 2, 3
PAGE = Path(__file__).parents[2] / "docs/formats/state-rows.md"

ints = st.one_of(
    st.integers(-100, 100), st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**63 - 1, -(2**63)])
)
floats = st.one_of(
    st.floats(-1000, 1000),
    st.floats(-1e100, 1e100),
    st.sampled_from([0.0, -0.0, 0.1, 1e16, 2.0**63, -(2.0**63)]),
)
numbers = st.one_of(st.integers(-100, 100), floats, ints)
texts = st.one_of(st.text(max_size=5), st.text("aé€😀", min_size=10, max_size=90))
times = st.integers(-(2**62), 2**62).map(Time)
anything = st.one_of(
    st.none(),
    numbers,
    st.just(math.nan),
    texts,
    times,
    st.booleans(),
    st.binary(max_size=40),
    st.lists(st.integers(0, 9), max_size=20),
    st.dictionaries(st.text(max_size=3), st.booleans(), max_size=3),
)
few = st.sampled_from([0, 1, 0.5, 1.0, -1])
columns = st.sampled_from(
    [few, few, numbers, ints, floats, texts, times, st.booleans(), anything]
).map(lambda column: st.one_of(st.none(), column) if column is not anything else column)
conditions = st.sampled_from([None, True, True, True, False])


@st.composite
def record_lists(draw: Any) -> list[tuple[Any, Any, Any, int]]:
    """Records of a value, what orders it, a condition, and a time; columns mostly of one type."""
    value, by = draw(columns), draw(columns)
    where = draw(st.sampled_from([st.just(True), conditions, anything]))
    return list(draw(st.lists(st.tuples(value, by, where, st.integers(0, 5_000_000)), max_size=25)))


@st.composite
def chosen(draw: Any, kinds: list[str]) -> list[dict[str, Any]]:
    """Some aggregates over the same slots, with and without a condition."""
    found = []
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=6)):
        entry: dict[str, Any] = {"kind": kind, "argument": VALUE}
        if kind == "count" and draw(st.booleans()):
            entry["argument"] = -1
        if kind.endswith("_by"):
            entry["by"] = BY
        if kind == "ema":
            entry["alpha"] = draw(st.sampled_from([0.1, 0.5, 1.0]))
        if kind == "lag":
            entry["n"] = draw(st.integers(1, 4))
        if draw(st.booleans()):
            entry["where"] = WHERE
        found.append(entry)
    return found


def started(entries: list[dict[str, Any]]) -> Keyed:
    own = [aggregate(**entry | {"to": FIRST_RESULT + index}) for index, entry in enumerate(entries)]
    results = list(range(FIRST_RESULT, FIRST_RESULT + len(entries)))
    slots = FIRST_RESULT + len(entries)
    return Keyed({"slots": slots, "key": [], "results": results, "aggregates": own})


class Twins:
    """All aggregates of a step: a record counts for all of them or for none."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self.entries = entries
        self.twins = [
            Twin(entry["kind"], entry.get("alpha", 0.0), entry.get("n", 0)) for entry in entries
        ]

    def seen_by(self, entry: dict[str, Any], record: tuple[Any, Any, Any, int]) -> tuple[Any, ...]:
        value, by, where, _ = record
        return 1 if entry["argument"] < 0 else value, by, where if "where" in entry else True

    def add(self, record: tuple[Any, Any, Any, int]) -> bool:
        try:
            for entry, twin in zip(self.entries, self.twins, strict=True):
                twin.check(*self.seen_by(entry, record))
        except Refused:
            return False
        for entry, twin in zip(self.entries, self.twins, strict=True):
            value, by, where = self.seen_by(entry, record)
            twin.add(value, by, where, record[3])
        return True

    def results(self) -> list[Any]:
        return [twin.result() for twin in self.twins]


def exactly(value: Any) -> str:
    """Equal when type, sign of zero and every bit are."""
    return f"{type(value).__name__} {value!r}"


def add(step: Keyed, record: tuple[Any, Any, Any, int]) -> bool:
    found, results = step.add(record[:3], record[3])
    assert not results
    return found == ADDED


@given(chosen(list(TAKES)), record_lists())
def test_each_result_is_that_of_plain_python(
    entries: list[dict[str, Any]], records: list[tuple[Any, Any, Any, int]]
) -> None:
    """S12, S17, S29: types, order, overflow; and a refused record changes nothing."""
    twins = Twins(entries)
    with started(entries) as step:
        assert [*map(exactly, step.advance()[0])] == [*map(exactly, twins.results())]
        for record in records:
            assert add(step, record) == twins.add(record)
            assert [*map(exactly, step.advance()[0])] == [*map(exactly, twins.results())]


@given(chosen(list(TAKES)), record_lists(), record_lists())
def test_packed_accumulators_carry_on_where_they_were(
    entries: list[dict[str, Any]],
    before: list[tuple[Any, Any, Any, int]],
    after: list[tuple[Any, Any, Any, int]],
) -> None:
    with started(entries) as step, started(entries) as restored:
        for record in before:
            add(step, record)
        packed = step.freeze()
        assert restored.restore(packed)
        assert restored.freeze() == packed
        for record in after:
            assert add(step, record) == add(restored, record)
        assert repr(step.advance()) == repr(restored.advance())


@given(chosen(MERGEABLE), record_lists(), record_lists())
def test_merged_accumulators_are_those_of_all_records(
    entries: list[dict[str, Any]],
    first: list[tuple[Any, Any, Any, int]],
    second: list[tuple[Any, Any, Any, int]],
) -> None:
    """S17: boxes forward partials and a gateway merges them."""
    whole = Twins(entries)
    with started(entries) as step, started(entries) as other:
        for record in first:
            if add(step, record):
                assert whole.add(record)
        kept = [record for record in second if add(other, record)]
        alone = step.advance()
        if not step.merge(other.freeze()):
            assert step.message
            assert repr(step.advance()) == repr(alone)
            return
        if not all(whole.add(record) for record in kept):
            return  # a sum that only overflows on the way: merged, it does not
        for entry, ours, theirs in zip(entries, step.advance()[0], whole.results(), strict=True):
            if isinstance(theirs, float) and entry["kind"] not in ("min", "max", "first", "last"):
                scale = max(
                    (abs(x) for x, *_ in first + kept if type(x) in (int, float)), default=0
                )
                close = 1e-9 * max(scale, scale * scale if "variance" in entry["kind"] else 0)
                assert ours == pytest.approx(theirs, rel=1e-6, abs=max(close, 1e-300), nan_ok=True)
            else:
                assert exactly(ours) == exactly(theirs)


def test_moments_go_on_after_a_merge_s17() -> None:
    entries = [{"kind": kind, "argument": VALUE} for kind in ("variance", "stddev_pop")]
    parts = ([1.0, 5.0, 2.5], [100.0, 90.5], [-3.0, 7.0])
    with started(entries) as step:
        for part in parts[:2]:
            with started(entries) as other:
                for value in part:
                    add(other, (value, None, True, 0))
                assert step.merge(other.freeze())
        for value in parts[2]:
            add(step, (value, None, True, 0))
        values = [value for part in parts for value in part]
        expected = [statistics.variance(values), statistics.pstdev(values)]
        assert step.advance()[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("values", "least", "most"),
    [
        ([3, 2.5, 2], 2, 3),
        ([2.5, 2, 3], 2, 3),
        ([2**53 + 1, 2.0**53], 2.0**53, 2**53 + 1),
        ([2.0**63, 2**63 - 1], 2**63 - 1, 2.0**63),
        ([-(2**63), -(2.0**63), -1e300], -1e300, -(2**63)),
        ([1, 1.0, True], 1, 1),
        ([-0.5, 0, 0.5], -0.5, 0.5),
        (["b", "a", "ab", "a" * 40, ""], "", "b"),
        ([Time(5), Time(-5)], Time(-5), Time(5)),
    ],
)
def test_ints_and_floats_are_compared_exactly_and_keep_their_type(
    values: list[Any], least: Any, most: Any
) -> None:
    entries = [{"kind": kind, "argument": VALUE} for kind in ("min", "max")]
    with started(entries) as step:
        for value in values:
            step.add([value])
        assert [*map(exactly, step.advance()[0])] == [exactly(least), exactly(most)]


@pytest.mark.parametrize(
    "kind", ["first", "last", "min", "max", "min_by", "max_by", "lag", "changed"]
)
@given(values=st.lists(texts, min_size=5, max_size=12))
def test_text_of_any_length_is_kept(kind: str, values: list[str]) -> None:
    entry = {"kind": kind, "argument": VALUE, "n": 2} | ({"by": BY} if kind[-3:] == "_by" else {})
    twins = Twins([entry])
    with started([entry]) as step:
        for number, value in enumerate(values):
            record = (value, value[::-1], True, number * 7 % 5)
            assert add(step, record) == twins.add(record) is True
            assert step.advance()[0] == twins.results()


def test_large_ints_lose_nothing_in_sums_with_floats() -> None:
    entries = [{"kind": kind, "argument": VALUE} for kind in ("sum", "mean")]
    with started(entries) as step:
        for value in (2**62 + 1, 0.5, -(2**62), 2**53 + 1, -(2**53)):
            assert add(step, (value, None, True, 0))
        assert step.advance() == [[2.5, 0.5]]


def test_ties_go_to_the_earliest_s29() -> None:
    entries = [{"kind": kind, "argument": VALUE, "by": BY} for kind in ("min_by", "max_by")]
    with started(entries) as step:
        for value, by in (("first", 1), ("second", 1.0), ("third", 1)):
            add(step, (value, by, True, 0))
        assert step.advance() == [["first", "first"]]


def test_a_delta_beyond_64_bits_is_an_error() -> None:
    with started([{"kind": "delta", "argument": VALUE}]) as step:
        assert add(step, (2**63 - 1, None, True, 0))
        assert not add(step, (-2, None, True, 1))
        assert step.message == "delta is beyond 64 bits"
        assert add(step, (0, None, True, 2))
        assert step.advance() == [[1 - 2**63]]


@pytest.mark.parametrize("kind", sorted(set(TAKES) - set(MERGEABLE)))
def test_what_depends_on_the_latest_record_cannot_be_merged(kind: str) -> None:
    entry = {"kind": kind, "argument": VALUE, "alpha": 0.5, "n": 1}
    with started([entry]) as step, started([entry]) as other:
        assert not step.merge(other.freeze())
        assert kind in step.message


@settings(max_examples=150)
@given(chosen(list(TAKES)), record_lists(), st.data())
def test_spoiled_accumulators_are_refused_or_read_never_more(
    entries: list[dict[str, Any]], records: list[tuple[Any, Any, Any, int]], data: Any
) -> None:
    with started(entries) as step, started(entries) as other:
        for record in records:
            add(step, record)
        spoiled = bytearray(step.freeze())
        for _ in range(data.draw(st.integers(1, 3))):
            spoiled[data.draw(st.integers(0, len(spoiled) - 1))] = data.draw(st.integers(0, 255))
        if other.restore(bytes(spoiled)):
            other.advance()
            other.restore(other.freeze())
        else:
            assert other.message


@pytest.mark.parametrize(
    ("kind", "nothing"),
    [(kind, {"count": 0, "any": False, "all": True, "changed": False}.get(kind)) for kind in TAKES],
)
def test_over_no_values_s23(kind: str, nothing: Any) -> None:
    entry = {"kind": kind, "argument": VALUE, "by": BY, "alpha": 0.5, "n": 1}
    if not kind.endswith("_by"):
        del entry["by"]
    with started([entry]) as step:
        assert exactly(step.advance()[0][0]) == exactly(nothing)
        if kind not in ("lag", "changed"):
            add(step, (None, None, True, 0))
            assert exactly(step.advance()[0][0]) == exactly(nothing)


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        ("sum", "12", "sum takes numbers, not str"),
        ("mean", True, "mean takes numbers, not bool"),
        ("min", [1], "min takes numbers, text or times, not list"),
        ("max", math.nan, "NaN is neither more nor less than anything"),
        ("any", 1, "any takes true and false, not int"),
    ],
)
def test_a_value_of_the_wrong_type_is_that_records_error_s29(
    kind: str, value: Any, says: str
) -> None:
    with started([{"kind": kind, "argument": VALUE}]) as step:
        assert step.add([value])[0] == FAULT
        assert step.message == says


def test_one_record_that_does_not_fit_leaves_every_accumulator_alone() -> None:
    entries = [{"kind": kind, "argument": VALUE} for kind in ("count", "last", "sum")]
    with started(entries) as step:
        assert add(step, (2**63 - 1, None, True, 0))
        assert not add(step, (1, None, True, 1))
        assert step.message == "the sum is beyond 64 bits"
        assert step.advance() == [[1, 2**63 - 1, 2**63 - 1]]


def test_the_order_of_floats_does_not_show_in_sums_s17() -> None:
    values = [1e16, 1.0, -1e16, 0.1] * 50
    entries = [{"kind": kind, "argument": VALUE} for kind in ("sum", "mean")]
    with started(entries) as forward, started(entries) as sorted_ones:
        for value in values:
            add(forward, (value, None, True, 0))
        for value in sorted(values):
            add(sorted_ones, (value, None, True, 0))
        expected = math.fsum(values)
        assert forward.advance()[0][0] == pytest.approx(expected, rel=1e-12)
        assert sorted_ones.advance()[0] == pytest.approx(
            [expected, expected / len(values)], rel=1e-12
        )


def test_memory_of_kept_text_is_counted_and_used_again() -> None:
    with started([{"kind": "last", "argument": VALUE}]) as step:
        add(step, ("x" * 100, None, True, 0))
        held = step.bytes_held
        assert held >= 100
        for time in range(1, 50):
            add(step, ("y" * (50 + time), None, True, time))
        assert step.bytes_held == held
        assert step.advance() == [["y" * 99]]


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": 99, "argument": VALUE, "to": 3},
        {"kind": 1, "to": 3},
        {"kind": 1, "argument": VALUE},
        {"kind": 13, "argument": VALUE, "to": 3},
        {"kind": 15, "argument": VALUE, "to": 3, "alpha": 1.5},
        {"kind": 18, "argument": VALUE, "to": 3, "n": 1025},
        {"kind": "sum", "argument": VALUE, "to": 3},
        [],
    ],
)
def test_a_malformed_program_is_refused(entry: Any) -> None:
    with pytest.raises(Refused, match="malformed"):
        Keyed({"slots": 4, "key": [], "results": [3], "aggregates": [entry]})


def examples() -> dict[str, bytes]:
    """The page's examples, by the line before each block."""
    found = re.findall(r"\*\*(.+?)\*\*[^\n]*\n\n```hex\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return {name: bytes.fromhex(re.sub(r"#.*", "", block)) for name, block in found}


def test_the_page_shows_accumulators_as_they_are() -> None:
    """docs/formats/state-rows.md."""
    entries = [
        {"kind": "count", "argument": -1},
        {"kind": "mean", "argument": VALUE},
        {"kind": "min", "argument": VALUE},
        {"kind": "max", "argument": VALUE},
    ]
    with started(entries) as step:
        for value in (21.5, 20.0, 24.5):
            add(step, (value, None, True, 0))
        assert step.freeze() == examples()["Accumulators"]
    assert unpack_all(examples()["Accumulators"]) == [[3, [3, 66.0, 0.0], 20.0, 24.5]]
