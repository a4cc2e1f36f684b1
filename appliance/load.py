"""Flows from files: TOML flow files and Python modules, singly, several, or all of a folder.

    load([Path("a.toml"), Path("flows/")])    every plan, or one FlowError with every fault of every
    file

TOML is parsed by `tomllib`; places come from `appliance.toml_places`. A Python file is run, as its
author asked for by naming it; a flow file is not code, and the Python files it names are only
looked at.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from appliance.errors import Fault, FlowError, Place
from appliance.limits import FLOW_FILE_MAX_BYTES, FLOW_MAX_COUNT
from appliance.plan.check import by_place, check
from appliance.plan.conflicts import conflicts
from appliance.plan.logical import Plan
from appliance.plan.read import read_flow
from appliance.plan.table import KeyPath
from appliance.toml_places import Places
from appliance.user_module import import_by_path

_TOML_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::(-|\?)([^}]*))?\}")


#: The flow files of a run by path, with their text; None for a Python file.
Texts = dict[str, str | None]


def load(
    paths: Sequence[Path],
    environ: Mapping[str, str] = os.environ,
    texts: Texts | None = None,
) -> list[Plan]:
    """The plans of files and folders, in the order given; in a folder the `*.toml`, by name.
    `texts`: what is in it is not read again, and what is read is put there.

    Raises FlowError with all faults of all files."""
    texts = {} if texts is None else texts
    plans: list[Plan] = []
    faults: list[Fault] = []
    for path in paths:
        try:
            for file in _files(path):
                try:
                    plans += _load_one(file, environ, texts)
                except FlowError as error:
                    faults += error.faults
        except FlowError as error:
            faults += error.faults
    faults += _same_names(plans)
    faults += conflicts(plans)
    if len(plans) > FLOW_MAX_COUNT:
        message = f"{len(plans)} flows; one run has at most {FLOW_MAX_COUNT}"
        faults.append(Fault(plans[FLOW_MAX_COUNT].place, message))
    if faults:
        raise FlowError(faults)
    return plans


def _load_one(path: Path, environ: Mapping[str, str], texts: Texts) -> list[Plan]:
    if path.suffix == ".py":
        texts[str(path)] = None
        return load_module(path)
    text = texts.get(str(path))
    if text is None:
        text = texts[str(path)] = _read(path)
    return [load_file(path, environ, text)]


def load_file(path: Path, environ: Mapping[str, str] = os.environ, text: str | None = None) -> Plan:
    """The plan of one TOML flow file, or of `text` in its place. Raises FlowError with all its
    faults, by line."""
    document, locator = read_document(path, text)
    faults: list[Fault] = []
    replaced = _Environment(environ, locator, faults).table(document, ())
    base = str(path.resolve().parent)
    unset = {fault.place.line for fault in faults}
    first = len(faults)
    reading = read_flow(replaced, base, path.stem, locator, faults)
    faults += check(reading.plan, locator, reading.broken)
    # Where a variable is missing, what its line would mean is not worth a second fault.
    faults = faults[:first] + [one for one in faults[first:] if one.place.line not in unset]
    if faults:
        raise FlowError(by_place(faults))
    return reading.plan


def read_document(path: Path, text: str | None = None) -> tuple[dict[str, object], TomlLocator]:
    """A TOML document, or `text` in its place, and where everything in it stands. Raises FlowError
    when it is none."""
    document, places = _parse(path, _read(path) if text is None else text)
    return document, TomlLocator(str(path), places)


def load_module(path: Path) -> list[Plan]:
    """The plans of the `Flow` objects that a Python file has at its top, in the order they were
    made.

    The file is run under a private module name. Raises FlowError, also for what the file itself
    raises."""
    from appliance.flow import Flow  # only Python flows need it

    module = import_by_path(path)
    flows = {id(value): value for value in vars(module).values() if isinstance(value, Flow)}
    if not flows:
        remedy = 'write flow = Flow("word-count") at the top of the module'
        raise FlowError([Fault(Place(str(path)), "there is no Flow in this file", remedy)])
    plans: list[Plan] = []
    faults: list[Fault] = []
    for flow in flows.values():
        try:
            plans.append(flow.plan())
        except FlowError as error:
            faults += error.faults
    if faults:
        raise FlowError(by_place(faults))
    return plans


class TomlLocator:
    """Where things stand in a TOML document."""

    def __init__(self, file: str, places: Places) -> None:
        self.file = file
        self.places = places

    def key(self, path: KeyPath) -> Place:
        spot = self.places.spots.get(path)
        if spot is not None:
            return self._at(spot.key)
        return self.key(path[:-1]) if path else self._at(0)

    def value(self, path: KeyPath) -> Place:
        spot = self.places.spots.get(path)
        return self._at(spot.value) if spot is not None else self.key(path)

    def content(self, path: KeyPath, text: str) -> Place | None:
        spot = self.places.spots.get(path)
        if spot is None or self.places.text[spot.value + 1 : spot.end - 1] != text or "\n" in text:
            return None
        return self._at(spot.value + 1)

    def _at(self, offset: int) -> Place:
        line, column = self.places.position(offset)
        return Place(self.file, line, column, self.places.line(line))


class _Environment:
    """`${NAME}`, `${NAME:-default}`, `${NAME:?message}` inside string values. As in a shell, an
    empty variable counts as not set where a default or a message stands."""

    def __init__(
        self, environ: Mapping[str, str], locator: TomlLocator, faults: list[Fault]
    ) -> None:
        self.environ = environ
        self.locator = locator
        self.faults = faults

    def table(self, values: Mapping[str, object], path: KeyPath) -> dict[str, object]:
        return {key: self.value(value, (*path, key)) for key, value in values.items()}

    def value(self, value: object, path: KeyPath) -> object:
        if isinstance(value, str):
            return self.text(value, path) if "${" in value else value
        if isinstance(value, dict):
            return self.table(value, path)
        if isinstance(value, list):
            return [self.value(item, (*path, index)) for index, item in enumerate(value)]
        return value

    def text(self, text: str, path: KeyPath) -> str:
        rest = _VARIABLE.sub("", text)
        if "${" in rest:
            self.fault(path, "${ is not closed, or what is in it is no name",
                       "write ${NAME}, ${NAME:-default} or ${NAME:?message}")  # fmt: skip

        def replaced(match: re.Match[str]) -> str:
            name, mark, word = match.groups()
            value = self.environ.get(name)
            if value or (value is not None and not mark):
                return value
            if mark == "-":
                return str(word)
            message = f"the environment variable {name} is not set"
            remedy = f"set it, or write ${{{name}:-default}}"
            self.fault(path, f"{message}: {word}" if word else message, remedy)
            return ""

        return _VARIABLE.sub(replaced, text)

    def fault(self, path: KeyPath, message: str, remedy: str) -> None:
        self.faults.append(Fault(self.locator.value(path), message, remedy))


def _files(path: Path) -> list[Path]:
    """The flow files that a path on the command line means."""
    if path.is_dir():
        found = sorted(path.glob("*.toml"))
        if not found:
            remedy = "name the flow file itself"
            raise FlowError([Fault(Place(str(path)), "there is no *.toml in this folder", remedy)])
        return found
    if path.suffix not in (".toml", ".py"):
        exists = "" if path.exists() else "there is no such file, and "
        message = f"{exists}a flow is a .toml or a .py file"
        raise FlowError([Fault(Place(str(path)), message)])
    return [path]


def _read(path: Path) -> str:
    place = Place(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(FLOW_FILE_MAX_BYTES + 1)
    except FileNotFoundError:
        raise FlowError([Fault(place, "there is no such file")]) from None
    except OSError as error:
        raise FlowError([Fault(place, f"cannot be read: {error.strerror}")]) from None
    if len(data) > FLOW_FILE_MAX_BYTES:
        message = f"larger than {FLOW_FILE_MAX_BYTES} bytes: this is not a flow file"
        raise FlowError([Fault(place, message)])
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = len(data[data.rfind(b"\n", 0, error.start) + 1 : error.start].decode()) + 1
        message = f"not UTF-8: byte 0x{data[error.start]:02x}"
        raise FlowError([Fault(Place(str(path), line, column), message)]) from None


def _parse(path: Path, text: str) -> tuple[dict[str, object], Places]:
    """The document and its places; a FlowError at the place that tomllib names."""
    try:
        return tomllib.loads(text), Places(text)
    except tomllib.TOMLDecodeError as error:
        raise FlowError([_toml_fault(path, text, str(error))]) from None
    except RecursionError:
        raise FlowError([Fault(Place(str(path)), "not TOML: nested too deeply")]) from None
    except ValueError as error:  # a number of thousands of digits
        raise FlowError([Fault(Place(str(path)), f"not TOML: {error}")]) from None


def _toml_fault(path: Path, text: str, message: str) -> Fault:
    found = _TOML_PLACE.search(message)
    lines = text.replace("\r\n", "\n").split("\n")
    cause = message[: found.start()] if found else message
    if found and found[1]:
        line, column = int(found[1]), int(found[2])
    else:
        line = len(lines)
        column = len(lines[-1]) + 1
    place = Place(str(path), line, column, lines[line - 1] if line <= len(lines) else "")
    return Fault(place, f"not TOML: {cause[:1].lower()}{cause[1:]}", _toml_remedy(place))


def _toml_remedy(place: Place) -> str:
    """The mistake that people make most: a text without quotes."""
    _, equals, value = place.text.partition("=")
    value = value.strip()
    if equals and value and value[0].isalpha() and value not in ("true", "false", "inf", "nan"):
        return f'a text stands in quotes: "{value}"'
    return ""


def _same_names(plans: Sequence[Plan]) -> list[Fault]:
    faults: list[Fault] = []
    seen: dict[str, Plan] = {}
    for plan in plans:
        if plan.name in seen:
            other = seen[plan.name].place
            message = f"a second flow named {plan.name!r}; the first is in {other.file}"
            faults.append(Fault(plan.place, message, "give each flow a name of its own"))
        seen.setdefault(plan.name, plan)
    return faults
