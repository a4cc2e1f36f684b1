"""From the tables of a flow to its logical plan.

The flow file and the Python API both bring a nest of tables and a locator; this is the one place
where tables get their meaning, so both forms of a flow make equal plans. Reading never stops at a
fault: a default takes the place of what is wrong, and the table counts as broken, so that nobody
draws conclusions from it.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from appliance.errors import Fault
from appliance.limits import (
    MEMORY_MIN_BYTES,
    NAME_MAX_COUNT,
    SINK_MAX_COUNT,
    SOURCE_MAX_COUNT,
    STEP_MAX_COUNT,
)
from appliance.plan.logical import Plan, Settings, Sink, Source, Step
from appliance.plan.read_ends import name_fault, read_sink, read_source
from appliance.plan.read_step import read_step
from appliance.plan.table import Locator, Table, said

VERSION = 1
ERRORS = "errors"  # the flow's error output, a port like those of steps


class Reading(Struct, frozen=True):
    """A plan, and the names of its sources and steps that had a fault: what they give is not
    known."""

    plan: Plan
    broken: frozenset[str]


def read_flow(
    document: Mapping[str, object],
    base: str,
    default_name: str,
    locator: Locator,
    faults: list[Fault],
) -> Reading:
    """Read a whole flow; `base` is the folder its paths start from. Adds every fault to
    `faults`."""
    top = Table(document, (), locator, faults)
    _version(top)
    name = top.text("name", default_name)
    if wrong := _flow_name_fault(name):
        place = top.value_place("name") if top.has("name") else top.place()
        top.fault(place, wrong, 'write name = "line-monitor"' if not top.has("name") else "")
    settings = _settings(top)
    reader = _Reader(base, faults)
    reader.sources(_tables(top, "source", SOURCE_MAX_COUNT))
    reader.steps(_tables(top, "step", STEP_MAX_COUNT))
    reader.sinks(_tables(top, "sink", SINK_MAX_COUNT))
    top.finish()
    plan = Plan(
        name, settings, reader.made_sources, reader.made_steps, reader.made_sinks, base, top.place()
    )
    return Reading(plan, frozenset(reader.broken))


def _version(top: Table) -> None:
    value = top.get("version")
    if value is None:
        top.fault(top.place(), "'version' is missing", f"write version = {VERSION} at the top")
    elif isinstance(value, bool) or not isinstance(value, int):
        top.value_fault("version", f"version: a whole number was expected, not {said(value)}")
    elif value != VERSION:
        message = f"version {value} of the flow file is not known here; this program reads version"
        top.value_fault("version", f"{message} {VERSION}")


def _flow_name_fault(name: str) -> str:
    """A flow's name becomes part of file names: more than a step's is allowed, but no separator."""
    plain = name.isascii() and name.translate({ord(c): "a" for c in "_-."}).isalnum()
    if not plain or not name[0].isalnum():
        return f"{name!r} is not a name for a flow: letters, digits, _, - and . (not first)"
    if len(name) > NAME_MAX_COUNT:
        return f"the flow's name is longer than {NAME_MAX_COUNT} characters"
    return ""


def _settings(top: Table) -> Settings:
    table = top.table("settings", '{ commit_every = "1s" }')
    default = Settings()
    if table is None:
        return default
    on_error = table.choice("on_error", ("output", "stop"), default.on_error)
    # A flow that stops ends its lane, so by itself it gets one that no other flow runs in.
    worker = "own" if on_error == "stop" else default.worker
    settings = Settings(
        table.duration("commit_every", default.commit_every_us, least_us=1_000),
        on_error,
        table.size("memory", default.memory_bytes, least=MEMORY_MIN_BYTES),
        table.choice("worker", ("shared", "own"), worker),
        table.duration("step_timeout", default.step_timeout_us, least_us=1_000),
        table.choice("clock", ("system", "event"), default.clock),
        table.size("write_budget", default.write_budget_bytes),
        table.choice("on_damage", ("stop", "continue"), default.on_damage),
    )
    table.finish()
    return settings


def _tables(top: Table, key: str, most: int) -> dict[str, Table]:
    """The tables of one kind by name, `[source.readings]`."""
    outer = top.table(key, "a table for each: [" + key + ".NAME]")
    tables: dict[str, Table] = {}
    for name in outer.values if outer is not None else ():
        assert outer is not None
        if wrong := name_fault(name):
            outer.key_fault(name, wrong)
        inner = outer.table(name, "{ … }")
        if inner is not None:
            tables[name] = inner
    if len(tables) > most:
        top.key_fault(key, f"{len(tables)} tables of this kind; a flow has at most {most}")
    return tables


class _Reader:
    """Reads sources, then steps, then sinks: each may leave out `from` where those before leave one
    choice."""

    def __init__(self, base: str, faults: list[Fault]) -> None:
        self.base = base
        self.faults = faults
        self.made_sources: dict[str, Source] = {}
        self.made_steps: dict[str, Step] = {}
        self.made_sinks: dict[str, Sink] = {}
        self.broken: set[str] = set()

    def sources(self, tables: Mapping[str, Table]) -> None:
        for name, table in tables.items():
            before = len(self.faults)
            self._reserved(table, name)
            self.made_sources[name] = read_source(table, name, self.base)
            self._mark(name, before)

    def steps(self, tables: Mapping[str, Table]) -> None:
        last = ""
        for name, table in tables.items():
            before = len(self.faults)
            self._reserved(table, name)
            if name in self.made_sources:
                there = self.made_sources[name].place
                remedy = f"the source is at {there}" if there.line else ""
                table.fault(table.place(), f"{name!r} is the name of a source too", remedy)
            choices = [last] if last else list(self.made_sources)
            inputs = self._inputs(table, choices, [*tables, *self.made_sources])
            self.made_steps[name] = read_step(table, name, inputs, self.base)
            self._mark(name, before)
            last = name

    def sinks(self, tables: Mapping[str, Table]) -> None:
        steps = list(self.made_steps)
        choices = steps[-1:] or list(self.made_sources)
        for name, table in tables.items():
            inputs = self._inputs(table, choices, [*steps, *self.made_sources])
            self.made_sinks[name] = read_sink(table, name, inputs, self.base)

    def _mark(self, name: str, before: int) -> None:
        if len(self.faults) > before:
            self.broken.add(name)

    def _reserved(self, table: Table, name: str) -> None:
        if name == ERRORS:
            remedy = 'it is the flow\'s error output: [sink.NAME] from = "errors"'
            table.fault(table.place(), f"the name {ERRORS!r} is reserved", remedy)

    def _inputs(self, table: Table, choices: list[str], all_choices: list[str]) -> tuple[str, ...]:
        """What `from` says, or the one choice there is."""
        if table.has("from"):
            inputs = table.strings("from", '"readings"')
            if not inputs and table.values["from"] in ([], ()):
                table.value_fault("from", "from: the list is empty", "name a source or a step")
            for index, name in enumerate(inputs):
                if name in inputs[:index]:
                    place = table.value_place("from", index)
                    table.fault(place, f'from: "{name}" is there twice')
            return inputs
        if len(choices) == 1:
            return (choices[0],)
        if len(choices) > 1:
            listed = ", ".join(choices)
            message = f"'from' is missing, and there is more than one choice: {listed}"
            table.fault(table.place(), message, f'write from = "{choices[0]}"')
        elif all_choices:
            table.fault(table.place(), "'from' is missing", f'write from = "{all_choices[0]}"')
        return ()
