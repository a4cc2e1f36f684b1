"""The command line, in this process: what it prints and how it ends."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from appliance import __version__, connect
from appliance.cli.columns import columns
from appliance.cli.commands import COMMANDS
from appliance.cli.demo import FLOW
from appliance.cli.main import main
from appliance.expression.library import FUNCTIONS

GOOD = """
version = 1
name = "good"
[source.in]
stdin = {}
[step.big]
where = "n > 1"
window = { tumbling = "10s" }
aggregate = { n = "count()" }
[sink.out]
stdout = {}
"""


@pytest.mark.parametrize("words", [["version"], ["--version"], ["-V"]])
def test_the_version_is_the_packages(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out == f"bettong {__version__}\n"
    assert version("bettong") == __version__


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    words = capsys.readouterr().out
    assert all(f"  {name} " in words for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert "Usage: bettong" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["rnu"], ["run"], ["run", "--nonsense", "x"], ["run", "x", "--log-format", "xml"]]
)
def test_wrong_use_is_exit_code_two(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "Error" in capsys.readouterr().err


def test_check_says_ok_and_what_may_surprise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.toml").write_text(GOOD)
    assert main(["check", str(tmp_path / "good.toml")]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("ok    good: 1 source, 1 step, 1 sink\n")
    assert "note  good: " in said.out
    assert said.err == ""


def test_check_says_every_fault_of_every_file_and_ends_with_78(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.toml").write_text(GOOD.replace("n > 1", "n >").replace("stdout", "stdot"))
    (tmp_path / "two.toml").write_text("version = ")
    assert main(["check", str(tmp_path)]) == 78
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("one.toml:") == 2
    assert said.err.count("two.toml:") == 1


def test_explain_shows_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.toml").write_text(GOOD)
    assert main(["explain", str(tmp_path / "good.toml")]) == 0
    assert "step big · native" in capsys.readouterr().out


def test_list_names_everything_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    words = capsys.readouterr().out
    for name in (*connect.SOURCE_NAMES, *connect.SINK_NAMES, *FUNCTIONS, "mean", "ema"):
        assert name in words
    assert main(["list", "sinks"]) == 0
    assert capsys.readouterr().out.startswith("sinks:\n  blackhole")


def test_the_demos_flow_is_shipped_and_without_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(FLOW)]) == 0
    assert "note" not in capsys.readouterr().out


def test_columns_are_aligned_and_end_without_blanks() -> None:
    rows = [["a", "1", "x"], ["bbb", "22", ""]]
    assert columns(rows, right=[1]) == ["a     1  x", "bbb  22"]
    assert columns([]) == []
