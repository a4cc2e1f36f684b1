"""Files that are followed: what is appended, truncated, replaced, or not there yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.processes import run, running, status_of


def follow(folder: Path, format: str = '"text"', template: str = "{line}") -> Path:
    """A flow that prints the lines of `log.txt`; the file, which is not made here."""
    (folder / "flow.toml").write_text(
        f"""
version = 1
[source.log]
file = {{ path = "log.txt", follow = true }}
format = {format}
[sink.out]
stdout = {{}}
format = {{ text = "{template}" }}
"""
    )
    return folder / "log.txt"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_what_is_appended_is_read_and_an_unfinished_line_waits(tmp_path: Path) -> None:
    log = follow(tmp_path)
    log.write_text("one\ntwo\nthr")
    with running(tmp_path, "run", "flow.toml") as flow:
        assert [flow.line(), flow.line()] == ["one\n", "two\n"]
        append(log, "e")
        append(log, "e\nfour\nfi")
        assert [flow.line(), flow.line()] == ["three\n", "four\n"]
        append(log, "ve\n")
        assert flow.line() == "five\n"
        (source,) = status_of(tmp_path)["flows"][0]["sources"]
        assert (source["records"], source["bytes"]) == (5, log.stat().st_size)
        assert flow.stop() == 0
    assert flow.lines.empty()


def test_lines_appended_one_by_one_all_arrive_in_order(tmp_path: Path) -> None:
    log = follow(tmp_path)
    log.touch()
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.wait_for(" running ")
        for number in range(500):
            append(log, f"{number}\n")
        assert [flow.line() for _ in range(500)] == [f"{number}\n" for number in range(500)]
        assert flow.stop() == 0


def test_a_file_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    log = follow(tmp_path)
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.wait_for(" running ")
        (tmp_path / "other.txt").write_text("nobody asked for this\n")
        append(log, "here I am\n")
        assert flow.line() == "here I am\n"
        append(log, "and more\n")
        assert flow.line() == "and more\n"
        assert flow.stop() == 0


def test_a_file_moved_into_its_place_is_found(tmp_path: Path) -> None:
    log = follow(tmp_path)
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.wait_for(" running ")
        (tmp_path / "made.txt").write_text("whole at once\n")
        (tmp_path / "made.txt").rename(log)
        assert flow.line() == "whole at once\n"
        assert flow.stop() == 0


def test_a_truncated_file_is_read_from_its_start(tmp_path: Path) -> None:
    """Its unfinished line went with it; the header of a table is one again."""
    log = follow(tmp_path, "{ csv = { header = true } }", "{a} {b}")
    log.write_text("a,b\n1,2\n3,4\n5,")
    with running(tmp_path, "run", "flow.toml") as flow:
        assert [flow.line(), flow.line()] == ["1 2\n", "3 4\n"]
        log.write_text("b,a\n6,7\n")
        flow.wait_for("was truncated; reading it from its start")
        assert flow.line() == "7 6\n"
        append(log, "8,9\n")
        assert flow.line() == "9 8\n"
        assert flow.stop() == 0


def test_a_rotated_log_goes_on_in_the_new_file(tmp_path: Path) -> None:
    """The old one is read to its end, its last line too."""
    log = follow(tmp_path)
    log.write_text("one\n")
    with running(tmp_path, "run", "flow.toml") as flow:
        assert flow.line() == "one\n"
        log.rename(tmp_path / "log.1")
        append(tmp_path / "log.1", "two\nthree")
        assert flow.line() == "two\n"
        append(log, "four\n")
        assert [flow.line(), flow.line()] == ["three\n", "four\n"]
        append(log, "five\n")
        assert flow.line() == "five\n"
        log.rename(tmp_path / "log.2")
        append(log, "six\n")
        assert flow.line() == "six\n"
        assert flow.stop() == 0


def test_files_that_match_a_glob_later_are_read(tmp_path: Path) -> None:
    follow(tmp_path)
    text = (tmp_path / "flow.toml").read_text().replace('path = "log.txt"', 'glob = "*/day-*.txt"')
    (tmp_path / "flow.toml").write_text(text)
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.wait_for(" running ")
        (tmp_path / "a").mkdir()
        append(tmp_path / "a" / "day-1.txt", "one\n")
        assert flow.line() == "one\n"
        append(tmp_path / "a" / "day-2.txt", "two\n")
        assert flow.line() == "two\n"
        append(tmp_path / "a" / "day-1.txt", "three\n")
        assert flow.line() == "three\n"
        assert flow.stop() == 0


def test_following_at_any_depth_is_refused_with_a_remedy(tmp_path: Path) -> None:
    follow(tmp_path)
    text = (tmp_path / "flow.toml").read_text().replace('path = "log.txt"', 'glob = "**/x.txt"')
    (tmp_path / "flow.toml").write_text(text)
    ended = run(tmp_path, "check", "flow.toml")
    assert ended.returncode != 0
    assert "name each level" in (ended.stderr + ended.stdout).decode()


@pytest.mark.parametrize(
    ("path", "words"),
    [("none/log.txt", "there is no file"), (".", "is not a file")],
)
def test_what_can_never_appear_is_refused(tmp_path: Path, path: str, words: str) -> None:
    follow(tmp_path)
    text = (tmp_path / "flow.toml").read_text()
    (tmp_path / "flow.toml").write_text(text.replace('"log.txt"', f'"{path}"'))
    ended = run(tmp_path, "run", "flow.toml")
    assert ended.returncode == 3
    assert words in ended.stderr.decode()
