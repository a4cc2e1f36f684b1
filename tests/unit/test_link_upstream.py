"""Upstream sink and source over real sockets, in one process."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import zmq

from appliance import clock
from appliance.connect import Batch, Chunk, Later, Resume, guarantee
from appliance.errors import EnvironmentFailure
from appliance.limits import LINK_MESSAGE_MAX_BYTES, LINK_WINDOW_MAX_BYTES
from appliance.link import wire
from appliance.link.keys import Keys
from appliance.link.upstream import UpstreamSink, UpstreamSource
from appliance.logs import Logger
from appliance.plan.logical import Spool as Bounds
from appliance.worker.block import Block
from appliance.worker.opening import OpenEnd
from appliance.worker.senders import SenderThread
from appliance.worker.spool import Spool, Waiting
from unit.links import STREAM, Notes, batches, messages

PATIENCE_S = 20.0


class Reading:
    """An open upstream source, read on a thread of its own; `commit` says that a cut holds all."""

    def __init__(
        self,
        positions: Mapping[str, bytes] | None = None,
        listen: str = "127.0.0.1:0",
        keys: Path | None = None,
    ) -> None:
        self.notes = Notes()
        self.source = UpstreamSource(listen=listen, keys=keys)
        self.source.tell(self.notes)
        self.source.open(positions or {})
        self.address = self.source.address
        self.chunks: list[Chunk] = []
        self.positions = dict(positions or {})
        self.commits = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            chunk = self.source.read(1 << 18)
            if chunk is not None:
                self.chunks.append(chunk)
                self.positions[chunk.partition] = chunk.position
            if self.commits and self.positions:
                self.source.committed(dict(self.positions))
        self.source.close()

    @property
    def records(self) -> list[bytes]:
        chunks = list(self.chunks)
        return [record for chunk in chunks for record in messages(bytes(chunk.data))]  # type: ignore[arg-type]

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


@pytest.fixture
def reading() -> Iterator[Callable[..., Reading]]:
    started: list[Reading] = []

    def start(*words: Any, **more: Any) -> Reading:
        started.append(Reading(*words, **more))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def opened(to: str, epoch: int = 1, **more: Any) -> UpstreamSink:
    sink = UpstreamSink(to=to, name="box", **more)
    sink.open(Resume(stream=STREAM, epoch=epoch, flow="f", sink="out"))
    return sink


def write(sink: UpstreamSink, batch: Batch) -> None:
    until_s = clock.monotonic_s() + PATIENCE_S
    while clock.monotonic_s() < until_s:
        try:
            return sink.write_batch(batch)
        except Later:
            continue
    raise AssertionError("the receiver gives no credit")


def wait(condition: Callable[[], bool]) -> None:
    until_s = clock.monotonic_s() + PATIENCE_S
    never = threading.Event()
    while not condition():
        assert clock.monotonic_s() < until_s, "it did not happen"
        never.wait(0.002)


def test_what_is_written_arrives_once_and_is_confirmed(reading: Callable[..., Reading]) -> None:
    source = reading()
    sink = opened(source.address)
    made = batches([[1, 2, 1], [2] * 5000, [0, 63]])
    for batch in made:
        write(sink, batch)
    wait(lambda: sink.confirmed() == 3)
    sink.close()
    assert source.records == [record for batch in made for record in batch.records]
    assert {chunk.partition for chunk in source.chunks} == {f"{STREAM.hex()}.out"}
    assert guarantee(source.source) == "replayable"


def test_more_than_the_window_goes_through_and_memory_is_bounded(
    reading: Callable[..., Reading],
) -> None:
    """10 MB in one batch, with records near the largest, against a window of 2 MiB."""
    source = reading()
    sink = opened(source.address)
    records = [bytes([i]) * size for i, size in enumerate([1 << 20, 1, 0, 70_000] * 10)]
    write(sink, Batch(STREAM, 1, {5: 1}, bytes([5]) * 40, records))
    wait(lambda: sink.confirmed() == 1)
    sink.close()
    assert source.records == records


def test_a_receiver_that_starts_again_is_sent_what_its_cut_lacks(
    reading: Callable[..., Reading],
) -> None:
    first = reading()
    made = batches([[1, 1], [1, 2], [2, 2]])
    sink = opened(first.address)
    write(sink, made[0])
    wait(lambda: sink.confirmed() == 1)
    first.commits = False
    write(sink, made[1])
    wait(lambda: len(first.records) == 4)
    assert sink.confirmed() == 1
    committed = {f"{STREAM.hex()}.out": first.chunks[0].position}
    first.stop()
    with pytest.raises(ConnectionError, match="lost the connection"):
        for _ in range(10_000):
            sink.confirmed()
            threading.Event().wait(0.002)
    sink.close()
    second = reading(committed, listen=first.address)
    sink.open(Resume(stream=STREAM, epoch=1, flow="f", sink="out"))
    for batch in made[1:]:
        write(sink, batch)
    wait(lambda: sink.confirmed() == 2)
    sink.close()
    assert second.records == [record for batch in made[1:] for record in batch.records]


def test_a_receiver_that_lost_its_memory_is_told_what_is_gone(
    reading: Callable[..., Reading],
) -> None:
    first = reading()
    made = batches([[1, 1, 7], [1, 2]])
    sink = opened(first.address)
    notes = Notes()
    sink.tell(notes)
    write(sink, made[0])
    wait(lambda: sink.confirmed() == 1)
    sink.close()
    first.stop()
    second = reading(listen=first.address)
    sink.open(Resume(stream=STREAM, epoch=1, flow="f", sink="out"))
    write(sink, made[1])
    wait(lambda: sink.confirmed() == 1)
    sink.close()
    assert second.records == list(made[1].records)
    assert second.source.counts()["lost"] == 3
    assert notes.said("told of the gap") == 1


def test_two_sinks_of_one_flow_have_numbers_of_their_own(reading: Callable[..., Reading]) -> None:
    source = reading()
    made = batches([[1, 1], [1]])
    sinks = [UpstreamSink(to=source.address, name="box") for _ in range(2)]
    for name, sink in zip("ab", sinks, strict=True):
        sink.open(Resume(stream=STREAM, epoch=1, flow="f", sink=name))
    for batch in made:
        for sink in sinks:
            write(sink, batch)
    wait(lambda: all(sink.confirmed() == 2 for sink in sinks))
    for sink in sinks:
        sink.close()
    assert sorted(source.records) == sorted([b"1:1", b"1:2", b"1:3"] * 2)
    assert {chunk.partition for chunk in source.chunks} == {
        f"{STREAM.hex()}.{name}" for name in "ab"
    }


def test_a_receiver_cannot_know_results_of_a_state_that_has_made_none(
    reading: Callable[..., Reading],
) -> None:
    """Otherwise the first ones that are made would be taken for those, and never be sent."""
    there = reading()
    first = opened(there.address)
    write(first, batches([[1, 1]])[0])
    wait(lambda: len(there.records) == 2)
    first.close()
    sink = UpstreamSink(to=there.address, name="box")
    new = Resume(stream=STREAM, epoch=2, flow="f", sink="out", end={})
    with pytest.raises(ConnectionError, match="result 2 of shard 1 is here already, but box has"):
        sink.open(new)


def test_keys_and_a_token_let_a_client_in_once(
    reading: Callable[..., Reading], tmp_path: Path
) -> None:
    server = Keys(tmp_path / "server")
    token, key = server.new_token(), server.own().public.hex()
    source = reading(keys=tmp_path / "server")
    made = batches([[1], [2]])
    for batch, shown in zip(made, (token, ""), strict=True):
        sink = opened(source.address, server_key=key, keys=tmp_path / "client", token=shown)
        write(sink, batch)
        wait(lambda sink=sink: sink.confirmed() == 1)  # type: ignore[misc]
        sink.close()
    assert source.records == [b"1:1", b"2:1"]
    assert source.source.counts()["enrolled"] == 1
    assert not server.is_enrolling()


def test_wrong_keys_and_tokens_are_refused_with_a_clear_message(
    reading: Callable[..., Reading], tmp_path: Path
) -> None:
    server = Keys(tmp_path / "server")
    key = server.own().public.hex()
    source = reading(keys=tmp_path / "server")
    mine = {"server_key": key, "keys": tmp_path / "client"}
    with pytest.raises(ConnectionError, match="does not know the key of this box"):
        opened(source.address, **mine)
    with pytest.raises(ConnectionError, match="server_key is not its key"):
        opened(source.address, server_key="ab" * 32, keys=tmp_path / "client")
    with pytest.raises(ConnectionError, match="it asks for keys"):
        opened(source.address)
    token = server.new_token()
    with pytest.raises(ConnectionError, match="its key is not known here: give its sink a token"):
        opened(source.address, **mine)
    with pytest.raises(ConnectionError, match="its token is wrong or was used before"):
        opened(source.address, **mine, token=token[::-1])
    opened(source.address, **mine, token=token).close()
    wait(lambda: source.source.counts().get("handshake_key", 0) == 1)
    assert source.source.counts()["refused_token"] == 2
    wait(lambda: source.source.counts().get("handshake_protocol", 0) >= 1)
    assert source.notes.said("a peer is refused") >= 2
    client = Keys(tmp_path / "client").own().public.hex()
    assert source.notes.said(f"127.0.0.1 {client}") == 1, "who knocked is said"
    assert not source.records


def test_peers_that_send_anything_else_harm_nobody(reading: Callable[..., Reading]) -> None:
    """Noise on the port, a message too large, many parts, no HELLO: the others go on."""
    source = reading()
    host, _, port = source.address.removeprefix("tcp://").rpartition(":")
    made = batches([[1, 2], [1]])
    sink = opened(source.address)
    write(sink, made[0])
    noise = socket.create_connection((host, int(port)))
    noise.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
    with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
        peer.linger = 0
        peer.connect(source.address)
        peer.send(b"g\1rbage")
        assert b"garbled" in peer.recv()
        peer.send_multipart([b"one", b"two"])
        assert b"garbled" in peer.recv()
        peer.send(wire.pack(wire.Gap(STREAM, 1, 1, 1, 10)))
        assert b"say HELLO first" in peer.recv()
        with peer.get_monitor_socket(zmq.EVENT_DISCONNECTED) as monitor:
            peer.send(bytes(LINK_MESSAGE_MAX_BYTES + 1))
            assert monitor.poll(PATIENCE_S * 1000)
            peer.disable_monitor()
    write(sink, made[1])
    wait(lambda: sink.confirmed() == 2)
    sink.close()
    noise.close()
    assert source.records == [b"1:1", b"2:1", b"1:2"]
    assert source.source.counts()["refused_garbled"] == 2
    wait(lambda: source.source.counts().get("disconnected", 0) >= 2)  # it, and the sink


def test_a_receiver_that_is_held_back_gives_no_more_credit() -> None:
    """What it has not read is bounded by its window; the sender hears "later", nothing is lost."""
    source = UpstreamSource(listen="127.0.0.1:0")
    source.open({})
    sink = UpstreamSink(to=source.address, name="box")
    opening = threading.Thread(
        target=sink.open, args=(Resume(stream=STREAM, epoch=1, flow="f", sink="out"),)
    )
    opening.start()
    while opening.is_alive():
        source.read(1)
    opening.join()
    record = bytes(1 << 20)
    taken = 0
    with pytest.raises(Later, match="has no room"):
        for i in range(100):
            sink.write_batch(Batch(STREAM, 1, {0: 1 + i}, b"\0", [record]))
            taken += 1
    assert LINK_WINDOW_MAX_BYTES >> 20 >= taken - 1 > 1
    came = 0
    until_s = clock.monotonic_s() + PATIENCE_S
    while came < taken and clock.monotonic_s() < until_s:
        came += source.read(1) is not None
        assert sink.confirmed() == 0
    assert came == taken
    sink.close()
    source.close()


def test_a_port_that_is_taken_is_said(reading: Callable[..., Reading]) -> None:
    source = reading()
    with pytest.raises(EnvironmentFailure, match="another program has this port"):
        UpstreamSource(listen=source.address).open({})


def test_positions_of_something_else_are_refused() -> None:
    source = UpstreamSource(listen="127.0.0.1:0")
    with pytest.raises(EnvironmentFailure, match="'a' is no upstream source's"):
        source.open({"a": b"37"})


def test_a_receiver_that_is_not_there_is_said_and_one_that_comes_is_found(
    reading: Callable[..., Reading],
) -> None:
    first = reading()
    first.stop()
    with pytest.raises(ConnectionError, match=f"cannot connect to {first.address}"):
        opened(first.address)
    reading(listen=first.address)
    opened(first.address).close()


# ---- what damage leaves behind ----


def send_all(sink: UpstreamSink, blocks: list[bytes], resume: Resume) -> SenderThread:
    """Send these blocks of a spool, to the end."""

    class Disk:
        def read_block(self, flow: str, sink: str, seq: int) -> bytes | None:
            return blocks[seq - 1]

    spool = Spool("flow", "out", Disk(), Bounds())
    for seq, made in enumerate(blocks, 1):
        spool.add(Waiting.read(seq, made))
    end = OpenEnd("flow", "out", 0, "upstream", sink, None, spooled=True)
    sender = SenderThread(end, spool, Bounds(), resume, Logger("test", level=100))
    sender.finish()
    sender.start()
    sender.join(PATIENCE_S)
    sender.leave()
    assert spool.is_empty
    return sender


def block_of(stream: bytes, first: int, epoch: int) -> bytes:
    """Two results of shard 7."""
    data = b"".join(b"\xc4\x02" + b"%c%d" % (stream[0], first + n) for n in range(2))
    return Block(data, 0, -1, stream, epoch, b"\7\7", {7: first}).pack()


OLD, NEW = b"o" * 16, b"n" * 16


def test_results_of_a_history_that_damage_has_ended_still_arrive(
    reading: Callable[..., Reading],
) -> None:
    """They wait under the old stream; a new one has begun, at 1, and lies behind them."""
    there = reading()
    blocks = [block_of(OLD, 5, 3), block_of(OLD, 7, 4), block_of(NEW, 1, 5), block_of(NEW, 3, 5)]
    resume = Resume(stream=NEW, epoch=6, flow="flow", sink="out", first={7: 5}, end={7: 5})
    send_all(UpstreamSink(to=there.address), blocks, resume)
    assert there.records == [b"o5", b"o6", b"o7", b"o8", b"n1", b"n2", b"n3", b"n4"]


def test_behind_a_damaged_block_the_others_arrive(reading: Callable[..., Reading]) -> None:
    there = reading()
    blocks = [b"", block_of(NEW, 3, 5), block_of(NEW, 5, 5)]
    resume = Resume(stream=NEW, epoch=6, flow="flow", sink="out", first={7: 7}, end={7: 7})
    sender = send_all(UpstreamSink(to=there.address), blocks, resume)
    assert there.records == [b"n3", b"n4", b"n5", b"n6"]
    assert sender.damaged == 1


ALONE = """
import sys
from appliance.connect import Resume, sink_class, source_class
source = source_class("upstream")(listen="127.0.0.1:0")
source.open({})
sink = sink_class("upstream")(to="tcp://127.0.0.1:1")
try:
    sink.open(Resume(stream=bytes(16), epoch=1))
except ConnectionError:
    pass
for _ in range(17):
    source.read(1)
source.close()
print([name for name in ("asyncio", "ssl") if name in sys.modules])
"""


def test_a_link_brings_no_event_loop_with_it() -> None:
    """asyncio and ssl cost a worker 100 ms and some megabytes."""
    said = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
