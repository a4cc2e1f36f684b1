"""`bettong run`: this process becomes the supervisor."""

from __future__ import annotations

import os
import sys

import click

from appliance import __version__
from appliance.cli import common_options
from appliance.logs import ERROR, LEVELS, LogFormat, Logger, stderr_is_terminal
from appliance.metrics.summary import summary_lines
from appliance.supervisor.main import Outcome, RunOptions, Supervisor


@click.command()
@click.argument("flows", nargs=-1, required=True, metavar="FLOW…")
@click.option("--once", is_flag=True, help="End when all sources have ended and all is delivered.")
@click.option("--data", metavar="DIR", help="The data folder (else $BETTONG_DATA, else .bettong).")
@common_options.drop_state
@common_options.drop_spool
@click.option("--accept-damage", is_flag=True, help="Go on although some of the state was lost.")
@click.option("--log-format", type=click.Choice(["human", "json"]), default="human")
@click.option(
    "--log-level", type=click.Choice(list(LEVELS)), default="info", help="The least that is said."
)
def command(
    flows: tuple[str, ...],
    once: bool,
    data: str | None,
    drop_state: tuple[str, ...],
    drop_spool: tuple[str, ...],
    accept_damage: bool,
    log_format: LogFormat,
    log_level: str,
) -> int:
    """Run flow files (.toml, .py), or all of a folder, until stopped."""
    options = RunOptions(
        paths=flows,
        once=once,
        data=data,
        drop_state=drop_state,
        drop_spool=drop_spool,
        accept_damage=accept_damage,
        log_format=log_format,
        log_level=LEVELS[log_level],
        progress=once and log_format == "human" and stderr_is_terminal(),
    )
    log = Logger("supervisor", log_format, LEVELS[log_level])
    supervisor = Supervisor(options, log)
    log.info("starting", version=__version__, data=supervisor.data, pid=os.getpid())
    outcome = supervisor.run()
    show_failures(outcome, log)
    if once:
        show_summary(outcome, log)
    return outcome.code


def show_failures(outcome: Outcome, log: Logger) -> None:
    """What kept workers from running, as it is: faults have several lines."""
    for text in outcome.failures:
        if log.format == "json":
            log.error("cannot run", reason=text)
        else:
            log.show(ERROR, text)


def show_summary(outcome: Outcome, log: Logger) -> None:
    """The figures of a bounded run, on standard error."""
    if outcome.status is None:
        return
    if log.format == "json":
        status = {key: outcome.status[key] for key in ("events", "latency_us", "flows")}
        log.info("summary", seconds=round(outcome.seconds, 3), **status)
        return
    for line in summary_lines(outcome.status, outcome.seconds):
        print(line, file=sys.stderr)
