"""`appliance.client`, against a real receiver, and ones that break off, lie or say nothing."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import threading
import tokenize
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest

from appliance import limits
from appliance.client import Client, ClientError
from unit.acknowledged import PATIENCE_S, framed, receiver, served

WELCOME = {"kind": "welcome", "version": 1, "committed": 0, "messages": 100, "bytes": 1000}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ACKNOWLEDGED_RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(limits, "ACKNOWLEDGED_RETRY_MAX_S", 0.01)


def test_it_is_as_short_as_it_is_said_to_be() -> None:
    """Not counting what is for people: empty lines, comments and docstrings."""
    path = Path(sys.modules[Client.__module__].__file__ or "")
    lines: set[int] = set()
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            is_docstring = token.type == tokenize.STRING and token.line.lstrip().startswith('"""')
            is_code = token.type not in (tokenize.COMMENT, tokenize.ENCODING) and not is_docstring
            if token.string.strip() and is_code:
                lines.add(token.start[0])
    assert len(lines) < 150


def test_it_comes_without_the_engine() -> None:
    script = "import sys, appliance.client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    loaded = set(done.stdout.decode().split())
    assert {name for name in loaded if name.startswith("appliance")} == {
        "appliance", "appliance.client", "appliance.clock", "appliance.limits",
    }  # fmt: skip
    assert not loaded & {"cffi", "click", "msgspec", "_cffi_backend"}


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_everything_arrives_in_order_and_is_acknowledged(count: int) -> None:
    messages = [b"%d" % number for number in range(count)]
    with receiver() as ours, served(ours):
        with Client(ours.source.address, "s") as client:
            for message in messages:
                client.send(message)
        assert client.acknowledged == count
    assert ours.messages.get("s", []) == messages


def test_the_largest_message_arrives() -> None:
    largest = b"x" * limits.ACKNOWLEDGED_MESSAGE_MAX_BYTES
    with receiver() as ours, served(ours), Client(ours.source.address, "s") as client:
        client.send(largest)
        with pytest.raises(ValueError, match="too large"):
            client.send(largest + b"x")
    assert ours.messages == {"s": [largest]}


def test_a_new_client_of_a_stream_goes_on_behind_the_old_one() -> None:
    with receiver() as ours, served(ours):
        for message in (b"a", b"b"):
            with Client(ours.source.address, "s") as client:
                client.send(message)
    assert ours.messages == {"s": [b"a", b"b"]}


def test_beyond_what_it_keeps_it_waits_and_says_why() -> None:
    with receiver() as ours:
        client = Client(ours.source.address, "s", max_count=2)
        client.send(b"a")
        client.send(b"b")
        with pytest.raises(TimeoutError, match="not connected yet"):
            client.send(b"c", timeout=0.01)
        with served(ours):
            client.send(b"c", timeout=PATIENCE_S)
            client.flush(PATIENCE_S)
        client.close()
    assert ours.messages == {"s": [b"a", b"b", b"c"]}


def test_it_waits_for_a_receiver_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    client = Client(address, "s")
    client.send(b"a")
    with pytest.raises(TimeoutError, match="refused"):
        client.flush(timeout=0.1)
    with receiver(listen=address) as ours, served(ours):
        client.flush(PATIENCE_S)
    client.close()
    client.close()
    assert ours.messages == {"s": [b"a"]}
    with pytest.raises(ValueError, match="closed"):
        client.send(b"b")


@contextmanager
def cutting(address: str, lengths: Callable[[], int]) -> Iterator[str]:
    """A way to `address` that lets so many bytes pass, then breaks, connection by connection."""
    host, _, port = address.rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    down, _ = server.accept()
                except TimeoutError:
                    continue
                with down, socket.create_connection((host, int(port))) as up:
                    pump(down, up, lengths(), stop)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            stop.set()
            thread.join(PATIENCE_S)


def pump(down: socket.socket, up: socket.socket, left: int, stop: threading.Event) -> None:
    import select

    while left > 0 and not stop.is_set():
        for one in select.select([down, up], [], [], 0.05)[0]:
            data = one.recv(min(left, 4096))
            if not data:
                return
            left -= len(data)
            (up if one is down else down).sendall(data)


def test_each_message_arrives_once_however_often_the_connection_breaks() -> None:
    messages = [b"%d" % number for number in range(500)]
    rng = random.Random(1)
    with (
        receiver() as ours,
        served(ours),
        cutting(ours.source.address, lambda: rng.randrange(150, 2000)) as address,
        Client(address, "s") as client,
    ):
        for message in messages:
            client.send(message)
            if rng.random() < 0.1:
                client.flush(PATIENCE_S)
    assert ours.messages == {"s": messages}


