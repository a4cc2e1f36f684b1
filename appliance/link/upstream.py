"""Results to another appliance, and from other appliances: a link between two boxes.

    [sink.out]
    upstream = { to = "tcp://gateway:7700", server_key = "…", token = "…", keys = "keys" }

    [source.boxes]
    upstream = { listen = "tcp://0.0.0.0:7700", keys = "keys" }

Off the loopback both ends have keys: the sink is given the receiver's public key, and a token the
first time. Every result arrives once, whatever is switched off in between.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from appliance import clock
from appliance.connect import Batch, Chunk, Later, Log, Messages, Resume, sink, source
from appliance.errors import EnvironmentFailure
from appliance.limits import (
    LINK_CREDIT_WAIT_S,
    LINK_NAME_MAX_COUNT,
    LINK_OPEN_TIMEOUT_S,
    READ_WAIT_MAX_S,
)
from appliance.link import wire
from appliance.link.keys import Keys, key_of
from appliance.link.receiver import Receiver
from appliance.link.sender import Memory, Sender
from appliance.link.sockets import Line, Listener, is_loopback, parse_endpoint
from appliance.link.wire import Hello

#: This start of this process: whoever else claims one of its epochs is a copy.
_INSTANCE = os.urandom(wire.INSTANCE_BYTES)


class _Quiet:
    """The log of an end that nobody has given one."""

    def info(self, message: str, **fields: object) -> None:
        """Nothing is written."""

    def warning(self, message: str, **fields: object) -> None:
        """Nothing is written."""


@sink("upstream")
class UpstreamSink:
    """Results to the upstream source of another appliance, each exactly once."""

    to: str
    server_key: str = ""
    token: str = ""
    keys: Path | None = None
    name: str = ""
    plain: bool = False

    exact: ClassVar[bool] = True
    numbered_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        host, _ = parse_endpoint(self.to)
        self._secured = bool(self.server_key)
        if self.server_key:
            try:
                key_of(self.server_key)
            except ValueError as error:
                raise ValueError(f"server_key: {error}") from error
            if self.keys is None:
                raise ValueError('keys is missing: the folder of this box\'s key, keys = "keys"')
            if self.plain:
                raise ValueError("either server_key or plain, not both")
        elif not self.plain and not is_loopback(host):
            raise ValueError(
                f"server_key is missing: the public key of {host} (bettong key show, on that box)"
            )
        if len(self.name) > LINK_NAME_MAX_COUNT or not self.name.isprintable():
            raise ValueError(f"name is longer than {LINK_NAME_MAX_COUNT} characters, or not text")
        self._log: Log = _Quiet()
        self._counts: Counter[str] = Counter()
        self._memory: Memory | None = None
        self._stream = b""  # whose memory that is
        self._line: Line | None = None
        self._sender: Sender | None = None

    def tell(self, log: Log) -> None:
        self._log = log

    def counts(self) -> Mapping[str, int]:
        return dict(self._counts)

    def open(self, resume: Resume) -> None:
        """ConnectionError: there is no receiver, or it refuses, and why."""
        own = Keys(self.keys).own() if self._secured and self.keys is not None else None
        if self._memory is None or self._stream != resume.stream:
            self._stream = resume.stream
            end = None if resume.end is None else dict(resume.end)
            self._memory = Memory(dict(resume.first), end)
        hello = Hello(
            resume.stream,
            resume.epoch,
            _INSTANCE,
            self.name or socket.gethostname()[:LINK_NAME_MAX_COUNT],
            resume.flow,
            resume.sink,
            token=self.token,
            end=self._memory.end,
        )
        server_key = key_of(self.server_key) if self._secured else b""
        line = self._line = Line(self.to, own, server_key)
        self._sender = Sender(hello, self._memory)
        try:
            line.send(wire.pack(hello))
            self._await_answer(line, self._sender)
        except BaseException:
            self.close()
            raise
        self._counts["opened"] += 1
        self._say_given_up()

    def _await_answer(self, line: Line, sender: Sender) -> None:
        until_s = clock.monotonic_s() + LINK_OPEN_TIMEOUT_S
        while not sender.is_open:
            left_s = until_s - clock.monotonic_s()
            if left_s <= 0:
                raise ConnectionError(f"{self.to} does not answer within {LINK_OPEN_TIMEOUT_S} s")
            line.wait(left_s, to_send=False)
            self._listen()

    def write_batch(self, batch: Batch) -> None:
        """Send what the receiver has not got. Later: it has no room now."""
        if self._sender is None:
            raise ConnectionError(f"there is no connection to {self.to}")
        until_s = clock.monotonic_s() + LINK_CREDIT_WAIT_S
        self._pump()
        while not self._sender.offer(batch):
            if not self._wait_until(until_s):
                raise Later(f"{self.to} has no room", after_s=0.0)
        self._say_given_up()
        self._pump()
        while self._sender.is_waiting and self._wait_until(until_s):
            pass

    def write(self, records: Sequence[bytes]) -> None:
        """Records without numbers cannot be sent: RuntimeError."""
        raise RuntimeError('an upstream sink needs numbers: leave its delivery "exactly_once"')

    def confirmed(self) -> int:
        """How many of the batches written since `open` are in a cut of the receiver."""
        if self._sender is None:
            return 0
        self._pump()
        return self._sender.confirmed()

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = self._sender = None

    def _wait_until(self, until_s: float) -> bool:
        """Wait for the receiver, and send what may be sent; False: it is too late."""
        assert self._line is not None and self._sender is not None
        left_s = until_s - clock.monotonic_s()
        if left_s <= 0:
            return False
        self._line.wait(left_s, to_send=self._sender.next_message() is not None)
        self._pump()
        return True

    def _pump(self) -> None:
        """Hear what has come, and send what there is credit for."""
        assert self._line is not None and self._sender is not None
        self._listen()
        message = self._sender.next_message()
        while message is not None and self._line.send(message):
            self._sender.has_left()
            self._counts["messages"] += 1
            message = self._sender.next_message()

    def _listen(self) -> None:
        assert self._line is not None and self._sender is not None
        message = self._line.receive()
        while message is not None:
            self._sender.receive(message)
            message = self._line.receive()
        self._line.look()

    def _say_given_up(self) -> None:
        assert self._sender is not None
        if self._sender.given_up:
            self._log.warning(
                "the receiver lacks results that are here no more: it is told of the gap",
                to=self.to,
                count=self._sender.given_up,
            )
            self._counts["given_up"] += self._sender.given_up
            self._sender.given_up = 0


@source("upstream")
class UpstreamSource(Messages):
    """Results of other appliances' upstream sinks, each exactly once."""

    listen: str
    keys: Path | None = None
    plain: bool = False

    def __post_init__(self) -> None:
        host, _ = parse_endpoint(self.listen)
        if self.keys is None and not self.plain and not is_loopback(host):
            raise ValueError(
                f'keys is missing: whoever reaches {host} could send; write keys = "keys", the '
                "folder of this box's key"
            )
        if self.keys is not None and self.plain:
            raise ValueError("either keys or plain, not both")
        self._log: Log = _Quiet()
        self._receiver = Receiver(self._log, self._admit)
        self._listener: Listener | None = None
        self._failed: Counter[str] = Counter()
        self._reads = 0

    def tell(self, log: Log) -> None:
        self._log = self._receiver.log = log

    def counts(self) -> Mapping[str, int]:
        return dict(self._receiver.counts)

    def replayable(self) -> bool:
        return True

    @property
    def address(self) -> str:
        """Where it listens, as `tcp://host:port`; "" while it does not."""
        return "" if self._listener is None else self._listener.address

    def open(self, positions: Mapping[str, bytes]) -> None:
        """EnvironmentFailure: it cannot listen there, or its keys cannot be used."""
        try:
            self._receiver.restore(positions)
        except ValueError as error:
            raise EnvironmentFailure(str(error)) from error
        keys = None if self.keys is None else Keys(self.keys)
        self._failed = Counter()
        self._listener = Listener(self.listen, keys)
        self._log.info("listening", address=self._listener.address)

    def read(self, limit: int) -> Chunk | None:
        """The records of one message that come next in their stream."""
        listener = self._listener
        assert listener is not None
        self._reads += 1
        if self._reads % 16 == 0:  # also while messages come without end
            listener.attend()
        until_s = clock.monotonic_s() + READ_WAIT_MAX_S
        while True:
            came = listener.receive()
            if came is None:
                left_s = until_s - clock.monotonic_s()
                if left_s <= 0:
                    return None
                listener.wait(left_s)
                self._say_failed(listener)
                continue
            taken = self._receiver.receive(*came)
            self._answer(listener)
            if taken is not None:
                return taken

    def committed(self, positions: Mapping[str, bytes]) -> None:
        """A cut holds everything up to these positions: the senders are told."""
        self._receiver.committed(positions)
        if self._listener is not None:
            self._answer(self._listener)

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self._listener = None

    def _answer(self, listener: Listener) -> None:
        outbox, self._receiver.outbox = self._receiver.outbox, []
        for connection, message in outbox:
            if not listener.send(connection, message):
                self._receiver.lose(connection)

    def _say_failed(self, listener: Listener) -> None:
        """Say which handshakes failed since the last time."""
        if listener.failed == self._failed:
            return
        for what, count in (listener.failed - self._failed).items():
            if what == "disconnected":  # they left, or sent a message that is too long
                self._receiver.counts[what] += count
                continue
            self._receiver.counts[f"handshake_{what}"] += count
            who = {"last": listener.stranger} if what == "key" else {}
            self._log.warning("a peer is refused", reason=_HANDSHAKES[what], count=count, **who)
        self._failed = listener.failed.copy()

    def _admit(self, key: str, hello: Hello) -> str:
        if self.keys is None:
            return ""
        keys = Keys(self.keys)
        if keys.knows(key):
            return ""
        reason = keys.enrol(key, hello.token)
        if not reason:
            self._receiver.counts["enrolled"] += 1
            self._log.info("a client is enrolled", node=hello.node, key=key)
        return reason


_HANDSHAKES = {
    "key": "its key is not known here, and no token is open (bettong key token)",
    "protocol": "it speaks no link, has no keys, or takes us for another box (server_key)",
    "broken": "it left, or said nothing, before it had shown who it is",
}
