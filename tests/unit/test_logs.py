"""Log lines: one write each, for people or as JSON, and never a flood."""

from __future__ import annotations

import json
import os

from appliance.limits import LOG_REPEAT_MAX_COUNT
from appliance.logs import WARNING, Logger


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


def test_a_newline_in_a_field_stays_in_its_line() -> None:
    (line,) = lines_of(lambda log: log.info("bad", text="a\nb"))
    assert line.endswith('text="a\\nb"')


def test_a_closed_standard_error_ends_nothing() -> None:
    Logger("test", fd=os.open("/dev/full", os.O_WRONLY)).info("lost")
