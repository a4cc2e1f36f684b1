"""What a receiver does with what senders send it, whatever they send: it applies the next numbers,
drops earlier ones, asks for what is missing, and refuses the rest with a reason. No sockets here.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from appliance.connect import Chunk, Log
from appliance.limits import (
    LINK_SESSION_MAX_COUNT,
    LINK_STREAM_MAX_COUNT,
    LINK_WINDOW_MAX_BYTES,
    LINK_WINDOW_MIN_BYTES,
    LINK_WINDOWS_BYTES,
)
from appliance.link import wire
from appliance.link.history import History
from appliance.link.numbers import NUMBER_MAX, Numbers
from appliance.link.wire import (
    Ack,
    Data,
    Gap,
    Garbled,
    Hello,
    OtherVersion,
    Reset,
    ResumeAt,
)
from appliance.native import lib

_LENGTH = struct.Struct(">I")


@dataclass
class Session:
    """One connection whose sender has said who it is."""

    history: History
    credit: int  # bytes that it may send in all
    received: int = 0
    is_past: bool = False  # it was told where to go on; what it still sends is of no use

    def restock(self, window: int) -> bool:
        """Everything received is handed on: whether so much was that the sender should know."""
        if self.credit - self.received > window // 2:
            return False
        self.credit = self.received + window
        return True


class _Refusal(Exception):
    """Why a sender is served no further."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass
