"""Acknowledged TCP: clients number their messages and keep each until it is in a cut.

    acknowledged_tcp = { listen = "127.0.0.1:9100" }

A partition is the stream a client names, a position the number of its last message, as decimal
text. The wire is described in `docs/formats/acknowledged-tcp.md`; a client is in
`appliance.client`, and `bettong send` uses it.

For each stream there are two numbers: *received*, the last message handed over, and *committed*,
the last in a cut. A client begins behind what is committed, because only that survives a crash;
what it sends again of the messages between the two is dropped here. So a number must always mean
the same message. A client that keeps no messages of before (a new process) cannot promise that: it
is welcomed only when both numbers are equal.
"""

from __future__ import annotations

import errno
import hmac
import selectors
import socket
import threading
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from appliance import clock
from appliance.connect import (
    Address,
    Chunk,
    Log,
    Messages,
    address_text,
    listening_socket,
    parse_address,
    source,
)
from appliance.limits import (
    ACKNOWLEDGED_CLIENT_MAX_COUNT,
    ACKNOWLEDGED_CREDIT_MAX_BYTES,
    ACKNOWLEDGED_CREDIT_MAX_COUNT,
    ACKNOWLEDGED_FRAME_S,
    ACKNOWLEDGED_HEARTBEAT_S,
    ACKNOWLEDGED_HELLO_S,
    ACKNOWLEDGED_LEAVE_S,
    ACKNOWLEDGED_STREAM_MAX_BYTES,
    ACKNOWLEDGED_STREAM_MAX_COUNT,
    LISTEN_BACKLOG_COUNT,
    READ_WAIT_MAX_S,
)
from connectors.acknowledged_peer import Peer, Refused, State

VERSION = 1

_NUMBER_MAX = (1 << 63) - 1

#: The box has no descriptor or memory for one more connection.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

#: What goes before a message on its way to the lane.
_LENGTH_BYTES = 4


