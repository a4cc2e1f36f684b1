"""What is inside: every part with its licence, and the same as a bill of materials."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import click
import msgspec
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from appliance import __version__
from appliance.cli import components
from appliance.cli.components import Component, bill, installed, packed, python, unpacked
from appliance.cli.main import main

ROOT = Path(__file__).resolve().parents[2]

READLINE = Component("readline", "8.2", "GPL-3.0-or-later", "pkg:generic/readline", ("the GPL",))


@pytest.fixture
def collect() -> Iterator[ModuleType]:
    """packaging/collect.py, which is no module of ours; PyInstaller need not be there for it."""
    before = list(sys.path)
    spec = importlib.util.spec_from_file_location("collect", ROOT / "packaging/collect.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules["collect"] = made
    spec.loader.exec_module(made)
    made.__dict__["bootloader"] = lambda: Component("loader", "1", "MIT", "pkg:generic/l", ("MIT",))
    yield made
    sys.path[:] = before
    del sys.modules["collect"]


def test_everything_that_we_need_is_listed_with_its_text() -> None:
    """The lock file names what goes into the frozen program; clients of connectors are extras."""
    lock = (ROOT / "packaging/requirements.lock").read_text()
    section = lock.partition("# What goes into it.")[2].partition("\n#")[0]
    wanted = {
        components.normal(name) for name in re.findall(r"^([\w.-]+)==", section, re.MULTILINE)
    }
    found = installed("bettong")
    assert {one.name for one in found} == wanted
    assert python().version and python().licence  # its text is not on every development machine
    for one in [components.ourselves(), *found]:
        assert one.version and one.licence
        assert one.texts and all(text.strip() for text in one.texts), one.name


def test_the_bill_is_valid_and_always_the_same() -> None:
    text = bill(components.components())
    assert text == bill(components.components())
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    assert document["metadata"]["component"]["version"] == __version__
    refs = [one["bom-ref"] for one in document["components"]]
    assert len(set(refs)) == len(refs)
    assert document["dependencies"][0]["dependsOn"] == sorted(refs)
    assert "timestamp" not in text and "serialNumber" not in text


def test_the_frozen_program_reads_what_its_build_has_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert unpacked(packed([READLINE])) == [READLINE]
    (tmp_path / "components.json").write_text(packed([READLINE]))
    monkeypatch.setattr(components, "COLLECTED", tmp_path / "components.json")
    monkeypatch.setattr(components, "is_frozen", lambda: True)
    assert components.components() == [READLINE]


# ---- the command ----


def test_the_command_lists_parts_and_their_texts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["licenses"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["bettong", __version__, "Apache-2.0"]
    assert {"lmdb", "pyzmq", "click"} <= {line.split()[0] for line in lines}
    assert main(["licenses", "--text", "Click"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"click {version('click')}: BSD-3-Clause\n=====")
    assert "Redistribution and use in source and binary forms" in said
    assert main(["licenses", "--sbom"]) == 0
    assert json.loads(capsys.readouterr().out)["bomFormat"] == "CycloneDX"


@pytest.mark.parametrize("words", [["nothing"], ["--sbom", "click"], ["--sbom", "--text"]])
def test_wrong_use(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["licenses", *words]) == 2
    assert capsys.readouterr().out == ""


# ---- what a build packs ----


def test_each_file_has_an_owner(collect: ModuleType, tmp_path: Path) -> None:
    library = Path(sysconfig.get_path("stdlib"))
    found = collect.parts(
        [
            ("appliance", str(ROOT / "appliance/__init__.py")),
            ("json", str(library / "json/__init__.py")),
            ("msgspec/_core.so", str(Path(msgspec.__file__).parent / "__init__.py")),
            ("click", click.__file__),
        ]
    )
    assert [one.name for one in found] == ["bettong", "Python", "click", "loader", "msgspec"]


def test_a_file_that_nobody_knows_ends_the_build(collect: ModuleType, tmp_path: Path) -> None:
    strange = tmp_path / "libreadline.so.8"
    strange.touch()
    with pytest.raises(SystemExit, match=r"nobody knows the licence of .*libreadline\.so\.8"):
        collect.parts([("libreadline.so.8", str(strange))])


def test_the_gpl_ends_the_build_and_a_missing_text_is_said(
    collect: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="readline is under GPL-3"):
        collect.check([READLINE])
    collect.check([Component("x", "1", "MIT", "pkg:generic/x")])
    assert capsys.readouterr().err == "warning: no text of the licence of x here\n"
    collect.check([Component("x", "", "GPL-3.0-or-later WITH GCC-exception-3.1", "p", ("t",))])
    assert capsys.readouterr().err == ""


def test_what_is_linked_to_the_gpl_is_left_out() -> None:
    text = (ROOT / "packaging/bettong.spec").read_text()
    left_out = text.partition("LEFT_OUT = {")[2].partition("}")[0]
    assert {'"readline"', '"_gdbm"', '"_dbm"'} <= set(re.findall(r'"\w+"', left_out))


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="no dpkg here")
def test_a_library_of_the_system_has_its_package(collect: ModuleType) -> None:
    places = [*Path("/lib").glob("*/libz.so.1"), *Path("/usr/lib").glob("*/libz.so.1")]
    if not places:
        pytest.skip("no zlib of the system here")
    for place in places:
        found = collect._library("libz.so.1", str(place))
        assert (found.name, found.licence) == ("zlib", "Zlib")
        assert re.match(r"pkg:deb/\w+/zlib1g@1.*\?arch=\w+$", found.place)
        assert "Jean-loup Gailly" in found.texts[0]


def test_what_others_carry_is_named(collect: ModuleType) -> None:
    found = list(collect.carried(["cffi", "lmdb", "pynacl", "pyzmq"]))
    assert [one.name for one in found] == [
        "libffi",
        "lmdb-engine",
        "libsodium",
        "libsodium",
        "libzmq",
    ]
    assert all(one.texts for one in found)
    assert len({one.place for one in found}) == len(found)
    collect.check(found)
