"""`bettong capture`: write down everything that a running flow's decisions depend on."""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

import click

from appliance import clock
from appliance.limits import CAPTURE_END_S, CAPTURE_MAX_BYTES
from appliance.supervisor import folder
from appliance.supervisor.folder import data_folder
from appliance.units import parse_duration
from appliance.worker.control import Channel, ChannelClosed


@click.command()
@click.argument("flow")
@click.option("--data", metavar="DIR", help="The data folder of the run.")
@click.option("--out", metavar="FILE", help="Where to; NAME.capture in this folder otherwise.")
@click.option("--for", "duration", metavar="DURATION", help='"30s"; else until Ctrl-C.')
@click.option("--limit", default=CAPTURE_MAX_BYTES, metavar="BYTES", help="At most so large.")
def command(flow: str, data: str | None, out: str | None, duration: str | None, limit: int) -> int:
    """Capture a running FLOW (its file, or its name with --data) for `bettong replay`."""
    try:
        seconds = None if duration is None else parse_duration(duration) / 1e6
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from error
    if limit < 1:
        raise click.BadParameter("at least 1", param_hint="--limit")
    path = Path(out or f"{Path(flow).stem}.capture").absolute()
    where = data_folder(data, flow if Path(flow).exists() else None)
    connection = folder.connect(where)
    if connection is None:
        print(f"nothing runs with the data folder {where}", file=sys.stderr)
        return 1
    channel = Channel(connection)
    try:
        return _capture(channel, _name(flow), str(path), limit, seconds)
    except ChannelClosed:
        print("the run has ended, and with it the capture", file=sys.stderr)
        return 1
    finally:
        channel.close()


def _name(flow: str) -> str:
    """The name of the flow in a file."""
    if not Path(flow).is_file():
        return flow
    from appliance.load import load

    return load([Path(flow)])[0].name


def _capture(channel: Channel, flow: str, out: str, limit: int, seconds: float | None) -> int:
    wake, wake_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake_end)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    channel.send("capture", flow=flow, out=out, limit=limit)
    until_s: float | None = None
    ending = False
    while True:
        for message in _wait(channel, wake, until_s):
            if message["kind"] != "capture":
                continue
            if message["state"] == "began":
                print(f"capturing {flow} to {out}; Ctrl-C ends it", file=sys.stderr)
                until_s = None if seconds is None else clock.monotonic_s() + seconds
            else:
                return _ended(message)
        is_over = until_s is not None and clock.monotonic_s() >= until_s
        if ending and is_over:
            print("the capture does not end; what is there can be replayed", file=sys.stderr)
            return 1
        if is_over or _is_woken(wake):
            ending = True
            until_s = clock.monotonic_s() + CAPTURE_END_S
            channel.send("capture")


def _wait(channel: Channel, wake: int, until_s: float | None) -> list[dict[str, Any]]:
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    poll.register(wake, select.POLLIN)
    left_ms = None if until_s is None else max(until_s - clock.monotonic_s(), 0.0) * 1000
    ready = {fd for fd, _ in poll.poll(left_ms)}
    return channel.receive() if channel.fileno() in ready else []


def _is_woken(wake: int) -> bool:
    try:
        return bool(os.read(wake, 64))
    except BlockingIOError:
        return False


def _ended(message: dict[str, Any]) -> int:
    if message["state"] == "failed":
        print(f"no capture: {message['text']}", file=sys.stderr)
        return 1
    print(
        f"{message['path']}: {message['entries']} entries, {message['bytes']} bytes "
        f"({message['why']})"
    )
    if not message["state_kept"]:
        print("it ended between two cuts: a replay cannot compare the state", file=sys.stderr)
    return 0
