"""The upstream link against ZeroMQ alone: events of 100 bytes, a sending and a receiving process.

    python link.py SIDE ROLE PORT

`raw` moves messages of 64 KiB that somebody made before; `ours` packs committed batches, numbers
and checks them, and hands the lane what it reads, as `read` and `write_batch` of the connectors do.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import zmq

import inputs
import processes
from appliance.connect import Batch, Later, Records, Resume
from appliance.limits import LINK_MESSAGE_BYTES
from appliance.link.upstream import UpstreamSink, UpstreamSource
from results import Row

RECORD = 100
BATCH = 5_000
EVENTS = 4_000_000
ROUNDS = 7
STREAM = bytes(16)


def raw_receive(port: int) -> None:
    messages = EVENTS * RECORD // LINK_MESSAGE_BYTES
    with zmq.Context() as context, context.socket(zmq.ROUTER) as line:
        line.bind(f"tcp://127.0.0.1:{port}")
        line.recv_multipart()
        clock = Clock()
        for _ in range(messages):
            sender, _ = line.recv_multipart()
        clock.report(messages * LINK_MESSAGE_BYTES / RECORD)
        line.send_multipart([sender, b""])


def raw_send(port: int) -> None:
    message = bytes(LINK_MESSAGE_BYTES)
    with zmq.Context() as context, context.socket(zmq.DEALER) as line:
        line.connect(f"tcp://127.0.0.1:{port}")
        messages = EVENTS * RECORD // LINK_MESSAGE_BYTES
        line.send(message)
        clock = Clock()
        for _ in range(messages):
            line.send(message)
        line.recv()
        clock.report(messages * LINK_MESSAGE_BYTES / RECORD)


def our_receive(port: int) -> None:
    source = UpstreamSource(listen=f"127.0.0.1:{port}")
    source.open({})
    left = EVENTS * (RECORD + 4)  # each behind its length
    clock = None
    while left:
        chunk = source.read(1 << 18)
        if chunk is not None:
            clock = clock or Clock()
            left -= len(chunk.data)
            position = {chunk.partition: chunk.position}
    assert clock is not None
    clock.report(EVENTS)
    source.committed(position)
    source.read(0)  # the sender leaves
    source.close()


def our_send(port: int) -> None:
    sink = UpstreamSink(to=f"127.0.0.1:{port}", name="box")
    sink.open(Resume(stream=STREAM, epoch=1))
    records = Records.of([b"%0*d" % (RECORD, i) for i in range(BATCH)])  # as a block has them
    shards = bytes(i * 37 % 64 for i in range(BATCH))
    counts = [shards.count(shard) for shard in range(64)]
    clock = Clock()
    for i in range(EVENTS // BATCH):
        first = {shard: 1 + i * count for shard, count in enumerate(counts)}
        batch = Batch(STREAM, 1, first, shards, records)
        while True:
            try:
                sink.write_batch(batch)
                break
            except Later:
                continue
    while sink.confirmed() < EVENTS // BATCH:
        time.sleep(0.001)
    clock.report(EVENTS)
    sink.close()


class Clock:
    """Time and CPU time of this process from here on."""

    def __init__(self) -> None:
        self._begun_s, self._begun_cpu_s = time.perf_counter(), time.process_time()

    def report(self, events: float) -> None:
        """Seconds of both an event."""
        took_s = time.perf_counter() - self._begun_s
        cpu_s = time.process_time() - self._begun_cpu_s
        print(took_s / events, cpu_s / events, flush=True)


ROLES = {
    ("raw", "receive"): raw_receive,
    ("raw", "send"): raw_send,
    ("ours", "receive"): our_receive,
    ("ours", "send"): our_send,
}


@dataclass(frozen=True)
class Taken:
    """Seconds an event through two processes, and their CPU seconds together."""

    time_s: float
    cpu_s: float


def run(side: str) -> Taken:
    port = str(processes.free_port())
    said = [inputs.folder() / f"link-{side}-{role}.log" for role in ("receive", "send")]
    command = [sys.executable, __file__, side]
    with processes.started([*command, "receive", port], {}, said[0]) as receiver:
        processes.wait_listening(int(port))
        with processes.started([*command, "send", port], {}, said[1]) as sender:
            sender.wait(processes.PATIENCE_S)
        receiver.wait(processes.PATIENCE_S)
    if receiver.returncode or sender.returncode:
        raise OSError(f"the link's {side} side failed: see {said[0]} and {said[1]}")
    receiving, sending = (list(map(float, log.read_text().split())) for log in said)
    return Taken(receiving[0], receiving[1] + sending[1])


def link() -> Iterator[Row]:
    """How much longer an event takes by the link than by ZeroMQ alone."""
    rounds = [(run("ours"), run("raw")) for _ in range(ROUNDS)]
    ratio = statistics.median(ours.time_s / raw.time_s for ours, raw in rounds)
    rates = [
        1e-6 / statistics.median(each.time_s for each in side) for side in zip(*rounds, strict=True)
    ]
    cpu = [
        1e9 * statistics.median(each.cpu_s for each in side) for side in zip(*rounds, strict=True)
    ]
    detail = (
        f"{rates[0]:.2f} and {rates[1]:.2f} M events/s of {RECORD} bytes; "
        f"CPU {cpu[0]:.0f} and {cpu[1]:.0f} ns an event"
    )
    yield Row("upstream link, time an event, ours to raw 64 KiB messages", ratio, 2.0, "×", detail)


if __name__ == "__main__":
    ROLES[(sys.argv[1], sys.argv[2])](int(sys.argv[3]))
