"""The lane beside the oracle: one plan, the same bytes, all that can be seen compared."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from appliance.errors import FlowError, Place
from appliance.native import lib
from appliance.plan.check import check
from appliance.plan.logical import Plan, PythonStep
from appliance.plan.program import compile_plan
from appliance.plan.read import read_flow
from appliance.plan.shape import in_order, owner_of
from appliance.plan.table import KeyPath
from appliance.testing import LaneRun
from appliance.worker.lane import Lane
from appliance.worker.python_steps import load_functions
from semantics.oracle import START_US, Oracle, Outcome, ends
from semantics.oracle_codec import Framer, to_json

#: Bytes of one partition of a source, in the order of their arrival.
Piece = tuple[str, str, bytes]


class NoPlaces:
    """A flow that is no file."""

    def key(self, path: KeyPath) -> Place:
        return Place()

    def value(self, path: KeyPath) -> Place:
        return Place()

    def content(self, path: KeyPath, text: str) -> Place | None:
        return None


def plan_of(
    sources: Mapping[str, Any],
    steps: Mapping[str, Any],
    sinks: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
) -> Plan:
    """The plan of the tables of a flow file. FlowError: it has a fault."""
    document: dict[str, Any] = {"version": 1, "name": "flow"}
    if settings:
        document["settings"] = settings
    document["source"] = {name: {"stdin": {}, **table} for name, table in sources.items()}
    document["step"] = steps
    document["sink"] = {name: {"blackhole": {}, **table} for name, table in sinks.items()}
    faults: list[Any] = []
    reading = read_flow(document, ".", "flow", NoPlaces(), faults)
    faults += check(reading.plan, NoPlaces(), reading.broken)
    if faults:
        raise FlowError(faults)
    return reading.plan


def lines(*records: object) -> bytes:
    """JSON lines; text is taken as it is."""
    texts = [one if isinstance(one, str) else json.dumps(one) for one in records]
    return "".join(f"{text}\n" for text in texts).encode()


def by_oracle(plan: Plan, pieces: Iterable[Piece], pause_us: int = 0) -> Outcome:
    """`pause_us` goes by after each piece."""
    oracle = Oracle(plan)
    framers: dict[tuple[str, str], Framer] = {}
    for source, partition, data in pieces:
        framer = framers.setdefault((source, partition), Framer(plan.sources[source].frame))
        oracle.sources[source].partition(partition)
        for position, message in framer.feed(data):
            oracle.feed(source, partition, message, position)
        oracle.tick(oracle.now_us)
        if pause_us:
            oracle.tick(oracle.now_us + pause_us)
    for source in plan.sources:
        for partition in ends(oracle, source):
            for position, message in framers[source, partition].end():
                oracle.feed(source, partition, message, position)
            oracle.end_partition(source, partition)
        oracle.end(source)
    return oracle.outcome


def by_lane(
    plan: Plan, pieces: Iterable[Piece], pause_us: int = 0
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """What each sink got, and the lane's counters. A pause beyond `commit_every` makes a cut."""
    with LaneRun(plan) as run:
        for source, partition, data in pieces:
            run.feed(source, data, partition)
            if pause_us:
                run.advance(pause_us)
        outputs = run.finish()
        return outputs, run.metrics()


def assert_agree(plan: Plan, pieces: Iterable[Piece], pause_us: int = 0) -> Outcome:
    """Sinks to the byte, errors by reason and step, late records, counts in and out."""
    pieces = list(pieces)
    outputs, metrics = by_lane(plan, pieces, pause_us)
    expected = by_oracle(plan, pieces, pause_us)
    for name, sink in plan.sinks.items():
        output, wanted = outputs[name], expected.output(name)
        if "errors" in sink.inputs:
            output = comparable(output, wanted, some_fields(plan))
        assert output.split(b"\n") == wanted.split(b"\n"), name
    reasons = Counter[str]()
    for (_, _, reason), count in expected.errors.items():
        reasons[reason] += count
    assert metrics["errors"][0]["reasons"] == dict(reasons)
    for step in metrics["steps"]:
        name = step["name"]
        errors = sum(count for (at, _, _), count in expected.errors.items() if at == name)
        found = (step["error"], step["late"], step["in"], step["out"])
        assert found == (
            errors,
            expected.late[name],
            expected.entered[name],
            expected.left[name],
        ), f"error, late, in, out of {name}"
    for source in metrics["sources"]:
        assert source["repeated"] == expected.repeated[source["name"]]
        assert source["future"] == expected.late[source["name"] + ".late"]
    return expected


def comparable(output: bytes, wanted: bytes, loose: frozenset[str]) -> bytes:
    """Error records without what is for people, message and traceback; and with the whole event
    where some of its fields are all that is promised (steps in `loose`)."""
    kept = []
    others = wanted.splitlines()
    for number, line in enumerate(output.splitlines()):
        record = json.loads(line)
        if "reason" in record:
            assert record.pop("message"), line
            record.pop("traceback", None)
            other = json.loads(others[number]) if number < len(others) else {}
            if record.get("step") in loose and "event" in record and "event" in other:
                assert record["event"].items() <= other["event"].items()
                record["event"] = other["event"]
            line = to_json(record, "us").encode()
        kept.append(line + b"\n")
    return b"".join(kept)


def some_fields(plan: Plan) -> frozenset[str]:
    """Steps behind a merge or a Python function: the event of their errors has the fields that the
    flow reads, others need not have been kept."""
    found: set[str] = {"errors"}
    for name in in_order(plan):
        step = plan.steps[name]
        above = {owner_of(one) for one in step.inputs}
        is_python = [
            isinstance(plan.steps[one].operation, PythonStep) for one in above if one in plan.steps
        ]
        if len(step.inputs) > 1 or above & found or any(is_python):
            found.add(name)
    return frozenset(found)


def assert_files_agree(plan: Plan, files: Mapping[str, bytes]) -> None:
    """The only source of the plan reads these files, which are there: its partitions are fixed."""
    program = compile_plan(plan)
    (source,) = program.document["sources"]
    source.update(kind="files", paths=list(files), bounded=True, replayable=True)
    for sink in program.document["sinks"]:
        sink.update(kind="memory")
    lane = Lane()
    try:
        lane.set_clock(0, START_US)
        lane.load(program.pack(), load_functions(plan, program.functions), once=True)
        assert lane.start()
        while lane.turn() == lib.LANE_RUNNING:
            for post in lane.posts():
                if post.kind == lib.POST_CUT:
                    lane.mail_committed(post.number)
        outputs = {name: lane.take_memory(0, number) for number, name in enumerate(plan.sinks)}
    finally:
        lane.destroy()
    expected = by_oracle_of_files(plan, files)
    for name in plan.sinks:
        assert outputs[name].split(b"\n") == expected.output(name).split(b"\n"), name


def by_oracle_of_files(plan: Plan, files: Mapping[str, bytes]) -> Outcome:
    """Small files are read whole in one go each, and end one after the other."""
    (source,) = plan.sources
    oracle = Oracle(plan)
    framers = {name: Framer(plan.sources[source].frame) for name in files}
    for name in files:
        oracle.sources[source].partition(name, is_fixed=True)
    for name, data in files.items():
        for position, message in framers[name].feed(data):
            oracle.feed(source, name, message, position)
    for name in files:
        for position, message in framers[name].end():
            oracle.feed(source, name, message, position)
        oracle.end_partition(source, name)
    oracle.end(source)
    return oracle.outcome
