"""What leaves the box in a support bundle, and what must not."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.doctor import bundle
from appliance.cli.doctor.bundle import write_bundle
from appliance.cli.doctor.checks import Diagnosis
from appliance.cli.doctor.finding import ok, warning
from appliance.cli.doctor.redact import Redactor, is_secret_name, secrets_in
from appliance.errors import EnvironmentFailure
from appliance.limits import DOCTOR_PART_MAX_BYTES

#: Each place has a secret of its own, so that a failure says which place let it out.
SECRETS = {
    name: f"zq{number:02}-{name}-qz"
    for number, name in enumerate(
        (
            "password", "token", "nested", "url", "userinfo", "comment", "default", "variable",
            "harmless_variable", "list", "expression", "reversed", "header", "query", "python",
            "record", "message", "log", "bearer", "pem", "label", "finding", "broken", "key",
            "mount", "auth", "camel", "unrelated", "settings",
        )
    )
}  # fmt: skip

FLOW = """
version = 1
name = "shop"  # the old password was {comment}

[source.in.connector]
path = "mine.py:Mine"
password = "{password}"
apiToken = "{camel}"
pin = 48151623
url = "mqtt://joe:{userinfo}@broker:1883/?token={query}"
where = {{ secret_parts = ["{nested}", ["{list}"]] }}
from_environment = "${{SHOP_PASSWORD}}"
host = "${{SHOP_HOST}}"
private_key = "${{SHOP_KEY:-{default}}}"
headers = {{ Authorization = "Bearer {header}", auth = {{ user = "u", word = "{auth}" }} }}

[step.one]
where = 'token == "{expression}" or "{reversed}" == password'
key_by = "device"
set = {{ key = '"{key}"' }}

[sink.out]
stdout = {{}}
"""

STATUS: dict[str, Any] = {
    "pid": os.getpid(),
    "flows": [
        {
            "name": "shop",
            "sinks": [{"name": "out", "label": "http://a:{label}@b/", "records": 3}],
            "steps": [{"name": "one", "keys": 17}],
            "last_errors": [
                {
                    "reason": "decode",
                    "source": "in",
                    "time": "2026-11-23T00:00:00Z",
                    "raw": "{record}",
                    "message": "{message} is no number",
                }
            ],
        }
    ],
}

LOG = """2026-11-23T00:00:00 bettong[1]: connecting url=mqtt://joe:{userinfo}@broker token={log}
2026-11-23T00:00:01 bettong[1]: refused: Authorization: Bearer {bearer}
2026-11-23T00:00:02 bettong[1]: the broker says that {password} and {variable} are wrong
-----BEGIN PRIVATE KEY-----
{pem}
-----END PRIVATE KEY-----
2026-11-23T00:00:03 bettong[1]: host {harmless_variable} is away
"""

ENVIRONMENT = {
    "SHOP_PASSWORD": SECRETS["variable"],
    "SHOP_HOST": SECRETS["harmless_variable"],
    "UNRELATED_TOKEN": SECRETS["unrelated"],
}


def planted(value: Any) -> Any:
    """With the secrets in their places."""
    if isinstance(value, dict):
        return {key: planted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [planted(item) for item in value]
    return value.format(**SECRETS) if isinstance(value, str) else value


def read(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        found = {}
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None
            found[member.name.removeprefix("bettong-support/")] = file.read().decode()
        return found


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of a box that is full of secrets."""
    flows = tmp_path / "flows"
    flows.mkdir()
    (flows / "shop.toml").write_text(FLOW.format(**SECRETS))
    (flows / "broken.toml").write_text(f"password = {SECRETS['broken']}")
    (tmp_path / "mine.py").write_text(f"flow = 1  # {SECRETS['python']}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "out.jsonl").write_text(SECRETS["record"])
    (tmp_path / "root/proc").mkdir(parents=True)
    (tmp_path / "root/etc/bettong").mkdir(parents=True)
    text = f'version = 1\n[admin]\ntoken = "{SECRETS["settings"]}"'
    (tmp_path / "root/etc/bettong/bettong.toml").write_text(text)
    (tmp_path / "root/proc/mounts").write_text(
        f"//nas /mnt cifs pass=1,password={SECRETS['mount']},rw 0 0"
    )
    monkeypatch.setattr(bundle, "recent_log", lambda: LOG.format(**SECRETS))
    diagnosis = Diagnosis(
        [
            ok("a", "b", f"http://u:{SECRETS['finding']}@x"),
            warning("c", "d", f"says {SECRETS['password']}", "e"),
        ],
        status=planted(STATUS),
        environ=ENVIRONMENT,
    )
    path = tmp_path / "bundle.tar.gz"
    given = [str(flows), str(tmp_path / "mine.py")]
    write_bundle(path, diagnosis, given, tmp_path / "data", tmp_path / "root")
    return path


def test_no_secret_is_in_any_byte(made: Path) -> None:
    plain = gzip.decompress(made.read_bytes())
    assert [name for name, secret in SECRETS.items() if secret.encode() in plain] == []
    assert b"48151623" not in plain
    assert b"REDACTED" in plain


def test_what_helps_is_in_it(made: Path) -> None:
    found = read(made)
    assert found.keys() == {
        "MANIFEST.txt", "data-folder.txt", "doctor.json", "doctor.txt", "flows/02-shop.json",
        "flows/04-bettong.json",
        "log.txt", "status.json", "system/cpu.txt", "system/mounts.txt", "version.json",
    }  # fmt: skip
    flow = json.loads(found["flows/02-shop.json"])
    assert flow["version"] == 1
    assert flow["source"]["in"]["connector"] == {
        "path": "mine.py:Mine",
        "password": "REDACTED",
        "apiToken": "REDACTED",
        "pin": "REDACTED",
        "url": "mqtt://REDACTED@broker:1883/?token=REDACTED",
        "where": {"secret_parts": "REDACTED"},
        "from_environment": "${SHOP_PASSWORD}",
        "host": "${SHOP_HOST}",
        "private_key": "${SHOP_KEY:-REDACTED}",
        "headers": {"Authorization": "REDACTED", "auth": "REDACTED"},
    }
    assert flow["step"]["one"]["key_by"] == "device"
    settings = json.loads(found["flows/04-bettong.json"])
    assert settings == {"version": 1, "admin": {"token": "REDACTED"}}
    status = json.loads(found["status.json"])
    assert status["flows"][0]["steps"] == [{"name": "one", "keys": 17}]
    assert status["flows"][0]["last_errors"] == [
        {"time": "2026-11-23T00:00:00Z", "source": "in", "reason": "decode"}
    ]
    assert "out.jsonl" in found["data-folder.txt"]
    assert "the broker says that" in found["log.txt"]


def test_the_manifest_lists_what_is_there_and_what_is_not(made: Path) -> None:
    found = read(made)
    manifest = found["MANIFEST.txt"]
    for name, text in found.items():
        if name != "MANIFEST.txt":
            assert f"  {name}: {len(text.encode())} bytes\n" in manifest
    assert "  flows/02-shop.json.source.in.connector.password: 1\n" in manifest
    assert "mine.py: no TOML" in manifest and "broken.toml: no TOML" in manifest


def test_the_same_facts_give_the_same_bytes_and_only_the_owner_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "recent_log", lambda: "")
    for name in ("one", "two"):
        write_bundle(tmp_path / name, Diagnosis([]), [], tmp_path / "data", tmp_path / "root")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o600
    assert "log: there is no journal here" in read(tmp_path / "one")["MANIFEST.txt"]


