"""`bettong reload`: what runs reads its flow files again."""

from __future__ import annotations

import sys

import click

from appliance.cli import common_options
from appliance.supervisor import admin
from appliance.supervisor.folder import data_folder


@click.command()
@click.argument("flow", required=False)
@click.option("--data", metavar="DIR", help="The data folder of the run.")
@common_options.drop_state
@common_options.drop_spool
def command(
    flow: str | None, data: str | None, drop_state: tuple[str, ...], drop_spool: tuple[str, ...]
) -> int:
    """Let a running FLOW go on as its file says now; state and undelivered results are kept.

    Files with faults, and changes that do not fit the state, are refused: then everything runs on
    as it was, and the exit code is 78 or 1.
    """
    folder = data_folder(data, flow)
    answer = admin.reload(folder, drop_state, drop_spool)
    if answer is None:
        print(f"nothing runs with the data folder {folder}", file=sys.stderr)
        return 1
    code, text = answer
    if code == 0:
        print("reloaded")
    else:
        print(f"{text}\nnot reloaded", file=sys.stderr)
    return code
