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
        print("\n".join(columns([[one.name, one.version or "–", one.licence] for one in chosen])))
    return 0


def _chosen(found: list[Component], names: tuple[str, ...]) -> list[Component]:
    known = {one.name.lower() for one in found}
    for name in names:
        if name.lower() not in known:
            raise UsageError(f"there is no {name} inside; `bettong licenses` lists what there is")
    wanted = {name.lower() for name in names}
    return [one for one in found if not wanted or one.name.lower() in wanted]


def _text(one: Component) -> str:
    head = f"{one.name} {one.version}".strip()
    parts = [f"{head}: {one.licence}", "=" * (len(head) + len(one.licence) + 2), *one.texts]
    return "\n\n".join(part.strip("\n") for part in parts)
