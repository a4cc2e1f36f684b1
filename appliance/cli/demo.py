"""`bettong demo`: a generator, windows, and a live table of them; plain JSON lines without a
terminal.

It is the ordinary machinery on an ordinary flow file, so that what it shows is what runs.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from appliance import clock
from appliance.cli.run import show_failures, show_summary
from appliance.errors import EXIT_DONE
from appliance.limits import DEMO_LINE_MAX_BYTES
from appliance.logs import WARNING, Logger
from appliance.supervisor.main import RunOptions, Supervisor

FLOW = Path(__file__).resolve().parent.parent / "demo" / "demo.toml"

_NEXT = """
Try next:
  {bettong} demo --show > my.toml     # what you saw; change it, then:
  {bettong} check my.toml && {bettong} run my.toml
  {bettong} explain my.toml"""


@click.command()
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="End after so long.")
@click.option("--rate", help='Events a second, such as "50000/s".')
@click.option("--show", is_flag=True, help="Print its flow file instead.")
def command(count: int | None, seconds: float | None, rate: str | None, show: bool) -> int:
    """See live windows; Ctrl-C ends it."""
    if show:
        print(FLOW.read_text(), end="")
        return EXIT_DONE
    on_terminal = sys.stdout.isatty()
    table = _Table() if on_terminal else None
    changed = {"count": count, "rate": rate}
    options = RunOptions(
        paths=(str(FLOW),),
        once=count is not None,
        temporary=True,
        options={"readings": {key: value for key, value in changed.items() if value is not None}},
        seconds=seconds,
        log_level=WARNING,
        on_output=table.feed if table is not None else None,
    )
    log = Logger("supervisor", level=WARNING)
    if table is None:
        outcome = Supervisor(options, log).run()
    else:
        with table:
            outcome = Supervisor(options, log).run()
    show_failures(outcome, log)
    show_summary(outcome, log)
    if outcome.code == EXIT_DONE:
        print(_NEXT.format(bettong=_as_called()), file=sys.stderr)
    return outcome.code


def _as_called() -> str:
    """What to type for this program: its name where the shell finds it, else its path."""
    called = Path(sys.argv[0])
    found = shutil.which("bettong")
    if called.name != "bettong" or (
        found is not None and called.exists() and called.samefile(found)
    ):
        return "bettong"
    return str(called)


class _Table:
    """The last window of every machine, redrawn as results come."""

    def __init__(self) -> None:
        from rich.live import Live

        self._live = Live(refresh_per_second=8)
        self._rest = b""
        self._rows: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> _Table:
        self._live.__enter__()
        self._live.update("The first windows close in two seconds. Ctrl-C ends it.", refresh=True)
        return self

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)

    def feed(self, data: bytes) -> None:
        """Bytes of the flow's standard output, cut anywhere."""
        *lines, self._rest = (self._rest + data)[-DEMO_LINE_MAX_BYTES:].split(b"\n")
        for line in lines:
            result = json.loads(line)
            self._rows[result["machine"]] = result
        if lines:
            self._live.update(self._drawn())

    def _drawn(self) -> Any:
        from rich.table import Table

        table = Table(title="temperatures, windows of 2 s", caption="Ctrl-C ends it")
        table.add_column("machine")
        for name in ("from (UTC)", "events", "mean", "low", "high"):
            table.add_column(name, justify="right")
        for machine in sorted(self._rows):
            row = self._rows[machine]
            window = clock.utc_text(row["window_start"] * 1000)[11:19]
            figures = (f"{row[name]:.2f}" for name in ("mean", "low", "high"))
            table.add_row(machine, window, str(row["n"]), *figures)
        return table
