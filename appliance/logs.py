"""Log lines: to standard error, one write each, for people or as JSON.

    2026-11-23T08:20:00.123Z INFO  worker: listening flow=sensors address=127.0.0.1:9000

A message is a fixed text; what varies goes into `key=value` fields, so that a repeated message can
be recognised: the same one appears a few times in ten seconds, then it is counted and the count is
added to the next that appears. This is not the library's `logging`: workers start often, and it
costs more than the rest of their words.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any, Literal

from appliance import clock
from appliance.limits import (
    LOG_LINE_MAX_BYTES,
    LOG_MESSAGE_MAX_COUNT,
    LOG_REPEAT_MAX_COUNT,
    LOG_REPEAT_WINDOW_S,
)

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
LEVEL_NAMES = {DEBUG: "debug", INFO: "info", WARNING: "warning", ERROR: "error"}

LogFormat = Literal["human", "json"]


class Logger:
    """Writes the lines of one process. Any thread may call it."""

    def __init__(
        self, who: str, log_format: LogFormat = "human", level: int = INFO, fd: int = 2
    ) -> None:
        self.who = who
        self.format = log_format
        self.level = level
        self._fd = fd
        self._lock = threading.Lock()
        self._seen: dict[tuple[int, str], _Repeats] = {}

    def debug(self, message: str, **fields: object) -> None:
        self.log(DEBUG, message, fields)

    def info(self, message: str, **fields: object) -> None:
        self.log(INFO, message, fields)

    def warning(self, message: str, **fields: object) -> None:
        self.log(WARNING, message, fields)

    def error(self, message: str, **fields: object) -> None:
        self.log(ERROR, message, fields)

    def log(self, level: int, message: str, fields: dict[str, object]) -> None:
        """One line, unless its level is below ours or it has come too often."""
        if level < self.level:
            return
        with self._lock:
            left_out = self._admit(level, message)
        if left_out < 0:
            return
        if left_out:
            fields = {**fields, "left_out": left_out}
        self._write(self._line(level, message, fields))

    def _admit(self, level: int, message: str) -> int:
        """-1: leave this one out. Otherwise how many were left out since the last that appeared."""
        if len(self._seen) >= LOG_MESSAGE_MAX_COUNT:
            self._seen.clear()
        repeats = self._seen.setdefault((level, message), _Repeats())
        now = clock.monotonic_s()
        if now - repeats.since >= LOG_REPEAT_WINDOW_S:
            repeats.since, repeats.count = now, 0
        repeats.count += 1
        if repeats.count > LOG_REPEAT_MAX_COUNT:
            repeats.left_out += 1
            return -1
        left_out, repeats.left_out = repeats.left_out, 0
        return left_out

    def _line(self, level: int, message: str, fields: dict[str, object]) -> str:
        now = clock.utc_text(clock.wall_us())
        name = LEVEL_NAMES.get(level, str(level))
        if self.format == "json":
            record: dict[str, object] = {
                "time": now,
                "level": name,
                "who": self.who,
                "message": message,
            }
            record.update(fields)
            return json.dumps(record, default=str, ensure_ascii=False)
        words = "".join(f" {key}={_value(value)}" for key, value in fields.items())
        return f"{now} {name.upper():<7} {self.who}: {message}{words}"

    def _write(self, line: str) -> None:
        data = line.encode("utf-8", "backslashreplace")[: LOG_LINE_MAX_BYTES - 1] + b"\n"
        try:
            os.write(self._fd, data)
        except OSError:
            # Nobody reads our standard error any more (a closed pipe, a full disk): there is no
            # better place to say so, and a lost log line must not end a flow.
            return


class _Repeats:
    """How often one message came in the present window of time."""

    __slots__ = ("count", "left_out", "since")

    def __init__(self) -> None:
        self.since = -LOG_REPEAT_WINDOW_S
        self.count = 0
        self.left_out = 0


def _value(value: Any) -> str:
    """Bare where it reads well, quoted where it holds a space or a quote."""
    text = str(value)
    if text and not any(character in text for character in ' "=\n\t\r'):
        return text
    return json.dumps(text, ensure_ascii=False)


def stderr_is_terminal() -> bool:
    """Whether a person looks at our standard error."""
    return sys.stderr is not None and sys.stderr.isatty()
