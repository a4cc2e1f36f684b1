"""From a job to flows that are loaded into a lane and open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec import Struct

from appliance.load import Texts, load
from appliance.plan.logical import Plan
from appliance.plan.program import Program, compile_plan
from appliance.worker import opening
from appliance.worker.job import Job, SetAside
from appliance.worker.lane import Lane
from appliance.worker.opening import OpenEnd, OpenFlow


class LoadedFlow(Struct, frozen=True):
    """A flow that runs: its index in the lane is its index in the list it stands in."""

    open: OpenFlow
    functions: list[dict[str, Any]]  # borrowed by the lane, so kept

    @property
    def name(self) -> str:
        return self.open.plan.name

    def functions_of(self, step: str) -> dict[str, Any] | None:
        """What the lane was given for a Python step."""
        document = self.open.document
        for op in document["ops"]:
            if op["op"] == "python" and document["steps"][op["step"]] == step:
                entry: dict[str, Any] = self.functions[op["function"]]
                return entry
        return None


class _PreparedFlow(Struct, frozen=True):
    """A flow of which everything is made that touches nothing outside."""

    plan: Plan
    sources: list[Any]  # connectors, not open
    program: Program
    functions: list[dict[str, Any]]


def load_plans(job: Job) -> tuple[list[Plan], list[Plan], Texts]:
    """The plans this worker runs, those that ask for a worker of their own, and the files' texts.

    FlowError holds all faults of all files.
    """
    texts = dict(job.texts)
    plans = load([Path(path) for path in job.paths], texts=texts)
    if job.only:
        return [plan for plan in plans if plan.name in job.only], [], texts
    own = [plan for plan in plans if plan.settings.worker == "own"]
    shared = [plan for plan in plans if plan.settings.worker != "own"]
    return shared, own, texts


def check_flows(job: Job, plans: list[Plan]) -> dict[str, dict[str, str]]:
    """Everything that starting these flows does before it touches anything outside; the signatures
    of their state, by flow. FlowError or UsageError."""
    from appliance.worker.settling import signatures

    found = {}
    for one in _prepare(job, plans):
        opening.make_sinks(one.plan)
        ends = zip(one.plan.sources.values(), one.sources, strict=True)
        sources = [
            OpenEnd(one.plan.name, source.name, index, source.connector, connector, None)
            for index, (source, connector) in enumerate(ends)
        ]
        unopened = OpenFlow(one.plan, one.program.document, sources)
        found[one.plan.name] = signatures(LoadedFlow(unopened, one.functions))
    return found


def _prepare(job: Job, plans: list[Plan]) -> list[_PreparedFlow]:
    """All user code is loaded before anything outside is touched: a fault in it leaves no trace."""
    plans = [_with_options(plan, job.options) for plan in plans]
    made = [(plan, opening.make_sources(plan)) for plan in plans]
    opening.refuse_twice(made)
    if job.once:
        for plan, sources in made:
            opening.refuse_unbounded(plan, sources)
    compiled = [(plan, sources, compile_plan(plan)) for plan, sources in made]
    return [
        _PreparedFlow(plan, sources, program, _load_functions(plan, program))
        for plan, sources, program in compiled
    ]


def open_flows(job: Job, plans: list[Plan], lane: Lane) -> list[LoadedFlow]:
    """Compile, open and load. FlowError, UsageError or EnvironmentFailure: nothing is left open."""
    prepared = _prepare(job, plans)
    loaded: list[LoadedFlow] = []
    try:
        for one in prepared:
            fresh = job.fresh and not job.restart
            document = one.program.document
            document["set_aside"] = [
                set_aside(aside, one.sources)
                for aside in job.set_aside
                if aside.flow == one.plan.name
            ]
            opened = opening.open_flow(one.plan, document, one.sources, fresh)
            loaded.append(LoadedFlow(opened, one.functions))
            lane.load(one.program.pack(), one.functions, job.once)
    except Exception:
        for flow in loaded:
            flow.open.close()
        raise
    return loaded


def _load_functions(plan: Plan, program: Program) -> list[dict[str, Any]]:
    """The user's functions; a flow without any does not pay for what they need."""
    if not program.functions:
        return []
    from appliance.worker.python_steps import load_functions

    return load_functions(plan, program.functions)


def set_aside(aside: SetAside, sources: list[Any]) -> dict[str, Any]:
    """How the lane is told: by its place, where the source brings it again; else by its bytes."""
    if opening.all_replayable(sources[aside.source : aside.source + 1]):
        return {
            "source": aside.source,
            "partition": aside.partition,
            "position": aside.position,
        }
    return {"source": aside.source, "raw": aside.raw}


def _with_options(plan: Plan, options: dict[str, dict[str, Any]]) -> Plan:
    """The plan with some options of its sources put over: how `demo` limits its generator."""
    sources = dict(plan.sources)
    for name, values in options.items():
        if name in sources:
            merged = {**sources[name].options, **values}
            sources[name] = replace(sources[name], options=merged)
    return replace(plan, sources=sources)