def test_a_file_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "bundle").write_text("mine")
    with pytest.raises(EnvironmentFailure, match="File exists"):
        write_bundle(tmp_path / "bundle", Diagnosis([]), [], tmp_path / "data", tmp_path)
    assert (tmp_path / "bundle").read_text() == "mine"


def test_a_long_log_is_cut_at_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "recent_log", lambda: "x" * DOCTOR_PART_MAX_BYTES + "the end")
    write_bundle(tmp_path / "bundle", Diagnosis([]), [], tmp_path / "data", tmp_path / "root")
    found = read(tmp_path / "bundle")
    assert len(found["log.txt"]) == DOCTOR_PART_MAX_BYTES
    assert found["log.txt"].endswith("the end")
    assert f"(the last {DOCTOR_PART_MAX_BYTES} of them)" in found["MANIFEST.txt"]


@pytest.mark.parametrize(
    "name",
    ["token", "mqtt_password", "apiKey", "API-KEY", "auth", "db.secret", "psk", "keys", "Cookie"],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["key_by", "null_key", "device", "keyed", "mapping", "step.key_by"]
)
def test_names_of_no_secrets(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("temp > 15 and status == 'ok'", "temp > 15 and status == 'ok'"),
        ("password: hunter2, user: joe", "password: REDACTED, user: joe"),
        ('{"token": "a b", "n": 1}', '{"token": REDACTED, "n": 1}'),
        ("token=${NAME} x=${OTHER:-v}", "token=${NAME} x=${OTHER:-REDACTED}"),
        ("https://host/path?a=1&key=abc&b=2", "https://host/path?a=1&key=REDACTED&b=2"),
    ],
)
def test_texts(text: str, left: str) -> None:
    assert Redactor().text(text, "here") == left


def test_secrets_that_are_known_are_found_again() -> None:
    found = {
        "token": "abcdef",
        "x": {"url": "http://u:pw@h", "y": "${N:-dflt}"},
        "password": "${P}",
    }
    assert set(secrets_in(found)) == {"abcdef", "u:pw", "pw", "dflt"}
    assert Redactor(["abcdef", "ab"]).text("ab abcdef", "") == "ab REDACTED"
