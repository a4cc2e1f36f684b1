"""Followed files: what appears, is rotated, goes; how their source shares its turns (S5, S7)."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.limits import GLOB_MAX_COUNT
from native.files import Files, append, document


def follow(folder: Path, pattern: str = "", *paths: str) -> Files:
    """Follow these files, or those that match the pattern, in `folder`."""
    named = [str(folder / path) for path in paths]
    full = str(folder / pattern) if pattern else ""
    return Files(document(folder, follow=True, paths=named, pattern=full))


def watches() -> int:
    """How many inotify watches this process has."""
    count = 0
    for entry in Path("/proc/self/fdinfo").iterdir():
        with contextlib.suppress(OSError):  # the descriptor of this very listing has gone
            count += entry.read_text().count("inotify wd:")
    return count


# ---- what appears ----


def test_files_that_appear_later_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    with follow(tmp_path, "day-*.csv") as files:
        assert files.lines() == []
        for name in ("day-3.csv", "day-1.csv", "other.csv", ".day-4.csv", "day-2.csv"):
            (tmp_path / name).write_text(f"{name}\n")
        assert files.lines() == ["day-1.csv", "day-2.csv", "day-3.csv"]
        append(tmp_path / "day-2.csv", "more\n")
        (tmp_path / "made.tmp").write_text("moved\n")
        (tmp_path / "made.tmp").rename(tmp_path / "day-0.csv")
        assert sorted(files.lines()) == ["more", "moved"]
        assert files.source()["partitions"] == 4


def test_what_appeared_before_the_watch_began_is_read_too(tmp_path: Path) -> None:
    """The paths were listed by somebody else, a moment ago."""
    (tmp_path / "a.log").write_text("a\n")
    (tmp_path / "b.log").write_text("b\n")
    with follow(tmp_path, "*.log", "a.log") as files:
        assert sorted(files.lines()) == ["a", "b"]


def test_folders_with_wildcards_are_watched_too(tmp_path: Path) -> None:
    root = tmp_path / "logs"
    (root / "one").mkdir(parents=True)
    with follow(tmp_path, "logs/*/app/*.log") as files:
        (root / "one" / "app").mkdir()
        files.turn()
        (root / "one" / "app" / "x.log").write_text("x\n")
        (root / "one" / "y.log").write_text("not this one\n")
        assert files.lines() == ["x"]
        whole = tmp_path / "made" / "app"
        whole.mkdir(parents=True)
        for name in ("b", "a"):
            (whole / f"{name}.log").write_text(f"{name}\n")
        (tmp_path / "made").rename(root / "two")
        assert files.lines() == ["a", "b"]
        append(root / "two" / "app" / "b.log", "more\n")
        assert files.lines() == ["more"]


def test_a_folder_that_goes_and_comes_back_is_watched_again(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    with follow(folder, "", "log") as files:
        (folder / "log").write_text("one\n")
        assert files.lines() == ["one"]
        folder.rename(tmp_path / "old")
        files.turn()
        folder.mkdir()
        files.advance(1)
        (folder / "log").write_text("two\n")
        files.turn()
        files.advance(1)
        assert files.lines() == ["two"]


def test_a_pipe_that_matches_is_left_alone(tmp_path: Path) -> None:
    with follow(tmp_path, "*.log") as files:
        os.mkfifo(tmp_path / "pipe.log")
        (tmp_path / "folder.log").mkdir()
        append(tmp_path / "a.log", "a\n")
        assert files.lines() == ["a"]
        assert files.source()["partitions"] == 1


def test_one_that_appears_never_pulls_the_watermark_back(tmp_path: Path) -> None:
    """S7: a file that is named counts from the start, one that appears from its first record."""
    flow = """
