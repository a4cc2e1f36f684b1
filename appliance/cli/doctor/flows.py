"""The flow files: can they be loaded here, as the environment is?"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from appliance.cli.doctor.finding import Finding, fault, ok
from appliance.errors import FlowError
from appliance.load import load
from appliance.plan.logical import Plan

GROUP = "flows"


def check_flows(
    paths: Sequence[str], environ: Mapping[str, str] = os.environ
) -> tuple[list[Finding], list[Plan]]:
    """A finding for each path, and the plans of those that are right.

    The texts of faults are left to `bettong check`: they quote the file, which may hold secrets.
    """
    findings: list[Finding] = []
    plans: list[Plan] = []
    for path in paths:
        try:
            found = load([Path(path)], environ)
        except FlowError as error:
            findings.append(_faulty(path, error))
        except OSError as error:
            text = f"cannot be read: {error.strerror}"
            findings.append(fault(GROUP, path, text, "run doctor as who runs the flows"))
        else:
            plans += found
            names = ", ".join(plan.name for plan in found)
            findings.append(ok(GROUP, path, f"no fault in {names}"))
    return findings + _together(paths, environ, findings), plans


def _together(
    paths: Sequence[str], environ: Mapping[str, str], findings: Sequence[Finding]
) -> list[Finding]:
    """Faults that only show when all are run at once: names, ports and files used twice."""
    if len(paths) < 2 or any(finding.remedy for finding in findings):
        return []
    try:
        load([Path(path) for path in paths], environ)
    except FlowError as error:
        return [_faulty(" ".join(paths), error)]
    return []


def _faulty(path: str, error: FlowError) -> Finding:
    count, first = len(error.faults), error.faults[0].place
    found = f"{count} fault{'s' * (count != 1)}, the first at {first}"
    return fault(GROUP, path, found, f"`bettong check {path}` says what is wrong and what to do")
