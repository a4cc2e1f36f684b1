"""The tutorial's pages do what they say: files are made from their blocks, and the commands give
what stands below them."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.pages import files, sessions, shell, write_files
from integration.processes import ROOT, run, running

TUTORIAL = ROOT / "docs" / "tutorial"
PAGES = sorted(path for path in TUTORIAL.glob("*.md") if path.name != "README.md")

#: Two ways of writing one flow: page, flow file, Python file.
FORMS = [
    ("sensors.md", "sensors.toml", "sensors.py"),
    ("word-count.md", "word-count.toml", "word_count.py"),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    write_files(page, tmp_path)
    typed = list(sessions(page))
    assert typed, "there is something to type"
    for command, printed in typed:
        done = shell(command, tmp_path)
        assert done.stdout == printed, f"{command}\n{done.stderr}"


@pytest.mark.parametrize(("page", "toml", "python"), FORMS)
def test_both_forms_of_a_flow_are_one_plan(
    page: str, toml: str, python: str, tmp_path: Path
) -> None:
    write_files(TUTORIAL / page, tmp_path)
    explained = [run(tmp_path, "explain", name) for name in (toml, python)]
    assert [ended.returncode for ended in explained] == [0, 0], explained
    assert explained[0].stdout == explained[1].stdout != b""


def test_the_flow_in_python_listens_as_well(tmp_path: Path) -> None:
    """Only the source changes."""
    page = TUTORIAL / "sensors.md"
    text = files(page)["sensors.py"]
    assert text.count('file("readings.jsonl"), json()') == 1
    live = text.replace('file("readings.jsonl"), json()', "tcp.listen(0), json()")
    (tmp_path / "live.py").write_text("from appliance import tcp\n" + live)
    with running(tmp_path, "run", "live.py") as flow:
        flow.send(files(page)["readings.jsonl"])
        (printed,) = (text for command, text in sessions(page) if command.endswith("sensors.py"))
        assert flow.line() + flow.line() == "".join(printed.splitlines(keepends=True)[:2])
        assert flow.stop() == 0


def test_the_first_page_leads_to_all_others() -> None:
    text = (TUTORIAL / "README.md").read_text()
    assert [page.name for page in PAGES if f"({page.name})" not in text] == []
