"""Opening everything a flow reads and writes, before its lane starts: what the world refuses is
said now, once, and ends the start with exit code 3.

Each connector that the lane serves itself describes itself to the flow's program; for the others
the program says "chunks" or "records", and a thread of their own (`inbox`, `sinks`) does the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from appliance import connect
from appliance.connect import NativeEnd
from appliance.errors import EnvironmentFailure, Fault, FlowError, UsageError
from appliance.limits import FRAME_MAX_BYTES
from appliance.plan.logical import Plan
from appliance.plan.logical import Sink as PlannedSink
from appliance.plan.logical import Source as PlannedSource


class OpenEnd(Struct, frozen=True):
    """One source or sink with its connector. `native` is None when a thread of ours serves it."""

    flow: str
    name: str
    index: int
    kind: str  # the connector's name
    connector: Any
    native: NativeEnd | None
    spooled: bool = False  # a sink whose results leave after the cut that holds them
    size: int = 0  # of a placed sink, when it was opened: where a flow without a history begins

    @property
    def label(self) -> str:
        """What a person calls the place it leads to."""
        return self.native.label if self.native is not None else type(self.connector).__name__


class OpenFlow(Struct):
    """A flow whose connectors are made and, once `open_all` has run, open."""

    plan: Plan
    document: dict[str, Any]
    sources: list[OpenEnd] = field(default_factory=list)
    sinks: list[OpenEnd] = field(default_factory=list)

    def close(self) -> None:
        """Close what the lane served; threads close their own."""
        for end in (*self.sources, *self.sinks):
            if end.native is not None:
                end.connector.close()


def make_sources(plan: Plan) -> list[Any]:
    """The connectors of the plan's sources, in its order, not open yet.

    FlowError for wrong options.
    """
    return [_make(plan, planned, "source") for planned in plan.sources.values()]


def make_sinks(plan: Plan) -> list[Any]:
    """The same of its sinks."""
    return [_make(plan, planned, "sink") for planned in plan.sinks.values()]


def refuse_unbounded(plan: Plan, sources: list[Any]) -> None:
    """UsageError when one of them never ends: `--once` would wait for ever."""
    for planned, connector in zip(plan.sources.values(), sources, strict=True):
        if not connect.is_bounded(connector):
            own = ", or give its class bounded() if it ends" * (planned.connector == "connector")
            raise UsageError(
                f"--once needs sources that end, but {planned.name!r} of {plan.name} "
                f"({planned.connector}) goes on for ever; run it without --once{own}"
            )


def open_flow(plan: Plan, document: dict[str, Any], sources: list[Any], fresh: bool) -> OpenFlow:
    """Open all ends of one flow and fill in its program. EnvironmentFailure: nothing is left open.

    `fresh`: the run starts from nothing, so that file sinks replace their files.
    """
    flow = OpenFlow(plan, document)
    try:
        for index, (planned, connector) in enumerate(
            zip(plan.sources.values(), sources, strict=True)
        ):
            entry = _entry(document, "sources", planned.name)
            flow.sources.append(_open_source(plan, planned, index, connector, entry))
        for index, planned_sink in enumerate(plan.sinks.values()):
            connector = _make(plan, planned_sink, "sink")
            entry = _entry(document, "sinks", planned_sink.name)
            flow.sinks.append(_open_sink(plan, planned_sink, index, connector, entry, fresh))
    except EnvironmentFailure as error:
        flow.close()
        raise EnvironmentFailure(f"{plan.name}: {error}") from error
    return flow


def _entry(document: dict[str, Any], what: str, name: str) -> dict[str, Any]:
    for entry in document[what]:
        if entry["name"] == name:
            assert isinstance(entry, dict)
            return entry
    raise AssertionError(f"the program has no {name} among its {what}")


def _open_source(
    plan: Plan, planned: PlannedSource, index: int, connector: Any, entry: dict[str, Any]
) -> OpenEnd:
    native = None
    if connect.is_native(connector):
        try:
            connector.open({})
        except EnvironmentFailure as error:
            raise EnvironmentFailure(f"source {planned.name}: {error}") from error
        native = connector.native()
        entry.update(native.entry())
    else:
        entry["kind"] = "chunks"
        if isinstance(connector, connect.Messages):
            # Whole messages travel in one chunk, each with its length before it: so a chunk is
            # still what a position stands behind.
            entry["frame"] = {"kind": "u32", "max": FRAME_MAX_BYTES}
    entry["bounded"] = connect.is_bounded(connector)
    entry["replayable"] = connect.is_replayable(connector)
    return OpenEnd(plan.name, planned.name, index, planned.connector, connector, native)


def _open_sink(
    plan: Plan,
    planned: PlannedSink,
    index: int,
    connector: Any,
    entry: dict[str, Any],
    fresh: bool,
) -> OpenEnd:
    is_placed = isinstance(connector, connect.Placed)
    spooled = planned.delivery != "immediate" and not is_placed
    native, size = None, 0
    if connect.is_native(connector) and not spooled:
        try:
            connector.open(connect.Resume(fresh=fresh))
            size = connector.size() if is_placed else -1
        except EnvironmentFailure as error:
            raise EnvironmentFailure(f"sink {planned.name}: {error}") from error
        spooled = size >= 0 and planned.delivery != "immediate"
        native = None if spooled else connector.native()
    if native is not None:
        entry.update(native.entry())
        entry["immediate"] = True
    elif spooled:
        connector.close()  # its own thread opens it
        entry.update(kind="spool", framed=not is_placed)
        entry["numbered"] = isinstance(connector, connect.Numbered)
        entry["drop_newest"] = planned.spool.when_full == "drop_newest"
    else:
        entry["kind"] = "records"
    return OpenEnd(
        plan.name, planned.name, index, planned.connector, connector, native, spooled, size
    )


def _make(plan: Plan, planned: PlannedSource | PlannedSink, role: str) -> Any:
    """The connector of one source or sink. FlowError with its place when it cannot be made."""
    try:
        cls, options = _class_of(plan, planned, role)
        return connect.construct(cls, options, plan.base)
    except (ValueError, LookupError) as error:
        message = f"{role} {planned.name}: {error}"
        raise FlowError([Fault(planned.place, message)]) from error


def _class_of(
    plan: Plan, planned: PlannedSource | PlannedSink, role: str
) -> tuple[type, Mapping[str, Any]]:
    if planned.connector != "connector":
        find = connect.source_class if role == "source" else connect.sink_class
        return find(planned.connector), planned.options
    options = dict(planned.options)
    cls = connect.load_user_connector(str(options.pop("path", "")), plan.base)
    verb = "read" if role == "source" else "write"
    if not hasattr(cls, verb):
        raise ValueError(f"{cls.__name__} has no {verb}(): it is no {role}")
    return cls, options


def refuse_twice(flows: list[tuple[Plan, list[Any]]]) -> None:
    """EnvironmentFailure when two sources want standard input: each would get part of it."""
    readers = [
        f"{plan.name}.{planned.name}"
        for plan, _ in flows
        for planned in plan.sources.values()
        if planned.connector == "stdin"
    ]
    if len(readers) > 1:
        raise UsageError(f"standard input can have one reader, not {' and '.join(readers)}")


def all_replayable(sources: list[Any]) -> bool:
    """Whether everything these sources gave comes again when they start anew."""
    return all(connect.is_replayable(connector) for connector in sources)
