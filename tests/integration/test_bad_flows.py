"""Flows that cannot run: one clear message each, the exit code of `flow-file.md`, no traceback, and
nothing done before."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from integration.processes import run, said_after_start

SOURCE = 'version = 1\n[source.readings]\nfile = { path = "in.json" }\n'
SINK = '[sink.out]\nfile = { path = "out.json" }\n'
STEP = "[step.work]\n"


FILES = {
    "in.json": '{"a":1}\n',
    "ok.py": "x = 1\ndef f(event): return event\n",
    "syntax.py": "def f(event)\n    return event\n",
    "imports.py": "import nowhere_to_be_found\ndef f(event): return event\n",
    "raises.py": "def f(event): return event\nraise RuntimeError('no licence')\n",
    "exits.py": "import sys\nsys.exit(0)\ndef f(event): return event\n",
    "state.py": "class S:\n    def __init__(self): self.x = open\ndef f(state, event): return 1\n",
    "connector.py": "class C:\n    pass\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def one_message(folder: Path, code: int, *words: str) -> str:
    """Run it; it must end with this code, one message on standard error, and no output."""
    ended = run(folder, "run", *words)
    said = said_after_start(ended)
    assert ended.returncode == code, said
    assert "Traceback" not in said and "mistake of ours" not in said
    assert ended.stdout == b""
    assert not (folder / "out.json").exists()
    # A fault begins at its line's start; its text, caret and remedy are set in.
    assert len([line for line in said.splitlines() if line and not line.startswith(" ")]) == 1, said
    return said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version = 1\n[source.readings\n", "flow.toml:2:17: not TOML"),
        ("\x00\x01\x02", "flow.toml:1:1: not TOML"),
        ("x = " + "[" * 100_000 + "]" * 100_000, "nested too deeply"),
        (SOURCE + SINK + 'formt = "json"\n', "flow.toml:6:1: unknown key 'formt'"),
        (SOURCE + STEP + 'from = "work"\nwhere = "a > 1"\n' + SINK, "the flow goes round"),
        (
            SOURCE + STEP + 'from = "redings"\nwhere = "a > 1"\n' + SINK,
            "flow.toml:5:9: there is no source or step named 'redings'",
        ),
        (SOURCE + STEP + 'where = "a >"\n' + SINK, "flow.toml:5:13: this is no expression"),
        (SOURCE + STEP + "set = { b = 'rond(a)' }\n" + SINK, "did you mean round()?"),
        (SOURCE + STEP + 'python = "none.py:f"\n' + SINK, "none.py cannot be read: No such file"),
        (SOURCE + STEP + 'python = "ok.py:g"\n' + SINK, "ok.py has no 'g'"),
        (SOURCE + STEP + 'python = "ok.py:x"\n' + SINK, "not a function"),
        (SOURCE + STEP + 'python = "syntax.py:f"\n' + SINK, "syntax.py:1:13: not Python"),
        (SOURCE + STEP + 'python = "imports.py:f"\n' + SINK, "imports.py:1: ModuleNotFoundError"),
        (
            SOURCE + STEP + 'python = "raises.py:f"\n' + SINK,
            "raises.py:2: RuntimeError: no licence",
        ),
        (SOURCE + STEP + 'python = "exits.py:f"\n' + SINK, "exits.py:2: SystemExit"),
        (
            SOURCE + STEP + 'key_by = "a"\npython = "state.py:f"\nstate = "state.py:S"\n' + SINK,
            "cannot be stored",
        ),
        (
            'version = 1\n[source.mine]\nconnector = { path = "connector.py:C" }\n' + SINK,
            'put @source("…") or @sink("…") above it',
        ),
        ('version = 1\n[source.t]\ntcp = { listen = "here:70000" }\n' + SINK, "not an address"),
        ("version = 7\n" + SOURCE[12:] + SINK, "this program reads version 1"),
        (SOURCE.replace("in.json", "${UNSET_NAME}") + SINK, "UNSET_NAME is not set"),
    ],
)
def test_a_wrong_flow_is_one_message_and_exit_code_78(folder: Path, text: str, words: str) -> None:
    (folder / "flow.toml").write_text(text)
    assert words in one_message(folder, 78, "--once", "flow.toml")


def test_whoever_reads_json_gets_json(folder: Path) -> None:
    (folder / "flow.toml").write_text("version = 1\nx = 1\ny = 1\n")
    ended = run(folder, "run", "flow.toml", "--log-format", "json")
    assert ended.returncode == 78
    (line,) = said_after_start(ended).splitlines()
    record = json.loads(line)
    assert record["level"] == "error" and record["message"] == "cannot run"
    assert "flow.toml:2:1:" in record["reason"] and "flow.toml:3:1:" in record["reason"]


def test_what_is_not_text_is_no_flow_file(folder: Path) -> None:
    (folder / "flow.toml").write_bytes(b"version = 1\n\xff\xfe\x80")
    assert "flow.toml:2:1: not UTF-8" in one_message(folder, 78, "flow.toml")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.toml", "none.toml: there is no such file"),
        ("in.json", "a flow is a .toml or a .py file"),
        ("ok.py", "there is no Flow in this file"),
        ("syntax.py", "syntax.py:1:13: not Python"),
        ("raises.py", "raises.py:2: RuntimeError: no licence"),
        (".", "there is no *.toml in this folder"),
    ],
)
def test_what_is_no_flow_at_all_is_exit_code_78(folder: Path, name: str, words: str) -> None:
    assert words in one_message(folder, 78, name)


@pytest.mark.parametrize(
    ("source", "sink", "words"),
    [
        ('file = { path = "none.json" }', "stdout = {}", "source readings: there is no file"),
        ('file = { path = "." }', "stdout = {}", "is not a file"),
        ('file = { glob = "*.none" }', "stdout = {}", "no file matches"),
        ('file = { path = "in.json" }', 'file = { path = "no/out" }', "there is no folder"),
        ('file = { path = "in.json" }', 'file = { path = "." }', "Is a directory"),
    ],
)
def test_what_the_world_has_not_is_exit_code_3(
    folder: Path, source: str, sink: str, words: str
) -> None:
    (folder / "flow.toml").write_text(
        f"version = 1\n[source.readings]\n{source}\n[sink.out]\n{sink}\n"
    )
    said = one_message(folder, 3, "--once", "flow.toml")
    assert said.startswith("flow: ") and words in said


@pytest.mark.parametrize("connector", ["tcp", "udp"])
def test_a_port_in_use_is_exit_code_3_and_names_it(folder: Path, connector: str) -> None:
    kind = socket.SOCK_STREAM if connector == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if connector == "tcp":
            taken.listen()
        port = taken.getsockname()[1]
        source = f'{connector} = {{ listen = "127.0.0.1:{port}" }}'
        (folder / "flow.toml").write_text(f"version = 1\n[source.readings]\n{source}\n{SINK}")
        said = one_message(folder, 3, "flow.toml")
    assert f"127.0.0.1:{port}: another program has this port" in said


@pytest.mark.parametrize("data", ["in.json", "in.json/data", "/proc/data"])
def test_a_data_folder_that_cannot_be_is_exit_code_3(folder: Path, data: str) -> None:
    (folder / "flow.toml").write_text(SOURCE + SINK)
    assert f"cannot use the data folder {data}" in one_message(
        folder, 3, "flow.toml", "--data", data
    )


@pytest.mark.parametrize(
    "source",
    [
        'tcp = { listen = "127.0.0.1:0" }',
        'udp = { listen = "127.0.0.1:0" }',
        'file = { path = "in.json", follow = true }',
        'generate = { fields = { n = "counter()" } }',
    ],
)
def test_once_with_a_source_that_never_ends_is_exit_code_2(folder: Path, source: str) -> None:
    (folder / "flow.toml").write_text(f"version = 1\n[source.readings]\n{source}\n{SINK}")
    said = one_message(folder, 2, "--once", "flow.toml")
    assert "'readings'" in said and "goes on for ever" in said


def test_faults_of_all_files_are_said_before_anything_runs(folder: Path) -> None:
    (folder / "good.toml").write_text(SOURCE + SINK)
    (folder / "one.toml").write_text(SOURCE.replace("file", "fiel") + SINK)
    (folder / "two.toml").write_text(SOURCE + STEP + 'where = "a >"\n' + SINK)
    ended = run(folder, "run", "--once", ".")
    assert ended.returncode == 78
    said = ended.stderr.decode()
    assert "one.toml:3:1: unknown key 'fiel'" in said and "two.toml:5:13" in said
    assert not (folder / "out.json").exists()
