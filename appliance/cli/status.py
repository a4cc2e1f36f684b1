"""`bettong status`: asks the supervisor that holds a data folder how its flows are doing."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import click

from appliance.cli.columns import columns
from appliance.metrics.histogram import QUANTILES
from appliance.metrics.summary import size_words, time_words
from appliance.supervisor.admin import ask_status
from appliance.supervisor.folder import data_folder


@click.command()
@click.argument("flow", required=False)
@click.option("--data", metavar="DIR", help="The data folder of the run.")
@click.option("--json", "as_json", is_flag=True, help="All figures, as one JSON document.")
def command(flow: str | None, data: str | None, as_json: bool) -> int:
    """Show how a running FLOW is doing (by default: the one with a data folder here)."""
    folder = data_folder(data, flow)
    status = ask_status(folder)
    if status is None:
        print(f"nothing runs with the data folder {folder}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(status, ensure_ascii=False))
    else:
        print("\n".join(table(status)))
    return 0


def table(status: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    lines = [
        f"{status['state']} for {status['uptime_s']:.0f} s, {status['events']:,} events, "
        f"{status['cuts']:,} cuts",
        *_latencies(status),
    ]
    for store in status.get("stores", ()):
        lines += _store(store)
    for worker in status["workers"]:
        count = worker["restarts"]
        restarts = f", started again {count} time{'s' * (count != 1)}" if count else ""
        reason = f": {worker['reason']}" * bool(worker["reason"])
        lines.append(f"worker {worker['name']}: {worker['state']}{restarts}{reason}")
        for name, said in worker["held"].items():
            lines += [f"flow {name} is held back", *(f"  {line}" for line in said)]
    for flow in status["flows"]:
        lines += ["", *_flow(flow)]
    return lines


def _latencies(status: Mapping[str, Any]) -> list[str]:
    rows = []
    names = (("latency_us", "in process"), ("closing_us", "closing"), ("pause_us", "cut pause"))
    for key, name in names:
        if status[key]["count"]:
            values = [f"{share} {time_words(status[key][share])}" for share, _ in QUANTILES]
            rows.append([name, *values])
    return columns(rows)


def _store(store: Mapping[str, Any]) -> list[str]:
    """How the cuts of one worker are getting on."""
    if not store["cuts"]:
        return []
    last, longest = (time_words(store[name] * 1e6) for name in ("last_s", "longest_s"))
    words = [
        f"last cut {last}, longest {longest}",
        f"{size_words(store['bytes'])} written",
    ]
    if store["interval_s"]:
        words.insert(1, f"{time_words(store['interval_s'] * 1e6)} after the one before")
    if store["bytes_a_day"] is not None:
        words.append(f"{size_words(store['bytes_a_day'])} a day at this pace")
    lines = [", ".join(words)]
    if store["stretched_s"]:
        waited = time_words(store["stretched_s"] * 1e6)
        lines.append(f"cuts have waited {waited} in all for the write budget")
    if store["disk_full"]:
        lines.append("the disk is full: nothing is committed until there is room")
    if store["reserve_short"]:
        held = size_words(store["reserve_bytes"])
        lines.append(f"the disk's reserve for a full one is short: {held}")
    return lines + [f"damaged: {text}" for text in store["damage"]]


def _flow(flow: Mapping[str, Any]) -> list[str]:
    rows = [["flow " + flow["name"], "", "in", "out", "bytes", "late", "errors", "queued"]]
    for source in flow["sources"]:
        row = [source["records"], "", source["bytes"], source.get("future", 0), source["errors"]]
        rows.append(_row("source", source, row))
    for step in flow["steps"]:
        rows.append(_row("step", step, [step["in"], step["out"], "", step["late"], step["error"]]))
    for sink in flow["sinks"]:
        queued = sink["queued"] + sink.get("spool", {}).get("bytes", 0)
        row = ["", sink["records"], sink["bytes"], "", sink["errors"], queued]
        rows.append(_row("sink", sink, row))
    lines = columns(rows, right=range(2, 8))
    for end in (*flow["sources"], *flow["sinks"]):
        if end.get("trouble"):
            lines.append(f"  {end['name']} has failed and is tried again: {end['trouble']}")
    lines += [_waits(sink) for sink in flow["sinks"] if sink.get("spool", {}).get("bytes")]
    for one in flow["promises"]:
        words = f"{one['class']}, {one['delivery'].replace('_', ' ')}"
        lines.append(f"  {one['source']} → {one['sink']}: {words}: {one['text']}")
    if flow["reasons"]:
        reasons = ", ".join(f"{name} {count:,}" for name, count in flow["reasons"].items())
        lines.append(f"  set aside: {reasons}")
    memory = flow["memory"]
    if memory["waits"]:
        lines.append(
            f"  memory is full: {size_words(memory['bytes'])} of "
            f"{size_words(memory['limit'])} (settings.memory); its sources wait until there is room"
        )
    return lines


def _waits(sink: Mapping[str, Any]) -> str:
    """What a sink has not taken yet."""
    spool = sink["spool"]
    age = "" if spool["age_s"] is None else f", the oldest for {spool['age_s']:,} s"
    return f"  sink {sink['name']}: {size_words(spool['bytes'])} wait in its spool{age}"


def _row(role: str, entry: Mapping[str, Any], figures: list[int | str]) -> list[str]:
    kind = f" ({entry['kind']})" if "kind" in entry else ""
    state = entry.get("state", "")
    if not entry.get("connected", True):
        state = "not connected"
    elif role == "source" and "connected" in entry and not entry.get("paused"):
        state = "connected"
    elif entry.get("paused"):
        state = "pushed back"
    words = [f"{figure:,}" if isinstance(figure, int) else figure for figure in figures]
    return [f"  {role} {entry['name']}{kind}", state, *words]
