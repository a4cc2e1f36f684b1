"""The house: what is where, and how long a file may get."""

from __future__ import annotations

import re
import warnings

import pytest

from tidy.project import ROOT, files, modules, names, shown

LINES_AIM, LINES_MAX = 450, 600

# Found by something other than an import: the command, the front door, what a user imports, and
# what the supervisor starts or the registry loads by name.
ENTRIES = {"appliance", "appliance.cli.main"}
ENTRY_PREFIXES = ("connectors", "appliance.testing", "appliance.cli.", "appliance.flow")


def test_packaging_never_becomes_a_package() -> None:
    """It would hide the library of that name from pytest and from PyInstaller."""
    assert not list((ROOT / "packaging").rglob("__init__.py"))


def test_python_in_config_is_only_what_users_write() -> None:
    """Settings are TOML; the Python beside example flows is a user's own code."""
    strays = [
        path
        for path in (ROOT / "config").rglob("*.py")
        if ROOT / "config/flows" not in path.parents
    ]
    assert not strays


@pytest.mark.parametrize("name", ["CHANGELOG.md", "LICENSE", "README.md", "docs/architecture.md"])
def test_the_documents_are_there(name: str) -> None:
    assert (ROOT / name).stat().st_size > 0


def test_the_readme_names_the_doors() -> None:
    text = (ROOT / "README.md").read_text()
    assert "make demo" in text and "make test" in text


def test_no_file_is_too_long() -> None:
    lengths = {shown(path): len(path.read_text().splitlines()) for path in files(".py", ".c", ".h")}
    for name, length in lengths.items():
        if length > LINES_AIM:
            with warnings.catch_warnings():
                warnings.simplefilter("default")
                warnings.warn(f"{name} has {length} lines: is it one thing?", stacklevel=1)
    assert not {name: length for name, length in lengths.items() if length > LINES_MAX}


def test_no_module_is_dead() -> None:
    """Everything is imported by something else in the product, or named where it is loaded."""
    imported = {name for module in modules() for name in module.imports()}
    named = {
        match
        for module in modules()
        for match in re.findall(
            r"[\"']((?:appliance|connectors)\.[\w.]+)[\"':]", module.path.read_text()
        )
    }
    alive = imported | named | ENTRIES
    dead = [
        str(module)
        for module in modules()
        if module.name not in alive
        and not module.name.startswith(ENTRY_PREFIXES)
        and module.path.name not in {"__init__.py", "__main__.py"}
    ]
    assert not dead


def test_every_imported_module_of_ours_exists() -> None:
    missing = [
        f"{module}: {name}"
        for module in modules()
        for name in module.imports()
        if name.split(".")[0] in {"appliance", "connectors"} and name not in names()
    ]
    assert not missing


def test_decision_records_are_numbered_without_gaps() -> None:
    numbers = sorted(path.name[:4] for path in (ROOT / "docs/decisions").glob("*.md"))
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]


def test_every_header_is_used() -> None:
    text = "".join(path.read_text() for path in files(".c", ".h"))
    headers = (ROOT / "native/include").glob("*.h")
    unused = [path.name for path in headers if not re.search(rf"[\"<]{path.name}[\">]", text)]
    assert not unused
