"""`bettong doctor`: what it prints and how it ends."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from appliance.cli.doctor.checks import diagnose
from appliance.cli.doctor.finding import Finding, Level, count
from appliance.cli.doctor.report import document, lines, total
from appliance.layout import Layout
from appliance.supervisor.folder import data_folder


@click.command()
@click.argument("flows", nargs=-1, metavar="[FLOW…]")
@click.option("--data", metavar="DIR", help="The data folder (else that of the first FLOW).")
@click.option("--json", "as_json", is_flag=True, help="All findings, as one JSON document.")
@click.option(
    "--bundle",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.tar.gz",
    help="Write findings, settings without secrets, logs and figures into a file for support.",
)
def command(flows: tuple[str, ...], data: str | None, as_json: bool, bundle: Path | None) -> int:
    """Look whether this box is fit to run FLOWs, and how they do. Exit code 1: there are faults."""
    flows, folder = subject(flows, data, Layout())
    diagnosis = diagnose(flows, folder)
    if as_json:
        print(json.dumps(document(diagnosis.findings), ensure_ascii=False))
    elif sys.stdout.isatty():
        _show_table(diagnosis.findings)
    else:
        print("\n".join(lines(diagnosis.findings)))
    if bundle is not None:
        from appliance.cli.doctor.bundle import write_bundle

        write_bundle(bundle, diagnosis, flows, folder)
        print(f"{bundle}: read its MANIFEST.txt before you send it", file=sys.stderr)
    return 1 if count(diagnosis.findings, Level.FAULT) else 0


def subject(
    flows: tuple[str, ...], data: str | None, layout: Layout
) -> tuple[tuple[str, ...], Path]:
    """The flows and the data folder that are meant. Where nothing is named, and no run has been
    here, it is the service of this box, if it is installed."""
    folder = data_folder(data, flows[0] if flows else None)
    named = flows or data or os.environ.get("BETTONG_DATA")
    if named or os.path.exists(folder) or not os.path.isdir(layout.settings_folder):
        return flows, folder
    found = any(layout.flows.glob("*.toml"))
    return (str(layout.flows),) if found else (), layout.data


_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.FAULT: "bold red"}


def _show_table(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    group = ""
    for finding in findings:
        words = Text(finding.found)
        if finding.remedy:
            words.append(f"\n→ {finding.remedy}", style="cyan")
        level = Text(finding.level.value, style=_COLOURS[finding.level])
        shown = finding.group if finding.group != group else ""
        table.add_row(Text(shown, style="bold"), level, Text(finding.subject), words)
        group = finding.group
    console = Console()
    console.print(table)
    console.print(total(findings), highlight=False)
