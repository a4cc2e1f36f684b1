"""`bettong doctor` as it is called: beside a run, on what a run has left, and with faults."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from integration.processes import (
    PATIENCE_S,
    READINGS,
    ROOT,
    WINDOW_ONE,
    environment,
    eventually,
    run,
    running,
    start,
    status_of,
    windows,
)

TCP = windows('tcp = { listen = "127.0.0.1:0" }', "stdout = {}")


def doctor(folder: Path, *words: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Its findings by group and subject; the exit code must say whether there are faults."""
    ended = run(folder, "doctor", "--json", *words)
    found = json.loads(ended.stdout)
    assert ended.returncode == (1 if found["faults"] else 0), ended.stderr
    levels = [one["level"] for one in found["findings"]]
    assert (levels.count("fault"), levels.count("warning")) == (found["faults"], found["warnings"])
    assert all(one["remedy"] or one["level"] == "ok" for one in found["findings"])
    return {(one["group"], one["subject"]): one for one in found["findings"]}


def test_beside_a_run(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text(TCP)
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.send(READINGS + "a secret record\n")
        assert flow.line() == WINDOW_ONE
        eventually(lambda: status_of(tmp_path)["events"] == 4, "all four are counted")
        found = doctor(tmp_path, "flow.toml")
        assert found["state", "run"]["found"] == f"running as process {flow.process.pid}"
        assert found["state", "worker shared"]["level"] == "ok"
        assert found["state", "source sensors.readings"]["found"] == "4 records"
        assert found["state", "records of sensors"]["found"] == "set aside: decode 1"
        assert "held by this flow" in found["ports", "sensors.readings"]["found"]
        assert found["permissions", "data folder"]["level"] == "ok"
        page = (ROOT / "docs" / "doctor.md").read_text()
        groups = re.findall(r"^\| (\w+) \|", page, re.MULTILINE)
        assert groups[1:] == list(dict.fromkeys(group for group, _ in found))
        ended = run(tmp_path, "doctor", "flow.toml", "--bundle", "bundle.tar.gz")
        assert ended.returncode in (0, 1), ended.stderr
        assert b"bundle.tar.gz: read its MANIFEST.txt before you send it\n" in ended.stderr
        assert flow.stop() == 0
    with tarfile.open(tmp_path / "bundle.tar.gz") as archive:
        file = archive.extractfile("bettong-support/status.json")
        assert file is not None
        status = json.load(file)
        assert status["events"] == 4
        (error,) = status["flows"][0]["last_errors"]
        assert error.keys() == {"time", "flow", "source", "reason"}
    found = doctor(tmp_path, "flow.toml")
    assert "sound" in found["state", "store shared"]["found"]
    assert run(tmp_path, "doctor", "--bundle", "still.tar.gz").returncode in (0, 1)
    with tarfile.open(tmp_path / "still.tar.gz") as archive:
        file = archive.extractfile("bettong-support/stores.json")
        assert file is not None
        (one,) = json.load(file)["shared"]["flows"]
        assert (one["name"], one["steps"][0]["keys"]) == ("sensors", 1)


def test_a_run_has_its_variables_from_elsewhere(tmp_path: Path) -> None:
    """Doctor reads a flow as what runs does, and knows what must not leave with the log."""
    (tmp_path / "flow.toml").write_text(TCP.replace("127.0.0.1:0", "${SHOP_HOST}:0"))
    flow = start(tmp_path, "run", "flow.toml", more={"SHOP_HOST": "127.0.0.1"})
    try:
        flow.wait_for(" listening ")
        found = doctor(tmp_path, "flow.toml")
        assert found["flows", "flow.toml"]["level"] == "ok"
        assert "held by this flow" in found["ports", "sensors.readings"]["found"]
        assert flow.stop() == 0
    finally:
        flow.remove()
    assert doctor(tmp_path, "flow.toml")["flows", "flow.toml"]["level"] == "fault"


def test_faults_end_with_one_and_wrong_use_with_two(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (tmp_path / "flow.toml").write_text(TCP.replace(":0", f":{taken.getsockname()[1]}"))
        found = doctor(tmp_path, "flow.toml")
        assert found["ports", "sensors.readings"]["level"] == "fault"
        ended = run(tmp_path, "doctor", "flow.toml")
        assert ended.returncode == 1
        assert b"\nfault    ports        sensors.readings: 127.0.0.1:" in ended.stdout
    assert run(tmp_path, "doctor", "--nonsense").returncode == 2
    found = doctor(tmp_path, "gone.toml")
    assert found["permissions", "flow gone.toml"]["level"] == "fault"


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text(TCP)
    doctor(tmp_path, "flow.toml")
    assert [path.name for path in tmp_path.iterdir()] == ["flow.toml"]


def test_a_low_limit_is_seen(tmp_path: Path) -> None:
    code = (
        "import resource, runpy, sys;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128));"
        "sys.argv = ['bettong', 'doctor', '--json'];"
        "runpy.run_module('appliance', run_name='__main__', alter_sys=True)"
    )
    ended = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        timeout=PATIENCE_S,
        env=environment(),
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    found = {one["subject"]: one for one in json.loads(ended.stdout)["findings"]}
    assert found["open files"]["level"] == "fault"


def test_the_log_comes_from_the_journal(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "journalctl"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$1 password=hunter2"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "appliance", "doctor", "--bundle", "bundle"],
        cwd=tmp_path,
        capture_output=True,
        timeout=PATIENCE_S,
        env={**environment(), "PATH": f"{program.parent}:{os.environ['PATH']}"},
        check=False,
    )
    assert ended.returncode in (0, 1), ended.stderr
    with tarfile.open(tmp_path / "bundle") as archive:
        file = archive.extractfile("bettong-support/log.txt")
        assert file is not None
        assert file.read() == b"--unit=bettong password=REDACTED\n"
