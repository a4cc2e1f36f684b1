"""What is said at the end of a bounded run, from the status document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from appliance.metrics.histogram import QUANTILES

#: Errors that the summary shows, of those that no sink takes: enough to see what is wrong.
_ERRORS_SHOWN = 3


def summary_lines(document: Mapping[str, Any], seconds: float) -> list[str]:
    """A few lines for people: how much, how fast, how long each event took, what went wrong."""
    flows = document["flows"]
    events = document["events"]
    bytes_in = sum(source["bytes"] for flow in flows for source in flow["sources"])
    results = sum(sink["records"] for flow in flows for sink in flow["sinks"])
    rate = events / seconds if seconds > 0 else 0.0
    lines = [
        f"{events:,} {'event' if events == 1 else 'events'} in {seconds:.2f} s ({rate:,.0f}/s), "
        f"{size_words(bytes_in)} in, {results:,} {'result' if results == 1 else 'results'} out"
    ]
    latency = document["latency_us"]
    if latency["count"]:
        values = "  ".join(f"{name} {time_words(latency[name])}" for name, _ in QUANTILES)
        lines.append(f"in-process latency: {values}")
    late = sum(step["late"] for flow in flows for step in flow["steps"])
    future = sum(source["future"] for flow in flows for source in flow["sources"])
    errors = sum(flow["errors"] for flow in flows)
    if late or future:
        counts = [(late, "too late for a window"), (future, "too far ahead of the clock")]
        lines.append(", ".join(f"{count:,} {words}" for count, words in counts if count))
    if errors:
        noun = "record" if errors == 1 else "records"
        lines.append(f"{errors:,} {noun} set aside as errors{_reasons(flows)}")
    for flow in flows:
        lines += [_error(flow["name"], error) for error in flow["last_errors"][-_ERRORS_SHOWN:]]
    return lines


def _error(flow: str, error: Mapping[str, Any]) -> str:
    """One record that no sink on `errors` has taken."""
    where = error.get("step") or error.get("source") or "?"
    at = f" at {error['position']}" if error.get("position") is not None else ""
    return f"  {flow}.{where}{at}: {error.get('reason')}: {error.get('message')}"


def _reasons(flows: list[Mapping[str, Any]]) -> str:
    total: dict[str, int] = {}
    for flow in flows:
        for reason, count in flow["reasons"].items():
            total[reason] = total.get(reason, 0) + count
    return f" ({', '.join(f'{count:,} {reason}' for reason, count in total.items())})" * bool(total)


def size_words(size: float) -> str:
    """`1.5 MB`: decimal units, two digits or so."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000
    raise AssertionError("the last unit takes everything")


def time_words(value: float | None) -> str:
    """`12.5 µs`, `3.4 ms` or `1.2 s` for so many microseconds; three digits or so."""
    if value is None:
        return "–"
    if value >= 999_500:  # three digits of what is less are not 1000
        return f"{value / 1e6:,.3g} s" if value < 999.5e6 else f"{value / 1e6:,.0f} s"
    if value >= 999.5:
        return f"{value / 1000:,.3g} ms"
    return f"{value:.3g} µs"
