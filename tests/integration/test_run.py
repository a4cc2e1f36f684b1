"""`bettong run` from end to end."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
from pathlib import Path

import pytest

from integration.processes import (
    BETTONG,
    PATIENCE_S,
    READINGS,
    WINDOW_ONE,
    WINDOW_TWO,
    eventually,
    run,
    running,
    said_after_start,
    wait_for_text,
    windows,
)

FILE_TO_FILE = windows('file = { path = "in.json" }', 'file = { path = "out.json" }')


def write(folder: Path, text: str, name: str = "flow.toml") -> None:
    (folder / name).write_text(text)


def test_a_file_becomes_windows_in_a_file_and_a_summary(tmp_path: Path) -> None:
    write(tmp_path, FILE_TO_FILE)
    (tmp_path / "in.json").write_text(READINGS + "nonsense\n")
    (tmp_path / "out.json").write_text("what an earlier run left\n")
    ended = run(tmp_path, "run", "flow.toml", "--once")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out.json").read_text() == WINDOW_ONE + WINDOW_TWO
    words = ended.stderr.decode()
    assert "4 events in " in words
    assert "1 record set aside as errors (1 decode)" in words
    assert not (tmp_path / ".bettong").exists()


def test_a_terminal_shows_how_far_a_bounded_run_is(tmp_path: Path) -> None:
    write(tmp_path, windows("stdin = {}", "blackhole = {}"))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*BETTONG, "run", "flow.toml", "--once"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    assert process.stdin is not None
    process.stdin.write(READINGS.encode())
    process.stdin.flush()
    shown = b""
    while b"3 events, " not in shown:
        shown += os.read(ours, 4096)
    process.stdin.close()
    while b"3 events in " not in shown:
        shown += os.read(ours, 4096)
    assert process.wait(PATIENCE_S) == 0
    os.close(ours)


def test_with_a_data_folder_results_go_behind_what_is_there(tmp_path: Path) -> None:
    write(tmp_path, FILE_TO_FILE)
    (tmp_path / "in.json").write_text(READINGS)
    (tmp_path / "out.json").write_text("kept\n")
    ended = run(tmp_path, "run", "flow.toml", "--once", "--data", "data")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out.json").read_text() == "kept\n" + WINDOW_ONE + WINDOW_TWO


def test_standard_input_becomes_standard_output(tmp_path: Path) -> None:
    write(tmp_path, windows("stdin = {}", "stdout = {}"))
    ended = run(tmp_path, "run", "flow.toml", "--once", stdin=READINGS)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.decode() == WINDOW_ONE + WINDOW_TWO


def test_a_file_on_standard_input_is_read_too(tmp_path: Path) -> None:
    write(tmp_path, windows("stdin = {}", "stdout = {}"))
    (tmp_path / "in.json").write_text(READINGS)
    with (
        (tmp_path / "in.json").open() as file,
        running(tmp_path, "run", "flow.toml", "--once", stdin=file.fileno()) as flow,
    ):
        assert flow.line() == WINDOW_ONE
        assert flow.line() == WINDOW_TWO
        assert flow.end() == 0


def test_three_lines_over_tcp_give_their_window(tmp_path: Path) -> None:
    write(tmp_path, windows('tcp = { listen = "127.0.0.1:0" }', "stdout = {}"))
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.send(READINGS)
        assert flow.line() == WINDOW_ONE
        assert flow.stop() == 0


def test_datagrams_come_in_and_go_out(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(PATIENCE_S)
        port = receiver.getsockname()[1]
        sink = f'udp = {{ connect = "127.0.0.1:{port}" }}'
        write(tmp_path, windows('udp = { listen = "127.0.0.1:0" }', sink))
        with running(tmp_path, "run", "flow.toml") as flow:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for line in READINGS.splitlines():
                    sender.sendto(line.encode(), flow.address())
            assert json.loads(receiver.recv(4096)) == json.loads(WINDOW_ONE)
            assert flow.stop() == 0


def test_results_go_to_a_peer_that_comes_later(tmp_path: Path) -> None:
    """The sink connects again and again; nothing is lost meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    sink = f'tcp = {{ connect = "localhost:{port}" }}'
    write(tmp_path, windows('tcp = { listen = "127.0.0.1:0" }', sink))
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.send(READINGS)
        flow.wait_for("no connection, trying again")
        with socket.create_server(("127.0.0.1", port)) as server:
            server.settimeout(PATIENCE_S)
            connection, _ = server.accept()
            with connection, connection.makefile() as lines:
                connection.settimeout(PATIENCE_S)
                assert lines.readline() == WINDOW_ONE
                assert flow.stop() == 0


