"""All checks, in the order in which they are shown."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.cli.doctor.clock import check_clock
from appliance.cli.doctor.disk import check_disk
from appliance.cli.doctor.facts import ROOT, environ_of
from appliance.cli.doctor.finding import Finding
from appliance.cli.doctor.flows import check_flows
from appliance.cli.doctor.kernel import check_kernel
from appliance.cli.doctor.limits import check_limits
from appliance.cli.doctor.permissions import check_permissions
from appliance.cli.doctor.ports import check_ports
from appliance.cli.doctor.running import check_running
from appliance.cli.doctor.still import check_still
from appliance.cli.doctor.temporary import check_temporary
from appliance.plan.logical import Plan
from appliance.store.examine import Examined
from appliance.supervisor.admin import ask_status


@dataclass(frozen=True)
class Diagnosis:
    """The findings, and the facts behind them that a support bundle shows in full: the status of
    the run, or, while nothing runs, the stores by name. `plans`: of the flows without a fault;
    `environ`: the variables that they were read with."""

    findings: list[Finding]
    plans: Sequence[Plan] = ()
    status: Mapping[str, Any] | None = None
    stores: Mapping[str, Examined] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)


def diagnose(flows: Sequence[str], folder: Path, root: Path = ROOT) -> Diagnosis:
    """Look at everything. `folder`: the data folder; `root`: where /proc and /sys are."""
    status = ask_status(folder)
    # What runs has its variables from its service, and we from a shell.
    environ = {**os.environ, **(environ_of(str(status["pid"]), root) if status else {})}
    found, plans = check_flows(flows, environ)
    memory_bytes = sum(plan.settings.memory_bytes for plan in plans)
    pid = str(status["pid"]) if status is not None else "self"
    findings = [
        *check_clock(root),
        *check_disk(folder, _spool_bytes(plans), root),
        *check_temporary(),
        *check_permissions(folder, flows),
        *found,
        *check_ports(plans, status, root),
        *check_limits(memory_bytes, pid, root),
        *check_kernel(root),
    ]
    if status is not None:
        findings += check_running(status, plans)
        return Diagnosis(findings, plans, status, environ=environ)
    still = check_still(folder)
    return Diagnosis([*findings, *still.findings], plans, None, still.examined, environ)


def _spool_bytes(plans: Sequence[Plan]) -> int:
    """What the flows' sinks may leave waiting on the disk while they are away."""
    sinks = [sink for plan in plans for sink in plan.sinks.values()]
    return sum(sink.spool.max_bytes for sink in sinks if sink.delivery != "immediate")
