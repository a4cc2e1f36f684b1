"""Signatures, archives and manifests of releases: what is taken, and what is refused and why."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import tarfile
from pathlib import Path

import pytest

from appliance import limits
from appliance.errors import FlowError
from appliance.layout import Layout
from appliance.upgrade import archive, signature
from appliance.upgrade.archive import ReleaseRefused, unpack
from appliance.upgrade.release import newness, read_manifest
from appliance.upgrade.settings import read_settings
from appliance.upgrade.signature import NotSigned, read_public_key
from integration.releases import Adding, adding, entry, manifest, packed, release

PAGE = Path(__file__).resolve().parents[2] / "docs/formats/release.md"
LAYOUT = Layout(Path("/"))


def unpacked(data: bytes, folder: Path) -> dict[str, bytes]:
    """The files that are made of an archive, by name."""
    folder.mkdir()
    assert unpack(io.BytesIO(data), folder) == hashlib.sha512(data).digest()
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_release_is_unpacked_without_its_top_folder(tmp_path: Path) -> None:
    files = unpacked(release("1.2.0"), tmp_path / "new")
    assert files.keys() == {
        "bettong", "manifest.toml", "_internal/inner/library.so.1", "_internal/library.so"
    }  # fmt: skip
    assert files["_internal/library.so"] == b"1.2.0"
    assert os.readlink(tmp_path / "new/_internal/library.so") == "inner/library.so.1"
    assert (tmp_path / "new/bettong").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "new/manifest.toml").stat().st_mode & 0o7777 == 0o644
    assert (tmp_path / "new/_internal").stat().st_mode & 0o7777 == 0o755
    found = read_manifest(tmp_path / "new", LAYOUT)
    assert found.version == "1.2.0"


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> Adding:
    return lambda tar: tar.addfile(entry(name, kind, to))


@pytest.mark.parametrize(
    ("adds", "words"),
    [
        ([adding("top/../../evil", b"x")], "leads out of it"),
        ([adding("/top/evil", b"x")], "leads out of it"),
        ([adding("top//evil", b"x")], "leads out of it"),
        ([adding("top/a", b"x"), adding("other/b", b"x")], "one folder is expected"),
        ([adding("top/a", b"x"), adding("top/a", b"y")], "twice"),
        ([adding("bettong", b"x")], "no folder at its top"),
        ([link("top/a", "/etc/passwd")], "leads out of it"),
        ([link("top/a", "../outside/file")], "leads out of it"),
        ([link("top/a", "b")], "leads nowhere"),
        ([link("top/a", "b"), link("top/b", "a")], "leads nowhere"),
        ([adding("top/a", b"x"), link("top/b", "top/a", tarfile.LNKTYPE)], "neither"),
        ([link("top/a", "", tarfile.FIFOTYPE)], "neither"),
        ([link("top/a", "", tarfile.CHRTYPE)], "neither"),
        ([adding("top/" + "d/" * 40 + "a", b"x")], "too long"),
        ([adding("top/" + "n" * 300, b"x")], "too long"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_be_outside_is_refused(tmp_path: Path, adds: list[Adding], words: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("mine")
    with pytest.raises(ReleaseRefused, match=words):
        unpacked(packed(adds), tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"outside", "new"}
    assert (tmp_path / "outside/file").read_text() == "mine"


def test_no_file_is_written_through_a_link(tmp_path: Path) -> None:
    """Links are made last, so a link to a folder outside is none yet when files come."""
    (tmp_path / "outside").mkdir()
    adds = [link("top/way", str(tmp_path / "outside")), adding("top/way/evil", b"x")]
    with pytest.raises((ReleaseRefused, OSError)):
        unpacked(packed(adds), tmp_path / "new")
    assert not list((tmp_path / "outside").iterdir())


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "UPGRADE_UNPACKED_MAX_BYTES", 1 << 20)
    monkeypatch.setattr(archive, "UPGRADE_FILE_MAX_COUNT", 10)
    half = bytes(600 << 10)
    with pytest.raises(ReleaseRefused, match="larger than 1 MiB"):
        unpacked(packed([adding("top/a", half), adding("top/b", half)]), tmp_path / "a")
    with pytest.raises(ReleaseRefused, match="more than 10 files"):
        unpacked(packed([adding(f"top/{n}", b"") for n in range(11)]), tmp_path / "b")
    # A header alone may say that it has any number of bytes: nothing is read into memory for it.
    with pytest.raises(ReleaseRefused, match="larger than 1 MiB"):
        unpacked(packed([adding("top/" + "n" * (4 << 20), b"")]), tmp_path / "c")


@pytest.mark.parametrize("cut", [0, 1, 100, -100])
def test_a_cut_archive_is_refused(tmp_path: Path, cut: int) -> None:
    with pytest.raises(ReleaseRefused, match="cut short"):
        unpacked(release("1.2.0")[:cut], tmp_path / "new")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (manifest("1.2.0", "pdp11"), "made for pdp11"),
        (manifest("../1"), "no name of a version"),
        (manifest("1.2.0", form=2), "format 2, and this program knows 1"),
        (b'format = 1\nversion = "1.2.0"\n', "architecture"),
        (b'format = "1"\nversion = 3\n', "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"format = ", "cannot be read"),
        (b"#" * 5000, "larger than 4096 bytes"),
        (manifest("1.2.0"), "no program bettong"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_manifests_that_do_not_fit(tmp_path: Path, text: bytes, words: str) -> None:
    (tmp_path / "manifest.toml").write_bytes(text)
    with pytest.raises(ReleaseRefused, match=words):
        read_manifest(tmp_path, LAYOUT)


def test_a_release_without_a_manifest_is_none(tmp_path: Path) -> None:
    with pytest.raises(ReleaseRefused, match=r"no manifest\.toml"):
        read_manifest(tmp_path, LAYOUT)


def test_versions_have_an_order() -> None:
    ordered = ["0.9.2", "0.10.0.dev3", "0.10.0rc1", "0.10.0rc2", "0.10.0rc10", "0.10", "0.10.0+1",
               "0.10.1~rc1", "0.10.1", "1", "1.0.1", "2.0.0", "10.0"]  # fmt: skip
    by_name = sorted(ordered)
    assert by_name != ordered and sorted(by_name, key=newness) == ordered
    assert newness("1.0") == newness("1.0.0")


def test_the_page_shows_a_signature_that_holds(tmp_path: Path) -> None:
    """docs/formats/release.md: a public key, a digest and a signature that fit."""
    (block,) = re.findall(r"```hex\n(.*?)```", PAGE.read_text(), re.DOTALL)
    data = bytes.fromhex(re.sub(r"#.*", "", block))
    key, digest, signed = data[:32], data[32:96], data[96:]
    assert digest == hashlib.sha512(b"a release").digest()
    (tmp_path / "a.sig").write_bytes(signature.signature_text(signed))
    signature.check(digest, tmp_path / "a.sig", key)
    other = hashlib.sha512(b"another release").digest()
    with pytest.raises(NotSigned, match="does not fit"):
        signature.check(other, tmp_path / "a.sig", key)
    with pytest.raises(NotSigned, match="does not fit"):
        signature.check(digest, tmp_path / "a.sig", bytes(32))


@pytest.mark.parametrize("data", [b"", b"x" * 2000, b"bettong-signature 1\nxxxx", b"\xff\n\xff"])
def test_what_is_no_signature(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.sig").write_bytes(data)
    with pytest.raises(NotSigned, match="no signature of a release"):
        signature.check(bytes(64), tmp_path / "a.sig", bytes(32))


def test_a_missing_signature(tmp_path: Path) -> None:
    with pytest.raises(NotSigned, match="cannot be read"):
        signature.check(bytes(64), tmp_path / "a.sig", bytes(32))


def test_a_file_too_large_to_be_a_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signature, "UPGRADE_ARCHIVE_MAX_BYTES", 1 << 20)
    with pytest.raises(NotSigned, match="larger than 1 MiB"):
        signature.digest_of(io.BytesIO(bytes((1 << 20) + 1)))
    assert limits.UPGRADE_ARCHIVE_MAX_BYTES < limits.UPGRADE_UNPACKED_MAX_BYTES


def test_the_key_in_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "bettong.toml"
    text = base64.b64encode(bytes(range(32))).decode()
    path.write_text(f'version = 1\n[logs]\nx = 1\n[upgrade]\npublic_key = "{text}"\n')
    assert read_settings(path).public_key == bytes(range(32))
    assert read_public_key(text) == bytes(range(32))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version = 1\n", "1:1: there is no public key"),
        ("version = 1\nupgrade = 1\n", "2:11: upgrade"),
        ("version = 1\n[upgrade]\n", "2:2: 'public_key' is missing"),
        ('version = 1\n[upgrade]\npublic_key = "?"\n', "3:14: public_key: this is not base64"),
        ('version = 1\n[upgrade]\npublic_key = "AAAA"\n', "a key has 32 bytes, this has 3"),
        ("version = 1\n[upgrade]\npublic_key = 3\n", "3:14: public_key: a text"),
        ('version = 1\n[upgrade]\npublic_kee = "AAAA"\n', "3:1: unknown key 'public_kee'"),
        ("version = 2\n[upgrade]\n", "1:1: these settings are not of version 1"),
        ("version = \n", "1:11: not TOML"),
    ],
)
def test_faults_in_the_settings_have_their_place(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bettong.toml"
    path.write_text(text)
    with pytest.raises(FlowError) as caught:
        read_settings(path)
    assert f"{path}:" in str(caught.value) and words in str(caught.value)


def test_settings_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FlowError, match="there is no such file"):
        read_settings(tmp_path / "bettong.toml")
