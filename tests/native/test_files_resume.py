"""Files after a restart: each is read on where it was left, whatever became of it meanwhile, and
what cannot be is said (S5, S22)."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.worker.cut_form import unpack_positions
from native.files import FLOW, Files, append, document

TABLE = FLOW.replace('"text"', "{ csv = { header = true } }").replace("{line}", "{a}-{b}")


class Log:
    """A file `log` in a folder, and a source of it that can be started again and again."""

    def __init__(
        self, folder: Path, *, follow: bool = True, pattern: str = "", **more: str
    ) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.follow, self.pattern, self.flow = follow, pattern, more.get("flow", FLOW)
        self.cut = b""
        self.logs = ""
        self.lost = 0

    def run(self, text: str | None = None) -> list[str]:
        """Start where the last run stopped, append this to the log, and stop by a crash; what came
        out."""
        with self.start() as files:
            lines = files.lines()
            if text is not None:
                append(self.log, text)
                lines += files.lines()
            for _ in range(30 if self.follow else 0):
                files.advance(1)
            lines += files.lines()
            self.stop(files)
        return lines

    def start(self) -> Files:
        paths = [self.log]
        if self.pattern:
            paths = sorted(self.folder.glob(self.pattern))
        program = document(
            self.folder,
            self.flow,
            follow=self.follow,
            paths=[str(path) for path in paths],
            pattern=str(self.folder / self.pattern) if self.pattern and self.follow else "",
        )
        return Files(program, self.cut)

    def stop(self, files: Files) -> None:
        self.cut = files.cut()
        self.logs = "\n".join(files.logs)
        self.lost = files.source()["lost_files"]

    def known(self) -> list[str]:
        """The names of the partitions that the last cut has."""
        return [Path(one.name).name for one in unpack_positions(self.cut).partitions]


@pytest.mark.parametrize("follow", [True, False])
def test_what_was_appended_meanwhile_is_read_and_nothing_twice(
    tmp_path: Path, follow: bool
) -> None:
    log = Log(tmp_path, follow=follow)
    log.log.write_text("1\n2\n3")
    lines = log.run()
    append(log.log, "+\n4\n" if follow else "\n4\n")
    lines += log.run()
    lines += log.run()
    append(log.log, "5\n")
    lines += log.run()
    assert lines == ["1", "2", "3+" if follow else "3", "4", "5"]
    assert (log.lost, log.known()) == (0, ["log"])


def test_the_header_and_an_unfinished_line_come_back(tmp_path: Path) -> None:
    log = Log(tmp_path, flow=TABLE)
    assert log.run('b,a\n1,2\n3,"x') == ["2-1"]
    assert log.run('y"\n') == ["xy-3"]


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("again", ["", "9\n", "1\n2\n9\n9\n9\n"])
def test_a_file_that_was_written_anew_is_read_from_its_start(
    tmp_path: Path, again: str, follow: bool
) -> None:
    """Shorter, or longer with another head; an unfinished line went with what there was."""
    log = Log(tmp_path, follow=follow)
    log.log.write_text("1\n3\n0\n4" if follow else "1\n3\n0\n4\n")
    assert log.run()[:3] == ["1", "3", "0"]
    log.log.write_text(again)
    assert log.run() == again.split()
    assert "was truncated or written anew" in log.logs


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("pattern", ["", "lo?"])
def test_a_file_that_was_rotated_meanwhile_is_finished_first(
    tmp_path: Path, follow: bool, pattern: str
) -> None:
    log = Log(tmp_path, follow=follow, pattern=pattern)
    log.log.write_text("1\n2\n3" if follow else "1\n2\n")
    assert log.run() == ["1", "2"]
    append(log.log, "+\n4\n" if follow else "3+\n4\n")
    log.log.rename(tmp_path / "log.1")
    log.log.write_text("5\n")
    assert log.run() == ["3+", "4", "5"]
    assert log.run() == []
    append(log.log, "6\n")
    assert log.run() == ["6"]
    assert (log.lost, log.known()) == (0, ["log"])


def test_a_rotated_file_whose_successor_is_not_there_yet(tmp_path: Path) -> None:
    log = Log(tmp_path)
    assert log.run("1\n") == ["1"]
    append(log.log, "2\n")
    log.log.rename(tmp_path / "log.1")
    with log.start() as files:
        assert files.lines() == ["2"]
        append(tmp_path / "log.1", "3\n")
        append(log.log, "4\n")
        assert files.lines() == ["3"]
        files.advance(1.1)
        assert files.lines() == ["4"]
        log.stop(files)
    assert log.run() == []


def test_a_restart_in_the_midst_of_rotations(tmp_path: Path) -> None:
    """Both the rotated file and the one that waits for it are in the cut, under one name."""
    log = Log(tmp_path)
    with log.start() as files:
        append(log.log, "1\n")
        assert files.lines() == ["1"]
        log.log.rename(tmp_path / "log.1")
        append(log.log, "3\n")
        files.turn()
        log.stop(files)
    assert log.known() == ["log", "log"]
    append(tmp_path / "log.1", "2\n")
    log.log.rename(tmp_path / "log.2")
    append(log.log, "4\n")
    assert log.run() == ["2", "3", "4"]
    assert log.run() == []
    assert (log.lost, log.known()) == (0, ["log"])


@pytest.mark.parametrize("follow", [True, False])
def test_files_that_match_under_other_names_are_read_on_under_those(
    tmp_path: Path, follow: bool
) -> None:
    log = Log(tmp_path, follow=follow, pattern="log*")
    log.log.write_text("1\n")
    assert log.run() == ["1"]
    for number in range(2, 5):
        append(log.log, f"{number}!\n")
        for older in range(number - 1, 1, -1):
            (tmp_path / f"log.{older - 1}").rename(tmp_path / f"log.{older}")
        log.log.rename(tmp_path / "log.1")
        log.log.write_text(f"{number}\n")
        assert sorted(log.run()) == [str(number), f"{number}!"]
    assert (log.lost, sorted(log.known())) == (0, ["log", "log.1", "log.2", "log.3"])


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("copied", [True, False])
def test_a_replaced_file_that_is_nowhere_is_lost_and_said_to_be(
    tmp_path: Path, follow: bool, copied: bool
) -> None:
    """Another file with the same content is another file."""
    log = Log(tmp_path, follow=follow)
    log.log.write_text("1\n2\n")
    with log.start() as files:
        assert files.lines() == ["1", "2"] if follow else True
        files.turn(1)
        log.stop(files)
    text = "1\n2\n3\n" if copied else "7\n"
    (tmp_path / "new").write_text(text)
    (tmp_path / "new").rename(log.log)
    assert log.run() == text.split()
    if follow:
        assert log.lost == 1 and "read to byte 4 before the restart, has gone" in log.logs
    assert log.run() == []


def test_a_file_whose_disk_comes_late_is_read_on(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    log = Log(folder)
    assert log.run("1\n") == ["1"]
    append(log.log, "2\n")
    folder.rename(tmp_path / "away")
    folder.mkdir()
    with log.start() as files:
        assert files.lines() == []
        assert files.said("is not there; it is read on when it comes") == 1
        log.stop(files)
    assert log.known() == ["log"]
    with log.start() as files:
        (tmp_path / "away" / "log").rename(log.log)
        assert files.lines() == ["2"]
        log.stop(files)
    assert (log.lost, log.known()) == (0, ["log"])


def test_a_file_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    log = Log(tmp_path)
    assert log.run("1\n") == ["1"]
    log.log.unlink()
    with log.start() as files:
        files.advance(3599)
        assert files.source()["lost_files"] == 0
        files.advance(1)
        assert files.source()["lost_files"] == 1
        log.stop(files)
        assert log.known() == []
        append(log.log, "2\n")
        assert files.lines() == ["2"]


def test_files_that_have_ended_are_not_read_again_unless_they_are_new(tmp_path: Path) -> None:
    log = Log(tmp_path, follow=False, pattern="*.csv")
    for name in "abc":
        (tmp_path / f"{name}.csv").write_text(f"{name}\n")
    assert sorted(log.run()) == ["a", "b", "c"]
    assert log.run() == []
    (tmp_path / "a.csv").unlink()
    (tmp_path / "new").write_text("a2\n")
    (tmp_path / "new").rename(tmp_path / "a.csv")
    append(tmp_path / "b.csv", "b2\n")
    (tmp_path / "c.csv").rename(tmp_path / "d.csv")
    (tmp_path / "e.csv").write_text("e\n")
    assert sorted(log.run()) == ["a2", "b2", "e"]
    assert (log.lost, sorted(log.known())) == (0, ["a.csv", "b.csv", "d.csv", "e.csv"])


def test_a_cut_in_the_middle_of_many_files(tmp_path: Path) -> None:
    """Wherever it is, each line comes once."""
    for name in "abcd":
        (tmp_path / f"{name}.csv").write_text("".join(f"{name}{n:07}\n" for n in range(60_000)))
    expected = sorted(f"{name}{n:07}" for name in "abcd" for n in range(60_000))
    log = Log(tmp_path, follow=False, pattern="*.csv")
    for turns in (1, 3, 2, 1):
        with log.start() as files:
            before = files.lane.take_memory(0, 0)
            files.turn(turns)
            log.cut = files.cut()
            got = before.decode().split() + files.lane.take_memory(0, 0).decode().split()
            expected = sorted(set(expected) - set(got)) if len(set(got)) == len(got) else []
    with log.start() as files:
        while not files.ended:
            files.turn()
        rest = files.lane.take_memory(0, 0).decode().split()
    assert sorted(rest) == expected
