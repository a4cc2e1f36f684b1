"""Log lines: to standard error, one write each, for people or as JSON.

    2026-11-23T08:20:00.123Z INFO  worker: listening flow=sensors address=127.0.0.1:9000

A message is a fixed text; what varies goes into `key=value` fields, so that a repeated message can
be recognised: the same one appears a few times in ten seconds, then it is counted, and the count is
added to the next that appears, or said by itself when none comes. This is not the library's
`logging`: workers start often, and it costs more than the rest of their words.

Where standard error is systemd's journal, a line has no time of its own but begins with its
priority, as `sd-daemon(3)` describes it:

    <6>worker: listening flow=sensors address=127.0.0.1:9000
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
LEVELS = {name: level for level, name in LEVEL_NAMES.items()}

#: What the journal calls them.
_PRIORITIES = {DEBUG: 7, INFO: 6, WARNING: 4, ERROR: 3}

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
        self._is_journal = _is_journal(fd)
        self._lock = threading.Lock()
        self._seen: dict[tuple[int, str], _Repeats] = {}
        self._silent: dict[tuple[int, str], _Repeats] = {}  # those of which some were left out

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
        self._write(level, self._line(level, message, fields))

    def show(self, level: int, text: str) -> None:
        """A text of several lines for people, as it is: the faults of a file with their carets."""
        for line in text.splitlines():
            self._write(level, line)

    def tick(self) -> None:
        """Say how many were left out of messages that come no more. For the loop of a process."""
        if self._silent:
            self._say_left_out(clock.monotonic_s() - LOG_REPEAT_WINDOW_S)

    def next_s(self) -> float | None:
        """When `tick` has something to say, in monotonic seconds."""
        with self._lock:
            times = [repeats.since + LOG_REPEAT_WINDOW_S for repeats in self._silent.values()]
        return min(times, default=None)

    def finish(self) -> None:
        """Say what was left out until now: the process ends."""
        self._say_left_out(clock.monotonic_s())

    def _say_left_out(self, before_s: float) -> None:
        """Of messages whose window began before this."""
        with self._lock:
            due = [key for key, repeats in self._silent.items() if repeats.since <= before_s]
            found = [(*key, self._silent.pop(key).take()) for key in due]
        for level, message, left_out in found:
            self._write(level, self._line(level, message, {"left_out": left_out}))

    def _admit(self, level: int, message: str) -> int:
        """-1: leave this one out. Otherwise how many were left out since the last that appeared."""
        if len(self._seen) >= LOG_MESSAGE_MAX_COUNT:
            self._seen = dict(self._silent)  # at most a few: each took many lines to get there
        repeats = self._seen.setdefault((level, message), _Repeats())
        now = clock.monotonic_s()
        if now - repeats.since >= LOG_REPEAT_WINDOW_S:
            repeats.since, repeats.count = now, 0
        repeats.count += 1
        if repeats.count > LOG_REPEAT_MAX_COUNT:
            repeats.left_out += 1
            self._silent[(level, message)] = repeats
            return -1
        self._silent.pop((level, message), None)
        return repeats.take()

    def _line(self, level: int, message: str, fields: dict[str, object]) -> str:
        name = LEVEL_NAMES.get(level, str(level))
        if self.format == "json":
            record: dict[str, object] = {
                "time": clock.utc_text(clock.wall_us()),
                "level": name,
                "who": self.who,
                "message": message,
            }
            record.update(fields)
            return json.dumps(record, default=str, ensure_ascii=False)
        words = "".join(f" {key}={_value(value)}" for key, value in fields.items())
        said = f"{self.who}: {_one_line(message)}{words}"
        if self._is_journal:
            return said
        return f"{clock.utc_text(clock.wall_us())} {name.upper():<7} {said}"

    def _write(self, level: int, line: str) -> None:
        if self._is_journal:
            line = f"<{_PRIORITIES.get(level, 6)}>{line}"
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

    def take(self) -> int:
        """How many were left out; from here on none."""
        left_out, self.left_out = self.left_out, 0
        return left_out


def _is_journal(fd: int) -> bool:
    """Whether systemd has connected this descriptor to its journal: it says which file that is."""
    given = os.environ.get("JOURNAL_STREAM", "")
    if not given:
        return False
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return given == f"{found.st_dev}:{found.st_ino}"


def _one_line(message: str) -> str:
    """User code may log texts of several lines."""
    return message if message.isprintable() else json.dumps(message, ensure_ascii=False)[1:-1]


def _value(value: Any) -> str:
    """Bare where it reads well, quoted where it holds a space or a quote."""
    text = str(value)
    if text and not any(character in text for character in ' "=\n\t\r'):
        return text
    return json.dumps(text, ensure_ascii=False)


def stderr_is_terminal() -> bool:
    """Whether a person looks at our standard error."""
    return sys.stderr is not None and sys.stderr.isatty()
