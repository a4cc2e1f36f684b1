"""Random flows and random input for them.

Flows are drawn table by table, in the words of the flow file; a table that `check` refuses is left
out. The fields of records are few (`k`, `v`, `w`, `tags`, `ts`), so that steps meet them, and of
any type, so that errors are met too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from appliance.errors import FlowError
from appliance.plan.logical import Plan
from semantics.compare import Piece, plan_of
from semantics.evaluate import Time
from semantics.functions import STEPS as PYTHON_STEPS
from semantics.oracle_codec import in_unit

Draw = Callable[[st.SearchStrategy[Any]], Any]


def examples(count: int) -> settings:
    """As many examples as a run of all tests has time for; BETTONG_EXAMPLES multiplies them."""
    factor = float(os.environ.get("BETTONG_EXAMPLES", "1"))
    return settings(
        max_examples=max(1, int(count * factor)),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


# ---- records ----

KEYS = st.sampled_from(["a", "a", "b", "b", "c", "", 1, 1.0, "1", True, None, 2.5, -0.0, [1]])
NUMBERS = st.one_of(
    st.integers(-3, 5),
    st.floats(-4, 4).map(lambda x: round(x, 2)),
    st.sampled_from([0.1, 0.2, 1e16, -1e16, 2**53 + 1, 2**63 - 1, -(2**63), 2**70, 1e308]),
)
ANYTHING = st.one_of(
    NUMBERS,
    NUMBERS,
    st.sampled_from(
        [
            None,
            True,
            False,
            "x",
            "é\n",
            "",
            [],
            [1, "a"],
            {"a": {"b": 1}},
            {},
            [1.0, "a"],
            {"b": 1, "a": [None]},
            {"a": [None], "b": 1.0},
        ]
    ),
)
TAGS = st.one_of(
    st.lists(st.integers(0, 3), max_size=3),
    st.lists(ANYTHING, max_size=2),
    st.sampled_from(["ab", 5, None]),
)
GARBAGE = st.sampled_from(
    [b"garbage", b"", b"[1]", b'{"k":"a",', b'{"v":1e999}', b'{"v":"\xff"}', b'{"v":NaN}', b"{}",
     b' {"k" : "b" , "v":1}\t', b'{"k":"a"}x', b'{"\\u006b":"b"}', b"\xef\xbb\xbf{}"]
)  # fmt: skip


@st.composite
def records(draw: Draw, times: Callable[[int], Any], at_s: float) -> bytes:
    """One message: mostly a record with a time, now and then anything else."""
    if draw(st.integers(0, 19)) == 0:
        return bytes(draw(GARBAGE))
    pairs: list[tuple[str, Any]] = []
    if draw(st.integers(0, 14)):
        pairs.append(("k", draw(KEYS)))
    if draw(st.integers(0, 9)):
        pairs.append(("v", draw(st.one_of(NUMBERS, NUMBERS, NUMBERS, ANYTHING))))
    if draw(st.booleans()):
        pairs.append(("w", draw(ANYTHING)))
    if draw(st.integers(0, 3)) == 0:
        pairs.append(("tags", draw(TAGS)))
    if draw(st.integers(0, 19)):
        pairs.append(("ts", times(int(at_s * 1e6))))
    if draw(st.integers(0, 19)) == 0:
        pairs.append((draw(st.sampled_from(["k", "v", "extra"])), draw(ANYTHING)))  # twice
    return ("{" + ",".join(f"{json.dumps(n)}:{json.dumps(v)}" for n, v in pairs) + "}").encode()


def time_writer(table: Mapping[str, Any]) -> Callable[[int], Any]:
    """How this source's records say when they happened."""
    time = table.get("time")
    unit = time["unit"] if isinstance(time, dict) else "ms"

    def write(us: int) -> Any:
        if unit == "s":
            return us / 1e6
        return in_unit(Time(us), unit)

    return write


#: Beyond the clock of the tests by more than `max_ahead` (S8).
FUTURE_S = 1_800_000_000


@st.composite
def streams(draw: Draw, table: Mapping[str, Any], most: int = 25) -> bytes:
    """Records whose times go forward, with disorder and jumps."""
    write, now_s = time_writer(table), 0.0
    found = b""
    for _ in range(draw(st.integers(0, most))):
        if draw(st.integers(0, 49)) == 0:
            found += draw(records(write, FUTURE_S)) + b"\n"
        now_s += draw(st.sampled_from([0, 0, 0.1, 0.5, 1, 1, 2, 7, 30]))
        behind_s = draw(st.sampled_from([0, 0, 0, 0, 0.5, 1, 3, 12]))
        found += draw(records(write, now_s - behind_s)) + b"\n"
    cut = draw(st.integers(0, 9))
    return found[:-1] if cut == 0 else found


