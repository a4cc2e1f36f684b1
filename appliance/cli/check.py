"""`bettong check`: all faults at once, and what is right but may surprise."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.load import load
from appliance.plan.logical import Plan
from appliance.plan.program import compile_plan
from appliance.plan.surprises import notes


@click.command()
@click.argument("flows", nargs=-1, required=True, metavar="FLOW…")
def command(flows: tuple[str, ...]) -> int:
    """Find every fault of flow files; exit code 78 when there are any."""
    plans = load([Path(flow) for flow in flows])
    for plan in plans:
        compile_plan(plan)
        print(f"ok    {plan.name}: {_sizes(plan)}")
        for note in notes(plan):
            print(f"note  {plan.name}: {note}")
    return 0


def _sizes(plan: Plan) -> str:
    parts = (("source", plan.sources), ("step", plan.steps), ("sink", plan.sinks))
    return ", ".join(f"{len(of)} {word}{'s' * (len(of) != 1)}" for word, of in parts)