def test_what_a_crash_of_the_receiver_takes_back_is_sent_again() -> None:
    with receiver() as ours:
        address = ours.source.address
        client = Client(address, "s")
        with served(ours):
            client.send(b"a")
            client.flush(PATIENCE_S)
        client.send(b"b")
        ours.read_until(lambda: len(ours.messages["s"]) == 2)  # handed over, in no cut
    with receiver({"s": b"1"}, listen=address) as again, served(again):
        client.send(b"c")
        client.flush(PATIENCE_S)
        client.close()
    assert again.messages == {"s": [b"b", b"c"]}


# ---- what is refused for good ----


def test_the_older_of_two_clients_hears_that_it_was_replaced() -> None:
    with receiver() as ours, served(ours):
        older = Client(ours.source.address, "s")
        older.flush(PATIENCE_S)
        with Client(ours.source.address, "s") as newer:
            newer.send(b"a")
        with pytest.raises(ClientError, match="another client") as error:
            until_refused(older)
        older.close()
    assert error.value.code == "replaced"


def until_refused(client: Client) -> None:
    """Ask for room until the client says no."""
    with client._changed:
        client._wait(lambda: False, PATIENCE_S)


def test_a_wrong_token_is_not_tried_again() -> None:
    with receiver(token="right") as ours, served(ours):
        with (
            pytest.raises(ClientError, match="token"),
            Client(ours.source.address, "s", token="wrong") as client,
        ):
            client.send(b"a")
        assert ours.source.counts()["error:token"] == 1


def test_a_receiver_that_lost_its_memory_is_noticed() -> None:
    with receiver() as ours:
        client = Client(ours.source.address, "s")
        with served(ours):
            client.send(b"a")
            client.flush(PATIENCE_S)
        address = ours.source.address
    with receiver(listen=address) as forgetful, served(forgetful):
        with pytest.raises(ClientError, match="1 to 1 would be missing"):
            until_refused(client)
        client.close()


@contextmanager
def scripted(*answers: dict[str, Any]) -> Iterator[str]:
    """A receiver that accepts one connection, hears hello, and says this."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                for answer in answers:
                    connection.sendall(framed(**answer))
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join(PATIENCE_S)


@pytest.mark.parametrize("number", [1, 7, -1])
def test_a_number_that_was_never_sent_cannot_be_acknowledged(number: int) -> None:
    ack = {**WELCOME, "kind": "ack", "committed": number}
    with scripted(WELCOME, ack) as address:
        client = Client(address, "s")
        with pytest.raises(ClientError, match="was the last sent"):
            until_refused(client)
        client.close()


def test_an_acknowledgement_before_the_welcome_is_a_sign_of_life() -> None:
    ack = {**WELCOME, "kind": "ack", "committed": 3}
    with scripted(ack, {**WELCOME, "committed": 5}) as address:
        client = Client(address, "s")
        client.flush(PATIENCE_S)
        assert client.acknowledged == 5
        client.close()


def test_a_silent_receiver_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ACKNOWLEDGED_SILENCE_S", 0.0)
    with scripted() as address:
        client = Client(address, "s")
        with pytest.raises(TimeoutError):
            client.flush(0.01)
        with client._changed:
            assert client._changed.wait_for(lambda: "silent" in client.trouble, PATIENCE_S)
        client.close()


@pytest.mark.parametrize("credit", [(1, 1000), (100, 5), (2, 12)])
def test_no_more_flies_than_the_credit_allows(credit: tuple[int, int]) -> None:
    """Each acknowledgement comes when everything that may fly has flown."""
    got: list[bytes] = []
    messages = [b"%05d" % number for number in range(10)]
    allowed = max(1, min(credit[0], credit[1] // 5))
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = Client(f"127.0.0.1:{server.getsockname()[1]}", "s")
        for message in messages:
            client.send(message)
        connection, _ = server.accept()
        with connection:
            frames = unpacked(connection)
            assert next(frames)["kind"] == "hello"
            words = {**WELCOME, "messages": credit[0], "bytes": credit[1]}
            connection.sendall(framed(**words))
            while len(got) < len(messages):
                batch = next(frames)["messages"]
                got += batch
                assert len(batch) <= allowed
                ack = {**words, "kind": "ack", "committed": len(got)}
                connection.sendall(framed(**ack))
            client.flush(PATIENCE_S)
            client.close()
    assert got == messages


def unpacked(connection: socket.socket) -> Iterator[dict[str, Any]]:
    got = b""
    while data := connection.recv(4096):
        got += data
        while len(got) >= 4 and len(got) >= (end := 4 + int.from_bytes(got[:4], "big")):
            yield msgpack.unpackb(got[4:end])
            got = got[end:]
