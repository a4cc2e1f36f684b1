"""Sinks that are slow, away or dead: their sources wait, nothing is lost, nobody else notices."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from appliance import clock
from integration.processes import (
    PATIENCE_S,
    Running,
    eventually,
    memory_bytes,
    running,
    status_of,
    worker_cpu_s,
)

#: Far above all that a worker may hold: its buffers, and the sockets' on both sides.
FLOOD_BYTES = 40_000_000

#: A worker of 40 MB that holds what it may of a flood; all of the flood would be twice that.
MEMORY_MAX_BYTES = 64_000_000

LINE = b"%08d " + b"x" * 90 + b"\n"


def flood() -> bytes:
    return b"".join(LINE % number for number in range(FLOOD_BYTES // len(LINE % 0)))


def to_tcp(port: int, source: str, name: str = "flow") -> str:
    """Lines as they are, from this source to that port."""
    return f"""
version = 1
name = "{name}"
[source.lines]
{source}
format = "text"
[sink.out]
tcp = {{ connect = "127.0.0.1:{port}" }}
format = {{ text = "{{line}}" }}
"""


@contextmanager
def listener() -> Iterator[socket.socket]:
    """A peer that takes little of what it does not read."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(PATIENCE_S)
        yield server


def accept(server: socket.socket) -> socket.socket:
    connection, _ = server.accept()
    connection.settimeout(PATIENCE_S)
    return connection


def receive(connection: socket.socket, count: int) -> bytes:
    """So many bytes, or all up to the end."""
    parts = bytearray()
    while len(parts) < count and (part := connection.recv(1 << 20)):
        parts += part
    return bytes(parts)


def end_of(folder: Path, role: str, flow: str = "flow") -> dict[str, Any]:
    """What the status says of the flow's only source or sink."""
    (found,) = (each for each in status_of(folder)["flows"] if each["name"] == flow)
    (end,) = found[role]
    assert isinstance(end, dict)
    return end


def wait_until_pushed_back(run: Running, folder: Path, flow: str = "flow") -> None:
    run.wait_for(" running ")
    eventually(lambda: end_of(folder, "sources", flow)["paused"], "the source is pushed back")


class Sender(threading.Thread):
    """Sends all of it over one connection; `sent` is how far it has got."""

    def __init__(self, address: tuple[str, int], data: bytes) -> None:
        super().__init__(daemon=True)
        self._data = memoryview(data)
        self._socket = socket.create_connection(address, PATIENCE_S)
        self.sent = 0

    def run(self) -> None:
        with self._socket:
            while self.sent < len(self._data):
                self.sent += self._socket.send(self._data[self.sent :][:65_536])


def test_a_reader_that_stalls_blocks_the_sender_and_then_gets_everything(tmp_path: Path) -> None:
    """Back-pressure from socket to socket: memory stays bounded, the order is kept."""
    data = flood()
    with listener() as server:
        text = to_tcp(server.getsockname()[1], 'tcp = { listen = "127.0.0.1:0" }')
        (tmp_path / "flow.toml").write_text(text)
        with running(tmp_path, "run", "flow.toml") as flow, accept(server) as connection:
            sender = Sender(flow.address(), data)
            sender.start()
            wait_until_pushed_back(flow, tmp_path)
            held = end_of(tmp_path, "sinks")["queued"]
            assert 0 < held < 4_000_000
            assert memory_bytes(flow) < MEMORY_MAX_BYTES
            assert sender.sent < len(data)
            assert receive(connection, len(data)) == data
            sender.join(PATIENCE_S)
            assert sender.sent == len(data)
            assert memory_bytes(flow) < MEMORY_MAX_BYTES
            assert flow.stop() == 0


def test_hundreds_of_senders_are_held_back_as_one_is(tmp_path: Path) -> None:
    """What each of them has under way is not read beyond the bound."""
    senders = 200
    line = b"y" * 999 + b"\n"
    data = line * 200
    with listener() as server:
        text = to_tcp(server.getsockname()[1], 'tcp = { listen = "127.0.0.1:0" }')
        (tmp_path / "flow.toml").write_text(text)
        with running(tmp_path, "run", "flow.toml") as flow, accept(server) as connection:
            threads = [Sender(flow.address(), data) for _ in range(senders)]
            for thread in threads:
                thread.start()
            wait_until_pushed_back(flow, tmp_path)
            assert end_of(tmp_path, "sinks")["queued"] < 4_000_000
            whole = len(data) * senders
            assert receive(connection, whole) == data * senders
            for thread in threads:
                thread.join(PATIENCE_S)
            assert flow.stop() == 0


def test_a_reader_in_bursts_is_served_as_soon_as_it_reads(tmp_path: Path) -> None:
    """A source that was pushed back is read again at once, not at the next timer, up to a second
    later."""
    data = flood() * 2
    (tmp_path / "in.txt").write_bytes(data)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        text = to_tcp(server.getsockname()[1], 'file = { path = "in.txt" }')
        quiet = text.replace("[source.lines]", '[settings]\ncommit_every = "1h"\n[source.lines]')
        (tmp_path / "flow.toml").write_text(quiet)
        with running(tmp_path, "run", "flow.toml", "--once") as flow, accept(server) as connection:
            received = bytearray()
            gaps_s = []
            while burst := drain(connection):
                received += burst
                begun_s = clock.monotonic_s()
                eventually(lambda: has_input(connection), "there is more, or the end")
                gaps_s.append(clock.monotonic_s() - begun_s)
            assert sum(gap_s > 0.5 for gap_s in gaps_s) < 2
            assert received == data
            assert flow.end() == 0


