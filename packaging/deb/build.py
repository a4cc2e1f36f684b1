"""Make the Debian package of a frozen folder: `python packaging/deb/build.py [FOLDER [TARGET]]`
(default: dist/bettong-folder and dist). The same folder gives the same bytes.

What is where is what `bettong install` makes of the folder: appliance/layout.py. Only the units
stand where packages have theirs.
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
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
INSTALLATION = ROOT / "appliance" / "installation"

#: The time of every file, as in packaging/freeze.py.
EPOCH = 1_577_836_800

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf"}
SCRIPTS = ("postinst", "prerm", "postrm")


def version() -> str:
    text = (ROOT / "appliance" / "__init__.py").read_text()
    (found,) = re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    return str(found)


def fill(root: Path, folder: Path) -> None:
    """The files of the package below `root`."""
    shutil.copytree(folder, root / "opt/bettong/versions" / version(), symlinks=True)
    for unit in INSTALLATION.glob("*.service"):
        put(root / "usr/lib/systemd/system" / unit.name, unit)
    put(root / "usr/lib/sysusers.d/bettong.conf", INSTALLATION / "sysusers.conf")
    put(root / "etc/bettong/bettong.toml", INSTALLATION / "bettong.toml")
    (root / "etc/bettong/flows").mkdir()
    put(root / "usr/share/doc/bettong/copyright", ROOT / "LICENSE")
    changes = root / "usr/share/doc/bettong/changelog.gz"
    changes.write_bytes(gzip.compress((ROOT / "CHANGELOG.md").read_bytes(), 9, mtime=0))
    (root / "usr/bin").mkdir()
    (root / "usr/bin/bettong").symlink_to("/opt/bettong/current/bettong")


def put(path: Path, source: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)


def describe(root: Path) -> None:
    """What dpkg reads: DEBIAN/ below `root`."""
    control = root / "DEBIAN"
    size = sum(path.lstat().st_size for path in files(root))
    facts = {
        "@VERSION@": version(),
        "@ARCHITECTURE@": ARCHITECTURES[platform.machine()],
        "@SIZE@": str(-(-size // 1024)),
        "@LIBC@": platform.libc_ver()[1],
    }
    sums = [
        f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n"
        for path in files(root)
        if not path.is_symlink()
    ]
    control.mkdir()
    (control / "md5sums").write_text("".join(sums))
    for name in ("control", "conffiles", *SCRIPTS):
        text = (HERE / name).read_text()
        for word, fact in facts.items():
            text = text.replace(word, fact)
        (control / name).write_text(text)


def files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or path.is_file():
            yield path


def make_plain(root: Path) -> None:
    """One time, and modes that do not depend on who builds."""
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            is_script = path.parent.name == "DEBIAN" and path.name in SCRIPTS
            runs = path.is_dir() or is_script or path.stat().st_mode & 0o100
            path.chmod(0o755 if runs else 0o644)
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def main() -> None:
    given = [Path(word).resolve() for word in sys.argv[1:]]
    folder = given[0] if given else ROOT / "dist" / "bettong-folder"
    target = given[1] if len(given) > 1 else ROOT / "dist"
    if not (folder / "bettong").is_file():
        sys.exit(f"{folder}: there is no frozen program; `make freeze` makes one")
    package = target / f"bettong_{version()}_{ARCHITECTURES[platform.machine()]}.deb"
    with tempfile.TemporaryDirectory(prefix="bettong-deb-") as made:
        root = Path(made) / "root"
        fill(root, folder)
        describe(root)
        make_plain(root)
        command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(root), str(package)]
        environ = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
        subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
    print(f"{package}: {package.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
