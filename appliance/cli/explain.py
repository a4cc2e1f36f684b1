"""`bettong explain`: the plan in words."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.load import load
from appliance.plan.explain import explain


@click.command()
@click.argument("flows", nargs=-1, required=True, metavar="FLOW…")
def command(flows: tuple[str, ...]) -> int:
    """Show what would run: native or Python, fields decoded, order, guarantees."""
    print("\n".join(explain(plan) for plan in load([Path(flow) for flow in flows])), end="")
    return 0
