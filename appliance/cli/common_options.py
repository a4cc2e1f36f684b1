"""Options that several commands have."""

from __future__ import annotations

import click

drop_state = click.option(
    "--drop-state",
    multiple=True,
    metavar="STEP",
    help="Go on without the stored state of a step that has changed, which is exported; or read a "
    "source that has changed from its start.",
)
drop_spool = click.option(
    "--drop-spool",
    multiple=True,
    metavar="SINK",
    help="Give up what a sink that has gone has not taken.",
)
