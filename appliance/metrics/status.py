"""The document behind `bettong status`: the metrics of all workers of a run, merged, as plain data.

{ "state": "running", "flows": [ { "name", "sources", "steps", "sinks", "errors" } ],
  "workers": [ … ], "latency_us": { "p50": …, "count": … }, "closing_us": …, "pause_us": … }
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from appliance.metrics import histogram

_HISTOGRAMS = ("latency", "closing", "pause")


def document(
    state: str, workers: Sequence[Mapping[str, Any]], replies: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """Merge what the workers replied (`metrics`, `ends`, `flows`); `workers` goes along."""
    replies = list(replies)
    lanes = [reply["metrics"] for reply in replies]
    found: dict[str, Any] = {
        "state": state,
        "events": sum(lane["events"] for lane in lanes),
        "cuts": sum(lane["cuts"] for lane in lanes),
    }
    for name in _HISTOGRAMS:
        merged = histogram.merge(lane[f"{name}_ns"] for lane in lanes)
        found[f"{name}_us"] = histogram.percentiles_us(merged)
    found["flows"] = [_flow(reply, name) for reply in replies for name in reply["flows"]]
    found["workers"] = [dict(worker) for worker in workers]
    found["stores"] = [
        {"flows": reply["flows"], **reply["store"]} for reply in replies if "store" in reply
    ]
    return found


def _flow(reply: Mapping[str, Any], name: str) -> dict[str, Any]:
    lane = reply["metrics"]
    ends = {(end["role"], end["name"]): end for end in reply["ends"] if end["flow"] == name}
    faults: Mapping[str, Any] = next(
        (entry for entry in lane["errors"] if entry["flow"] == name), {}
    )
    return {
        "name": name,
        "sources": [_end(source, ends, "source") for source in _of(lane["sources"], name)],
        "steps": [_without_flow(step) for step in _of(lane["steps"], name)],
        "sinks": [_end(sink, ends, "sink") for sink in _of(lane["sinks"], name)],
        "promises": [_without_flow(one) for one in _of(reply.get("promises", ()), name)],
        "errors": faults.get("errors", 0),
        "memory": {
            "bytes": faults.get("memory_bytes", 0),
            "limit": faults.get("memory_limit", 0),
            "memory_full": faults.get("memory_full", 0),  # times
            "unfinished": faults.get("unfinished_bytes", 0),  # of messages that are to come whole
            "waits": bool(faults.get("memory_waits", False)),
        },
        "reasons": faults.get("reasons", {}),
        "last_errors": [e for e in reply.get("errors", ()) if e.get("flow") == name],
    }


def _of(entries: Iterable[Mapping[str, Any]], flow: str) -> list[Mapping[str, Any]]:
    return [entry for entry in entries if entry["flow"] == flow]


def _end(
    entry: Mapping[str, Any], ends: Mapping[tuple[str, str], Mapping[str, Any]], role: str
) -> dict[str, Any]:
    """The counters of a source or sink, with the connector behind it."""
    words = ends.get((role, entry["name"]), {})
    known = {
        key: words[key]
        for key in ("kind", "label", "guarantee", "state", "trouble", "spool", "counts")
        if key in words
    }
    if words.get("connects"):  # a source that connects: its connection is its one partition
        known["connected"] = int(entry["partitions"] > 0)
    return _without_flow(entry) | known


def _without_flow(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "flow"}
