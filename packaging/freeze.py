"""Make the frozen programs: `python packaging/freeze.py [FOLDER]` (default: dist).

    FOLDER/bettong                              one file
    FOLDER/bettong-folder/                      one folder
    FOLDER/bettong-VERSION-linux-ARCH.tar.gz    the folder, to be carried
    FOLDER/bettong-VERSION-linux-ARCH.cdx.json  what is inside, as a bill of materials

Run by the interpreter of the build environment, which holds what requirements.lock says. The same
tree, lock and Python give the same bytes, so nothing is done where they have been made before.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "freeze"
FOLDER = "bettong-folder"

#: No file of a build is younger: the commit's time would make a build of the next commit differ
#: in every file that did not.
EPOCH = 1_577_836_800

#: What unpacking.c makes sure of beforehand.
UNPACKED_MAX_BYTES = 48_000_000

#: What goes into the programs or shapes them.
INPUTS = ("appliance", "connectors", "packaging")


def inputs() -> Iterator[Path]:
    for name in INPUTS:
        for path in sorted((ROOT / name).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def digest() -> str:
    """Of all that a build is made from."""
    found = hashlib.sha256(f"{sys.version} {sys.base_prefix} {clients()}".encode())
    for path in inputs():
        found.update(f"\0{path.relative_to(ROOT)}\0{os.access(path, os.X_OK)}\0".encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def clients() -> str:
    return " ".join(sorted(os.environ.get("BETTONG_CLIENTS", "").split()))


def version() -> str:
    text = (ROOT / "appliance" / "__init__.py").read_text()
    (found,) = re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    return str(found)


def manifest() -> str:
    """What a release says of itself (docs/formats/release.md)."""
    return f'format = 1\nversion = "{version()}"\narchitecture = "{platform.machine()}"\n'


def build(target: Path) -> None:
    """Both programs, from one spec, with nothing of this machine's settings in them."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environ |= {
        "BETTONG_CLIENTS": clients(),
        "LC_ALL": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": str(EPOCH),
        # No cache of bytecode or stripped libraries that an earlier build has left.
        "PYINSTALLER_CONFIG_DIR": str(WORK / "cache"),
    }
    shutil.rmtree(WORK / "cache", ignore_errors=True)
    command = [sys.executable, "-P", "-m", "PyInstaller", "--noconfirm", "--clean"]
    command += ["--log-level", "WARN", "--workpath", str(WORK / "work"), "--distpath", str(target)]
    subprocess.run([*command, str(ROOT / "packaging" / "bettong.spec")], env=environ, check=True)


def pack(folder: Path, archive: Path) -> None:
    """A tarball in which only the content counts: names in order, one time, no owner."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime = EPOCH
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    top = archive.name.removesuffix(".tar.gz")
    with (
        archive.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=9, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path in [folder, *sorted(folder.rglob("*"))]:
            name = str(Path(top) / path.relative_to(folder))
            tar.add(path, arcname=name, recursive=False, filter=plain)


def size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))


def main() -> None:
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "dist").resolve()
    archive = target / f"bettong-{version()}-linux-{platform.machine()}.tar.gz"
    made_from = target / ".made-from"
    materials = archive.with_name(archive.name.removesuffix(".tar.gz") + ".cdx.json")
    made = [target / "bettong", target / FOLDER / "bettong", archive, materials]
    wanted = digest()
    if all(path.exists() for path in made) and made_from.exists():
        if made_from.read_text() == wanted:
            return
        made_from.unlink()
    for old in (*target.glob("bettong-*.tar.gz"), *target.glob("bettong-*.cdx.json")):
        old.unlink()
    build(target)
    (target / FOLDER / "manifest.toml").write_text(manifest())
    pack(target / FOLDER, archive)
    said = [str(target / FOLDER / "bettong"), "licenses", "--sbom"]
    materials.write_bytes(subprocess.run(said, check=True, stdout=subprocess.PIPE).stdout)
    unpacked = size(target / FOLDER)
    if unpacked > UNPACKED_MAX_BYTES:
        sys.exit(f"{unpacked:,} bytes to unpack: raise the bounds here and in unpacking.c")
    made_from.write_text(wanted)
    print(f"{target / 'bettong'}: {(target / 'bettong').stat().st_size / 1e6:.1f} MB")
    print(f"{target / FOLDER}: {unpacked / 1e6:.1f} MB, {archive.stat().st_size / 1e6:.1f} packed")


if __name__ == "__main__":
    main()