def test_a_generator_counts_to_its_end(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
version = 1
[source.numbers]
generate = { count = 5000, fields = { n = "counter()" } }
[step.odd]
where = "n % 2 == 1"
[sink.out]
file = { path = "out.json" }
""",
    )
    ended = run(tmp_path, "run", "flow.toml", "--once")
    assert ended.returncode == 0, ended.stderr
    lines = (tmp_path / "out.json").read_text().splitlines()
    assert [json.loads(line)["n"] for line in lines] == list(range(1, 5000, 2))


def test_python_functions_keep_state_by_key(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
from dataclasses import dataclass

@dataclass
class Total:
    words: int = 0

def words(event):
    return [{"word": word} for word in event.line.split()]

def count(state, event):
    state.words += 1
    return {"word": event.word, "count": state.words}
""",
        "words.py",
    )
    write(
        tmp_path,
        """
version = 1
[source.text]
stdin = {}
format = "text"
[step.words]
python = "words.py:words"
[step.count]
key_by = "word"
python = "words.py:count"
state = "words.py:Total"
[sink.out]
stdout = {}
format = { text = "{word} => {count}" }
""",
    )
    ended = run(tmp_path, "run", "flow.toml", "--once", stdin="to be or\nnot to be\n")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.decode().split("\n") == [
        "to => 1", "be => 1", "or => 1", "not => 1", "to => 2", "be => 2", "",
    ]  # fmt: skip


def test_what_cannot_be_worked_on_goes_to_the_error_output(tmp_path: Path) -> None:
    """S3: counted, written with where and why, and the flow goes on."""
    write(tmp_path, "def fail(event):\n    return 1 / event.n\n", "fail.py")
    write(
        tmp_path,
        """
version = 1
name = "failing"
[source.numbers]
stdin = {}
[step.divide]
python = "fail.py:fail"
[sink.out]
from = "divide"
stdout = {}
[sink.bad]
from = "errors"
file = { path = "bad.json" }
""",
    )
    ended = run(tmp_path, "run", "flow.toml", "--once", stdin='{"n":2}\n{"n":0}\n{"n":\n{"n":4}\n')
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == b'{"value":0.5}\n{"value":0.25}\n'
    bad = [json.loads(line) for line in (tmp_path / "bad.json").read_text().splitlines()]
    assert [(record["flow"], record["reason"]) for record in bad] == [
        ("failing", "python"),
        ("failing", "decode"),
    ]
    assert "ZeroDivisionError" in bad[0]["message"]


CONNECTORS = '''
import pathlib
from appliance.connect import Chunk, EndOfInput, Later, Messages, sink, source

@source("letters")
class Letters(Messages):
    """The letters of a word, a message each."""
    word: str

    def open(self, positions):
        self.at = int(positions.get("", b"0"))

    def read(self, limit):
        if self.at >= len(self.word):
            raise EndOfInput
        part = self.word[self.at : self.at + 3]
        self.at += len(part)
        return Chunk([b'{"letter":"%s"}' % c.encode() for c in part], position=b"%d" % self.at)

    def close(self):
        pass

    def bounded(self):
        return True

@sink("slow")
class Slow:
    file: str

    def open(self, resume):
        self.tries = 0

    def write(self, records):
        self.tries += 1
        if self.tries == 1:
            raise Later("in a moment", after_s=0.001)
        with pathlib.Path(self.file).open("ab") as file:
            file.writelines(records)

    def close(self):
        with pathlib.Path(self.file).open("ab") as file:
            file.write(b"closed\\n")
'''


def test_a_users_source_and_sink_are_loaded_by_path(tmp_path: Path) -> None:
    write(tmp_path, CONNECTORS, "mine.py")
    write(
        tmp_path,
        f"""
version = 1
[source.letters]
connector = {{ path = "mine.py:Letters", word = "bettong" }}
[step.upper]
set = {{ letter = "upper(letter)" }}
[sink.out]
connector = {{ path = "mine.py:Slow", file = "{tmp_path}/out" }}
""",
    )
    ended = run(tmp_path, "run", "flow.toml", "--once")
    assert ended.returncode == 0, ended.stderr
    lines = (tmp_path / "out").read_text().splitlines()
    assert lines == [f'{{"letter":"{letter}"}}' for letter in "BETTONG"] + ["closed"]


def test_several_flows_run_side_by_side_and_one_may_have_a_worker_of_its_own(
    tmp_path: Path,
) -> None:
    (tmp_path / "in.json").write_text(READINGS)
    write(tmp_path, FILE_TO_FILE.replace("out.json", "one.json"), "one.toml")
    own = '[settings]\nworker = "own"\n[source.readings]'
    two = FILE_TO_FILE.replace("out.json", "two.json").replace("[source.readings]", own)
    write(tmp_path, two.replace('"sensors"', '"other"'), "two.toml")
    ended = run(tmp_path, "run", ".", "--once")
    assert ended.returncode == 0, ended.stderr
    for name in ("one.json", "two.json"):
        assert (tmp_path / name).read_text() == WINDOW_ONE + WINDOW_TWO
    assert "6 events in " in ended.stderr.decode()