version = 1
[source.log]
file = { path = "log", follow = true }
format = { csv = { columns = ["ts"] } }
schema = { ts = "int" }
time = { field = "ts", unit = "s", idle = "never" }
[step.w]
window = { tumbling = "10s" }
aggregate = { n = "count()" }
[sink.out]
stdout = {}
format = { text = "{window_start}:{n}" }
"""
    (tmp_path / "a.log").write_text("1\n25\n")
    paths, pattern = [str(tmp_path / "a.log")], str(tmp_path / "*.log")
    program = document(tmp_path, flow, follow=True, paths=paths, pattern=pattern)
    with Files(program) as files:
        assert files.lines() == ["0:1"]
        (tmp_path / "b.log").touch()
        append(tmp_path / "a.log", "35\n")
        assert files.lines() == ["20:1"]  # the new one is empty and holds nothing up
        append(tmp_path / "b.log", "31\n32\n")
        append(tmp_path / "a.log", "45\n")
        assert files.lines() == []  # now it does
        append(tmp_path / "b.log", "41\n")
        assert files.lines() == ["30:3"]
        assert files.source()["watermark_us"] == 41_000_000


@contextlib.contextmanager
def descriptors(count: int) -> Iterator[None]:
    """This process may open so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count:
        pytest.skip(f"no more than {hard} descriptors may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_many_files_are_said_and_counted_and_read_when_there_is_room(tmp_path: Path) -> None:
    for number in range(GLOB_MAX_COUNT):
        (tmp_path / f"{number:05}.log").touch()
    with descriptors(GLOB_MAX_COUNT + 1000), follow(tmp_path, "*.log") as files:
        assert files.source()["partitions"] == GLOB_MAX_COUNT
        for name in ("x.log", "y.log"):
            append(tmp_path / name, f"{name}\n")
        assert files.lines() == []
        assert files.said("more than 10000 files at a time") == 1
        assert files.source()["refused"] == 2
        (tmp_path / "00007.log").unlink()
        files.turn()
        files.advance(10)
        assert len(files.lines()) == 1
        assert files.source()["partitions"] == GLOB_MAX_COUNT


def test_a_file_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "made").write_text("a\n")
    with follow(tmp_path, "*.log") as files:
        os.close(free := os.dup(0))
        with descriptors(free):
            (tmp_path / "made").rename(tmp_path / "a.log")
            assert files.lines() == []
        assert files.said("cannot open") == 1 and files.source()["refused"] == 1
        files.advance(1)
        assert files.lines() == ["a"]


# ---- rotation ----


def test_a_rotated_file_is_left_when_the_new_one_has_begun_and_it_is_quiet(
    tmp_path: Path,
) -> None:
    """Its writer may go on with it for a while."""
    log, old = tmp_path / "log", tmp_path / "log.1"
    log.write_text("1\n2")
    with follow(tmp_path, "", "log") as files:
        assert files.lines() == ["1"]
        log.rename(old)
        log.touch()
        files.advance(5)
        append(old, "\n3\n")  # the new one is there, but empty
        assert files.lines() == ["2", "3"]
        append(log, "6\n")
        files.advance(0.5)
        append(old, "4\n5")
        assert files.lines() == ["4"]
        files.advance(0.9)
        assert files.lines() == []
        files.advance(0.2)
        assert files.lines() == ["5", "6"]
        append(old, "nobody reads this\n")
        append(log, "7\n")
        assert files.lines() == ["7"]
        assert files.source()["partitions"] == 1


def test_two_rotations_in_a_row_lose_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("1\n")
    with follow(tmp_path, "", "log") as files:
        assert files.lines() == ["1"]
        for number in range(2, 6):
            log.rename(tmp_path / f"log.{number}")
            log.write_text(f"{number}\n")
            files.turn()
        log.rename(tmp_path / "log.6")
        log.touch()
        for _ in range(6):
            files.advance(1)
        append(log, "6\n")
        for _ in range(6):
            files.advance(1)
        assert files.lines() == ["2", "3", "4", "5", "6"]
        assert files.source()["partitions"] == 1