class Receiver:
    """All streams of one upstream source. What is to be sent is put into `outbox`, by connection.

    `admit` says why the holder of a key may not send, or "" when it may.
    """

    log: Log
    admit: Callable[[str, Hello], str] = lambda key, hello: ""
    histories: dict[tuple[bytes, str], History] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    outbox: list[tuple[bytes, bytes]] = field(default_factory=list)
    _sessions: dict[bytes, Session] = field(default_factory=dict)

    def restore(self, positions: Mapping[str, bytes]) -> None:
        """Go on behind these positions. What a cut held, as far as we were told, stays durable; on
        the first call that is all of it. ValueError: a position is none of ours."""
        known = self.histories
        self.histories = {}
        self._sessions.clear()
        self.outbox.clear()
        for partition, position in positions.items():
            history = History.restored(partition, position)
            before = known.get(history.key)
            if before is not None:
                history.durable = before.durable.at_most(history.next)
            elif not known:
                history.durable = Numbers(history.next.vector())
            self.histories[history.key] = history

    def committed(self, positions: Mapping[str, bytes]) -> None:
        """A cut holds everything up to these positions: their senders are told."""
        by_partition = {history.partition: history for history in self.histories.values()}
        for partition, position in positions.items():
            history = by_partition.get(partition)
            if history is not None and history.is_durable(position):
                for connection, session in self._sessions.items():
                    if session.history is history:
                        self._acknowledge(connection, session)

    def receive(
        self, connection: bytes, message: bytes | memoryview, key: str = ""
    ) -> Chunk | None:
        """One message; `key` is the public key of who sent it. What it brings that comes next: each
        record behind its length, 32 bits, big-endian."""
        found = None
        try:
            found = wire.read(message)
            match found:
                case Hello():
                    self._greet(connection, found, key)
                case Data() | Gap():
                    return self._take(connection, found, len(message))
                case _:
                    raise _Refusal("garbled", "only a receiver sends such a message")
        except OtherVersion as error:
            self._refuse(connection, "version", str(error))
        except Garbled as error:
            self._refuse(connection, "garbled", f"a message makes no sense: {error}")
        except _Refusal as error:
            claim = found if isinstance(found, Hello) else None
            self._refuse(connection, error.code, str(error), claim)
        return None

    def lose(self, connection: bytes) -> None:
        """This connection is gone, or does not read what it is told: it has to begin anew."""
        self._sessions.pop(connection, None)
        self.counts["gone"] += 1

    def _refuse(
        self, connection: bytes, code: str, reason: str, claim: Hello | None = None
    ) -> None:
        """`claim`: who it says it is, where that is what is refused."""
        session = self._sessions.pop(connection, None)
        who = claim if session is None else session.history
        sender = {} if who is None else _names(who)
        self.counts[f"refused_{code}"] += 1
        self.log.warning("a sender is refused", reason=reason, **sender)
        self.outbox.append((connection, wire.pack(Reset(code, reason))))

    # ---- who it is ----

    def _greet(self, connection: bytes, hello: Hello, key: str) -> None:
        reason = self.admit(key, hello)
        if reason:
            raise _Refusal("token", reason)
        history = self.histories.get((hello.stream, hello.sink))
        if history is None:
            self._check_room()
            history = self._new_history(hello)
        else:
            self._check_claim(history, hello)
            if history.who != (hello.node, hello.flow, hello.sink):
                self.log.warning(
                    "a stream comes from another place than before",
                    **_names(history), now=f"{hello.node} {hello.flow} {hello.sink}",
                )  # fmt: skip
                self.counts["moved"] += 1
            history.follows(hello)
        # One stream has one sender: a connection before this one is its own, broken off.
        for other in [c for c, each in self._sessions.items() if each.history is history]:
            del self._sessions[other]
        if len(self._sessions) >= LINK_SESSION_MAX_COUNT:
            self._forget_one()
        self._sessions[connection] = Session(history, self._window())
        self.counts["opened"] += 1
        self._say_where(connection, self._sessions[connection])

    def _check_room(self) -> None:
        """Those that said hello and never sent anything are forgotten first."""
        if len(self.histories) < LINK_STREAM_MAX_COUNT:
            return
        live = {session.history.key for session in self._sessions.values()}
        for key, history in list(self.histories.items()):
            if key not in live and not history.next.vector():
                del self.histories[key]
        if len(self.histories) >= LINK_STREAM_MAX_COUNT:
            most = LINK_STREAM_MAX_COUNT
            raise _Refusal("full", f"this receiver remembers {most} streams, which is its most")

    def _forget_one(self) -> None:
        """Too many connections: the one that has been silent longest has to say hello again."""
        connection = next(iter(self._sessions))
        self._refuse(connection, "busy", f"more than {LINK_SESSION_MAX_COUNT} senders at a time")

    def _new_history(self, hello: Hello) -> History:
        who = (hello.node, hello.flow, hello.sink)
        before = [each for each in self.histories.values() if each.who == who]
        made = History(hello.stream, *who, hello.epoch, hello.instance)
        self.histories[made.key] = made
        if before:
            self.counts["new_histories"] += 1
            self.log.warning("a sender has a new history: its memory is new", **_names(made))
        else:
            self.log.info("a new sender", **_names(made))
        return made

    def _check_claim(self, history: History, hello: Hello) -> None:
        if hello.epoch < history.epoch:
            raise _Refusal(
                "epoch",
                f"epoch {hello.epoch} of {hello.node} {hello.flow} {hello.sink} is over: "
                f"{history.node} has sent as epoch {history.epoch}",
            )
        if hello.epoch == history.epoch and hello.instance != history.instance:
            raise _Refusal(
                "copy",
                f"epoch {hello.epoch} of this stream was begun by another start, on "
                f"{history.node}: two copies of one state are running; stop one of them",
            )
        for shard, number in enumerate(history.next):
            if hello.end is not None and number > hello.end.get(shard, 1):
                raise _Refusal(
                    "numbers",
                    f"numbers go back: result {number - 1} of shard {shard} is here already, but "
                    f"{hello.node} has made only {hello.end.get(shard, 1) - 1}: its state is older",
                )

    # ---- what it sends ----

    def _take(self, connection: bytes, found: Data | Gap, size: int) -> Chunk | None:
        session = self._sessions.get(connection)
        if session is None:
            raise _Refusal("hello", "say HELLO first: this connection is not known (any more)")
        if session.is_past:
            self.counts["ignored"] += 1
            return None
        history = session.history
        if (found.stream, found.epoch) != (history.stream, history.epoch):
            raise _Refusal("stream", "a message of another stream or epoch than said in HELLO")
        session.received += size
        if session.received > session.credit:
            raise _Refusal("credit", "it sends more than it was given credit for")
        # The one that is served last is forgotten last.
        self._sessions[connection] = self._sessions.pop(connection)
        taken: Chunk | None = None
        if isinstance(found, Gap):
            self._gap(history, found)
        else:
            fit, after = history.next.check(found.numbers, found.shards)
            if fit == lib.NUMBERS_GARBLED:
                raise Garbled("its numbers do not fit its records")
            if fit == lib.NUMBERS_LATER:
                self.counts["refused_later"] += 1
                session.is_past = True
                self._say_where(connection, session)
                return None
            taken = self._data(history, found, after, fit == lib.NUMBERS_EARLIER)
        # Most messages leave more than half of the largest window: nothing to look at.
        left = session.credit - session.received
        if left <= LINK_WINDOW_MAX_BYTES // 2 and session.restock(self._window()):
            self._acknowledge(connection, session)
        return taken

    def _gap(self, history: History, gap: Gap) -> None:
        if not gap.first <= gap.last < NUMBER_MAX or gap.first > history.next[gap.shard]:
            raise _Refusal("garbled", f"a gap of shard {gap.shard} that does not come next")
        lost = gap.last + 1 - history.next[gap.shard]
        if lost <= 0:
            self.counts["dropped_earlier"] += 1
            return
        history.next[gap.shard] = gap.last + 1
        history.lost += lost
        self.counts["gaps"] += 1
        self.counts["lost"] += lost
        self.log.warning(
            "results were given up at the sender and never come",
            **_names(history), shard=gap.shard, count=lost,
        )  # fmt: skip

    def _data(self, history: History, data: Data, after: Numbers, is_known: bool) -> Chunk | None:
        """Its records, or those of them that come next when some are known."""
        framed = bytes(data.framed)
        if is_known:
            framed = self._without_known(history, data, framed)
        history.next = after
        if not framed:
            return None
        self.counts["messages"] += 1
        return Chunk(framed, history.position(), history.partition)

    def _without_known(self, history: History, data: Data, framed: bytes) -> bytes:
        """The records that come next, without those that are here already."""
        first = wire.read_vector(data.numbers)
        known = {shard: history.next[shard] - number for shard, number in first.items()}
        kept = []
        at = 0
        for shard in data.shards:
            end = at + 4 + _LENGTH.unpack_from(framed, at)[0]
            if known[shard] > 0:
                known[shard] -= 1
                self.counts["dropped_earlier"] += 1
            else:
                kept.append(framed[at:end])
            at = end
        return b"".join(kept)

    # ---- what it is told ----

    def _window(self) -> int:
        """How much one sender may have on its way."""
        share = LINK_WINDOWS_BYTES // max(len(self._sessions), 1)
        return max(LINK_WINDOW_MIN_BYTES, min(share, LINK_WINDOW_MAX_BYTES))

    def _say_where(self, connection: bytes, session: Session) -> None:
        history = session.history
        is_new = all(number == 1 for number in history.next)
        where = (history.next.vector(), history.durable.vector(), session.credit)
        resume = ResumeAt(history.stream, history.epoch, is_new, *where)
        self.outbox.append((connection, wire.pack(resume)))

    def _acknowledge(self, connection: bytes, session: Session) -> None:
        history = session.history
        ack = Ack(history.stream, history.durable.vector(), session.credit)
        self.outbox.append((connection, wire.pack(ack)))


def _names(sender: History | Hello) -> dict[str, object]:
    return {
        "node": sender.node,
        "flow": sender.flow,
        "sink": sender.sink,
        "stream": sender.stream.hex(),
        "epoch": sender.epoch,
    }
