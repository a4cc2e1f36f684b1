"""What user code says through the library's `logging` comes out as lines of our own log.

`logging` is not imported for it: most flows never do, and a start would pay for it.
"""

from __future__ import annotations

import sys
import typing

from appliance.logs import ERROR, Logger

if typing.TYPE_CHECKING:
    import logging


def adopt_user_logs(log: Logger) -> None:
    """If user code has imported `logging`: its root logger writes to `log`.

    Root handlers that write to a standard stream (`basicConfig`) give way, levels stay; handlers of
    the user's own, to a file or elsewhere, go on as they are.
    """
    if "logging" not in sys.modules:
        return
    import logging

    root = logging.getLogger()
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    for handler in list(root.handlers):
        if type(handler) is logging.StreamHandler and handler.stream in streams:
            root.removeHandler(handler)
    root.addHandler(_handler(log))


def _handler(log: Logger) -> logging.Handler:
    import logging

    words = logging.Formatter()

    class Bridge(logging.Handler):
        """Gives each record to our log, its traceback as a field."""

        def emit(self, record: logging.LogRecord) -> None:
            try:
                fields: dict[str, object] = {}
                if record.name != "root":
                    fields["logger"] = record.name
                if record.exc_info:
                    fields["traceback"] = words.formatException(record.exc_info)
                log.log(min(record.levelno, ERROR), record.getMessage(), fields)
            except Exception:  # arguments that do not fit the message: said as `logging` says it
                self.handleError(record)

    return Bridge()
