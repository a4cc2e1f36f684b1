"""A full disk is a state, not an accident: what cannot be committed waits, memory stays bounded,
and all goes on by itself when there is room."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.client import Client
from integration.disks import fill, small_disk
from integration.processes import (
    PATIENCE_S,
    Running,
    eventually,
    memory_bytes,
    run,
    running,
    status_of,
    wait_for_text,
)

DISK_BYTES = 24 << 20
LINES = 60_000
LINE = "{:08d} " + "x" * 90 + "\n"

#: A worker of 50 MB with settings.memory = 1 MiB, its copies of a cut and the newest of a spool.
MEMORY_MAX_BYTES = 100_000_000

FLOW = """
version = 1
name = "{name}"
[settings]
memory = "1MiB"
commit_every = "50ms"
[source.lines]
{source}
format = "text"
[sink.out]
file = {{ path = "{sink}" }}
format = {{ text = "{{line}}" }}
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", DISK_BYTES) as place:
        yield place


def text(first: int, end: int) -> str:
    return "".join(LINE.format(number) for number in range(first, end))


def send(client: Client, first: int, end: int) -> None:
    for number in range(first, end):
        client.send(LINE.format(number).rstrip().encode(), PATIENCE_S)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        found: int = server.getsockname()[1]
        return found


def said(flow: Running, words: str) -> int:
    return sum(words in line for line in flow.log)


def test_a_store_without_room_holds_everything_back_until_there_is_room(
    tmp_path: Path, disk: Path
) -> None:
    """Nothing is committed or acknowledged, nothing leaves, memory is bounded; then all of it."""
    port = free_port()
    source = f'acknowledged_tcp = {{ listen = "127.0.0.1:{port}" }}'
    (tmp_path / "flow.toml").write_text(FLOW.format(name="flow", source=source, sink="out.txt"))
    data = ["--data", str(disk / "data")]
    with (
        running(tmp_path, "run", "flow.toml", *data) as flow,
        Client(f"127.0.0.1:{port}", "lines", max_count=LINES) as client,
    ):
        send(client, 0, 10)
        client.flush(PATIENCE_S)
        wait_for_text(tmp_path / "out.txt", text(0, 10))
        filler = fill(disk)
        sender = threading.Thread(target=send, args=(client, 10, LINES), daemon=True)
        sender.start()
        flow.wait_for("the disk is full")
        flow.wait_for("memory_full")
        found = status_of(tmp_path, *data)
        assert found["stores"][0]["disk_full"] is True
        assert found["flows"][0]["memory"]["waits"] is True
        assert found["flows"][0]["sources"][0]["paused"] == 1
        words = run(tmp_path, "status", *data).stdout.decode()
        assert "the disk is full" in words and "memory is full" in words
        assert memory_bytes(flow) < MEMORY_MAX_BYTES
        read = found["flows"][0]["sources"][0]["records"]
        written = (tmp_path / "out.txt").stat().st_size
        cuts = found["stores"][0]["cuts"]
        eventually(
            lambda: status_of(tmp_path, *data)["stores"][0]["refused"] > 3, "it is tried again"
        )
        found = status_of(tmp_path, *data)
        assert found["flows"][0]["sources"][0]["records"] == read
        assert found["stores"][0]["cuts"] == cuts
        assert (tmp_path / "out.txt").stat().st_size == written
        acknowledged = client.acknowledged
        assert acknowledged < LINES // 2
        filler.unlink()
        sender.join(PATIENCE_S)
        client.flush(PATIENCE_S)
        assert client.acknowledged == LINES
        eventually(
            lambda: (tmp_path / "out.txt").stat().st_size == LINES * len(LINE.format(0)),
            "everything is delivered",
        )
        assert (tmp_path / "out.txt").read_text() == text(0, LINES)
        assert (said(flow, "the disk is full"), said(flow, "room on the disk again")) == (1, 1)
        assert said(flow, "memory_full") == 1
        assert flow.stop() == 0
    assert not any("Traceback" in line for line in flow.log)


def test_a_sinks_own_disk_may_be_full_and_no_other_flow_notices(tmp_path: Path, disk: Path) -> None:
    (tmp_path / "flows").mkdir()
    source = 'file = { path = "../in.txt" }'
    full = FLOW.format(name="full", source=source, sink=disk / "out.txt")
    other = FLOW.format(name="other", source=source, sink="../other.txt")
    (tmp_path / "flows" / "full.toml").write_text(full)
    (tmp_path / "flows" / "other.toml").write_text(other)
    (tmp_path / "in.txt").write_text(text(0, LINES))
    filler = fill(disk)
    with running(tmp_path, "run", "flows") as flow:
        flow.wait_for("sink failed; it is tried again")
        wait_for_text(tmp_path / "other.txt", text(0, LINES))
        filler.unlink()
        wait_for_text(disk / "out.txt", text(0, LINES))
        assert said(flow, "sink failed; it is tried again") == 1
        flow.wait_for("sink works again")
        assert flow.stop() == 0
    assert not any("Traceback" in line for line in flow.log)