def test_a_new_file_that_stays_empty_does_not_keep_the_ones_behind_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("1\n")
    with follow(tmp_path, "", "log") as files:
        for number in range(3):
            log.rename(tmp_path / f"log.{number}")
            log.touch()
            files.turn()
        append(log, "2\n")
        for _ in range(6):
            files.advance(1)
        assert files.lines() == ["1", "2"]


def test_a_rotated_file_that_matches_the_glob_is_not_read_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("1\n")
    with follow(tmp_path, "log*", "log") as files:
        assert files.lines() == ["1"]
        for number in range(2, 5):
            for older in range(number - 1, 1, -1):
                (tmp_path / f"log.{older - 1}").rename(tmp_path / f"log.{older}")
            log.rename(tmp_path / "log.1")
            log.write_text(f"{number}\n")
            append(tmp_path / "log.1", f"{number}!\n")
            assert sorted(files.lines()) == [str(number), f"{number}!"]
        for _ in range(30):
            files.advance(1)
        assert files.lines() == []
        assert files.source()["partitions"] == 4


def test_a_rotated_file_that_matches_again_lets_the_new_one_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("1\n")
    with follow(tmp_path, "log*", "log") as files:
        assert files.lines() == ["1"]
        log.rename(tmp_path / "old")
        append(log, "2\n")
        assert files.lines() == []  # behind the old one, which may bring more
        (tmp_path / "old").rename(tmp_path / "log.1")
        assert files.lines() == ["2"]
        append(tmp_path / "log.1", "1!\n")
        assert files.lines() == ["1!"]
        assert files.source()["partitions"] == 2


@pytest.mark.parametrize("gone", ["moved", "removed"])
def test_a_globbed_file_that_has_gone_is_left_after_a_while(tmp_path: Path, gone: str) -> None:
    log = tmp_path / "a.log"
    log.write_text("1\n")
    with follow(tmp_path, "*.log", "a.log") as files, log.open("a") as writer:
        assert files.lines() == ["1"]
        log.rename(tmp_path / "archive") if gone == "moved" else log.unlink()
        files.turn()
        writer.write("2\n")
        writer.flush()
        assert files.lines() == ["2"]
        files.advance(9)
        assert files.source()["partitions"] == 1
        files.advance(1)
        assert files.source()["partitions"] == 0
        assert files.said("a.log has gone; it was read to its end") == 1


def test_rotation_leaves_no_watch_and_no_descriptor_behind(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("0\n")
    with follow(tmp_path, "", "log") as files:
        files.turn()
        before = (watches(), len(os.listdir("/proc/self/fd")))
        for number in range(20):
            log.rename(tmp_path / f"log.{number}")
            append(log, f"{number}\n")
            files.turn()
            files.advance(1)
        files.turn()
        assert (watches(), len(os.listdir("/proc/self/fd"))) == before
    assert watches() == 0


# ---- turns ----


def test_no_file_starves_while_the_sink_pushes_back(tmp_path: Path) -> None:
    names = "abcd"
    for name in names:
        (tmp_path / name).write_text(f"{name * 99}\n" * 80_000)
    program = document(tmp_path, paths=[str(tmp_path / name) for name in names])
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    program["sinks"][0].update(kind="stream", fd=writer, immediate=True)
    seen = dict.fromkeys(names, 0)
    with Files(program) as files, open(reader, "rb") as out:
        while sum(seen.values()) < 16_000_000:
            files.turn(1)
            data = os.read(out.fileno(), 65536)
            for name in names:
                seen[name] += data.count(name.encode())
    assert min(seen.values()) > 2_500_000, seen


def test_with_nothing_in_the_way_files_are_read_a_buffer_each_in_turns(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text(f"{name * 63}\n" * 6000)
    program = document(tmp_path, paths=[str(tmp_path / name) for name in "abc"])
    with Files(program) as files:
        got = ""
        while not files.ended:
            got += "".join(line[0] for line in files.lines())
    turns = [name for name, before in zip(got, "-" + got, strict=False) if name != before]
    assert "".join(turns) == "abcabc"