@st.composite
def chunks(draw: Draw, data: bytes) -> list[bytes]:
    """The same bytes in pieces, cut anywhere."""
    if not data or draw(st.booleans()):
        return [data]
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@st.composite
def inputs(draw: Draw, sources: Mapping[str, Any], partitions_max: int = 2) -> list[Piece]:
    """Pieces of all partitions of all sources, interleaved."""
    waiting: list[list[Piece]] = []
    for name, table in sources.items():
        for number in range(draw(st.integers(1, partitions_max))):
            pieces = draw(chunks(draw(streams(table))))
            waiting.append([(name, f"p{number}" if number else "", data) for data in pieces])
    found: list[Piece] = []
    while any(waiting):
        line = draw(st.sampled_from([one for one in waiting if one]))
        found.append(line.pop(0))
    return found


# ---- flows ----

SOURCE_TIMES = [
    {"field": "ts", "unit": "s", "late": "1s"},
    {"field": "ts", "unit": "s", "max_ahead": "1h"},
    {"field": "ts", "unit": "ms", "late": "2s"},
    {"field": "ts", "unit": "us", "late": "0s"},
    {"field": "ts", "unit": "ns", "late": "500ms"},
    {"field": "ts", "unit": "rfc3339", "late": "1s"},
]


@st.composite
def source_tables(draw: Draw) -> dict[str, Any]:
    """Mostly with event time. Nothing is ever idle: the oracle knows no idleness."""
    table: dict[str, Any] = {}
    if draw(st.integers(0, 5)):
        table["time"] = {**draw(st.sampled_from(SOURCE_TIMES)), "idle": "never"}
    if draw(st.integers(0, 4)) == 0:
        unit = table.get("time", {}).get("unit", "ms")
        stamp = {"rfc3339": "str", "s": "float"}.get(unit, "int")
        table["schema"] = {"k": "str?", "v": "float?", "w": "int?", "ts": stamp}
    return table


CONDITIONS = [
    "v > 1", 'k == "a"', "w", "is_null(v)", "v > 0 and w != 3", "v in [1, 2, 3]", "not w", "True",
    "coalesce(v, 0) >= 1", 'k < "b"', "v > 0 or is_null(w)", "v == w", 'k != "b"', "n > 1",
]  # fmt: skip
VALUES = [
    "v * 2", "v + w", "coalesce(v, 1)", "str(k)", "round(v, 1)", "v / w", "k", "w", "v", "tags[0]",
    'to_time(ts, "s")', '{"a": v}', "[v, w]", "len(tags)", "_source", "_partition", "w.a.b",
    "-v", "1", '"x"', "v if w else k", "n", "window_end", "window_start", 'k + "!"', "has(w, 'a')",
]  # fmt: skip
KEY_VALUES = ["k", "k", "k", "v", "w", "str(k)", "is_null(v)", "v > 1", "_source", "n"]
AGGREGATES = [
    "count()", "count(v)", "sum(v)", "mean(v)", "min(v)", "max(v)", "first(w)", "last(w)",
    "variance(v)", "variance_pop(v)", "stddev(v)", "stddev_pop(v)", "any(v > 1)", "all(v > 1)",
    "min_by(k, v)", "max_by(w, v)", "sum(v, where=v > 0)", "count(where=w)", "mean(v + w)",
    'sum(v / w, where=w != 0)', "max(k)", "first(tags, where = v > 1)", "min(window_end)", "sum(n)",
]  # fmt: skip
RUNNING = [
    *AGGREGATES, "ema(v, 0.5)", "delta(v)", "rate(v)", "lag(v)", "lag(w, 2)", "changed(w)",
    "changed(v, where=v > 0)", "delta(v, where=w == 1)",
]  # fmt: skip
WINDOWS = [
    {"tumbling": "1s"}, {"tumbling": "5s"}, {"tumbling": "10s"},
    {"tumbling": "10s", "offset": "3s"},
    {"hopping": "10s", "every": "2s"}, {"hopping": "3s", "every": "2s"},
    {"hopping": "2s", "every": "5s"}, {"hopping": "4s", "every": "2s", "offset": "-1s"},
    {"global": True}, {"global": True, "every": "5s"}, {"global": True, "every": "1s"},
]  # fmt: skip
NAMES = ["v", "w", "n", "m", "k", "x"]


@st.composite
def tables_of(draw: Draw, texts: list[str], most: int = 3) -> dict[str, str]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=most, unique=True))
    return {name: draw(st.sampled_from(texts)) for name in names}


@st.composite
def window_tables(draw: Draw) -> dict[str, Any]:
    window = dict(draw(st.sampled_from(WINDOWS)))
    if draw(st.integers(0, 4)) == 0:
        window["late_policy"] = "drop"
    return {"window": window, "aggregate": draw(tables_of(AGGREGATES, 4))}


@st.composite
def operations(draw: Draw) -> dict[str, Any]:
    match draw(st.sampled_from(["none", "window", "window", "running", "python"])):
        case "window":
            return dict(draw(window_tables()))
        case "running":
            return {"running": draw(tables_of(RUNNING, 4))}
        case "python":
            return dict(draw(st.sampled_from(PYTHON_STEPS)))
    return {}


