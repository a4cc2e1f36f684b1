"""The acknowledged TCP source, driven directly, against sockets that say what they should and what
they should not."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance import connect
from appliance.limits import (
    ACKNOWLEDGED_CREDIT_MAX_COUNT,
    ACKNOWLEDGED_FRAME_MAX_BYTES,
    ACKNOWLEDGED_FRAME_MAX_COUNT,
)
from connectors import acknowledged_tcp
from unit.acknowledged import Receiver, Wire, framed, receiver

PAGE = Path(__file__).parents[2] / "docs/formats/acknowledged-tcp.md"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here gains by a `read` that waits."""
    monkeypatch.setattr(acknowledged_tcp, "READ_WAIT_MAX_S", 0.001)


@pytest.fixture
def ours() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def welcomed(ours: Receiver, stream: str | bytes = "s", **more: Any) -> Wire:
    """A client that may send."""
    wire = ours.connect()
    wire.hello(stream, **more)
    assert wire.hear(ours)["kind"] == "welcome"
    return wire


# ---- the page ----


def examples() -> list[bytes]:
    blocks = re.findall(r"```hex\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [bytes.fromhex(re.sub(r"#.*", "", block)) for block in blocks]


def test_the_page_shows_what_is_said() -> None:
    hello, welcome, data, ack = examples()
    with receiver({"d1": b"1"}) as ours, ours.connect() as wire:
        wire.socket.sendall(hello)
        assert framed(**wire.hear(ours)) == welcome
        wire.socket.sendall(data)
        ours.read_until(lambda: ours.messages)
        assert (ours.messages, ours.positions) == ({"d1": [b"two", b""]}, {"d1": b"3"})
        ours.commit()
        assert framed(**wire.hear(ours)) == ack


def test_the_page_names_every_error() -> None:
    source = Path(acknowledged_tcp.__file__)
    peer = source.with_name("acknowledged_peer.py")
    codes = set(re.findall(r'Refused\(\s*"([a-z-]+)"', source.read_text() + peer.read_text()))
    said = PAGE.read_text()
    assert len(codes) >= 10
    assert not [code for code in codes if f"`{code}`" not in said]


# ---- what is as it should be ----


def test_it_is_replayable_and_brings_messages() -> None:
    made = connect.construct(connect.source_class("acknowledged_tcp"), {"listen": ":1"})
    assert connect.guarantee(made) == "replayable"
    assert isinstance(made, connect.Messages)
    assert isinstance(made, connect.Acknowledging)


def test_nothing_is_acknowledged_before_the_cut(ours: Receiver) -> None:
    with welcomed(ours) as wire:
        wire.say(kind="data", first=1, messages=[b"a", b"b"])
        ours.read_until(lambda: ours.messages)
        wire.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            wire.socket.recv(1)
        ours.commit()
        assert wire.hear(ours)["committed"] == 2


def test_what_comes_again_is_dropped_and_counted(ours: Receiver) -> None:
    with welcomed(ours) as wire:
        wire.say(kind="data", first=1, messages=[b"a", b"b"])
        ours.read_until(lambda: ours.messages)
    with welcomed(ours, **{"from": 1}) as wire:
        wire.say(kind="data", first=1, messages=[b"a"])
        wire.say(kind="data", first=2, messages=[b"b", b"c"])
        ours.read_until(lambda: len(ours.messages["s"]) == 3)
    assert ours.messages == {"s": [b"a", b"b", b"c"]}
    assert ours.source.counts()["again"] == 2


def test_a_client_hears_only_of_messages_that_it_has_sent(ours: Receiver) -> None:
    """Those of a client before it may be committed while it still sends the same again."""
    with welcomed(ours) as wire:
        wire.say(kind="data", first=1, messages=[b"a", b"b", b"c"])
        ours.read_until(lambda: ours.messages)
    with welcomed(ours, **{"from": 1}) as wire:
        wire.say(kind="data", first=1, messages=[b"a"])
        assert wire.hear(ours)["committed"] == 0
        ours.commit()
        assert wire.hear(ours)["committed"] == 1
        wire.say(kind="data", first=2, messages=[b"b", b"c"])
        assert wire.hear(ours)["committed"] == 3
    assert ours.messages == {"s": [b"a", b"b", b"c"]}


def test_a_client_without_its_messages_is_welcome_when_all_is_committed(ours: Receiver) -> None:
    """Else its first message would take the number of one that is on its way."""
    with welcomed(ours) as wire:
        wire.say(kind="data", first=1, messages=[b"a", b"b"])
        ours.read_until(lambda: ours.messages)
    with ours.connect() as wire:
        wire.hello()
        ours.read_until(lambda: "s" in ours.source._of_stream)
        wire.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            wire.socket.recv(1)
        ours.commit()
        assert wire.hear(ours)["committed"] == 2


def test_a_stream_goes_on_where_its_position_says() -> None:
    with receiver({"s": b"41"}) as ours, ours.connect() as wire:
        wire.hello()
        assert wire.hear(ours)["committed"] == 41
        wire.say(kind="data", first=42, messages=[b"x"])
        ours.read_until(lambda: ours.messages)
        assert ours.positions == {"s": b"42"}


def test_opened_again_it_still_knows_what_is_committed(ours: Receiver) -> None:
    """After a failure of `read` it is opened at what was handed over: cuts may be behind that."""
    with welcomed(ours) as wire:
        wire.say(kind="data", first=1, messages=[b"a", b"b"])
        ours.read_until(lambda: ours.messages)
    ours.source.close()
    ours.source.open(ours.positions)
    with ours.connect() as wire:
        wire.hello(**{"from": 1})
        assert wire.hear(ours)["committed"] == 0
        wire.say(kind="data", first=1, messages=[b"a", b"b", b"c"])
        ours.read_until(lambda: len(ours.messages["s"]) == 3)
    assert ours.messages == {"s": [b"a", b"b", b"c"]}


def test_sixteen_bytes_are_the_text_of_their_digits(ours: Receiver) -> None:
    with welcomed(ours, bytes(range(16))) as wire:
        wire.say(kind="data", first=1, messages=[b"a"])
        ours.read_until(lambda: ours.messages)
    assert list(ours.messages) == ["000102030405060708090a0b0c0d0e0f"]


def test_the_newest_client_of_a_stream_wins_and_the_older_is_told(ours: Receiver) -> None:
    with welcomed(ours) as older, welcomed(ours) as newer:
        assert older.hear(ours)["code"] == "replaced"
        assert older.hear(ours) == {}
        newer.say(kind="data", first=1, messages=[b"a"])
        ours.read_until(lambda: ours.messages)
    assert ours.messages == {"s": [b"a"]}


def test_many_clients_take_turns(ours: Receiver) -> None:
    wires = [welcomed(ours, f"s{n}") for n in range(20)]
    for n, wire in enumerate(wires):
        wire.say(kind="data", first=1, messages=[b"%d" % n] * 10)
    ours.read_until(lambda: len(ours.messages) == 20)
    assert ours.messages == {f"s{n}": [b"%d" % n] * 10 for n in range(20)}
    for wire in wires:
        wire.close()


def test_a_token_is_asked_for() -> None:
    with receiver(token="open sesame") as ours:
        welcomed(ours, token="open sesame").close()
        for more in ({}, {"token": "open sesam"}, {"token": 5}):
            with ours.connect() as wire:
                wire.hello(**more)
                assert wire.hear(ours)["code"] == "token"


def test_a_small_limit_is_kept(ours: Receiver) -> None:
    with welcomed(ours) as wire:
        wire.say(kind="data", first=1, messages=[b"x" * 96] * 10)
        sizes = []
        while sum(sizes) < 10:
            chunk = ours.source.read(250)
            sizes += [len(chunk.data)] if chunk is not None else []
    assert sizes == [2] * 5


def test_it_says_something_now_and_then(ours: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acknowledged_tcp, "ACKNOWLEDGED_HEARTBEAT_S", 0.0)
    with welcomed(ours) as wire:
        assert wire.hear(ours)["kind"] == "ack"


# ---- what is not ----

HELLO = {"kind": "hello", "version": 1, "stream": "s"}

NO_HELLO = [
    (framed(kind="hello", version=2, stream="s"), "version"),
    (framed(kind="hello", stream="s"), "version"),
    (framed(kind="hello", version=1), "stream"),
    (framed(kind="hello", version=1, stream=""), "stream"),
    (framed(kind="hello", version=1, stream="é" * 33), "stream"),
    (framed(kind="hello", version=1, stream="a\nb"), "stream"),
    (framed(kind="hello", version=1, stream=b"short"), "stream"),
    (framed(kind="hello", version=1, stream="s", **{"from": 0}), "malformed"),
    (framed(kind="hello", version=1, stream="s", **{"from": True}), "malformed"),
    (framed(kind="hello", version=1, stream="s", **{"from": 2}), "gap"),
    (framed(kind="data", first=1, messages=[b"a"]), "malformed"),
    (framed(version=1), "malformed"),
    (b"GET / HTTP/1.1\r\nHost: box\r\n\r\n", "too-large"),
    (b"\0\0\0\0", "malformed"),
    (b"\0\0\0\1\xc1", "malformed"),
    (b"\0\0\0\1\x90", "malformed"),
    (b"\0\0\0\2\xc0\xc0", "malformed"),
    (b"\0\0\3\0" + b"\x91" * 768, "malformed"),
    (b"\0\0\0\3\xd4\1\0", "malformed"),
    (b"\0\0\0\2\xa1\xff", "malformed"),
    (b"\0\0\0\5\xdd\xff\xff\xff\xff", "malformed"),
    (b"\xff\xff\xff\xff", "too-large"),
]

NO_DATA = [
    (framed(kind="data", first=2, messages=[b"a"]), "sequence"),
    (framed(kind="data", first=0, messages=[b"a"]), "sequence"),
    (framed(kind="data", first=1, messages=[b"a"]) * 2, "sequence"),
    (framed(kind="data", first=-1, messages=[b"a"]), "sequence"),
    (framed(kind="data", first=1 << 64 - 1, messages=[b"a"]), "sequence"),
    (framed(kind="data", first=True, messages=[b"a"]), "malformed"),
    (framed(kind="data", first="1", messages=[b"a"]), "malformed"),
    (framed(kind="data", first=1, messages=[]), "malformed"),
    (framed(kind="data", first=1, messages=["a"]), "malformed"),
    (framed(kind="data", first=1, messages=[b"a", 1]), "malformed"),
    (framed(kind="data", first=1, messages=b"ab"), "malformed"),
    (framed(kind="data", first=1), "malformed"),
    (
        framed(kind="data", first=1, messages=[b""] * (ACKNOWLEDGED_FRAME_MAX_COUNT + 1)),
        "malformed",
    ),
    (framed(kind="data", first=1, messages=[b"x" * ACKNOWLEDGED_FRAME_MAX_BYTES]), "too-large"),
    (framed(**HELLO), "malformed"),
    (framed(kind="ack", committed=7), "malformed"),
    (framed(kind="error", code="ack", text="you have what I never sent"), "client"),
]


@pytest.mark.parametrize(("data", "code"), NO_HELLO)
def test_whoever_does_not_say_hello_is_told_what_is_wrong(
    ours: Receiver, data: bytes, code: str
) -> None:
    with ours.connect() as wire:
        wire.socket.sendall(data)
        error = wire.hear(ours)
        assert (error["kind"], error["code"]) == ("error", code), error
        assert wire.hear(ours) == {}
    ours.until_alone(1)
    assert (ours.source.counts()[f"error:{code}"], ours.messages) == (1, {})


@pytest.mark.parametrize(("data", "code"), NO_DATA)
def test_a_wrong_frame_ends_its_own_client_and_no_other(
    ours: Receiver, data: bytes, code: str
) -> None:
    with welcomed(ours) as wire, welcomed(ours, "other") as other:
        wire.socket.sendall(data)
        assert wire.hear(ours)["code"] == code
        assert wire.hear(ours) == {}
        other.say(kind="data", first=1, messages=[b"fine"])
        ours.read_until(lambda: ours.messages.get("other"))
    ours.until_alone(2)
    assert ours.messages.get("s", []) in ([], [b"a"])


def test_more_than_the_credit_is_refused(ours: Receiver) -> None:
    with welcomed(ours) as wire:
        batch = [b""] * ACKNOWLEDGED_FRAME_MAX_COUNT
        for first in range(1, ACKNOWLEDGED_CREDIT_MAX_COUNT, len(batch)):
            wire.say(kind="data", first=first, messages=batch)
        wire.say(kind="data", first=ACKNOWLEDGED_CREDIT_MAX_COUNT + 1, messages=[b"too much"])
        assert wire.hear(ours)["code"] == "credit"
    assert len(ours.messages["s"]) == ACKNOWLEDGED_CREDIT_MAX_COUNT


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_garbage_harms_nobody(data: bytes, after_hello: bool) -> None:
    with receiver() as ours, welcomed(ours, "good") as good:
        with welcomed(ours) if after_hello else ours.connect() as wire:
            wire.socket.sendall(data)
        good.say(kind="data", first=1, messages=[b"a"])
        counts = ours.source.counts
        ours.read_until(lambda: counts()["connections"] == 2 and counts()["clients"] == 1)
        ours.read_until(lambda: "good" in ours.messages)
        assert set(ours.messages) <= {"good", "s"}
        assert ours.messages["good"] == [b"a"]


def test_one_byte_a_second_is_waited_for_so_long(
    ours: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acknowledged_tcp, "ACKNOWLEDGED_HELLO_S", 0.05)
    monkeypatch.setattr(acknowledged_tcp, "ACKNOWLEDGED_FRAME_S", 0.05)
    with ours.connect() as silent, ours.connect() as slow, welcomed(ours) as started:
        slow.socket.sendall(b"\0")
        started.socket.sendall(b"\0\0")
        for wire in (silent, slow, started):
            assert wire.hear(ours)["code"] == "timeout"


def test_a_client_that_has_nothing_to_say_stays(
    ours: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acknowledged_tcp, "ACKNOWLEDGED_FRAME_S", 0.0)
    with welcomed(ours) as idle, ours.connect() as slow:
        slow.hello("slow")
        assert slow.hear(ours)["kind"] == "welcome"
        slow.socket.sendall(b"\0")
        assert slow.hear(ours)["code"] == "timeout"
        idle.say(kind="data", first=1, messages=[b"a"])
        ours.read_until(lambda: ours.messages)


def test_time_in_which_it_is_not_read_does_not_count(
    ours: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [1000.0]
    monkeypatch.setattr(acknowledged_tcp.clock, "monotonic_s", lambda: now_s[0])
    monkeypatch.setattr(acknowledged_tcp, "READ_WAIT_MAX_S", 0.0)
    ours.source.read(1)
    with ours.connect() as wire:
        data = framed(**HELLO)
        wire.socket.sendall(data[:5])
        ours.read_until(lambda: ours.source.counts()["clients"])
        now_s[0] += 3600.0
        ours.source.read(1)
        wire.socket.sendall(data[5:])
        assert wire.hear(ours)["kind"] == "welcome"


def test_a_crowd_that_says_nothing_shuts_no_client_out(
    ours: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acknowledged_tcp, "ACKNOWLEDGED_CLIENT_MAX_COUNT", 3)
    crowd = [ours.connect() for _ in range(5)]
    clients = [welcomed(ours, f"s{n}") for n in range(3)]
    with ours.connect() as wire:
        assert wire.hear(ours)["code"] == "full"
    for wire in (*crowd, *clients):
        wire.close()
    ours.until_alone(9)


def test_streams_are_remembered_up_to_a_number(
    ours: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acknowledged_tcp, "ACKNOWLEDGED_STREAM_MAX_COUNT", 1)
    with welcomed(ours) as wire:
        wire.say(kind="data", first=1, messages=[b"a"])
        ours.read_until(lambda: ours.messages)
    with ours.connect() as wire:
        wire.hello("another")
        assert wire.hear(ours)["code"] == "streams"
    welcomed(ours, **{"from": 1}).close()


def test_a_client_that_reads_nothing_does_not_fill_our_memory(ours: Receiver) -> None:
    with welcomed(ours) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.say(kind="data", first=1, messages=[b"a"])
        ours.read_until(lambda: ours.messages)
        for _ in range(100_000):
            ours.commit()
        (peer,) = ours.source._of_stream.values()
        assert len(peer._out) < 1000


# ---- connections that break ----

MESSAGES = [b"m%d" % number for number in range(1, 9)]


def conversation(standing: int, batch: int) -> bytes:
    """All that a client says that still has every message, when the receiver stands there."""
    data = framed(**HELLO, **{"from": 1})
    for start in range(standing, len(MESSAGES), batch):
        data += framed(kind="data", first=start + 1, messages=MESSAGES[start : start + batch])
    return data


def break_off(ours: Receiver, data: bytes) -> None:
    """A connection that says so much and is gone."""
    before = ours.source.counts().get("connections", 0)
    with ours.connect() as wire:
        wire.socket.sendall(data)
    ours.until_alone(before + 1)


def finish(ours: Receiver, data: bytes) -> None:
    """A connection that says all of it and hears that all of it is safe."""
    with ours.connect() as wire:
        wire.socket.sendall(data)
        while wire.hear(ours)["committed"] < len(MESSAGES):
            ours.read_until(lambda: len(ours.messages.get("s", [])) == len(MESSAGES))
            ours.commit()


def test_a_connection_may_break_at_every_byte() -> None:
    for length in range(len(conversation(0, 3)) + 1):
        with receiver() as ours:
            break_off(ours, conversation(0, 3)[:length])
            finish(ours, conversation(0, 2))
            assert ours.messages == {"s": MESSAGES}


STEPS = st.one_of(
    st.tuples(st.just("break"), st.integers(0, 400), st.integers(1, 8)),
    st.tuples(st.just("commit"), st.integers(0, 8), st.just(0)),
    st.tuples(st.just("crash"), st.just(0), st.just(0)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_each_message_arrives_once_and_in_order(steps: list[tuple[str, int, int]]) -> None:
    """Whatever breaks, wherever cuts are made: what a crash takes back is sent again."""
    ours, committed = Receiver(), 0
    for kind, number, batch in steps:
        if kind == "break":
            break_off(ours, conversation(committed, batch)[:number])
        elif kind == "commit":
            committed = max(committed, min(number, len(ours.messages.get("s", []))))
            ours.source.committed({"s": b"%d" % committed})
        else:
            kept = ours.messages.get("s", [])[:committed]
            ours.source.close()
            ours = Receiver({"s": b"%d" % committed} if committed else {})
            ours.messages = {"s": kept}
        assert ours.messages.get("s", []) == MESSAGES[: len(ours.messages.get("s", []))]
    finish(ours, conversation(committed, 2))
    ours.source.close()
    assert ours.messages == {"s": MESSAGES}


def test_a_position_that_is_none_of_ours_is_refused() -> None:
    with pytest.raises(ValueError, match="not the number of a message"):
        Receiver({"s": b"-1"})


def test_what_the_tests_say_is_msgpack() -> None:
    assert msgpack.unpackb(framed(**HELLO)[4:]) == HELLO
