"""What the world sends: garbage, halves, too much, too many, and functions that cannot cope.

Whatever one client does is counted, is in the error output where there is a record, and harms
neither the flow nor the other clients; memory stays bounded.
"""

from __future__ import annotations

import base64
import json
import random
import resource
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from integration.processes import (
    PATIENCE_S,
    Running,
    eventually,
    is_alive,
    memory_bytes,
    running,
    status_of,
    worker_pid,
)

#: A worker that has just started has 40 MB; this is what garbage may make of it.
MEMORY_MAX_BYTES = 80_000_000

FLOW = """
version = 1
name = "flow"
[settings]
commit_every = "50ms"
step_timeout = "1s"
{settings}
[source.input]
tcp = {{ listen = "127.0.0.1:0" }}
{source}
{steps}
[sink.out]
{sink}
[sink.bad]
from = "errors"
file = {{ path = "bad.json" }}
"""

STDOUT = "stdout = {}"


@contextmanager
def flow_of(
    folder: Path,
    source: str = "",
    steps: str = "",
    sink: str = STDOUT,
    last: str = "input",
    settings: str = "",
) -> Iterator[Running]:
    """A flow that listens and prints; its errors go to `bad.json`."""
    sink = f'from = "{last}"\n{sink}'
    text = FLOW.format(source=source, steps=steps, sink=sink, settings=settings)
    (folder / "flow.toml").write_text(text)
    with running(folder, "run", "flow.toml") as flow:
        flow.wait_for(" running ")
        yield flow
        if flow.process.poll() is None:
            assert memory_bytes(flow) < MEMORY_MAX_BYTES
            assert flow.stop() == 0


