"""What a data folder holds while nobody runs with it: what `bettong fsck` says, in short."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from appliance.cli.doctor.finding import Finding, fault, ok, warning
from appliance.cli.fsck import read_records, words
from appliance.errors import EnvironmentFailure
from appliance.limits import DOCTOR_LISTED_MAX_COUNT
from appliance.metrics.summary import size_words
from appliance.store import Damage
from appliance.store.examine import Examined, examine
from appliance.supervisor.folder import quiet
from appliance.worker.damage import DamageNotes, is_loss
from appliance.worker.stores import store_folders

GROUP = "state"

_REMEDY = "keep a copy of the data folder, then `bettong fsck --repair`"


@dataclass(frozen=True)
class Stores:
    """What was found, and the stores it was found in, by name."""

    findings: list[Finding]
    examined: Mapping[str, Examined]


def check_still(folder: Path) -> Stores:
    """Look at every store of the folder, as `fsck` does; nothing is changed."""
    if not os.path.isdir(folder):
        return Stores([ok(GROUP, "run", f"nothing has run with {folder} yet")], {})
    findings = [ok(GROUP, "run", f"nothing runs with {folder} now")]
    examined: dict[str, Examined] = {}
    try:
        with quiet(folder) as path:
            for store in store_folders(path):
                examined[store.name] = examine(store)
                findings += check_store(store, examined[store.name])
    except EnvironmentFailure as error:
        remedy = "run doctor as who runs the flows; a run that does not answer is to be ended"
        findings = [fault(GROUP, "run", str(error), remedy)]
    return Stores(findings, examined)


def check_store(folder: Path, found: Examined) -> list[Finding]:
    """One store: damage there is, losses that nobody has accepted, results that wait."""
    subject = f"store {folder.name}"
    damage = [*found.damage, *read_records(found)[1]]
    lost = [f"flow {flow}: {text}" for flow, text in DamageNotes(folder).all()]
    findings = []
    if damage:
        level = fault if any(map(is_loss, damage)) else warning
        findings.append(level(GROUP, subject, _listed(damage), _REMEDY))
    if lost:
        text = "lost, and nobody has accepted it yet: " + _few(lost)
        remedy = "`bettong run --accept-damage` goes on without it; or import an older export"
        findings.append(fault(GROUP, subject, text, remedy))
    if not findings:
        text = f"sound: cut {found.cut}, {size_words(found.bytes)}"
        waiting = sum(spool.bytes for flow in found.flows for spool in flow.spools)
        text += f", {size_words(waiting)} of results wait" if waiting else ""
        findings.append(ok(GROUP, subject, text))
    return findings


def _listed(damage: list[Damage]) -> str:
    return "damaged: " + _few([words(one) for one in damage])


def _few(texts: list[str]) -> str:
    more = len(texts) - DOCTOR_LISTED_MAX_COUNT
    return "; ".join(
        [*texts[:DOCTOR_LISTED_MAX_COUNT], *([f"and {more} more"] if more > 0 else [])]
    )
