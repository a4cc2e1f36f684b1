"""`bettong drain`: stop reading and end when everything is delivered."""

from __future__ import annotations

import sys

import click

from appliance.supervisor import admin
from appliance.supervisor.folder import data_folder
from appliance.units import parse_duration


@click.command()
@click.argument("flow", required=False)
@click.option("--close", is_flag=True, help="Close open windows first: their results leave too.")
@click.option("--timeout", metavar="DURATION", help='Wait at most so long, "10m"; else for ever.')
@click.option("--data", metavar="DIR", help="The data folder of the run.")
def command(flow: str | None, close: bool, timeout: str | None, data: str | None) -> int:
    """Let a running FLOW deliver everything, and end."""
    folder = data_folder(data, flow)
    try:
        timeout_s = None if timeout is None else parse_duration(timeout) / 1e6
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--timeout") from error
    done = admin.drain(folder, close, timeout_s)
    if done is None:
        print(f"nothing runs with the data folder {folder}", file=sys.stderr)
    elif not done:
        print("not everything is delivered yet; the run goes on draining", file=sys.stderr)
    return 0 if done else 1
