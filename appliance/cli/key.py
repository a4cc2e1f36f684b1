"""`bettong key`: the keys of links between boxes."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.link.keys import Keys


@click.group()
def command() -> None:
    """Show the key of this box, and let other boxes in."""


_folder = click.option(
    "--keys",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("keys"),
    show_default=True,
    help="The folder that the flow's source or sink names.",
)


@command.command()
@_folder
def show(folder: Path) -> int:
    """Print the public key of this box; made when there is none yet."""
    print(Keys(folder).own().public.hex())
    return 0


@command.command()
@_folder
def token(folder: Path) -> int:
    """Make a token that lets one more box in, once."""
    keys = Keys(folder)
    keys.own()
    print(keys.new_token())
    return 0
