"""The lane's loop: it wakes for what there is, and for nothing else."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

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
