"""The lane's loop: it wakes for what there is, and for nothing else."""

from __future__ import annotations

import os
import resource
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.native import lib
from appliance.worker.lane import Lane
from native.lanes import document_of, loaded, turn_until

FLOW = """
version = 1
[source.lines]
stdin = {}
format = "text"
[sink.out]
stdout = {}
format = { text = "{line}" }
"""


def test_a_listener_without_descriptors_tries_again(tmp_path: Path) -> None:
    """Also when none of its own connections has one to give back."""
    document = document_of(tmp_path, FLOW)
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)
        document["sources"][0].update(kind="listen", fd=os.dup(server.fileno()))
        with loaded(document) as lane:
            now_ns = 10**12
            lane.set_clock(now_ns, 0)
            client.connect(server.getsockname())
            free = os.dup(0)
            os.close(free)
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
            try:
                lane.turn()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert "cannot accept" in "".join(post.data.decode() for post in lane.posts())
            assert lane.metrics()["sources"][0]["partitions"] == 0
            lane.set_clock(now_ns + 10**9, 0)
            turn_until(lane, lambda: lane.metrics()["sources"][0]["partitions"] == 1, most=10)


def test_a_name_of_a_partition_may_hold_a_nul(tmp_path: Path) -> None:
    """All of its bytes are the partition's name (S5)."""
    document = document_of(tmp_path, FLOW)
    with loaded(document) as lane:
        for name in (b"a\0" + b"b" * 100, b"a\0" + b"c" * 100, b"a\0" + b"b" * 100):
            assert lane.mail_chunk(0, 0, name, b"", b"x\n")
        turn_until(lane, lambda: lane.metrics()["events"] == 3, most=10)
        assert lane.metrics()["sources"][0]["partitions"] == 2


@contextmanager
def full_epoll() -> Iterator[None]:
    """The newest epoll of this process takes no more descriptors."""
    folder = Path("/proc/self/fd")
    kinds = {int(entry.name): str(entry.readlink()) for entry in folder.iterdir() if entry.exists()}
    fd = max(fd for fd, kind in kinds.items() if "eventpoll" in kind)
    kept, null = os.dup(fd), os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, fd, inheritable=False)
    try:
        yield
    finally:
        os.dup2(kept, fd, inheritable=False)
        os.close(kept)
        os.close(null)


def logs_of(lane: Lane) -> str:
    return "".join(post.data.decode() for post in lane.posts() if post.kind == lib.POST_LOG)


def answer(lane: Lane, server: socket.socket) -> None:
    """The lane asked for the address of source 0."""
    assert [post.kind for post in lane.posts()] == [lib.POST_RESOLVE]
    port = server.getsockname()[1]
    address = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, b"\x7f\0\0\1")
    lane.mail_address(0, 1 << 31, address)


def test_a_connection_that_cannot_be_waited_for_is_closed_and_tried_again(tmp_path: Path) -> None:
    document = document_of(tmp_path, FLOW)
    document["sources"][0].update(kind="connect")
    with socket.create_server(("127.0.0.1", 0)) as server, loaded(document) as lane:
        lane.set_clock(10**12, 0)
        lane.turn()
        answer(lane, server)
        with full_epoll():
            lane.turn()
        assert "cannot wait for 127.0.0.1" in logs_of(lane)
        (source,) = lane.metrics()["sources"]
        assert (source["partitions"], source["refused"]) == (0, 1)
        with server.accept()[0] as peer:
            assert peer.recv(1) == b""  # it was closed
        lane.set_clock(10**12 + 10**9, 0)
        lane.turn()
        answer(lane, server)
        lane.turn()
        with server.accept()[0] as peer:
            peer.sendall(b"here\n")
            turn_until(lane, lambda: lane.metrics()["events"] == 1, most=10)


def test_connections_that_are_let_on_but_cannot_be_waited_for_are_tried_again(
    tmp_path: Path,
) -> None:
    document = document_of(tmp_path, FLOW)
    document["sources"][0].update(kind="connect")
    full = os.open("/dev/full", os.O_WRONLY | os.O_CLOEXEC)
    document["sinks"][0].update(kind="file", fd=full, offset=0, immediate=True)
    with socket.create_server(("127.0.0.1", 0)) as server, loaded(document) as lane:
        lane.set_clock(10**12, 0)
        lane.turn()
        answer(lane, server)
        lane.turn()
        with server.accept()[0] as peer, (tmp_path / "out").open("wb") as out:
            for _ in range(200):
                peer.sendall((b"x" * 99 + b"\n") * 100)
                lane.turn()
                if lane.metrics()["sources"][0]["paused"]:
                    break
            os.dup2(out.fileno(), full, inheritable=False)  # the disk has room again
            with full_epoll():
                lane.set_clock(10**12 + 10**9, 0)
                turn_until(lane, lambda: not lane.metrics()["sources"][0]["paused"], most=10)
            assert "cannot wait for 127.0.0.1" in logs_of(lane)
            peer.sendall(b"more\n")
            lane.turn()
            before = lane.metrics()["events"]
            lane.set_clock(10**12 + 2 * 10**9, 0)
            turn_until(lane, lambda: lane.metrics()["events"] > before, most=10)
