"""Log lines: one write each, for people or as JSON, and never a flood."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from appliance import clock
from appliance.limits import LOG_MESSAGE_MAX_COUNT, LOG_REPEAT_MAX_COUNT, LOG_REPEAT_WINDOW_S
from appliance.logs import DEBUG, ERROR, WARNING, Logger


def lines_of(use: object, **options: object) -> list[str]:
    """What `use(logger)` writes."""
    reading, writing = os.pipe()
    use(Logger("test", fd=writing, **options))  # type: ignore[operator, arg-type]
    os.close(writing)
    with os.fdopen(reading) as pipe:
        return pipe.read().splitlines()


def test_a_line_has_its_time_level_and_fields() -> None:
    (line,) = lines_of(lambda log: log.info("listening", address="127.0.0.1:9", why="a b", no=""))
    assert line[4] == "-" and line[23] == "Z"
    assert line.endswith(' INFO    test: listening address=127.0.0.1:9 why="a b" no=""')


def test_json_lines_keep_the_fields_as_they_are() -> None:
    (line,) = lines_of(lambda log: log.error("no", count=3, path="ä"), log_format="json")
    record = json.loads(line)
    del record["time"]
    assert record == {"level": "error", "who": "test", "message": "no", "count": 3, "path": "ä"}


def test_lines_below_the_level_are_left_out() -> None:
    def use(log: Logger) -> None:
        log.info("quiet")
        log.warning("loud")

    assert len(lines_of(use, level=WARNING)) == 1


def test_the_same_message_is_not_repeated_for_ever() -> None:
    def use(log: Logger) -> None:
        for number in range(1000):
            log.warning("the peer has gone", number=number)
        log.warning("another")

    lines = lines_of(use)
    assert len(lines) == LOG_REPEAT_MAX_COUNT + 1
    assert "another" in lines[-1]


def test_what_was_left_out_is_said_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s)

    def use(log: Logger) -> None:
        nonlocal now_s
        for _ in range(LOG_REPEAT_MAX_COUNT + 7):
            log.warning("the peer has gone", why="x")
        assert log.next_s() == 100.0 + LOG_REPEAT_WINDOW_S
        log.tick()
        now_s += LOG_REPEAT_WINDOW_S
        for _ in range(3):
            log.tick()
        assert log.next_s() is None
        for _ in range(LOG_REPEAT_MAX_COUNT + 2):
            log.warning("the peer has gone")
        log.finish()
        log.finish()

    lines = lines_of(use)
    said = [line.partition("left_out=")[2] for line in lines if "left_out" in line]
    assert said == ["7", "2"]
    assert len(lines) == 2 * LOG_REPEAT_MAX_COUNT + 2


def test_a_flood_of_different_messages_forgets_no_count(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as out:
        log = Logger("test", level=DEBUG, fd=out.fileno())
        for _ in range(LOG_REPEAT_MAX_COUNT + 3):
            log.warning("the peer has gone")
        for number in range(LOG_MESSAGE_MAX_COUNT + 1):
            log.debug(f"message {number}")
        log.finish()
    assert (tmp_path / "log").read_text().endswith("the peer has gone left_out=3\n")


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_the_journal_gets_priorities_and_needs_no_time(
    monkeypatch: pytest.MonkeyPatch, log_format: str
) -> None:
    reading, writing = os.pipe()
    found = os.fstat(writing)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    log = Logger("test", log_format, DEBUG, writing)  # type: ignore[arg-type]
    for say in (log.debug, log.info, log.warning, log.error):
        say("listening", address="a b")
    log.show(ERROR, "flow.toml:3:1: no\n    ^")
    os.close(writing)
    with os.fdopen(reading) as pipe:
        lines = pipe.read().splitlines()
    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<3>", "<3>", "<3>"]
    assert lines[4:] == ["<3>flow.toml:3:1: no", "<3>    ^"]
    if log_format == "human":
        assert lines[1] == '<6>test: listening address="a b"'
    else:
        assert json.loads(lines[1][3:])["message"] == "listening"


def test_another_stream_of_a_service_is_no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    (line,) = lines_of(lambda log: log.info("listening"))
    assert line[4] == "-"


def test_a_message_of_several_lines_is_one() -> None:
    (line,) = lines_of(lambda log: log.info("user text\nof two lines"))
    assert line.endswith("test: user text\\nof two lines")


def test_a_newline_in_a_field_stays_in_its_line() -> None:
    (line,) = lines_of(lambda log: log.info("bad", text="a\nb"))
    assert line.endswith('text="a\\nb"')


def test_a_closed_standard_error_ends_nothing() -> None:
    Logger("test", fd=os.open("/dev/full", os.O_WRONLY)).info("lost")