def test_a_pipe_closed_by_its_reader_does_not_hang(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
version = 1
[source.numbers]
generate = { count = 200000, fields = { n = "counter()" } }
[sink.out]
stdout = {}
""",
    )
    with running(tmp_path, "run", "flow.toml", "--once") as flow:
        assert flow.line() == '{"n":0}\n'
        assert flow.end() == 0

    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [*BETTONG, "run", "flow.toml", "--once"],
        cwd=tmp_path,
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=PATIENCE_S,
        check=False,
    )
    os.close(writing)
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize(
    ("source", "sink", "message"),
    [
        ('file = { path = "none.json" }', "blackhole = {}", "source readings: there is no file"),
        ('file = { path = "in.json" }', 'file = { path = "no/out" }', "there is no folder"),
        ('tcp = { listen = "203.0.113.9:1" }', "blackhole = {}", "this box has no such address"),
    ],
)
def test_what_the_world_refuses_is_one_message_and_exit_code_three(
    tmp_path: Path, source: str, sink: str, message: str
) -> None:
    write(tmp_path, windows(source, sink))
    (tmp_path / "in.json").write_text("")
    ended = run(tmp_path, "run", "flow.toml")
    assert ended.returncode == 3
    words = said_after_start(ended)
    assert message in words
    assert len(words.splitlines()) == 1
    assert "Traceback" not in words


def test_a_port_in_use_is_exit_code_three(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        write(tmp_path, windows(f'tcp = {{ listen = "{address}" }}', "blackhole = {}"))
        ended = run(tmp_path, "run", "flow.toml")
    assert ended.returncode == 3
    assert f"cannot listen on {address}: another program has this port" in ended.stderr.decode()


def test_once_refuses_a_source_that_never_ends_by_name(tmp_path: Path) -> None:
    write(tmp_path, windows('tcp = { listen = "127.0.0.1:0" }', "blackhole = {}"))
    ended = run(tmp_path, "run", "flow.toml", "--once")
    assert ended.returncode == 2
    assert "'readings' of sensors (tcp) goes on for ever" in ended.stderr.decode()
    assert "bounded()" not in ended.stderr.decode()


def test_a_users_source_hears_how_to_say_that_it_ends(tmp_path: Path) -> None:
    write(tmp_path, CONNECTORS.replace("def bounded", "def other"), "mine.py")
    source = 'connector = { path = "mine.py:Letters", word = "abc" }'
    write(tmp_path, windows(source, "blackhole = {}"))
    ended = run(tmp_path, "run", "flow.toml", "--once")
    assert ended.returncode == 2
    assert ended.stderr.endswith(b"without --once, or give its class bounded() if it ends\n")


def test_a_bad_flow_file_is_exit_code_78_with_every_fault_once(tmp_path: Path) -> None:
    write(tmp_path, FILE_TO_FILE.replace("mean(temp)", "meen(temp)").replace("where", "were"))
    ended = run(tmp_path, "run", "flow.toml", "--once")
    words = ended.stderr.decode()
    assert ended.returncode == 78
    assert words.count("did you mean") == 2
    assert "flow.toml:" in words
    assert "Traceback" not in words


def test_two_runs_on_one_data_folder_are_refused(tmp_path: Path) -> None:
    write(tmp_path, windows('tcp = { listen = "127.0.0.1:0" }', "blackhole = {}"))
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.wait_for(" running ")
        second = run(tmp_path, "run", "flow.toml")
        assert second.returncode == 3
        assert f"in use by process {flow.process.pid}" in second.stderr.decode()
        assert flow.stop() == 0


def test_logs_can_be_json(tmp_path: Path) -> None:
    write(tmp_path, FILE_TO_FILE)
    (tmp_path / "in.json").write_text(READINGS)
    ended = run(tmp_path, "run", "flow.toml", "--once", "--log-format", "json")
    records = [json.loads(line) for line in ended.stderr.splitlines()]
    assert records[-1]["message"] == "summary"
    assert records[-1]["events"] == 3


def test_a_slow_sink_holds_the_source_back_and_loses_nothing(tmp_path: Path) -> None:
    """Back-pressure from a peer that does not read, to the generator."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        port = server.getsockname()[1]
        write(
            tmp_path,
            f"""
version = 1
[source.numbers]
generate = {{ count = 300000, fields = {{ n = "counter()", pad = 'choice("{"x" * 50}")' }} }}
[sink.out]
tcp = {{ connect = "127.0.0.1:{port}" }}
""",
        )
        with running(tmp_path, "run", "flow.toml", "--once", "--data", "data") as flow:
            connection, _ = server.accept()

            def is_pushed_back() -> bool:
                status = run(tmp_path, "status", "--data", "data")
                return b"pushed back" in status.stdout

            eventually(is_pushed_back, "the source is pushed back")
            with connection, connection.makefile() as lines:
                assert [json.loads(line)["n"] for line in lines] == list(range(300_000))
            assert flow.end() == 0


def test_output_arrives_while_the_flow_goes_on(tmp_path: Path) -> None:
    """A file sink without `--once` is written at each cut."""
    fast = '[settings]\ncommit_every = "50ms"\n[source.readings]'
    flow_text = windows('tcp = { listen = "127.0.0.1:0" }', 'file = { path = "out.json" }')
    write(tmp_path, flow_text.replace("[source.readings]", fast))
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.send(READINGS)
        wait_for_text(tmp_path / "out.json", WINDOW_ONE)
        assert flow.stop() == 0
    assert (tmp_path / "out.json").read_text() == WINDOW_ONE
