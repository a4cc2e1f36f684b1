"""What user code says through the library's `logging` is in our own log."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from appliance.logs import Logger
from appliance.worker.user_logs import adopt_user_logs


@contextmanager
def bare_root() -> Iterator[logging.Logger]:
    """The root logger as a process of its own has it, without what pytest adds."""
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        yield root
    finally:
        root.handlers = before


def test_records_become_json_lines_and_basic_config_gives_way(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with bare_root() as root:
        logging.basicConfig()
        adopt_user_logs(Logger("worker", "json"))
        assert len(root.handlers) == 1
        logging.warning("hot: %d", 99)
        try:
            raise ValueError("no number")
        except ValueError:
            logging.getLogger("plant.line").exception("bad")
    first, second = (json.loads(line) for line in capfd.readouterr().err.splitlines())
    assert (first["level"], first["who"], first["message"]) == ("warning", "worker", "hot: 99")
    assert (second["level"], second["logger"]) == ("error", "plant.line")
    assert "ValueError: no number" in second["traceback"]


def test_handlers_of_the_users_own_stay() -> None:
    own = logging.NullHandler()
    with bare_root() as root:
        root.addHandler(own)
        adopt_user_logs(Logger("worker"))
        assert own in root.handlers


def test_arguments_that_do_not_fit_raise_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with bare_root():
        adopt_user_logs(Logger("worker"))
        logging.warning("hot: %d", "very")
    assert "Logging error" in capfd.readouterr().err


def test_logging_is_not_imported_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "logging")
    adopt_user_logs(Logger("worker"))
    assert "logging" not in sys.modules
