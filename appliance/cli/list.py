"""`bettong list`: what a flow can be made of."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence

import click

from appliance import connect
from appliance.cli.columns import columns
from appliance.expression.library import FUNCTIONS
from appliance.expression.parse import AGGREGATES, RUNNING_AGGREGATES


@click.command()
@click.argument(
    "what",
    required=False,
    type=click.Choice(["sources", "sinks", "functions", "aggregates"]),
)
def command(what: str | None) -> int:
    """List connectors, functions and aggregates, or one kind of them."""
    sections: dict[str, Callable[[], Sequence[Sequence[str]]]] = {
        "sources": lambda: [_connector(n, connect.source_class(n)) for n in connect.SOURCE_NAMES],
        "sinks": lambda: [_connector(n, connect.sink_class(n)) for n in connect.SINK_NAMES],
        "functions": lambda: [(each.signature, each.doc) for each in FUNCTIONS.values()],
        "aggregates": lambda: [
            (", ".join(AGGREGATES), "of windows and running steps"),
            (", ".join(RUNNING_AGGREGATES), "of running steps only"),
        ],
    }
    for name in [what] if what else sections:
        print(f"{name}:")
        print("\n".join(f"  {line}" for line in columns(sections[name]())))
    return 0


def _connector(name: str, cls: type) -> tuple[str, str, str]:
    options = [field for field in dataclasses.fields(cls) if field.init]
    required = [f.name for f in options if f.default is f.default_factory is dataclasses.MISSING]
    words = [f.name if f.name in required else f"{f.name}?" for f in options]
    summary = " ".join((inspect.getdoc(cls) or "").split("\n\n", 1)[0].split())
    return name, ", ".join(words) or "–", summary
