"""`bettong upgrade`: a newer version in the place of this one, if the makers signed it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from appliance.errors import UsageError
from appliance.layout import Layout
from appliance.supervisor.admin import ask_status
from appliance.upgrade import upgrade as work
from appliance.upgrade.service import ByHand, Service, Systemd
from appliance.upgrade.settings import read_settings


@click.command()
@click.argument("file", required=False, metavar="FILE", type=click.Path(path_type=Path))
@click.option("--allow-older", is_flag=True, help="Take a version older than the installed one.")
@click.option("--skip-check", is_flag=True, help="Do not have the new version check the flows.")
@click.option("--resume", is_flag=True, help="See the last upgrade through: the power failed.")
@click.option("--root", metavar="DIR", default="/", help="Where the system is that it is for.")
def command(file: Path | None, allow_older: bool, skip_check: bool, resume: bool, root: str) -> int:
    """Install the release in FILE, whose signature is in FILE.sig, and switch to it.

    When the service does not become ready with it, the version before is put back."""
    changing = changing_at(root)
    if resume:
        work.resume(changing)
        return 0
    if file is None:
        raise UsageError("name the file of the release: bettong upgrade FILE")
    key = read_settings(changing.layout.settings).public_key
    work.upgrade(changing, file, key, allow_older=allow_older, check_flows=not skip_check)
    return 0


def changing_at(root: str) -> work.Changing:
    """The installation below a folder, and who runs its service."""
    layout = Layout(Path(root).absolute())

    say = partial(print, flush=True)  # the next line may take minutes

    def status() -> dict[str, object] | None:
        return ask_status(layout.data)

    is_here = layout.root == Path("/")
    by_systemd = is_here and Systemd.is_there()
    service: Service = Systemd(status) if by_systemd else ByHand(status, say)
    return work.Changing(layout, service, say)
