"""`bettong rollback`: the version before again."""

from __future__ import annotations

import click

from appliance.cli.upgrade import changing_at
from appliance.upgrade.upgrade import go_back


@click.command()
@click.option("--root", metavar="DIR", default="/", help="Where the system is that it is for.")
def command(root: str) -> int:
    """Switch back to the version that was there before the last upgrade."""
    go_back(changing_at(root))
    return 0