@contextmanager
def client(flow: Running, start: int = 1) -> Iterator[socket.socket]:
    with socket.create_connection(flow.address(start), PATIENCE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def bad(folder: Path, count: int) -> list[dict[str, Any]]:
    """The error output, once it has so many records; never more."""
    path = folder / "bad.json"
    eventually(
        lambda: path.exists() and len(path.read_text().splitlines()) >= count,
        f"{count} records are set aside",
    )
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(found) == count
    return found


def frame(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


# ---- what cannot be read ----

BAD_LINES = [
    (b"garbage", "decode", "not JSON at byte 0"),
    (b"[1,2]", "decode", "an object"),
    (b'{"n":1', "decode", "the end"),
    (b'{"n":1}{"n":2}', "decode", ""),
    (b'{"n":NaN}', "decode", ""),
    (b'{"n":01}', "decode", ""),
    (b'{"n":1e999}', "decode", ""),
    (b'{"n":"\xff\xfe"}', "decode", "UTF-8"),
    (b'{"n":"\\ud800"}', "decode", ""),
    (b'{"n":"a\x00b"}', "decode", ""),
    (b"\x00\x01\x02\x03", "decode", ""),
    (b'{"n":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "decode", "nest"),
    (b"[" * 100_000, "decode", ""),
]


def test_every_line_that_is_no_record_is_set_aside_and_all_others_are_read(tmp_path: Path) -> None:
    with flow_of(tmp_path) as flow, client(flow) as other:
        for number, (line, _, _) in enumerate(BAD_LINES):
            flow.send(line + b'\n{"n":%d}\n' % number)
            assert flow.line() == f'{{"n":{number}}}\n'
            other.sendall(b'{"other":%d}\n' % number)
            assert flow.line() == f'{{"other":{number}}}\n'
        found = bad(tmp_path, len(BAD_LINES))
        for (line, reason, words), record in zip(BAD_LINES, found, strict=True):
            assert record["reason"] == reason, record
            assert words in record["message"], record
            assert (record["flow"], record["source"], record["position"]) == ("flow", "input", 0)
            raw = base64.b64decode(record["raw"])
            assert raw == line[: len(raw)]
            assert record["raw_truncated"] == (len(raw) < len(line))
            assert len(raw) >= min(len(line), 4096)
        (status,) = status_of(tmp_path)["flows"]
        assert status["reasons"] == {"decode": len(BAD_LINES)}


@pytest.mark.parametrize(
    "format",
    ['"json"', '{ csv = { header = true } }', '"text"', '"msgpack"', '"raw"',
     '{ binary = { order = "big", fields = { n = "u32", c = "s3" } } }'],
)  # fmt: skip
def test_random_bytes_harm_nobody(tmp_path: Path, format: str) -> None:
    noise = random.Random(1)
    source = f'format = {format}\nframe_max = "4KiB"'
    with flow_of(tmp_path, source, sink="blackhole = {}") as flow:
        for size in (1, 10, 1000, 100_000, 300_000):
            data = noise.randbytes(size)
            flow.send(data)
            flow.send(b"\n".join(data[at : at + 50] for at in range(0, min(size, 10_000), 50)))
            flow.send(b"".join(frame(data[at : at + 20]) for at in range(0, min(size, 10_000), 20)))

        def is_read() -> bool:
            (source,) = status_of(tmp_path)["flows"][0]["sources"]
            return bool(source["records"]) and source["partitions"] == 0

        eventually(is_read, "all is read, all have gone")
        assert not flow.log[3:]  # starting, listening, running


def test_a_line_above_the_limit_is_one_error_however_long_it_is(tmp_path: Path) -> None:
    with flow_of(tmp_path, 'frame_max = "64KiB"') as flow, client(flow) as other:
        flow.send(b'{"n":1}\n{"x":"' + b"y" * 50_000_000 + b'"}\n{"n":2}\n')
        assert [flow.line(), flow.line()] == ['{"n":1}\n', '{"n":2}\n']
        other.sendall(b'{"n":3}\n')
        assert flow.line() == '{"n":3}\n'
        (record,) = bad(tmp_path, 1)
        assert (record["reason"], record["position"]) == ("frame", 8)
        assert "longer than 65536 bytes" in record["message"]


def test_messages_that_never_end_stop_nobody(tmp_path: Path) -> None:
    """400 connections that begin a message and leave it, twice as much as the flow may hold in all.
    Another one's records all come, meanwhile and afterwards, and so does what the 400 send when
    their message has ended."""
    memory = 'memory = "1MiB"'
    with flow_of(tmp_path, 'frame_max = "64KiB"', settings=memory) as flow, client(flow) as other:

        def honest(line: bytes, first: int) -> None:
            other.sendall(line[:first])
            other.sendall(line[first:])
            assert flow.line() == line.decode()

        with ExitStack() as stack:
            wild = [stack.enter_context(client(flow)) for _ in range(400)]
            for number, connection in enumerate(wild):
                connection.sendall(b'{"x":"' + b"y" * 5_000)
                if number % 10 == 0:
                    honest(b'{"n":%d}\n' % number, 4)
            eventually(lambda: source_of(tmp_path)["unfinished"] >= 374, "most are set aside")
            for number in range(20):
                honest(b'{"n":%d,"x":"%s"}\n' % (number, b"y" * 3_000), 1_500)
            for number, connection in enumerate(wild):
                connection.sendall(b'\n{"wild":%d}\n' % number)
                assert flow.line() == f'{{"wild":{number}}}\n'
        (status,) = status_of(tmp_path)["flows"]
        assert status["memory"]["unfinished"] <= 128 << 10
        given_up = status["sources"][0]["unfinished"]
        assert status["reasons"] == {"unfinished": given_up, "decode": 400 - given_up}
        assert sum(" unfinished: " in line for line in flow.log) == 1


def source_of(folder: Path) -> dict[str, Any]:
    """What the status says of the only source."""
    ((source,),) = (flow["sources"] for flow in status_of(folder)["flows"])
    found: dict[str, Any] = source
    return found


def test_a_length_above_the_limit_ends_that_connection_alone(tmp_path: Path) -> None:
    """Nothing after it can be trusted."""
    source = 'format = "json"\nframe = "u32"\nframe_max = "64KiB"'
    with flow_of(tmp_path, source) as flow, client(flow) as other, client(flow) as wild:
        other.sendall(frame(b'{"n":1}'))
        assert flow.line() == '{"n":1}\n'
        wild.sendall(frame(b'{"n":2}') + b"\xff\xff\xff\xff")
        assert flow.line() == '{"n":2}\n'
        assert wild.recv(1) == b""
        other.sendall(frame(b'{"n":3}'))
        assert flow.line() == '{"n":3}\n'
        (record,) = bad(tmp_path, 1)
        assert (record["reason"], record["position"]) == ("frame", 11)


@pytest.mark.parametrize(
    ("source", "half", "reason"),
    [
        ('frame = "u32"', frame(b'{"n":1}')[:-1], "frame"),
        ('frame = "u32"', b"\x00\x00", "frame"),
        ('frame = "lines"', b'{"n":1', "decode"),
        ('frame = { delimiter = "--" }', b'{"n":1}-', "decode"),
    ],
)
def test_a_client_that_leaves_inside_a_frame_is_one_error(
    tmp_path: Path, source: str, half: bytes, reason: str
) -> None:
    whole = {"u32": frame(b'{"n":0}'), "lines": b'{"n":0}\n'}
    whole_one = next((whole[name] for name in whole if name in source), b'{"n":0}--')
    with flow_of(tmp_path, source) as flow, client(flow) as other:
        flow.send(whole_one + half)
        assert flow.line() == '{"n":0}\n'
        (record,) = bad(tmp_path, 1)
        assert record["reason"] == reason
        other.sendall(whole_one)
        assert flow.line() == '{"n":0}\n'


# ---- what can be read, and does not fit ----


def test_what_does_not_fit_the_schema_is_set_aside(tmp_path: Path) -> None:
    schema = 'schema = { device = "str", temp = "float", n = "int?" }'
    lines = [
        '{"device":"a","temp":"warm"}',
        '{"device":7,"temp":1.5}',
        '{"temp":1.5}',
        '{"device":null,"temp":1.5}',
        '{"device":"a","temp":1.5,"n":1.5}',
        '{"device":"a","temp":1.5,"n":12345678901234567890}',
    ]
    with flow_of(tmp_path, schema) as flow:
        flow.send("".join(f"{line}\n" for line in lines) + '{"device":"a","temp":2}\n')
        assert json.loads(flow.line()) == {"device": "a", "temp": 2.0}
        found = bad(tmp_path, len(lines))
        assert {record["reason"] for record in found} == {"schema"}
        fields = ["temp", "device", "device", "device", "n", "n"]
        for record, field in zip(found, fields, strict=True):
            assert f'"{field}"' in record["message"]


def test_a_missing_key_and_a_key_that_is_no_key_are_set_aside(tmp_path: Path) -> None:
    """S10."""
    steps = '[step.count]\nkey_by = "device"\nrunning = { n = "count()" }\n'
    lines = ["{}", '{"device":null}', '{"device":{"a":1}}', '{"device":[1]}']
    with flow_of(tmp_path, steps=steps, last="count") as flow:
        flow.send("".join(f"{line}\n" for line in lines) + '{"device":"a"}\n')
        assert json.loads(flow.line()) == {"device": "a", "n": 1}
        found = bad(tmp_path, len(lines))
        assert [(record["step"], record["reason"]) for record in found] == [("count", "key")] * 4
        assert found[2]["event"] == {"device": {"a": 1}}


def test_numbers_out_of_range_are_errors_of_their_record(tmp_path: Path) -> None:
    """S2: ints have 64 bits; a binary field has as many as it has."""
    steps = '[step.more]\nselect = { n = "n * 4" }\n'
    with flow_of(tmp_path, steps=steps, last="more") as flow:
        flow.send(
            '{"n":9223372036854775807}\n{"n":-9223372036854775808}\n{"n":"1"}\n{"n":true}\n'
            '{"n":9223372036854775808}\n{"n":1}\n'
        )
        assert [flow.line(), flow.line()] == ['{"n":3.6893488147419103e+19}\n', '{"n":4}\n']
        found = bad(tmp_path, 4)
        assert [record["step"] for record in found] == ["more"] * 4
        assert {record["reason"] for record in found} == {"expression"}
        assert found[0]["event"] == {"n": 9223372036854775807}


def test_results_that_a_sink_cannot_write_are_set_aside(tmp_path: Path) -> None:
    sink = 'stdout = {}\nformat = { binary = { order = "big", fields = { n = "u8", c = "s2" } } }'
    with flow_of(tmp_path, sink=sink) as flow:
        flow.send(
            '{"n":256,"c":"ab"}\n{"n":-1,"c":"ab"}\n{"n":1.5,"c":"ab"}\n{"n":1,"c":"abc"}\n'
            '{"c":"ab"}\n{"n":10,"c":"\\n\\n"}\n'
        )
        assert [flow.line() for _ in range(3)] == ["\0\0\0\3\n", "\n", "\n"]
        bad(tmp_path, 5)


def test_a_time_that_is_none_is_an_error_of_its_record(tmp_path: Path) -> None:
    times = ['"x"', "null", "true", "1e300", "[]", "-9223372036854775808"]
    with flow_of(tmp_path, 'time = { field = "ts", unit = "s" }') as flow:
        lines = [f'{{"ts":{time}}}\n' for time in times]
        flow.send("".join(lines) + '{"n":1}\n{"ts":1}\n')
        assert flow.line() == '{"ts":1}\n'
        found = bad(tmp_path, len(times) + 1)
        assert {record["reason"] for record in found} == {"time"}


# ---- clients ----


def test_one_byte_at_a_time_is_as_good_as_all_at_once(tmp_path: Path) -> None:
    with flow_of(tmp_path) as flow, client(flow) as slow, client(flow) as other:
        for number, byte in enumerate(b'{"n":"slow"}'):
            slow.sendall(bytes([byte]))
            other.sendall(b'{"n":%d}\n' % number)
            assert flow.line() == f'{{"n":{number}}}\n'
        slow.sendall(b"\n")
        assert flow.line() == '{"n":"slow"}\n'


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Enough of them for us and for the flow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connections(folder: Path) -> int:
    (source,) = status_of(folder)["flows"][0]["sources"]
    count = source["partitions"]
    assert isinstance(count, int)
    return count


def test_a_thousand_idle_connections_cost_little_and_disturb_nobody(
    tmp_path: Path, descriptors: None
) -> None:
    with flow_of(tmp_path) as flow, ExitStack() as idle:
        before = memory_bytes(flow)
        for number in range(1000):
            connection = idle.enter_context(client(flow))
            if number % 2:
                connection.sendall(b'{"half":')
        eventually(lambda: connections(tmp_path) == 1000, "all are accepted")
        flow.send(b'{"n":1}\n')
        assert flow.line() == '{"n":1}\n'
        assert memory_bytes(flow) - before < 16_000_000
        idle.close()
        eventually(lambda: connections(tmp_path) == 0, "all have gone")
        flow.send(b'{"n":2}\n')
        assert flow.line() == '{"n":2}\n'
        bad(tmp_path, 500)


def test_a_worker_takes_more_connections_than_a_shell_has_descriptors_for(
    tmp_path: Path, descriptors: None
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    with flow_of(tmp_path) as flow, ExitStack() as idle:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(300):
            idle.enter_context(client(flow))
        eventually(lambda: connections(tmp_path) == 300, "all are accepted")


def test_out_of_descriptors_the_flow_goes_on_and_takes_the_next_when_one_has_gone(
    tmp_path: Path,
) -> None:
    with flow_of(tmp_path) as flow, ExitStack() as stack:
        worker = worker_pid(flow)
        _, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (64, hard))
        first = stack.enter_context(client(flow))
        waiting = [stack.enter_context(client(flow)) for _ in range(100)]
        flow.wait_for("cannot accept on its listener: Too many open files")
        first.sendall(b'{"n":1}\n')
        assert flow.line() == '{"n":1}\n'
        waiting[-1].sendall(b'{"n":2}\n')
        for connection in waiting[:-1]:
            connection.close()
        assert flow.line() == '{"n":2}\n'


# ---- functions that cannot cope ----

STEP = '[step.work]\npython = "work.py:work"\n'

#: What the function does with the event whose n is the number of the line, and what is said of it.
RAISING = [
    ("raise ValueError('no ' * 3)", "ValueError: no no no"),
    ("return recurse(0)", "RecursionError"),
    ("return event.missing", "AttributeError"),
    ("raise SystemExit(3)", "SystemExit"),
    ("sys.exit('bye')", "SystemExit: bye"),
    ("return object()", "object"),
    ("return {1: 2}", "must be a str"),
    ("return {'n': {'a': object()}}", "object"),
    ("return {'n': 1 << 70}", "64 bits"),
    ("event.n = 3", "AttributeError"),
    ("return (1 / n for n in [1, 0])", "ZeroDivisionError"),
    ("return json.loads('[' * 100_000)", "RecursionError"),
]

WORK = """
import json, os, sys

def recurse(n):
    return recurse(n + 1) + 1

def work(event):
"""


def test_a_function_that_raises_concerns_one_event(tmp_path: Path) -> None:
    """S3; a generator's items before the error stay emitted."""
    cases = [f"    if event.n == {n}:\n        {code}\n" for n, (code, _) in enumerate(RAISING)]
    (tmp_path / "work.py").write_text(WORK + "".join(cases) + '    return {"other": event.n}\n')
    with flow_of(tmp_path, steps=STEP, last="work") as flow, client(flow) as other:
        worker = worker_pid(flow)
        for number in range(len(RAISING)):
            flow.send(f'{{"n":{number}}}\n')
            other.sendall(b'{"n":%d}\n' % (100 + number))
        lines = [flow.line() for _ in range(len(RAISING) + 1)]
        assert sorted(lines) == sorted(
            ['{"value":1.0}\n', *(f'{{"other":{100 + n}}}\n' for n in range(len(RAISING)))]
        )
        found = sorted(bad(tmp_path, len(RAISING)), key=lambda record: record["event"]["n"])
        for number, (record, (_, message)) in enumerate(zip(found, RAISING, strict=True)):
            assert (record["step"], record["reason"]) == ("work", "python"), record
            assert record["event"] == {"n": number}
            assert message in record["message"]
        assert worker_pid(flow) == worker


@pytest.mark.parametrize(
    "code", ["os._exit(3)", "while True: pass", "os.kill(os.getpid(), 9)", "os.abort()"]
)
def test_the_event_that_ends_its_worker_is_set_aside_once_and_the_flow_goes_on(
    tmp_path: Path, code: str
) -> None:
    """Plain TCP cannot be asked again: its clients have to come back, and are served."""
    (tmp_path / "work.py").write_text(
        WORK + f"    if event.n == 2:\n        {code}\n    return {{'n': event.n}}\n"
    )
    with flow_of(tmp_path, steps=STEP, last="work") as flow:
        with client(flow) as other:
            other.sendall(b'{"n":1}\n')
            assert flow.line() == '{"n":1}\n'
            flow.send(b'{"n":2}\n')
            flow.wait_for("worker died; starting it again")
        flow.wait_for(" running ", count=2)
        with client(flow, start=2) as other:
            other.sendall(b'{"n":3}\n')
            assert flow.line() == '{"n":3}\n'
            (record,) = bad(tmp_path, 1)
            assert record["reason"] == "stuck"
            assert base64.b64decode(record["raw"]) == b'{"n":2}'
            # The same event once more: it is only known to kill when it is met.
            other.sendall(b'{"n":4}\n')
            assert flow.line() == '{"n":4}\n'
    assert sum("worker died" in line for line in flow.log) == 1


FORK = """
import os, time

def work(event):
    if event.n == 1:
        child = os.fork()
        if child == 0:
            return {"n": "from the child"}
        os.waitpid(child, 0)
    if event.n == 2 and os.fork() == 0:
        with open("child.pid", "w") as file:
            file.write(str(os.getpid()))
        while not os.path.exists("done"):
            time.sleep(0.01)
        os._exit(0)
    return {"n": event.n}
"""


@contextmanager
def released(path: Path) -> Iterator[None]:
    """What waits for this file goes on, however the test ends."""
    try:
        yield
    finally:
        path.touch()


def test_a_function_that_forks_leaves_the_flow_to_its_parent(tmp_path: Path) -> None:
    """A child that comes back ends; one that lives on holds no connection and no port."""
    (tmp_path / "work.py").write_text(FORK)
    child = tmp_path / "child.pid"
    with (
        flow_of(tmp_path, 'frame = "u32"', steps=STEP, last="work") as flow,
        released(tmp_path / "done"),
        client(flow) as connection,
    ):
        address = flow.address()
        for number in range(4):
            connection.sendall(frame(b'{"n":%d}' % number))
            assert flow.line() == f'{{"n":{number}}}\n'
        eventually(lambda: child.exists() and bool(child.read_text()), "the child runs")
        connection.sendall(b"\xff\xff\xff\xff")
        assert connection.recv(1) == b""
        flow.signal(signal.SIGTERM)
        assert flow.process.wait(PATIENCE_S) == 0
        with socket.create_server(address):
            assert is_alive(int(child.read_text()))
    eventually(lambda: not is_alive(int(child.read_text())), "the child has ended")
    assert flow.lines.empty()
