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

import zmq

import inputs
import processes
from appliance.connect import Batch, Later, Records, Resume
from appliance.limits import LINK_MESSAGE_BYTES
from appliance.link.upstream import UpstreamSink, UpstreamSource
from results import Row

RECORD = 100
BATCH = 5_000
EVENTS = 2_000_000
ROUNDS = 5
STREAM = bytes(16)


def raw_receive(port: int) -> None:
    messages = EVENTS * RECORD // LINK_MESSAGE_BYTES
    with zmq.Context() as context, context.socket(zmq.ROUTER) as line:
        line.bind(f"tcp://127.0.0.1:{port}")
        line.recv_multipart()
        begun = time.perf_counter()
        for _ in range(messages):
            sender, _ = line.recv_multipart()
        report(messages * LINK_MESSAGE_BYTES / RECORD, begun)
        line.send_multipart([sender, b""])


def raw_send(port: int) -> None:
    message = bytes(LINK_MESSAGE_BYTES)
    with zmq.Context() as context, context.socket(zmq.DEALER) as line:
        line.connect(f"tcp://127.0.0.1:{port}")
        for _ in range(EVENTS * RECORD // LINK_MESSAGE_BYTES + 1):
            line.send(message)
        line.recv()


def our_receive(port: int) -> None:
    source = UpstreamSource(listen=f"127.0.0.1:{port}")
    source.open({})
    left = EVENTS * (RECORD + 4)  # each behind its length
    begun = 0.0
    while left:
        chunk = source.read(1 << 18)
        if chunk is not None:
            begun = begun or time.perf_counter()
            left -= len(chunk.data)
            position = {chunk.partition: chunk.position}
    report(EVENTS, begun)
    source.committed(position)
    source.read(0)  # the sender leaves
    source.close()


def our_send(port: int) -> None:
    sink = UpstreamSink(to=f"127.0.0.1:{port}", name="box")
    sink.open(Resume(stream=STREAM, epoch=1))
    records = Records.of([b"%0*d" % (RECORD, i) for i in range(BATCH)])  # as a block has them
    shards = bytes(i * 37 % 64 for i in range(BATCH))
    counts = [shards.count(shard) for shard in range(64)]
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
    sink.close()


def report(events: float, begun: float) -> None:
    print(events / (time.perf_counter() - begun), flush=True)


ROLES = {
    ("raw", "receive"): raw_receive,
    ("raw", "send"): raw_send,
    ("ours", "receive"): our_receive,
    ("ours", "send"): our_send,
}


def rate(side: str) -> float:
    """Events a second through two processes."""
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
    return float(said[0].read_text())


def link() -> Iterator[Row]:
    """How much longer an event takes by the link than by ZeroMQ alone."""
    ours, raw = [], []
    for _ in range(ROUNDS):
        raw.append(rate("raw"))
        ours.append(rate("ours"))
    ratio = statistics.median(one / other for one, other in zip(raw, ours, strict=True))
    detail = (
        f"{statistics.median(ours) / 1e6:.2f} and {statistics.median(raw) / 1e6:.2f} M events/s of "
        f"{RECORD} bytes"
    )
    yield Row("upstream link, time an event, ours to raw 64 KiB messages", ratio, 2.0, "×", detail)


if __name__ == "__main__":
    ROLES[(sys.argv[1], sys.argv[2])](int(sys.argv[3]))
