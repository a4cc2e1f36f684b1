"""What went into the frozen program: each file that is packed belongs to a part with a name, a
version and a licence, or the build fails.

    python packaging/collect.py LIST < FILES

FILES is a JSON list of pairs, the name inside and the path here, as bettong.spec has them after its
analysis. LIST goes inside, for `bettong licenses`.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from appliance.cli.components import (  # noqa: E402
    Component,
    distribution,
    normal,
    ourselves,
    packed,
    python,
)

DOCUMENTS = Path("/usr/share/doc")
COMMON = Path("/usr/share/common-licenses")


@dataclass(frozen=True)
class Library:
    """A library of the system: what its file is called, its name and licence; `common` names a text
    that Debian keeps once for all packages."""

    file: str
    name: str
    licence: str
    common: str = ""


LIBRARIES = (
    Library(r"libbz2\.so", "bzip2", "bzip2-1.0.6"),
    Library(r"lib(crypto|ssl)\.so", "openssl", "Apache-2.0", "Apache-2.0"),
    Library(r"libexpat\.so", "expat", "MIT"),
    Library(r"libffi\.so", "libffi", "MIT"),
    Library(r"libgcc_s\.so", "libgcc", "GPL-3.0-or-later WITH GCC-exception-3.1", "GPL-3"),
    Library(r"liblzma\.so", "liblzma", "LicenseRef-public-domain"),
    Library(r"libmpdec\.so", "libmpdec", "BSD-2-Clause"),
    Library(r"lib(ncursesw?|panelw?|tinfo)\.so", "ncurses", "X11-distribute-modifications-variant"),
    Library(r"libsqlite3\.so", "sqlite", "blessing"),
    Library(r"libstdc\+\+\.so", "libstdc++", "GPL-3.0-or-later WITH GCC-exception-3.1", "GPL-3"),
    Library(r"libuuid\.so", "libuuid", "BSD-3-Clause"),
    Library(r"libz\.so", "zlib", "Zlib"),
)

#: Inside the files of others: the distribution they come with, name, licence, and which of its
#: licences is theirs.
CARRIED = (
    ("cffi", "libffi", "MIT", ""),
    ("lmdb", "lmdb-engine", "OLDAP-2.8", ""),
    ("pynacl", "libsodium", "ISC", "libsodium"),
    ("pyzmq", "libsodium", "ISC", "libsodium"),
    ("pyzmq", "libzmq", "MPL-2.0", "zeromq"),
)


def main() -> None:
    """Read the files, write the list."""
    files = [(str(name), str(path)) for name, path in json.load(sys.stdin)]
    Path(sys.argv[1]).write_text(packed(parts(files)))


def parts(files: Iterable[tuple[str, str]]) -> list[Component]:
    """What the files belong to, ourselves first. SystemExit names what nobody knows."""
    owners = dict(_owned())
    packages: set[str] = set()
    libraries: dict[str, Component] = {}
    unknown = []
    for name, path in sorted(set(files)):
        real = os.path.realpath(path)
        if real in owners:
            packages.add(owners[real])
        elif library := _library(name, path):
            libraries[library.place] = library
        elif not _is_ours(real) and not _is_pythons(real):
            unknown.append(path)
    if unknown:
        sys.exit(f"nobody knows the licence of {', '.join(unknown)}: add it to {__file__}")
    packages -= {"bettong", "pyinstaller"}
    rest = [*map(distribution, packages), *carried(packages), *libraries.values(), bootloader()]
    rest.sort(key=lambda one: (one.name, one.place))
    check([*rest])
    return [ourselves(), python(), *rest]


def check(found: Iterable[Component]) -> None:
    """Nothing inside may ask for more than its name: the GPL only with an exception for what is
    made with it. SystemExit."""
    for one in found:
        if "GPL" in one.licence and " WITH " not in one.licence:
            sys.exit(f"{one.name} is under {one.licence}: it must be left out (bettong.spec)")
        if not one.texts:
            # A system without dpkg has no texts; what is made there is not to be passed on.
            print(f"warning: no text of the licence of {one.name} here", file=sys.stderr)


def _owned() -> Iterator[tuple[str, str]]:
    """Every file of every distribution, with its name."""
    for found in metadata.distributions():
        top, name = os.path.realpath(str(found.locate_file(""))), normal(found.metadata["Name"])
        for file in found.files or ():
            yield os.path.normpath(os.path.join(top, file)), name


def _is_ours(path: str) -> bool:
    inside = Path(path)
    return inside.is_relative_to(ROOT) and "site-packages" not in inside.parts


def _is_pythons(path: str) -> bool:
    """The standard library, and the interpreter as a library; never what is installed beside it."""
    places = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    if "site-packages" not in path and "dist-packages" not in path:
        inside = any(Path(path).is_relative_to(os.path.realpath(place)) for place in places)
        return inside or Path(path).name.startswith("libpython")
    return False


# ---- libraries of the system ----


def _library(name: str, path: str) -> Component | None:
    file = Path(name).name
    for one in LIBRARIES:
        if re.match(one.file, file):
            package, version, architecture = _package(path)
            documents = DOCUMENTS / package / "copyright"
            texts = [documents.read_text()] if package and documents.is_file() else []
            if one.common and (COMMON / one.common).is_file():
                texts.append((COMMON / one.common).read_text())
            place = f"pkg:generic/{_escaped(one.name)}"
            if package:
                system = platform.freedesktop_os_release().get("ID", "debian")
                place = f"pkg:deb/{system}/{_escaped(package)}@{_escaped(version)}"
                place += f"?arch={architecture}"
            return Component(one.name, version, one.licence, place, tuple(texts))
    return None


def _escaped(text: str) -> str:
    return text.replace("+", "%2B").replace(":", "%3A")


def _package(path: str) -> tuple[str, str, str]:
    """The Debian package that a file is of, its version and architecture; empty elsewhere. Since
    /lib is a link to /usr/lib the package may know the file by either."""
    real = os.path.realpath(path)
    for name in dict.fromkeys((path, real, f"/usr{real}", real.removeprefix("/usr"))):
        said = _ask("dpkg-query", "--search", name)
        if said:
            package = said.partition(": ")[0].partition(",")[0]
            about = _ask(
                "dpkg-query", "--show", "-f", "${Package} ${Version} ${Architecture}", package
            )
            words = about.split()
            return words[0], words[1], words[2]
    return "", "", ""


def _ask(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


# ---- what is inside files of others ----


def carried(packages: Iterable[str]) -> Iterator[Component]:
    """What the files of these distributions hold besides their own code."""
    for package, name, licence, text in CARRIED:
        if package in packages:
            host = distribution(package)
            texts = tuple(_texts(package, text)) or host.texts
            place = f"pkg:generic/{name}?carried-by={package}"
            version = _version(package, name)
            if version:
                place = place.replace(name, f"{name}@{version}", 1)
            yield Component(name, version, licence, place, texts)


def _texts(package: str, word: str) -> Iterator[str]:
    for file in sorted(metadata.distribution(package).files or (), key=str):
        if word and "licenses/" in str(file) and word in file.name:
            yield file.read_text(encoding="utf-8")


def _version(package: str, name: str) -> str:
    """As the library itself says, where it does."""
    if name == "lmdb-engine":
        import lmdb

        return ".".join(map(str, lmdb.version()))
    if name == "libzmq":
        import zmq

        return zmq.zmq_version()
    for file in metadata.distribution(package).files or ():
        if name == "libsodium" and re.match(r"(libsodium|_sodium\.).*\.so", file.name):
            library = ctypes.CDLL(str(file.locate()))
            if hasattr(library, "sodium_version_string"):
                library.sodium_version_string.restype = ctypes.c_char_p
                return str(library.sodium_version_string().decode())
    return ""


def bootloader() -> Component:
    """The program that PyInstaller puts before ours; the exception lets it carry any program."""
    licence = "GPL-2.0-or-later WITH Bootloader-exception"
    return replace(distribution("pyinstaller", licence), name="pyinstaller-bootloader")


if __name__ == "__main__":
    main()
