"""`bettong import`: a data folder from the file of `bettong export`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from appliance.cli.export import described
from appliance.errors import UsageError
from appliance.supervisor.folder import DataFolder
from appliance.worker.export import import_export, look_into, refuse_state


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--data",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="The data folder to make.",
)
@click.option("--takeover", is_flag=True, help="The node it came from does not run any more.")
def command(file: Path, data: Path, takeover: bool) -> int:
    """Make a data folder that goes on where the node of FILE was."""
    carried = look_into(file)
    refuse_state(data)
    if not takeover:
        raise UsageError(
            f"{file} holds {described(carried)}.\n"
            "The node it came from must not run on: both would send results under the same numbers "
            "and write to the same places, and neither would notice. Stop it for good, then say so "
            "with --takeover (nothing was changed)"
        )
    folder = DataFolder(data)
    try:
        import_export(file, folder.path)
    finally:
        folder.close()
    print(f"{data}: {described(carried)}", file=sys.stderr)
    return 0
