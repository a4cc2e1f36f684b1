"""The tutorial's pages do what they say: files are made from their blocks, and the commands give
what stands below them."""

from __future__ import annotations

import os
import re
import signal
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.pages import files, sessions, shell, write_files
from integration.processes import ROOT, eventually, is_alive, run, running
from unit.ports import free_port

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
    elsewhere = _listen_elsewhere(tmp_path)
    typed = list(sessions(page))
    assert typed, "there is something to type"
    try:
        for command, printed in typed:
            done = shell(elsewhere(command), tmp_path)
            assert done.stdout == printed, f"{command}\n{done.stderr}"
        eventually(lambda: not _running(tmp_path), "the page has ended what it has started")
    finally:
        for pid in _running(tmp_path):
            os.kill(pid, signal.SIGKILL)


def _listen_elsewhere(folder: Path) -> Callable[[str], str]:
    """The ports of a page are taken by whoever runs it: here each becomes one that is free, in its
    files and, by what is returned, in its commands."""
    free: defaultdict[str, str] = defaultdict(lambda: f"127.0.0.1:{free_port()}")

    def elsewhere(text: str) -> str:
        return re.sub(r"127\.0\.0\.1:\d+", lambda found: free[found[0]], text)

    for path in folder.glob("*.toml"):
        path.write_text(elsewhere(path.read_text()))
    return elsewhere


def _running(folder: Path) -> list[int]:
    """What the page's commands have left running, by the locks of its data folders."""
    holders = [int(lock.read_text() or 0) for lock in folder.glob("*/lock")]
    return [pid for pid in holders if pid and is_alive(pid) and _runs_in(pid, folder)]


def _runs_in(pid: int, folder: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == folder
    except FileNotFoundError:  # it has just gone
        return False


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
