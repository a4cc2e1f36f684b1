"""`bettong uninstall`: take the service and the program off this box."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.installation.acts import carry_out
from appliance.installation.install import uninstall_acts
from appliance.layout import Layout


@click.command()
@click.option("--root", default="/", metavar="DIR", help="Uninstall from this folder.")
@click.option("--purge", is_flag=True, help="Flows, settings and STATE go too.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def command(root: str, purge: bool, dry_run: bool) -> int:
    """Take away what `install` has made. Flows, settings and state stay unless --purge."""
    layout = Layout(Path(root).resolve())
    acts = uninstall_acts(layout, purge)
    if dry_run:
        print("\n".join(act.words for act in acts) or "there is nothing to do")
        return 0
    carry_out(acts)
    if not acts:
        print("bettong is not installed")
    elif not purge:
        print(f"flows and settings stay in {layout.settings_folder}, state in {layout.data}")
    return 0
