"""`bettong licenses`: what is inside, and under which terms."""

from __future__ import annotations

import sys

import click

from appliance.cli.columns import columns
from appliance.cli.components import Component, bill, components
from appliance.errors import UsageError


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME…]")
@click.option("--text", is_flag=True, help="The texts of the licences, as their makers want.")
@click.option("--sbom", is_flag=True, help="A bill of materials: one CycloneDX document (JSON).")
def command(names: tuple[str, ...], text: bool, sbom: bool) -> int:
    """List everything inside, or parts by NAME, with versions and licences."""
    if sbom and (names or text):
        raise UsageError("--sbom stands alone: it is always about everything inside")
    found = components()
    if sbom:
        sys.stdout.write(bill(found))
        return 0
    chosen = _chosen(found, names)
    if text:
        print("\n\n".join(_text(one) for one in chosen))
    else:
        rows = [[one.name, one.version or "–", one.licence, one.place] for one in chosen]
        print("\n".join(columns(rows)))
    return 0


def _chosen(found: list[Component], names: tuple[str, ...]) -> list[Component]:
    known = {one.name.lower() for one in found}
    for name in names:
        if name.lower() not in known:
            raise UsageError(f"there is no {name} inside; `bettong licenses` lists what there is")
    wanted = {name.lower() for name in names}
    return [one for one in found if not wanted or one.name.lower() in wanted]


def _text(one: Component) -> str:
    head = f"{one.name} {one.version}".strip() + f": {one.licence}"
    return "\n\n".join([f"{head}\n{'=' * len(head)}", *(text.strip("\n") for text in one.texts)])
