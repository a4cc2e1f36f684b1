"""Bad input and the error output (S1, S3, S4): random bytes in every format against the oracle, and
the rules one by one."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.plan.logical import Plan
from appliance.testing import LaneRun
from semantics import strategies
from semantics.compare import Piece, assert_agree, by_lane, lines, plan_of
from semantics.functions import function
from semantics.strategies import ANYTHING, GARBAGE, Draw, examples

# ---- formats ----

SCHEMAS: list[dict[str, str]] = [
    {},
    {},
    {"k": "str", "v": "float?"},
    {"k": "str?", "v": "int", "w": "bool?"},
    {"v": "float", "tags": "list?", "w": "map?"},
]
CSV_CELLS = ["", "a", "1", "-2.5", "1e3", "007", "-", "true", "false", '"q"', '"a,b"', '"a""b"',
             '"5"', '"open', '"a"b', "é", "1.", "9223372036854775808", "null", " 1"]  # fmt: skip
BINARY = {"order": "big", "fields": {"k": "s3", "v": "f32", "w": "i16", "n": "u64"}}


@st.composite
def json_messages(draw: Draw) -> bytes:
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return bytes(draw(GARBAGE))
    if kind == 1:
        return draw(st.binary(max_size=20)).replace(b"\n", b"")
    record = draw(st.dictionaries(st.sampled_from(["k", "v", "w", "tags"]), ANYTHING))
    text = json.dumps(record).encode()
    if kind == 2:  # cut, or with a byte in the middle
        at = draw(st.integers(0, len(text)))
        return text[:at] + draw(st.sampled_from([b"", b",", b"\xff", b'"', b"}"]))
    return text


@st.composite
def csv_messages(draw: Draw) -> bytes:
    cells = draw(st.lists(st.sampled_from(CSV_CELLS), min_size=3, max_size=3))
    if draw(st.integers(0, 9)) == 0:
        cells = cells[: draw(st.integers(0, 2))]
    return ",".join(cells).encode()


@st.composite
def msgpack_messages(draw: Draw) -> bytes:
    value: Any = draw(st.dictionaries(st.sampled_from(["k", "v", "w"]), ANYTHING.filter(fits)))
    match draw(st.integers(0, 9)):
        case 0:
            value = draw(st.sampled_from([[1], 5, {1: 2}, {"v": msgpack.ExtType(3, b"x")}, None]))
        case 1:
            return draw(st.binary(max_size=12))
        case 2:
            value = {**value, "v": b"\x00\xff", "w": 2**64 - 1}
    packed = bytes(msgpack.packb(value))
    return packed[:-1] if draw(st.integers(0, 19)) == 0 else packed


def fits(value: Any) -> bool:
    return not isinstance(value, int) or -(2**63) <= value < 2**64


@st.composite
def binary_messages(draw: Draw) -> bytes:
    text = draw(st.sampled_from([b"abc", b"a\0\0", b"\xff\0\0", b"\0\0\0", "é".encode() + b"\0"]))
    number = draw(st.sampled_from([0.0, 1.5, float("nan"), float("inf"), 0.1]))
    whole = draw(st.sampled_from([0, 1, 2**63, 2**64 - 1]))
    made = struct.pack(">3sfhQ", text, number, draw(st.integers(-5, 5)), whole)
    return made if draw(st.integers(0, 9)) else made + b"x"


FORMATS: dict[str, tuple[Any, st.SearchStrategy[bytes]]] = {
    "json": ("json", json_messages()),
    "csv": ({"csv": {"columns": ["k", "v", "w"]}}, csv_messages()),
    "csv with a header": ({"csv": {"header": True}}, csv_messages()),
    "msgpack": ("msgpack", msgpack_messages()),
    "binary": ({"binary": BINARY}, binary_messages()),
    "text": ("text", st.binary(max_size=10)),
    "raw": ("raw", st.binary(max_size=10)),
}


class Decoded:
    """A flow and its input, with a short face."""

    def __init__(self, plan: Plan, pieces: list[Piece]) -> None:
        self.plan, self.pieces = plan, pieces

    def __repr__(self) -> str:
        source = self.plan.sources["a"]
        schema = {name: str(kind) for name, kind in source.schema.items()}
        return f"{source.format} {source.frame} {schema} {[*self.plan.sinks]} {self.pieces}"


@st.composite
def decoded(draw: Draw) -> Decoded:
    """A source of some format and schema, a step that reads a field or two, and its messages."""
    name = draw(st.sampled_from(sorted(FORMATS)))
    made, messages = FORMATS[name]
    source: dict[str, Any] = {"format": made}
    if name in ("json", "msgpack") or (name.startswith("csv") and draw(st.booleans())):
        schema = draw(st.sampled_from(SCHEMAS))
        if schema and (not name.startswith("csv") or set(schema) <= {"k", "v", "w"}):
            source["schema"] = schema
    if name in ("json", "csv", "text") or name.startswith("csv"):
        source["frame"] = draw(st.sampled_from(["lines", "u32", {"delimiter": "\0;"}]))
    steps = {"s": {"where": "not is_null(k) or True", "set": {"x": "v"}}}
    if name in ("text", "raw"):
        field = "line" if name == "text" else "data"
        steps = {"s": {"set": {"x": f"len({field})"}}}
    if "schema" in source and "k" not in source["schema"]:
        steps = {"s": {"set": {"x": "v"}}}
    sinks: dict[str, Any] = {"bad": {"from": "errors"}, "out": {"from": "s"}}
    if draw(st.booleans()):
        sinks["all"] = {"from": "a", "format": draw(st.sampled_from(["json", "msgpack"]))}
    plan = plan_of({"a": source}, steps, sinks)
    data = b""
    if name == "csv with a header":
        data = framed(plan, draw(st.sampled_from([b"k,v,w", b"\xef\xbb\xbfk,v,w", b"v,k,k", b'"'])))
    for message in draw(st.lists(messages, max_size=12)):
        if plan.sources["a"].frame.kind != "u32":
            message = message.replace(b"\n", b" ").replace(b";", b" ")
        data += framed(plan, message)
    return Decoded(plan, [("a", "", part) for part in draw(strategies.chunks(data))])


def framed(plan: Plan, message: bytes) -> bytes:
    frame = plan.sources["a"].frame
    if frame.kind == "u32":
        return len(message).to_bytes(4, "big") + message
    return message + (b"\n" if frame.kind == "lines" else frame.delimiter)


@examples(150)
@given(decoded())
def test_s4_every_format_is_read_as_the_oracle_reads_it(made: Decoded) -> None:
    assert_agree(made.plan, made.pieces)


# ---- rules ----


def errors_of(plan: Plan, data: bytes, sink: str = "bad") -> list[dict[str, Any]]:
    return [json.loads(line) for line in by_lane(plan, [("a", "p", data)])[0][sink].splitlines()]


def test_s3_an_error_record_says_what_where_and_why() -> None:
    plan = plan_of(
        {"a": {}}, {"s": {"set": {"x": "1 / v"}}}, {"out": {}, "bad": {"from": "errors"}}
    )
    found = errors_of(plan, lines({"v": 1}, {"v": 0, "w": [1]}))
    message = found[0].pop("message")
    assert "zero" in message
    assert found == [
        {
            "time": "2023-11-14T22:13:20Z",
            "flow": "flow",
            "step": "s",
            "source": "a",
            "partition": "p",
            "position": 9,
            "reason": "expression",
            "event": {"v": 0, "w": [1]},
        }
    ]


def test_s3_what_cannot_be_decoded_comes_raw_and_cut_where_it_is_long() -> None:
    plan = plan_of({"a": {}}, {}, {"out": {"from": "a"}, "bad": {"from": "errors"}})
    found = errors_of(plan, b"nonsense\n" + b"x" * 5000 + b"\n")
    assert base64.b64decode(found[0]["raw"]) == b"nonsense" and not found[0]["raw_truncated"]
    assert base64.b64decode(found[1]["raw"]) == b"x" * 4096 and found[1]["raw_truncated"]


def test_s3_an_error_while_writing_errors_is_only_counted() -> None:
    plan = plan_of(
        {"a": {}},
        {"e": {"from": "errors", "set": {"x": "1 / 0"}}},
        {"out": {"from": "a"}, "bad": {"from": "e"}},
    )
    outputs, metrics = by_lane(plan, [("a", "", b"garbage\n{}\n")])
    assert outputs == {"out": b"{}\n", "bad": b""}
    assert metrics["errors"][0]["errors"] == 2
    assert metrics["errors"][0]["unwritten"] == 1


def test_s3_without_a_sink_the_last_hundred_are_kept() -> None:
    plan = plan_of({"a": {}}, {}, {"out": {"from": "a"}})
    with LaneRun(plan) as run:
        run.feed("a", b"".join(b"bad%d\n" % number for number in range(150)))
        run.finish()
        kept = run.last_errors()
    assert [one["raw"] for one in kept] == [b"bad%d" % number for number in range(50, 150)]


def test_s3_on_error_stop_stops_the_flow() -> None:
    plan = plan_of({"a": {}}, {}, {"out": {"from": "a"}}, {"on_error": "stop"})
    with LaneRun(plan) as run:
        run.feed("a", b"{}\ngarbage\n")
        run.turn()
        assert any("stops" in text for text in run.logs)


def test_s3_each_element_of_a_list_is_a_record_of_its_own() -> None:
    plan = plan_of(
        {"a": {}},
        {"s": {"each": "tags", "key_by": "tags"}},
        {"out": {"format": {"text": "{tags}"}}, "bad": {"from": "errors"}},
    )
    outcome = assert_agree(plan, [("a", "", lines({"tags": [1, None, 2]}, {"tags": 3}, {}))])
    assert outcome.output("out") == b"1\n2\n"
    assert outcome.errors == {("s", "a", "key"): 1, ("s", "a", "expression"): 1}


def test_s3_an_error_in_one_branch_leaves_the_others_alone() -> None:
    plan = plan_of(
        {"a": {}},
        {"x": {"from": "a", "set": {"y": "1 / v"}}, "y": {"from": "a", "where": "v == 0"}},
        {"x": {"from": "x"}, "y": {"from": "y"}, "bad": {"from": "errors"}},
    )
    outcome = assert_agree(plan, [("a", "", lines({"v": 0}, {"v": 2}))])
    assert outcome.output("x") == b'{"v":2,"y":0.5}\n'
    assert outcome.output("y") == b'{"v":0}\n'


def test_s3_what_a_window_or_a_sink_refuses_is_the_result_and_no_other_record() -> None:
    plan = plan_of(
        {"a": {"time": {"field": "ts", "unit": "s"}}},
        {"w": {"window": {"tumbling": "10s"}, "aggregate": {"n": "count()"},
               "having": "1 / (n - 1) > 0"}},
        {"out": {"from": "w", "where": "1 / (n - 2) > 0"}, "bad": {"from": "errors"}},
    )  # fmt: skip
    records = [{"ts": 1}, {"ts": 11}, {"ts": 12}, {"ts": 21}, {"ts": 22}, {"ts": 23}]
    outcome = assert_agree(plan, [("a", "", lines(*records))])
    bad = [json.loads(line) for line in outcome.sinks["bad"]]
    assert [(one.get("step"), one["event"]["n"]) for one in bad] == [("w", 1), (None, 2)]
    assert not any("source" in one or "raw" in one for one in bad)
    assert len(outcome.sinks["out"]) == 1


def test_s3_a_record_without_its_time_is_an_error_with_its_bytes() -> None:
    plan = plan_of(
        {"a": {"time": {"field": "ts", "unit": "s"}}},
        {},
        {"out": {"from": "a"}, "bad": {"from": "errors"}},
    )
    records = [{"ts": 1}, {}, {"ts": None}, {"ts": "1"}, {"ts": True}, {"ts": 1e300}, {"ts": 2**60}]
    outcome = assert_agree(plan, [("a", "", lines(*records))])
    assert outcome.errors == {("", "a", "time"): 6}
    assert b'"raw"' in outcome.sinks["bad"][0]


@pytest.mark.parametrize("value", ["x", None, [1], {"a": 1}, True, 5])
def test_s1_what_does_not_fit_the_schema_is_an_error(value: Any) -> None:
    plan = plan_of(
        {"a": {"schema": {"v": "float"}}}, {}, {"out": {"from": "a"}, "bad": {"from": "errors"}}
    )
    outcome = assert_agree(plan, [("a", "", lines({"v": value, "w": 1}))])
    assert outcome.output("out") == (b'{"v":5.0}\n' if value == 5 else b"")


def test_s4_a_name_that_comes_twice_has_its_last_value() -> None:
    plan = plan_of({"a": {}}, {"s": {"set": {"x": "k"}}}, {"out": {}})
    outputs, _ = by_lane(plan, [("a", "", b'{"k":1,"v":2,"k":{"a":1,"a":2}}\n')])
    assert outputs["out"] == b'{"k":{"a":2},"v":2,"x":{"a":2}}\n'


def test_s4_what_json_has_no_word_for_is_null_and_counted() -> None:
    plan = plan_of({"a": {}}, {"s": {"python": function(infinite)}}, {"out": {}})
    outputs, metrics = by_lane(plan, [("a", "", b"{}\n")])
    assert outputs["out"] == b'{"a":null,"b":[null],"c":1.5}\n'
    assert metrics["sinks"][0]["nans"] == 2


def infinite(event: Any) -> Any:
    return {"a": float("inf"), "b": [float("nan")], "c": 1.5}


def test_s10_what_cannot_be_a_key_is_an_error() -> None:
    plan = plan_of(
        {"a": {}},
        {"s": {"key_by": "k", "running": {"n": "count()"}}},
        {"out": {}, "bad": {"from": "errors"}},
    )
    keys = [[1], {"a": 1}, None, "x"]
    data = lines(*({"k": key} for key in keys)) + b'{"k":NaN}\n{}\n'
    outcome = assert_agree(plan, [("a", "", data)])
    assert outcome.errors == {("s", "a", "key"): 4, ("", "a", "decode"): 1}