def drain(connection: socket.socket) -> bytes:
    """All that is there now; nothing at the end."""
    parts = bytearray(connection.recv(1 << 20))
    while parts and has_input(connection) and (part := connection.recv(1 << 20)):
        parts += part
    return bytes(parts)


def has_input(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(PATIENCE_S)
    return True


def test_a_peer_that_comes_late_gets_everything(tmp_path: Path) -> None:
    with listener() as server:
        port = server.getsockname()[1]
    data = flood()[:5_000_000]
    data = data[: data.rindex(b"\n") + 1]
    (tmp_path / "in.txt").write_bytes(data)
    (tmp_path / "flow.toml").write_text(to_tcp(port, 'file = { path = "in.txt" }'))
    with running(tmp_path, "run", "flow.toml", "--once", "--data", ".bettong") as flow:
        flow.wait_for("no connection, trying again")
        wait_until_pushed_back(flow, tmp_path)
        with socket.create_server(("127.0.0.1", port)) as server:
            server.settimeout(PATIENCE_S)
            with accept(server) as connection:
                assert receive(connection, len(data) + 1) == data
        assert flow.end() == 0
        flow.wait_for("sink out: connected")


def test_a_new_connection_begins_with_a_whole_record(tmp_path: Path) -> None:
    """What a dead peer had not read is lost; half a line would spoil the next one's first, too."""
    data = flood()
    (tmp_path / "in.txt").write_bytes(data)
    with listener() as server:
        (tmp_path / "flow.toml").write_text(
            to_tcp(server.getsockname()[1], 'file = { path = "in.txt" }')
        )
        with running(tmp_path, "run", "flow.toml", "--once", "--data", ".bettong") as flow:
            rest = b""
            for _ in range(5):  # so that one ends inside a record, wherever a buffer's end lies
                with accept(server) as connection:
                    wait_until_pushed_back(flow, tmp_path)
                    # Closed with unread data and without lingering, the connection is reset.
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            with accept(server) as connection:
                rest = receive(connection, len(data) + 1)
            assert flow.end() == 0
    first = int(rest[:8])
    assert 0 < first < len(data) // len(LINE % 0)
    assert rest == data[first * len(LINE % 0) :]


def test_a_peer_that_will_not_send_and_does_not_read_costs_nothing(tmp_path: Path) -> None:
    """It has closed its half of the connection: that is no news at every turn of the lane."""
    with listener() as server:
        text = to_tcp(server.getsockname()[1], 'tcp = { listen = "127.0.0.1:0" }')
        (tmp_path / "flow.toml").write_text(text)
        with running(tmp_path, "run", "flow.toml") as flow, accept(server) as connection:
            connection.shutdown(socket.SHUT_WR)
            data = flood()
            sender = Sender(flow.address(), data)
            sender.start()
            wait_until_pushed_back(flow, tmp_path)
            begun_s, cpu_s = clock.monotonic_s(), worker_cpu_s(flow)
            while clock.monotonic_s() - begun_s < 1.0:
                status_of(tmp_path)
            took_s = clock.monotonic_s() - begun_s
            assert worker_cpu_s(flow) - cpu_s < took_s / 4
            assert receive(connection, len(data)) == data
            sender.join(PATIENCE_S)
            assert flow.stop() == 0


@pytest.mark.parametrize(
    "source",
    ['generate = { fields = { n = "counter()" } }', 'file = { path = "in.json" }'],
    ids=["generate", "file"],
)
def test_a_dead_sink_stops_no_other_flow_of_its_worker(tmp_path: Path, source: str) -> None:
    """Sources written in Python share the lane's box: one that waits does not fill it for all."""
    (tmp_path / "in.json").write_text("".join(f'{{"n":{n}}}\n' for n in range(1_000_000)))
    count = 50_000
    live = f'generate = {{ rate = "50000/s", count = {count}, fields = {{ n = "counter()" }} }}'
    with listener() as server:
        sink = f'tcp = {{ connect = "127.0.0.1:{server.getsockname()[1]}" }}'
        for name, ends in (("dead", (source, sink)), ("live", (live, 'file = { path = "out" }'))):
            (tmp_path / f"{name}.toml").write_text(
                f"version = 1\n[source.numbers]\n{ends[0]}\n[sink.out]\n{ends[1]}\n"
            )
        with running(tmp_path, "run", "dead.toml", "live.toml") as flow:
            wait_until_pushed_back(flow, tmp_path, "dead")
            whole = "".join(f'{{"n":{n}}}\n' for n in range(count))
            eventually(lambda: (tmp_path / "out").read_text() == whole, "the other flow is done")
            assert end_of(tmp_path, "sources", "dead")["paused"]
            flow.process.kill()
