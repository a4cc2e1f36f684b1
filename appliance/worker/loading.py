"""From a job to flows that are loaded into a lane and open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec import Struct

from appliance.load import load
from appliance.plan.logical import Plan
from appliance.plan.program import Program, compile_plan
from appliance.worker import opening
from appliance.worker.job import Job, SetAside
from appliance.worker.lane import Lane
from appliance.worker.opening import OpenFlow


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


def load_plans(job: Job) -> tuple[list[Plan], list[Plan]]:
    """The plans this worker runs, and those that ask for a worker of their own.

    FlowError holds all faults of all files.
    """
    plans = load([Path(path) for path in job.paths])
    if job.only:
        return [plan for plan in plans if plan.name in job.only], []
    own = [plan for plan in plans if plan.settings.worker == "own"]
    shared = [plan for plan in plans if plan.settings.worker != "own"]
    return shared, own


def open_flows(job: Job, plans: list[Plan], lane: Lane) -> list[LoadedFlow]:
    """Compile, open and load. FlowError, UsageError or EnvironmentFailure: nothing is left open."""
    plans = [_with_options(plan, job.options) for plan in plans]
    made = [(plan, opening.make_sources(plan)) for plan in plans]
    opening.refuse_twice(made)
    if job.once:
        for plan, sources in made:
            opening.refuse_unbounded(plan, sources)
    # All user code is loaded before anything outside is touched: a fault in it leaves no trace.
    programs = [compile_plan(plan) for plan in plans]
    functions = [
        _load_functions(plan, program) for plan, program in zip(plans, programs, strict=True)
    ]
    loaded: list[LoadedFlow] = []
    try:
        for (plan, sources), program, steps in zip(made, programs, functions, strict=True):
            fresh = job.fresh and not job.restart
            document = program.document
            document["set_aside"] = [
                set_aside(aside, sources) for aside in job.set_aside if aside.flow == plan.name
            ]
            loaded.append(LoadedFlow(opening.open_flow(plan, document, sources, fresh), steps))
            lane.load(program.pack(), steps, job.once)
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