@source("acknowledged_tcp")
class AcknowledgedTcpSource(Messages):
    """Accept clients on `listen` that keep each message until it is acknowledged: nothing is lost.

    With a `token` only clients that say the same are taken. Who speaks TCP without it belongs to
    `tcp`.
    """

    listen: Address
    token: str = ""

    def __post_init__(self) -> None:
        parse_address(self.listen)
        self._listener: socket.socket | None = None
        self._selector: selectors.BaseSelector | None = None
        self._peers: dict[int, Peer] = {}  # by descriptor
        self._of_stream: dict[str, Peer] = {}  # the one client of each stream
        self._ready: deque[Peer] = deque()  # those with a whole frame, in turns
        self._received: dict[str, int] = {}
        self._committed: dict[str, int] | None = None  # None: never opened
        self._now_s = 0.0  # a clock that stands while the source is pushed back
        self._read_s = 0.0
        self._watched_s = 0.0
        self._never = threading.Event()
        self._counts: Counter[str] = Counter()
        self._log: Log | None = None

    # ---- the contract ----

    def open(self, positions: Mapping[str, bytes]) -> None:
        self._received = {stream: _number(position) for stream, position in positions.items()}
        # At the first open all that is handed to us is in a cut. Later it may be ahead of the cuts:
        # a client that came anew must still begin behind what is committed.
        if self._committed is None:
            self._committed = dict(self._received)
        self._listener = listening_socket(self.listen, socket.SOCK_STREAM)
        self._listener.listen(LISTEN_BACKLOG_COUNT)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._read_s = clock.monotonic_s()
        if self._log is not None:
            self._log.info("listening", address=self.address)

    def read(self, limit: int) -> Chunk | None:
        until_s = clock.monotonic_s() + READ_WAIT_MAX_S
        while True:
            left_s = 0.0 if self._ready else max(until_s - clock.monotonic_s(), 0.0)
            self._look(left_s)
            while self._ready:
                chunk = self._take(self._ready.popleft(), limit)
                if chunk is not None:
                    return chunk
            if left_s == 0.0:
                return None

    def committed(self, positions: Mapping[str, bytes]) -> None:
        assert self._committed is not None, "what was never read cannot be committed"
        for stream, position in positions.items():
            self._committed[stream] = max(self._committed.get(stream, 0), _number(position))
            peer = self._of_stream.get(stream)
            if peer is not None:
                self._tell(peer)

    def close(self) -> None:
        for peer in list(self._peers.values()):
            self._drop(peer)
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._selector is not None:
            self._selector.close()
            self._selector = None

    def replayable(self) -> bool:
        return True

    def tell(self, log: Log) -> None:
        self._log = log

    def counts(self) -> Mapping[str, int]:
        """`clients` there are now, after so many `connections`; `again`: messages that had come
        before; `error:…`: clients that were refused, by code."""
        return {"clients": len(self._peers), **self._counts}

    @property
    def address(self) -> str:
        """Where it listens, while it is open."""
        assert self._listener is not None
        return address_text(*self._listener.getsockname()[:2])

    # ---- sockets ----

    def _look(self, wait_s: float) -> None:
        """See what the sockets have, once; whoever takes too long is told so."""
        assert self._selector is not None and self._listener is not None
        events = self._selector.select(wait_s)
        # At most a moment counts of the time between two reads: more is not the clients' fault.
        now_s = clock.monotonic_s()
        self._now_s += min(now_s - self._read_s, 2 * READ_WAIT_MAX_S)
        self._read_s = now_s
        for key, ready in events:
            peer = self._peers.get(key.fd)
            if peer is None:
                if key.fileobj is self._listener:
                    self._accept()
                continue
            alive = True
            if ready & selectors.EVENT_WRITE:
                alive = peer.flush()
            if alive and ready & selectors.EVENT_READ and not peer.listed:
                alive = peer.receive(self._now_s)
            self._settle(peer, alive)
        if self._now_s - self._watched_s >= READ_WAIT_MAX_S:
            self._watched_s = self._now_s
            for peer in list(self._peers.values()):
                self._watch(peer)

    def _accept(self) -> None:
        assert self._selector is not None and self._listener is not None
        try:
            connection, place = self._listener.accept()
        except OSError as error:
            # It has gone again, or we are out of descriptors: then it waits to be accepted, and so
            # do we, rather than ask without end. The others go on.
            self._counts["error:accept"] += 1
            if error.errno in _EXHAUSTED:
                self._never.wait(READ_WAIT_MAX_S)
            return
        self._counts["connections"] += 1
        peer = Peer(connection, address_text(*place[:2]), self._now_s)
        if len(self._peers) >= ACKNOWLEDGED_CLIENT_MAX_COUNT:
            unknown = (State.GREETING, State.LEAVING)
            silent = [each for each in self._peers.values() if each.state in unknown]
            if not silent:
                self._counts["error:full"] += 1
                text = f"{ACKNOWLEDGED_CLIENT_MAX_COUNT} clients are connected; come again later"
                peer.say({"kind": "error", "code": "full", "text": text}, self._now_s)
                connection.close()
                return
            # Whoever has not yet said who it is gives way: a crowd that says nothing shuts no
            # client out.
            self._drop(min(silent, key=lambda each: each.since_s))
        self._peers[connection.fileno()] = peer
        self._selector.register(connection, selectors.EVENT_READ)

    def _settle(self, peer: Peer, alive: bool) -> None:
        """After something was read or written: look for a whole frame, or let go."""
        if peer.socket.fileno() < 0:
            return
        if not alive:
            self._drop(peer)
            return
        try:
            if peer.state is State.GREETING:
                frame = peer.take_frame(self._now_s)
                if frame is not None:
                    self._greet(peer, frame)
            if peer.state in (State.OPEN, State.WAITING) and not peer.listed and peer.has_frame():
                peer.listed = True
                self._ready.append(peer)
        except Refused as refused:
            self._refuse(peer, refused)
        self._listen_for(peer)

    def _listen_for(self, peer: Peer) -> None:
        """Be told when what waits for this client can be sent."""
        assert self._selector is not None
        fd = peer.socket.fileno()
        if fd >= 0:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.wants_to_write else 0)
            if self._selector.get_key(fd).events != wanted:
                self._selector.modify(fd, wanted)

    def _watch(self, peer: Peer) -> None:
        """Time limits, and a sign of life to those that wait for one."""
        waited_s = self._now_s - peer.since_s
        if peer.state is State.LEAVING:
            if waited_s > ACKNOWLEDGED_LEAVE_S:
                self._drop(peer)
        elif not peer.listed and peer.is_amid_a_frame:
            limit_s = ACKNOWLEDGED_HELLO_S if peer.state is State.GREETING else ACKNOWLEDGED_FRAME_S
            if waited_s > limit_s:
                text = f"a frame was not complete after {limit_s:.0f} s"
                self._refuse(peer, Refused("timeout", text))
        silent_s = self._now_s - peer.said_s
        if peer.state in (State.OPEN, State.WAITING) and silent_s > ACKNOWLEDGED_HEARTBEAT_S:
            self._acknowledge(peer)

    # ---- frames ----

    def _greet(self, peer: Peer, frame: Mapping[str, Any]) -> None:
        """The first frame: who it is, and whether it can go on where we are."""
        if frame["kind"] != "hello":
            raise Refused("malformed", f"the first frame is hello, not {frame['kind']}")
        if frame.get("version") != VERSION:
            version = f"version {frame.get('version')!r}"[:40]
            raise Refused("version", f"{version} of the protocol; here it is {VERSION}")
        if self.token and not _same(self.token, frame.get("token")):
            raise Refused("token", "the token is missing or wrong")
        stream = stream_name(frame.get("stream"))
        oldest = frame.get("from")
        if oldest is not None and (type(oldest) is not int or not 1 <= oldest <= _NUMBER_MAX):
            raise Refused("malformed", '"from" is the number of a message')
        known = self._received
        if stream not in known and len(known) >= ACKNOWLEDGED_STREAM_MAX_COUNT:
            raise Refused("streams", f"{len(known)} streams are known; no more are taken")
        assert self._committed is not None
        stands = self._committed.get(stream, 0)
        if oldest is not None and oldest > stands + 1:
            missing = f"{stands + 1} to {oldest - 1} would be missing"
            raise Refused("gap", f"stream {stream!r} stands at {stands} here; {missing}")
        older = self._of_stream.get(stream)
        if older is not None:
            text = f"another client has come for stream {stream!r}"
            self._refuse(older, Refused("replaced", text))
        peer.stream, peer.state = stream, State.WAITING
        self._of_stream[stream] = peer
        if oldest is not None:
            self._welcome(peer)
        else:
            self._tell(peer)

    def _tell(self, peer: Peer) -> None:
        """Something was committed, or it has just come."""
        if peer.state is State.WAITING:
            assert self._committed is not None
            stream = peer.stream
            if self._committed.get(stream, 0) >= self._received.get(stream, 0):
                self._welcome(peer)
        else:
            self._acknowledge(peer)

    def _acknowledge(self, peer: Peer) -> None:
        # One that does not read its acknowledgements does not pile them up; the number that is true
        # when it reads again goes out as the next sign of life. Of what a client before it has sent
        # it hears as it sends the same again: nobody is told of messages that he has not sent.
        if not peer.wants_to_write:
            standing = self._standing(peer.stream)
            if peer.state is State.OPEN:
                standing["committed"] = min(standing["committed"], peer.next - 1)
            self._say(peer, {"kind": "ack", **standing})

    def _welcome(self, peer: Peer) -> None:
        standing = self._standing(peer.stream)
        peer.state = State.OPEN
        peer.next = int(standing["committed"]) + 1
        self._say(peer, {"kind": "welcome", "version": VERSION, **standing})

    def _standing(self, stream: str) -> dict[str, int]:
        """How far a stream is committed, and how much of it may be on its way."""
        assert self._committed is not None
        return {
            "committed": self._committed.get(stream, 0),
            "messages": ACKNOWLEDGED_CREDIT_MAX_COUNT,
            "bytes": ACKNOWLEDGED_CREDIT_MAX_BYTES,
        }

    def _take(self, peer: Peer, limit: int) -> Chunk | None:
        """What a client has sent, as much as one chunk may hold."""
        peer.listed = False
        taken: list[bytes] = []
        size = 0
        try:
            while peer.held or self._next_frame(peer):
                size += len(peer.held[0]) + _LENGTH_BYTES
                if taken and size > limit:
                    break
                taken.append(peer.held.popleft())
            if peer.held or peer.has_frame():
                peer.listed = True
                self._ready.append(peer)
        except Refused as refused:
            self._refuse(peer, refused)
        if not taken:
            if peer.state is State.OPEN:  # all of it had come before: no cut may be due for it
                self._acknowledge(peer)
            return None
        number = self._received.get(peer.stream, 0) + len(taken)
        self._received[peer.stream] = number
        return Chunk(taken, position=b"%d" % number, partition=peer.stream)

    def _next_frame(self, peer: Peer) -> bool:
        """Hold the messages of the next whole frame that are new; False when there are none."""
        while not peer.held:
            frame = peer.take_frame(self._now_s)
            if frame is None:
                return False
            if frame["kind"] == "error":
                raise Refused("client", f"the client said: {frame.get('text')!r}"[:200])
            if frame["kind"] != "data" or peer.state is not State.OPEN:
                raise Refused("malformed", f"{frame['kind'][:20]!r} is no frame that comes now")
            self._hold(peer, frame)
        return True

    def _hold(self, peer: Peer, frame: Mapping[str, Any]) -> None:
        first, messages = frame.get("first"), frame.get("messages")
        if type(first) is not int or not isinstance(messages, list) or not messages:
            raise Refused("malformed", "data has the number of its first message, and messages")
        if not all(type(message) is bytes for message in messages):
            raise Refused("malformed", "a message is a msgpack bin")
        if first != peer.next:
            raise Refused("sequence", f"message {first} came where {peer.next} was due")
        peer.next += len(messages)
        standing = self._standing(peer.stream)
        if peer.next - 1 > min(standing["committed"] + standing["messages"], _NUMBER_MAX):
            raise Refused("credit", f"message {peer.next - 1} is more than the credit allows")
        known = self._received.get(peer.stream, 0) - first + 1
        if known > 0:
            self._counts["again"] += min(known, len(messages))
            del messages[:known]
        peer.held.extend(messages)

    # ---- the end of a client ----

    def _say(self, peer: Peer, frame: Mapping[str, object]) -> None:
        if peer.say(frame, self._now_s):
            self._listen_for(peer)
        else:
            self._drop(peer)

    def _refuse(self, peer: Peer, refused: Refused) -> None:
        """Tell it why, and listen to it no more; it is given a moment to read that."""
        self._counts[f"error:{refused.code}"] += 1
        if self._log is not None:
            words = {"code": refused.code, "reason": refused}
            self._log.warning("client refused", peer=peer.label, stream=peer.stream, **words)
        self._forget(peer)
        alive = peer.say({"kind": "error", "code": refused.code, "text": str(refused)}, self._now_s)
        peer.leave(self._now_s)
        if alive and peer.flush():
            self._listen_for(peer)
        else:
            self._drop(peer)

    def _forget(self, peer: Peer) -> None:
        """Its stream has no client now, and nothing of it is handed over any more."""
        if self._of_stream.get(peer.stream) is peer:
            del self._of_stream[peer.stream]
        if peer.listed:
            peer.listed = False
            self._ready.remove(peer)

    def _drop(self, peer: Peer) -> None:
        assert self._selector is not None
        self._forget(peer)
        fd = peer.socket.fileno()
        if fd >= 0 and self._peers.pop(fd, None) is not None:
            self._selector.unregister(fd)
        peer.socket.close()


def stream_name(value: object) -> str:
    """The partition of a stream: its text, or the 32 hexadecimal digits of its 16 bytes.

    Refused when it is neither.
    """
    if isinstance(value, bytes) and len(value) == 16:
        return value.hex()
    if (
        isinstance(value, str)
        and value.isprintable()
        and 1 <= len(value.encode()) <= ACKNOWLEDGED_STREAM_MAX_BYTES
    ):
        return value
    limit = ACKNOWLEDGED_STREAM_MAX_BYTES
    raise Refused("stream", f"a stream is named by 16 bytes, or by text of 1 to {limit} bytes")


def _same(token: str, given: object) -> bool:
    return isinstance(given, str) and hmac.compare_digest(token.encode(), given.encode())


def _number(position: bytes) -> int:
    """A position as a number. ValueError when it is none of ours."""
    if not position.isdigit():
        raise ValueError(f"{position[:40]!r} is not the number of a message")
    return int(position)
