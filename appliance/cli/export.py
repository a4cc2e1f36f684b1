"""`bettong export`: the state of a node as one file."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from appliance.errors import UsageError
from appliance.metrics.summary import size_words
from appliance.supervisor.folder import data_folder, quiet
from appliance.worker.export import Carried, write_export


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[FLOW] FILE")
@click.option("--data", metavar="DIR", help="The data folder (else that of FLOW).")
def command(words: tuple[str, ...], data: str | None) -> int:
    """Write everything that the data folder of FLOW holds into FILE, for `bettong import`."""
    if len(words) > 2:
        raise UsageError("export takes a flow and a file: bettong export [FLOW] FILE")
    flow = words[0] if len(words) == 2 else None
    with quiet(data_folder(data, flow)) as folder:
        carried = write_export(folder, Path(words[-1]))
    print(f"{words[-1]}: {described(carried)}", file=sys.stderr)
    return 0


def described(carried: Carried) -> str:
    """What an export holds, in words."""
    flows = ", ".join(carried.flows) or "no flow"
    return (
        f"{flows}: {size_words(carried.row_bytes)} of rows, "
        f"{carried.blocks:,} blocks of undelivered results"
    )
