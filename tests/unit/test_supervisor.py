"""What a supervisor is made of, without a process: pages, watching, folders, the channel."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from appliance import clock
from appliance.errors import EnvironmentFailure
from appliance.limits import LANE_STALL_S, RESTART_FORGIVE_S, RESTART_MAX_S
from appliance.supervisor.admin import Admin, ask_status
from appliance.supervisor.folder import DataFolder, connect, data_folder
from appliance.supervisor.page import MAGIC, SIZE, EventInHand, Page, Pulse
from appliance.supervisor.progress import Progress
from appliance.supervisor.restart import RestartPolicy
from appliance.supervisor.watch import Watch
from appliance.worker.control import Channel, ChannelClosed
from appliance.worker.job import Job, SetAside


def write_page(page: Page, since: int = 0, raw: bytes = b"", source: int = 2) -> None:
    """As the lane writes it: `native/include/page.h`."""
    name = b"part"
    head = struct.pack("=6Q", MAGIC, 10, 20, 30, since, 1)
    event = struct.pack("=IIQII", 1, source, 1234, len(raw), len(name))
    data = (head + event + name).ljust(256, b"\0") + raw
    os.pwrite(page.fd, data, 0)


def test_a_page_says_nothing_until_the_lane_has_begun() -> None:
    page = Page()
    assert os.fstat(page.fd).st_size == SIZE
    assert page.pulse() is None
    assert page.event_in_hand() is None
    page.close()


def test_a_page_is_read_as_the_lane_writes_it() -> None:
    page = Page()
    write_page(page)
    assert page.pulse() == Pulse(10, 20, 30, 0, True, 1)
    assert page.event_in_hand() is None
    write_page(page, since=99, raw=b'{"a":1}')
    assert page.event_in_hand() == EventInHand(1, 2, b"part", 1234, b'{"a":1}')
    page.close()


def test_a_call_without_an_event_has_nothing_to_set_aside() -> None:
    page = Page()
    write_page(page, since=99, source=0xFFFF_FFFF)
    assert page.event_in_hand() is None
    page.close()


def pulse(ticks: int = 0, since: int = 0, waiting: bool = False) -> Pulse:
    return Pulse(ticks, 0, 0, since, waiting, 0)


def test_a_function_that_does_not_come_back_is_found_after_its_time() -> None:
    watch = Watch([5.0])
    assert watch.look(pulse(1, since=77), 100.0) == ""
    assert watch.look(pulse(1, since=77), 104.9) == ""
    assert "did not come back within 5 s" in watch.look(pulse(1, since=77), 105.1)


def test_many_slow_calls_are_no_stuck_call() -> None:
    watch = Watch([5.0])
    for n in range(100):
        assert watch.look(pulse(1, since=n + 1), 100.0 + 4 * n) == ""


def test_a_lane_that_waits_is_healthy_and_one_that_only_stands_is_not() -> None:
    watch = Watch([5.0])
    assert watch.look(pulse(1, waiting=True), 100.0) == ""
    assert watch.look(pulse(1, waiting=True), 100.0 + 10 * LANE_STALL_S) == ""
    stuck_s = 100.0 + 11 * LANE_STALL_S + 1
    assert "made no turn" in watch.look(pulse(1), stuck_s)


def test_the_progress_line_leaves_the_cursor_where_another_line_covers_it() -> None:
    reading, writing = os.pipe()
    progress = Progress(writing, 10.0)
    progress.show(100, 0, 12.0)
    progress.hide()
    progress.hide()
    os.close(writing)
    with os.fdopen(reading, newline="") as pipe:
        assert pipe.read() == "\r\x1b[K100 events, 50/s, 2 s\r\r\x1b[K"


def test_restarts_come_later_and_later_and_are_forgiven_after_a_good_time() -> None:
    policy = RestartPolicy()
    waits = [policy.died(0.0) for _ in range(20)]
    assert waits[0] <= 0.2
    assert waits[-1] >= RESTART_MAX_S / 2
    policy.ready(1000.0)
    assert policy.died(1000.0 + RESTART_FORGIVE_S) - (1000.0 + RESTART_FORGIVE_S) <= 0.2
    assert policy.count == 21


def test_a_folder_has_one_holder_and_says_who(tmp_path: Path) -> None:
    held = DataFolder(tmp_path / "data")
    with pytest.raises(EnvironmentFailure, match=f"in use by process {os.getpid()}"):
        DataFolder(tmp_path / "data")
    held.close()
    DataFolder(tmp_path / "data").close()


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFailure, match="cannot use the data folder"):
        DataFolder(tmp_path / "file" / "data")


def test_a_temporary_folder_goes() -> None:
    folder = DataFolder(None)
    assert folder.path.is_dir()
    folder.close()
    assert not folder.path.exists()


def test_the_folder_is_the_option_the_environment_or_beside_the_flow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BETTONG_DATA", raising=False)
    assert data_folder(None, "flows/a.toml") == Path("flows/.bettong")
    assert data_folder(None, str(tmp_path)) == tmp_path / ".bettong"
    assert data_folder(None, None) == Path(".bettong")
    monkeypatch.setenv("BETTONG_DATA", "/var/lib/x")
    assert data_folder(None, "a.toml") == Path("/var/lib/x")
    assert data_folder("/data", "a.toml") == Path("/data")


def test_the_admin_socket_works_in_a_folder_with_a_long_path(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 100) / ("y" * 100)
    folder = DataFolder(path)
    listener = folder.listen()
    connection = connect(path)
    assert connection is not None
    connection.close()
    listener.close()
    folder.close()
    assert connect(path) is None


def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    first = DataFolder(tmp_path)
    first.listen().close()
    second_listener = first.listen()
    connection = connect(tmp_path)
    assert connection is not None
    connection.close()
    second_listener.close()
    first.close()


def pair() -> tuple[Channel, Channel]:
    ours, theirs = socket.socketpair()
    return Channel(ours), Channel(theirs)


def test_messages_cross_the_channel_whole_and_in_order() -> None:
    ours, theirs = pair()
    ours.send("job", size=1, text="ä\n")
    ours.send("stop", raw=b"\xff")
    assert theirs.receive() == [
        {"kind": "job", "size": 1, "text": "ä\n"},
        {"kind": "stop", "raw": "/w=="},
    ]
    assert theirs.receive() == []
    for channel in (ours, theirs):
        channel.close()


def test_what_the_socket_cannot_take_is_kept_and_goes_out_later() -> None:
    ours, theirs = pair()
    ours.send("big", data="x" * 3_000_000)
    assert ours.wants_to_write
    received: list[dict[str, Any]] = []
    while not received:
        received = theirs.receive()
        ours.flush()
    assert len(received[0]["data"]) == 3_000_000
    assert not ours.wants_to_write
    for channel in (ours, theirs):
        channel.close()


def test_a_side_that_never_reads_is_given_up() -> None:
    ours, theirs = pair()
    with pytest.raises(ChannelClosed, match="does not read"):
        for _ in range(10):
            ours.send("big", data="x" * 3_000_000)
    for channel in (ours, theirs):
        channel.close()


def test_a_side_that_has_gone_is_noticed_after_its_last_words() -> None:
    ours, theirs = pair()
    theirs.send("ended")
    theirs.close()
    assert ours.receive() == [{"kind": "ended"}]
    with pytest.raises(ChannelClosed, match="has gone"):
        ours.receive()
    ours.close()


@pytest.mark.parametrize("line", [b"{}\n", b"[]\n", b"nonsense\n", b'{"kind": 1}\n'])
def test_what_is_no_message_closes_the_channel(line: bytes) -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    theirs.send(line)
    with pytest.raises(ChannelClosed):
        channel.receive()
    channel.close()
    theirs.close()


def test_a_job_survives_the_way() -> None:
    aside = SetAside("flow", 1, b"\xff", 7, b"raw")
    job = Job(("a.toml",), once=True, options={"s": {"count": 1}}, set_aside=(aside,))
    ours, theirs = pair()
    ours.send("job", **job.pack())
    (message,) = theirs.receive()
    assert message.pop("kind") == "job"
    assert Job.unpack(message) == job
    for channel in (ours, theirs):
        channel.close()


def test_whoever_asks_for_a_status_gets_it(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    asked: list[bool] = []
    admin = Admin(folder.listen(), lambda: asked.append(True))
    connection = connect(tmp_path)
    assert connection is not None
    client = Channel(connection)
    client.send("status")
    client.send("nonsense")
    admin.accept()
    (ours,) = admin.clients
    until_s = clock.monotonic_s() + 10
    while not asked and clock.monotonic_s() < until_s:
        admin.serve(ours)
    admin.answer_status({"state": "running"})
    messages: list[dict[str, Any]] = []
    while len(messages) < 2:
        messages += client.receive()
    assert {"kind": "status", "status": {"state": "running"}} in messages
    assert any("unknown question" in message.get("text", "") for message in messages)
    client.close()
    admin.serve(ours)
    assert admin.clients == []
    admin.close()
    folder.close()


def test_nobody_to_ask_is_no_status(tmp_path: Path) -> None:
    assert ask_status(tmp_path) is None
    assert ask_status(tmp_path / "missing") is None
