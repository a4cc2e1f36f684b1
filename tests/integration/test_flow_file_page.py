"""The reference of the flow file: what is on the page runs, and prints what it says."""

from __future__ import annotations

from pathlib import Path

from appliance import connect
from integration.pages import sessions, shell, write_files
from integration.processes import ROOT, run

PAGE = ROOT / "docs" / "flow-file.md"


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    write_files(PAGE, tmp_path)
    typed = list(sessions(PAGE))
    assert len(typed) == 2
    for command, printed in typed:
        done = shell(command, tmp_path)
        assert done.stdout == printed, f"{command}\n{done.stderr}"


def test_the_settings_on_the_page_are_the_defaults(tmp_path: Path) -> None:
    write_files(PAGE, tmp_path)
    text = (tmp_path / "full.toml").read_text()
    before, _, after = text.partition("[settings]")
    (tmp_path / "short.toml").write_text(before + after[after.index("[source") :])
    long, short = (run(tmp_path, "explain", name) for name in ("full.toml", "short.toml"))
    assert long.returncode == 0
    assert long.stdout == short.stdout


def test_every_connector_is_on_the_page() -> None:
    text = PAGE.read_text()
    for name in {*connect.SOURCE_NAMES, *connect.SINK_NAMES}:
        assert f"`{name}`" in text, name
