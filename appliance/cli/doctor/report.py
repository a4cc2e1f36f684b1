"""Findings as lines of text, and as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from appliance import __version__
from appliance.cli.columns import columns
from appliance.cli.doctor.finding import Finding, Level, count


def document(findings: Sequence[Finding]) -> dict[str, object]:
    """For machines."""
    return {
        "version": __version__,
        "faults": count(findings, Level.FAULT),
        "warnings": count(findings, Level.WARNING),
        "findings": [asdict(finding) for finding in findings],
    }


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """A line for each finding, a second one with the remedy; then the sum."""
    rows = [[f.level.value, f.group, f"{f.subject}: {f.found}"] for f in findings]
    for finding, line in zip(findings, columns(rows), strict=True):
        yield line
        if finding.remedy:
            yield f"  = {finding.remedy}"
    yield total(findings)


def total(findings: Sequence[Finding]) -> str:
    """How it stands, in a line."""
    faults, warnings = count(findings, Level.FAULT), count(findings, Level.WARNING)
    parts = [(len(findings), "check"), (faults, "fault"), (warnings, "warning")]
    words = [f"{number} {word}{'s' * (number != 1)}" for number, word in parts if number]
    return ", ".join([*words, *(["nothing to do"] if not faults and not warnings else [])])
