"""`bettong install`: this program becomes a service of this box."""

from __future__ import annotations

from pathlib import Path

import click

from appliance import __version__
from appliance.installation.acts import carry_out
from appliance.installation.install import install_acts
from appliance.layout import SERVICE, Layout, own_program


@click.command()
@click.option("--root", default="/", metavar="DIR", help="Install into this folder: an image.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def command(root: str, dry_run: bool) -> int:
    """Copy this program to /opt/bettong and make it a service, under a user of its own.

    Doing it again changes nothing that is right. Flows, settings and state stay as they are.
    """
    layout = Layout(Path(root).resolve())
    acts = install_acts(layout, own_program(), __version__)
    if dry_run:
        print("\n".join(act.words for act in acts))
        return 0
    carry_out(acts)
    print(f"bettong {__version__} is installed in {layout.home}")
    print(f"next: put flow files into {layout.flows}, then: systemctl restart {SERVICE}")
    return 0
