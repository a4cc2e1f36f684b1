"""Bettong: an embedded streaming appliance for edge boxes.

    from appliance import Flow, col, count, json, mean, stdout, tcp, tumbling

What a user of the Python API needs is here by name, and is imported when it is first asked for: the
command line and the workers import this package too, and start fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from appliance.expression import col as col
    from appliance.expression import functions as functions
    from appliance.expression import when as when
    from appliance.flow import Flow as Flow
    from appliance.flow import Stream as Stream
    from appliance.flow.aggregates import all as all
    from appliance.flow.aggregates import any as any
    from appliance.flow.aggregates import changed as changed
    from appliance.flow.aggregates import count as count
    from appliance.flow.aggregates import delta as delta
    from appliance.flow.aggregates import ema as ema
    from appliance.flow.aggregates import first as first
    from appliance.flow.aggregates import lag as lag
    from appliance.flow.aggregates import last as last
    from appliance.flow.aggregates import max as max
    from appliance.flow.aggregates import max_by as max_by
    from appliance.flow.aggregates import mean as mean
    from appliance.flow.aggregates import min as min
    from appliance.flow.aggregates import min_by as min_by
    from appliance.flow.aggregates import rate as rate
    from appliance.flow.aggregates import stddev as stddev
    from appliance.flow.aggregates import stddev_pop as stddev_pop
    from appliance.flow.aggregates import sum as sum
    from appliance.flow.aggregates import variance as variance
    from appliance.flow.aggregates import variance_pop as variance_pop
    from appliance.flow.words import acknowledged_tcp as acknowledged_tcp
    from appliance.flow.words import binary as binary
    from appliance.flow.words import blackhole as blackhole
    from appliance.flow.words import connector as connector
    from appliance.flow.words import csv as csv
    from appliance.flow.words import event_time as event_time
    from appliance.flow.words import file as file
    from appliance.flow.words import generate as generate
    from appliance.flow.words import global_window as global_window
    from appliance.flow.words import hopping as hopping
    from appliance.flow.words import itself as itself
    from appliance.flow.words import json as json
    from appliance.flow.words import lines as lines
    from appliance.flow.words import msgpack as msgpack
    from appliance.flow.words import raw as raw
    from appliance.flow.words import sqlite as sqlite
    from appliance.flow.words import stdin as stdin
    from appliance.flow.words import stdout as stdout
    from appliance.flow.words import tcp as tcp
    from appliance.flow.words import text as text
    from appliance.flow.words import tumbling as tumbling
    from appliance.flow.words import udp as udp

__version__ = "0.1.0"

_HOMES = {
    "appliance.expression": ("col", "when"),
    "appliance.flow": ("Flow", "Stream"),
    "appliance.flow.aggregates": (
        "all", "any", "changed", "count", "delta", "ema", "first", "lag", "last", "max", "max_by",
        "mean", "min", "min_by", "rate", "stddev", "stddev_pop", "sum", "variance", "variance_pop",
    ),
    "appliance.flow.words": (
        "acknowledged_tcp", "binary", "blackhole", "connector", "csv", "event_time", "file",
        "generate", "global_window", "hopping", "itself", "json", "lines", "msgpack", "raw",
        "sqlite", "stdin", "stdout", "tcp", "text", "tumbling", "udp",
    ),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

# A star import must not take the place of built-ins: these are imported by name.
_BUILT_IN_NAMES = {"all", "any", "max", "min", "sum"}

__all__ = ["functions", *(name for name in _HOME_OF if name not in _BUILT_IN_NAMES)]


def __getattr__(name: str) -> Any:
    import importlib

    if name == "functions":
        return importlib.import_module("appliance.expression.functions")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'appliance' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_BUILT_IN_NAMES, *globals()})
