"""What the frozen programs say of themselves and of the box they are on."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from appliance import __version__
from frozen.boxes import DIST, Box, needs_a_box

pytestmark = needs_a_box

FLOW = """
version = 1
name = "flow"
[source.in]
tcp = { listen = "127.0.0.1:0" }
[sink.out]
file = { path = "out.jsonl" }
"""


def test_it_knows_what_is_inside(box: Box) -> None:
    listed = box.run("licenses").stdout.decode().splitlines()
    rows = [line.split() for line in listed]
    assert rows[0][:3] == ["bettong", __version__, "Apache-2.0"]
    names = {row[0] for row in rows}
    assert {"Python", "click", "libzmq", "lmdb", "msgspec", "pyinstaller-bootloader"} <= names
    assert not {"gdbm", "readline", "setuptools"} & names
    assert not [line for line in listed if "GPL" in line and " WITH " not in line]
    text = box.run("licenses", "--text", "libzmq").stdout.decode()
    assert "Mozilla Public License" in text


def test_its_bill_of_materials_lies_beside_it(box: Box) -> None:
    (beside,) = DIST.glob("bettong-*.cdx.json")
    said = box.run("licenses", "--sbom").stdout
    assert said == beside.read_bytes()
    document = json.loads(said)
    assert len(document["components"]) == len(box.run("licenses").stdout.splitlines()) - 1


def test_every_library_beside_it_is_in_the_bill(box: Box) -> None:
    """By the names of the files: the build has looked at where they come from."""
    known = {
        "bz2": "bzip2", "crypto": "openssl", "expat": "expat", "ffi": "libffi", "gcc_s": "libgcc",
        "lzma": "liblzma", "mpdec": "libmpdec", "ncursesw": "ncurses", "panelw": "ncurses",
        "tinfo": "ncurses", "sodium": "libsodium", "sqlite3": "sqlite", "ssl": "openssl",
        "stdc++": "libstdc++", "uuid": "libuuid", "z": "zlib", "zmq": "libzmq",
    }  # fmt: skip
    names = {line.split()[0] for line in box.run("licenses").stdout.decode().splitlines()}
    libraries = [path.name for path in (DIST / "bettong-folder/_internal").glob("lib*.so*")]
    stems = {name.removeprefix("lib").split(".so")[0].split("-")[0] for name in libraries}
    stems = {stem for stem in stems if not stem.startswith("python")}
    assert {known.get(stem, f"unknown: {stem}") for stem in stems} <= names


def test_doctor_on_a_box_with_nothing(box: Box) -> None:
    (box.job / "flow.toml").write_text(FLOW)
    ended = box.run("doctor", "/job/flow.toml", "--json", "--bundle", "/job/bundle.tar.gz")
    assert ended.returncode in (0, 1), ended.stderr
    found = {(one["group"], one["subject"]): one for one in json.loads(ended.stdout)["findings"]}
    for name in (("kernel", "features"), ("disk", "sync"), ("flows", "/job/flow.toml")):
        assert found[name]["level"] == "ok", found[name]
    assert found["temporary", "programs"]["level"] == "ok"
    assert ended.returncode == any(one["level"] == "fault" for one in found.values())
    bundle = Path(box.job / "bundle.tar.gz")
    assert bundle.stat().st_mode & 0o777 == 0o600
    with tarfile.open(bundle) as archive:
        file = archive.extractfile("bettong-support/version.json")
        assert file is not None
        assert json.load(file)["frozen"] is True
