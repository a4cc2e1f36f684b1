"""`bettong send` to a flow with an `acknowledged_tcp` source."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.client import Client
from integration.processes import (
    BETTONG,
    PATIENCE_S,
    environment,
    eventually,
    run,
    running,
    wait_for_text,
)

LINES = "".join(f'{{"n":{number}}}\n' for number in range(1, 501))


@pytest.fixture
def address() -> str:
    """Where nobody listens yet."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def folder(tmp_path: Path, address: str) -> Iterator[Path]:
    """A running flow that writes what it gets to out.jsonl; in.jsonl is there to be sent."""
    write_flow(tmp_path, address)
    (tmp_path / "in.jsonl").write_text(LINES)
    with running(tmp_path, "run", "flow.toml"):
        yield tmp_path


def write_flow(folder: Path, address: str) -> None:
    (folder / "flow.toml").write_text(f"""
version = 1
[settings]
commit_every = "50ms"
[source.in]
acknowledged_tcp = {{ listen = "{address}", token = "t" }}
[sink.out]
file = {{ path = "out.jsonl" }}
""")


def send(folder: Path, address: str, *words: str, stdin: str = "") -> str:
    """Its last words; it went well."""
    done = run(folder, "send", address, *words, "--token", "t", stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stderr.decode().splitlines()[-1]


def test_a_file_arrives_and_is_not_sent_twice(folder: Path, address: str) -> None:
    assert send(folder, address, "in.jsonl") == "500 messages acknowledged"
    wait_for_text(folder / "out.jsonl", LINES)
    with (folder / "in.jsonl").open("a") as more:
        more.write('{"n":501}')
    assert send(folder, address, "in.jsonl") == "501 messages acknowledged, 500 of them before"
    wait_for_text(folder / "out.jsonl", LINES + '{"n":501}\n')


def test_it_goes_on_where_the_receiver_is(folder: Path, address: str) -> None:
    """As if it had been killed when 200 lines were safe."""
    state = {"stream": "s", "before": 0, "head_bytes": 0, "version": 1, "acknowledged": 300}
    state["head_sha256"] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (folder / "kept").write_text(json.dumps(state))
    with Client(address, "s", token="t") as client:
        for line in LINES.splitlines()[:200]:
            client.send(line.encode())
        client.flush(PATIENCE_S)
    done = run(folder, "send", address, "in.jsonl", "--state", "kept", "--token", "t")
    assert done.stderr.decode().splitlines() == [
        "the receiver had 300 and has only 200 now: the rest is sent again",
        "500 messages acknowledged, 200 of them before",
    ]
    wait_for_text(folder / "out.jsonl", LINES)


def test_killed_and_started_again_it_loses_and_doubles_nothing(folder: Path, address: str) -> None:
    lines = "".join(f'{{"n":{number}}}\n' for number in range(50_000))
    (folder / "in.jsonl").write_text(lines)
    words = [*BETTONG, "send", address, "in.jsonl", "--token", "t"]
    with subprocess.Popen(
        words, cwd=folder, stderr=subprocess.DEVNULL, env=environment()
    ) as sender:
        out = folder / "out.jsonl"
        eventually(lambda: out.exists() and out.stat().st_size > 0, "something has arrived")
        sender.kill()
    assert send(folder, address, "in.jsonl").startswith("50,000 messages acknowledged")
    wait_for_text(folder / "out.jsonl", lines)


def test_what_is_piped_in_is_one_stream_after_the_other(folder: Path, address: str) -> None:
    for number in (1, 2):
        assert send(folder, address, stdin=f'{{"n":{number}}}\n') == "1 messages acknowledged"
    wait_for_text(folder / "out.jsonl", '{"n":1}\n{"n":2}\n')


def test_two_files_can_be_one_stream(folder: Path, address: str) -> None:
    for name in ("a", "b"):
        (folder / name).write_text(f'{{"n":"{name}"}}\r\n')
        assert send(folder, address, name, "--stream", "s") == "1 messages acknowledged"
    assert send(folder, address, "a").endswith("before")
    with (folder / "a").open("a") as more:
        more.write('{"n":"c"}\n')
    assert send(folder, address, "a") == "2 messages acknowledged, 1 of them before"
    wait_for_text(folder / "out.jsonl", '{"n":"a"}\n{"n":"b"}\n{"n":"c"}\n')


def test_it_waits_for_a_receiver_that_comes_later(tmp_path: Path, address: str) -> None:
    write_flow(tmp_path, address)
    words = [*BETTONG, "send", address, "--token", "t"]
    sender = subprocess.Popen(
        words, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    assert sender.stdin is not None and sender.stderr is not None
    sender.stdin.write(LINES.encode())
    sender.stdin.close()
    assert b"waiting for the receiver: [Errno 111]" in sender.stderr.readline()
    with running(tmp_path, "run", "flow.toml"):
        assert sender.wait(PATIENCE_S) == 0
        wait_for_text(tmp_path / "out.jsonl", LINES)
    sender.stderr.close()


def test_a_terminal_shows_the_last_number(folder: Path, address: str) -> None:
    ours, theirs = pty.openpty()
    words = [*BETTONG, "send", address, "in.jsonl", "--token", "t"]
    subprocess.run(words, cwd=folder, stderr=theirs, env=environment(), timeout=PATIENCE_S)
    assert b"500 messages acknowledged\r\n" in os.read(ours, 65_536)
    os.close(ours)
    os.close(theirs)


# ---- what goes wrong ----


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nowhere", "in.jsonl"], 2, "is not an address"),
        (["HERE", "in.jsonl", "--timeout", "soon"], 2, "is not a duration"),
        (["HERE", "none.jsonl"], 3, "cannot read none.jsonl"),
        (["HERE", "in.jsonl"], 1, "the token is missing or wrong"),
        (["HERE", "in.jsonl", "--token", "t", "--stream", "\n"], 1, "a stream is named by"),
        (["HERE", "in.jsonl", "--token", "t", "--state", "flow.toml"], 1, "is no state of"),
        (["HERE", "in.jsonl", "--token", "t", "--state", "no/kept"], 3, "cannot write no/kept"),
        (["HERE", "long", "--token", "t"], 1, "line 2 is longer than a message may be"),
    ],
)
def test_what_is_wrong_is_said(
    folder: Path, address: str, words: list[str], code: int, message: str
) -> None:
    (folder / "long").write_bytes(b"{}\n" + b"x" * 250_000)
    done = run(folder, "send", *(address if word == "HERE" else word for word in words))
    assert done.returncode == code, done.stderr
    assert message in done.stderr.decode()


def test_another_file_of_the_same_name_is_not_sent_as_the_rest(folder: Path, address: str) -> None:
    send(folder, address, "in.jsonl")
    (folder / "in.jsonl").write_text('{"n":"new"}\n' * 1000)
    done = run(folder, "send", address, "in.jsonl", "--token", "t")
    assert (done.returncode, b"another content" in done.stderr) == (1, True)
    (folder / "in.jsonl").write_text(LINES[:4096])
    done = run(folder, "send", address, "in.jsonl", "--token", "t")
    assert done.returncode == 1
    assert b"the receiver has 500 messages of this stream" in done.stderr


def test_its_patience_can_be_limited(tmp_path: Path, address: str) -> None:
    done = run(tmp_path, "send", address, "--timeout", "10ms", stdin="{}\n")
    assert done.returncode == 3
    assert b"the receiver took nothing for 0.01 s: [Errno 111]" in done.stderr