@st.composite
def step_tables(draw: Draw, inputs: list[str], operation: st.SearchStrategy[Any]) -> dict[str, Any]:
    """One table that reads from one or two of what is there."""
    chosen = draw(st.lists(st.sampled_from(inputs), min_size=1, max_size=2, unique=True))
    table: dict[str, Any] = {"from": chosen}
    if draw(st.integers(0, 2)) == 0:
        table["where"] = draw(st.sampled_from(CONDITIONS))
    match draw(st.integers(0, 7)):
        case 0:
            table["select"] = draw(tables_of(VALUES))
        case 1:
            table["select"] = draw(st.lists(st.sampled_from(["k", "v", "w", "ts", "tags"]),
                                            min_size=1, unique=True))  # fmt: skip
        case 2 | 3:
            table["set"] = draw(tables_of(VALUES))
    if draw(st.integers(0, 7)) == 0:
        table["drop"] = [draw(st.sampled_from(["k", "v", "w", "tags"]))]
    if draw(st.integers(0, 7)) == 0:
        table["each"] = draw(st.sampled_from(["tags", "w"]))
    if draw(st.booleans()):
        table["key_by"] = draw(st.lists(st.sampled_from(KEY_VALUES), min_size=1, max_size=2,
                                        unique=True))  # fmt: skip
        if draw(st.integers(0, 3)) == 0:
            table["null_key"] = True
    table.update(draw(operation))
    if {"window", "running", "python"} & set(table) and draw(st.integers(0, 5)) == 0:
        table["having"] = draw(st.sampled_from(CONDITIONS))
    return table


def is_fine(
    sources: Mapping[str, Any], steps: Mapping[str, Any], sinks: Mapping[str, Any] | None = None
) -> bool:
    """Whether `check` has no fault to find; steps alone are seen by a sink of the last one."""
    try:
        plan_of(sources, steps, sinks or {"out": {"from": next(reversed(list(steps)))}})
    except FlowError:
        return False
    return True


def ports(sources: Mapping[str, Any], steps: Mapping[str, Any]) -> list[str]:
    """Everything that can be read from."""
    late = [
        f"{name}.late"
        for name, table in steps.items()
        if "window" in table and table["window"].get("late_policy") != "drop"
    ]
    future = [f"{name}.late" for name, table in sources.items() if "time" in table]
    return [*sources, *steps, *late, *future]


@st.composite
def sink_tables(draw: Draw, sources: Mapping[str, Any], steps: Mapping[str, Any]) -> dict[str, Any]:
    """Sinks for some streams or for all, and one that shows the order of several: fields that no
    sink writes are not decoded."""
    found = ports(sources, steps)
    if draw(st.booleans()):
        found = draw(st.lists(st.sampled_from(found), min_size=1, unique=True))
    sinks: dict[str, Any] = {f"sink{number}": {"from": name} for number, name in enumerate(found)}
    for table in sinks.values():
        if draw(st.integers(0, 9)) == 0:
            table["where"] = draw(st.sampled_from(CONDITIONS))
        if draw(st.integers(0, 9)) == 0:
            table["format"] = draw(st.sampled_from(["msgpack", {"text": "{k}|{v}|{w}"}]))
        if not is_fine(sources, steps, {"out": table}):
            del table["where" if "where" in table else "format"]
    sinks = {name: table for name, table in sinks.items() if is_fine(sources, steps, {name: table})}
    sinks["bad"] = {"from": "errors"}
    if draw(st.booleans()):
        sinks["several"] = {"from": [*found, "errors"]}
    return sinks


class Made:
    """A flow's tables and the plan that they mean."""

    def __init__(
        self, sources: dict[str, Any], steps: dict[str, Any], sinks: dict[str, Any]
    ) -> None:
        self.sources, self.steps, self.sinks = sources, steps, sinks
        self.plan: Plan = plan_of(sources, steps, sinks)

    def __repr__(self) -> str:
        return f"Made({self.sources!r}, {self.steps!r}, {self.sinks!r})"


@st.composite
def flows(
    draw: Draw,
    operation: st.SearchStrategy[Any] | None = None,
    sources_max: int = 2,
    steps_max: int = 4,
) -> Made:
    """A flow that `check` has no fault to find with."""
    sources: dict[str, Any] = {"a": draw(source_tables())}
    if sources_max > 1 and draw(st.integers(0, 3)) == 0:
        sources["b"] = draw(source_tables())
    steps: dict[str, Any] = {}
    for number in range(draw(st.integers(1, steps_max))):
        found = ports(sources, steps)
        table = draw(step_tables(found[::-1], operations() if operation is None else operation))
        if is_fine(sources, {**steps, f"s{number}": table}):
            steps[f"s{number}"] = table
    return Made(sources, steps, draw(sink_tables(sources, steps)))
