"""`bettong explain`: the plan in words."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.load import load
from appliance.plan.explain import explain, explain_chains


@click.command()
@click.argument("flows", nargs=-1, required=True, metavar="FLOW…")
def command(flows: tuple[str, ...]) -> int:
    """Show what would run: native or Python, fields decoded, order, guarantees. Of flows that links
    join, all FLOWs together show what the chain promises."""
    plans = load([Path(flow) for flow in flows])
    blocks = [*map(explain, plans), explain_chains(plans)]
    print("\n".join(block for block in blocks if block), end="")
    return 0
