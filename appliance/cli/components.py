"""What is inside this program: its parts with their versions and licences, and the same as a
software bill of materials (CycloneDX 1.6).

The frozen program reads the list that its build has made of what it put in (packaging/collect.py).
From a source tree the list is made of what is installed.
"""

from __future__ import annotations

import json
import platform
import re
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import appliance
from appliance import __version__
from appliance.frozen import is_frozen

#: Where the build puts its list.
COLLECTED = Path(appliance.__file__).parent / "_build" / "components.json"

#: A path of a distribution that is a licence, or belongs to one.
LICENCE_FILE = re.compile(r"(^|[/.])(licen[cs]e|copying|notice)", re.IGNORECASE)

#: What older distributions say of their licence in words.
_EXPRESSIONS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Component:
    """One part. `licence` is an SPDX expression, `place` a package URL; `texts` are what the makers
    want to be passed on, `version` is "" where nobody knows it."""

    name: str
    version: str
    licence: str
    place: str
    texts: tuple[str, ...] = ()


def components() -> list[Component]:
    """Ourselves first, then Python, then the rest by name."""
    if is_frozen():
        return unpacked(COLLECTED.read_text())
    return [ourselves(), python(), *installed("bettong")]


def packed(found: Sequence[Component]) -> str:
    """As the build keeps them."""
    return json.dumps([asdict(one) for one in found], ensure_ascii=False, indent=1) + "\n"


def unpacked(text: str) -> list[Component]:
    """The same again."""
    return [Component(**{**one, "texts": tuple(one["texts"])}) for one in json.loads(text)]


def ourselves() -> Component:
    """This program. The text of its licence lies at the top of the tree, or with what is installed
    of it."""
    place = f"pkg:pypi/bettong@{__version__}"
    tree = Path(appliance.__file__).parents[1] / "LICENSE"
    texts = (tree.read_text(),) if tree.is_file() else distribution("bettong").texts
    return Component("bettong", __version__, "Apache-2.0", place, texts)


def python() -> Component:
    """The interpreter and its standard library."""
    version = platform.python_version()
    library = Path(sysconfig.get_path("stdlib"))
    short = sysconfig.get_python_version()
    places = (library / "LICENSE.txt", Path(f"/usr/share/doc/python{short}/copyright"))
    texts = tuple(path.read_text() for path in places if path.is_file())[:1]
    return Component("Python", version, "PSF-2.0", f"pkg:generic/python@{version}", texts)


def installed(name: str) -> list[Component]:
    """All that a distribution needs, directly or not, without what only its extras need."""
    found: dict[str, Component] = {}
    waiting = list(_needed(name))
    while waiting:
        wanted = normal(waiting.pop())
        if wanted not in found:
            try:
                found[wanted] = distribution(wanted)
            except metadata.PackageNotFoundError:  # for another system, or another Python
                continue
            waiting += _needed(wanted)
    return [found[wanted] for wanted in sorted(found)]


def _needed(name: str) -> Iterator[str]:
    for requirement in metadata.requires(name) or ():
        match = _NAME.match(requirement)
        if match is not None and "extra ==" not in requirement:
            yield match[0]


def normal(name: str) -> str:
    """A distribution's name as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def distribution(name: str, licence: str = "") -> Component:
    """A distribution that is installed; `licence` where its metadata does not say it as it is.
    PackageNotFoundError."""
    found = metadata.distribution(name)
    texts = tuple(
        text
        for file in sorted(found.files or (), key=str)
        if ".dist-info/" in str(file) and LICENCE_FILE.search(str(file))
        if (text := file.read_text(encoding="utf-8")).strip()
    )
    place = f"pkg:pypi/{normal(name)}@{found.version}"
    licence = licence or _licence(found.metadata)
    return Component(normal(name), found.version, licence, place, texts)


def _licence(about: metadata.PackageMetadata) -> str:
    """As an SPDX expression. ValueError when a distribution does not say."""
    for name in ("License-Expression", "License"):
        for given in about.get_all(name) or ():
            if re.fullmatch(r"[A-Za-z0-9.+() -]{1,80}", given):
                return str(given)
    for line in about.get_all("Classifier") or ():
        words = line.rpartition(" :: ")[2]
        if words in _EXPRESSIONS:
            return _EXPRESSIONS[words]
    raise ValueError(f"{about['Name']}: its metadata does not name its licence")


# ---- the bill of materials ----


def bill(found: Sequence[Component]) -> str:
    """The same parts always give the same bytes: no time, no random number."""
    first, *rest = found
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _entry(first, "application")},
        "components": [_entry(one, "library") for one in rest],
        "dependencies": list(_dependencies(first, rest)),
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _entry(one: Component, kind: str) -> dict[str, Any]:
    version = {"version": one.version} if one.version else {}
    return {
        "type": kind,
        "bom-ref": one.place,
        "name": one.name,
        **version,
        "licenses": [{"expression": one.licence}],
        "purl": one.place,
    }


def _dependencies(first: Component, rest: Iterable[Component]) -> Iterator[dict[str, Any]]:
    """The program is one piece: it depends on all of its parts."""
    rest = list(rest)
    yield {"ref": first.place, "dependsOn": sorted(one.place for one in rest)}
    for one in rest:
        yield {"ref": one.place}
