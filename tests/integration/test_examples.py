"""The example flows, run as they stand: everything they print and write, byte for byte."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from integration.processes import ROOT, run

FLOWS = ROOT / "config" / "flows"
EXAMPLES = sorted(path.parent.name for path in FLOWS.glob("*/expected"))


def test_the_examples_are_those_of_the_page() -> None:
    page = (FLOWS / "README.md").read_text()
    folders = {path.parent.name for path in FLOWS.glob("*/flow.toml")}
    assert folders == {name for name in folders if f"[{name}]({name}/flow.toml)" in page}
    assert folders - set(EXAMPLES) == {"mqtt"}, "what needs no broker has its complete output"
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_gives_its_complete_output(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    shutil.copytree(FLOWS / name, folder, ignore=shutil.ignore_patterns("expected", "out-*"))
    expected = {path.name: path.read_bytes() for path in (FLOWS / name / "expected").iterdir()}
    ended = run(folder, "run", "--once", "flow.toml")
    assert ended.returncode == 0, ended.stderr
    written = {path.name: path.read_bytes() for path in folder.glob("out-*")}
    assert {"stdout": ended.stdout, **written} == expected


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_no_finding(name: str) -> None:
    ended = run(FLOWS, "check", f"{name}/flow.toml")
    assert ended.returncode == 0, ended.stdout
