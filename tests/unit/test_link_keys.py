"""Key files and tokens."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appliance.cli.main import main
from appliance.connect import construct, sink_class, source_class
from appliance.errors import EnvironmentFailure
from appliance.limits import LINK_TOKEN_MAX_COUNT
from appliance.link.keys import KeyPair, Keys

PUBLIC = "ab" * 32


def test_a_box_keeps_its_key(tmp_path: Path) -> None:
    made = Keys(tmp_path / "keys").own()
    assert Keys(tmp_path / "keys").own() == made
    assert (tmp_path / "keys/link.key").stat().st_mode & 0o777 == 0o600


def test_sinks_that_start_together_get_one_key(tmp_path: Path) -> None:
    for n in range(20):
        folder = tmp_path / str(n)
        together = threading.Barrier(4)

        def own(folder: Path = folder, together: threading.Barrier = together) -> KeyPair:
            together.wait()
            return Keys(folder).own()

        with ThreadPoolExecutor(4) as sinks:
            found = [made.result() for made in [sinks.submit(own) for _ in range(4)]]
        assert found == [Keys(folder).own()] * 4
        assert [path.name for path in folder.iterdir()] == ["link.key"]


@pytest.mark.parametrize("text", ["", "abc", f"{PUBLIC}\n", f"{PUBLIC}\n{PUBLIC[1:]}g\n"])
def test_a_damaged_key_is_said_and_left(tmp_path: Path, text: str) -> None:
    path = tmp_path / "link.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(EnvironmentFailure, match=f"cannot use the keys in {path}"):
        Keys(tmp_path).own()
    assert path.read_text() == text


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    Keys(tmp_path).own()
    (tmp_path / "link.key").chmod(0o644)
    with pytest.raises(EnvironmentFailure, match="others may read"):
        Keys(tmp_path).own()


def test_a_token_lets_one_client_in(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    assert not keys.is_enrolling()
    token = keys.new_token()
    assert keys.is_enrolling()
    assert "give its sink a token" in keys.enrol(PUBLIC, "")
    assert "its token is wrong" in keys.enrol(PUBLIC, token + "0")
    assert "give its sink a token" in keys.enrol("../" + PUBLIC[3:], token)
    assert keys.enrol(PUBLIC, token) == ""
    assert keys.knows(PUBLIC) and not keys.is_enrolling()
    assert "was used before" in keys.enrol("cd" * 32, token)
    assert token not in "".join(str(path) for path in tmp_path.rglob("*"))


def test_tokens_that_wait_are_bounded(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    for _ in range(LINK_TOKEN_MAX_COUNT):
        keys.new_token()
    with pytest.raises(EnvironmentFailure, match="tokens wait"):
        keys.new_token()


def test_the_command_shows_the_key_and_makes_tokens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "keys")
    assert main(["key", "show", "--keys", folder]) == 0
    assert capsys.readouterr().out.strip() == Keys(tmp_path / "keys").own().public.hex()
    assert main(["key", "token", "--keys", folder]) == 0
    assert Keys(tmp_path / "keys").enrol(PUBLIC, capsys.readouterr().out.strip()) == ""


@pytest.mark.parametrize(
    ("role", "options", "message"),
    [
        ("sink", {"to": "gateway:7700"}, "server_key is missing: the public key of gateway"),
        ("sink", {"to": "gateway:7700", "server_key": PUBLIC}, "keys is missing"),
        ("sink", {"to": "gateway:7700", "server_key": "x"}, "server_key: a key has 64 hex"),
        ("sink", {"to": "gateway"}, "'gateway' is not an address"),
        ("sink", {"to": "a:1", "server_key": PUBLIC, "keys": "k", "plain": True}, "not both"),
        ("sink", {"to": "localhost:1", "name": "a\nb"}, "name is longer"),
        ("source", {"listen": "0.0.0.0:7700"}, "keys is missing: whoever reaches 0.0.0.0"),
        ("source", {"listen": ":1", "keys": "k", "plain": True}, "not both"),
    ],
)
def test_ends_off_the_loopback_need_keys(
    role: str, options: dict[str, object], message: str
) -> None:
    cls = sink_class("upstream") if role == "sink" else source_class("upstream")
    with pytest.raises(ValueError, match=message):
        construct(cls, options)


def test_on_the_loopback_or_when_it_is_said_there_are_none() -> None:
    assert construct(sink_class("upstream"), {"to": "tcp://127.0.0.1:7700"}).exact
    assert construct(sink_class("upstream"), {"to": "gateway:7700", "plain": True})
    assert construct(source_class("upstream"), {"listen": "0.0.0.0:7700", "plain": True})
