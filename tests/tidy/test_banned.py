"""Calls and words that have no place in the product."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tidy.project import Module, files, modules, shown

# One place reads clocks, so that a test can own the time.
CLOCKS = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"}
CLOCK_MODULES = {"appliance.clock"}
BANNED_MODULES = {"pickle", "marshal", "shelve", "multiprocessing", "dill", "cloudpickle"}
BANNED_CALLS = {"eval", "exec", "compile"}

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
MACHINE_PATHS = re.compile(r"/(root|home/\w+|work)/\w")


def calls(module: Module) -> Iterator[tuple[str, int]]:
    """Called names, dotted as written, with their lines."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


def clock_names(module: Module) -> set[str]:
    """The names under which a module could call a clock."""
    found = {f"time.{name}" for name in CLOCKS}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            found |= {alias.asname or alias.name for alias in node.names if alias.name in CLOCKS}
    return found


@pytest.mark.parametrize("module", modules(), ids=str)
def test_only_the_clock_reads_clocks(module: Module) -> None:
    if module.name not in CLOCK_MODULES:
        clocks = clock_names(module) | {"datetime.now", "datetime.datetime.now", "datetime.utcnow"}
        assert not [f"{module}:{line}: {name}" for name, line in calls(module) if name in clocks]


@pytest.mark.parametrize("module", modules(), ids=str)
def test_only_the_command_line_prints(module: Module) -> None:
    if not module.name.startswith("appliance.cli"):
        assert not [f"{module}:{line}" for name, line in calls(module) if name == "print"]


@pytest.mark.parametrize("module", modules(), ids=str)
def test_nothing_runs_text_or_unpickles(module: Module) -> None:
    assert not [f"{module}:{line}: {name}" for name, line in calls(module) if name in BANNED_CALLS]
    assert not {imported.split(".")[0] for imported in module.imports()} & BANNED_MODULES


@pytest.mark.parametrize("module", modules(), ids=str)
def test_no_exception_is_swallowed_in_silence(module: Module) -> None:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler):
            is_broad = node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"}
            is_silent = all(isinstance(line, ast.Pass) for line in node.body)
            assert not (is_broad and is_silent), f"{module}:{node.lineno}"


def test_nothing_is_marked_unfinished() -> None:
    found = []
    for path in files(".py", ".c", ".h", ".toml", ".md", ".pyi"):
        if path.name != "test_banned.py":
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if UNFINISHED.search(line):
                    found.append(f"{shown(path)}:{number}: {line.strip()}")
    assert not found


def test_no_path_of_one_machine() -> None:
    found = []
    for path in files(".py", ".c", ".h", ".toml", ".md", ".pyi", ".json", ""):
        if path.name not in {"test_banned.py", "LICENSE"}:
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if MACHINE_PATHS.search(line):
                    found.append(f"{shown(path)}:{number}: {line.strip()}")
    assert not found
