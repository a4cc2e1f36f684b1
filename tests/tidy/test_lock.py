"""The lock file of the frozen programs names everything that goes into them, at one version."""

from __future__ import annotations

import re
import tomllib

from packaging.requirements import Requirement

from tidy.project import ROOT

LOCK = ROOT / "packaging" / "requirements.lock"


def locked() -> dict[str, str]:
    lines = [line for line in LOCK.read_text().splitlines() if line and not line.startswith("#")]
    pairs = [line.split("==") for line in lines]
    assert all(len(pair) == 2 and re.fullmatch(r"[\w.]+", pair[1]) for pair in pairs), pairs
    return {name.lower(): version for name, version in pairs}


def test_the_lock_has_what_the_project_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    clients = [text for texts in project["optional-dependencies"].values() for text in texts]
    clients = [text for text in clients if "==" not in text]  # not the tools
    for text in (*project["dependencies"], *clients):
        wanted = Requirement(text)
        assert wanted.name.lower() in locked(), f"{wanted.name} is not in {LOCK.name}"
        assert locked()[wanted.name.lower()] in wanted.specifier, f"{text} is locked otherwise"
