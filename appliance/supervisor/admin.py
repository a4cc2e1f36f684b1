"""The admin socket: JSON lines on a Unix socket in the data folder. It answers `status` and
`reload`, and takes `drain`: then the run ends when everything is delivered, and with it the
connection.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from appliance import clock
from appliance.errors import EXIT_FAILED
from appliance.limits import ADMIN_CLIENT_MAX_COUNT, RELOAD_TIMEOUT_S, STATUS_TIMEOUT_S
from appliance.supervisor import folder
from appliance.worker.control import Channel, ChannelClosed


class Admin:
    """The server's side, driven by the supervisor's loop."""

    def __init__(
        self,
        listener: socket.socket,
        wants_status: Callable[[], None],
        wants_drain: Callable[[bool], None] = lambda close: None,
        wants_capture: Callable[[dict[str, Any]], str] = lambda message: "",
        wants_reload: Callable[[dict[str, Any]], str] = lambda message: "",
    ) -> None:
        self._listener = listener
        self._wants_status = wants_status
        self._wants_drain = wants_drain
        self._wants_capture = wants_capture
        self._wants_reload = wants_reload
        self._reloading: Channel | None = None  # who has asked for the reload under way
        self._capturing: Channel | None = None  # who has asked for the capture under way
        self._clients: list[Channel] = []
        self._asking: list[Channel] = []  # those that wait for a status

    @property
    def listener(self) -> socket.socket:
        """For the loop: readable when a client comes."""
        return self._listener

    def accept(self) -> None:
        """A new client; one too many is turned away."""
        try:
            made, _ = self._listener.accept()
        except OSError:  # it went away between the poll and here
            return
        if len(self._clients) < ADMIN_CLIENT_MAX_COUNT:
            self._clients.append(Channel(made))
        else:
            made.close()

    def serve(self, client: Channel) -> None:
        """Read what a client asks, or that it has gone."""
        try:
            client.flush()
            for message in client.receive():
                if message["kind"] == "status":
                    self._asking.append(client)
                    self._wants_status()
                elif message["kind"] == "drain":
                    self._wants_drain(message.get("close") is True)
                elif message["kind"] == "reload":
                    self._reload(client, message)
                elif message["kind"] == "capture":
                    self._capture(client, message)
                else:
                    client.send("error", text=f"unknown question {message['kind']!r}")
        except ChannelClosed:
            self.forget(client)

    def _reload(self, client: Channel, message: dict[str, Any]) -> None:
        refused = self._wants_reload(message)
        if refused:
            client.send("reload", code=EXIT_FAILED, text=refused)
        else:
            self._reloading = client

    def answer_reload(self, code: int, text: str) -> None:
        """Tell who has asked how it ended."""
        client, self._reloading = self._reloading, None
        if client is not None:
            try:
                client.send("reload", code=code, text=text)
            except ChannelClosed:
                return  # it has gone; `serve` reads its end

    def _capture(self, client: Channel, message: dict[str, Any]) -> None:
        fields: dict[str, Any] = {
            name: message[name] for name in ("flow", "out", "limit") if name in message
        }
        begins = fields.get("flow") is not None
        if begins and self._capturing is not None:
            client.send("capture", state="failed", text="a capture is under way")
        elif begins or client is self._capturing:
            refused = self._wants_capture(fields)
            if refused:
                client.send("capture", state="failed", text=refused)
            elif begins:
                self._capturing = client

    def answer_capture(self, message: dict[str, Any]) -> None:
        """Tell who has asked how it goes."""
        client = self._capturing
        if message["state"] != "began":
            self._capturing = None
        if client is not None:
            try:
                client.send("capture", **{k: v for k, v in message.items() if k != "kind"})
            except ChannelClosed:
                return  # it has gone; `serve` reads its end

    def answer_status(self, document: dict[str, Any]) -> None:
        """Give this to all that wait for it."""
        asking, self._asking = self._asking, []
        for client in asking:
            try:
                client.send("status", status=document)
            except ChannelClosed:
                continue  # it has gone; `serve` reads its end

    @property
    def clients(self) -> list[Channel]:
        """For the loop: readable when one asks or goes, writable when one can take the rest."""
        return list(self._clients)

    def forget(self, client: Channel) -> None:
        """A client has gone."""
        self._clients.remove(client)
        self._asking = [other for other in self._asking if other is not client]
        if client is self._reloading:
            self._reloading = None
        if client is self._capturing:
            self._capturing = None
            self._wants_capture({})  # nobody would end it
        client.close()

    def close(self) -> None:
        """Close everything."""
        for client in list(self._clients):
            self.forget(client)
        self._listener.close()


def drain(path: Path, close: bool, timeout_s: float | None) -> bool | None:
    """Ask what runs with this data folder to stop reading and to end when everything is delivered,
    `close`: its open windows closed first; wait for that. False: not in time; None: nothing runs.
    """
    connection = folder.connect(path)
    if connection is None:
        return None
    channel = Channel(connection)
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    until_s = None if timeout_s is None else clock.monotonic_s() + timeout_s
    try:
        channel.send("drain", close=close)
        while until_s is None or clock.monotonic_s() < until_s:
            poll.poll(None if until_s is None else max(until_s - clock.monotonic_s(), 0.0) * 1000)
            channel.receive()  # it says nothing until it ends
        return False
    except ChannelClosed:
        return True
    finally:
        channel.close()


def reload(
    path: Path, drop_state: Sequence[str] = (), drop_spool: Sequence[str] = ()
) -> tuple[int, str] | None:
    """Ask what runs with this data folder to read its flow files again; an exit code and what stood
    in the way. None: nothing runs.
    """
    connection = folder.connect(path)
    if connection is None:
        return None
    channel = Channel(connection)
    try:
        channel.send("reload", drop_state=list(drop_state), drop_spool=list(drop_spool))
        answer = _first(channel, "reload", clock.monotonic_s() + RELOAD_TIMEOUT_S)
    except ChannelClosed:
        return EXIT_FAILED, "the run has ended"
    finally:
        channel.close()
    if answer is None:
        return EXIT_FAILED, "the reload takes too long; the log says how it goes on"
    return int(answer["code"]), str(answer["text"])


def ask_status(path: Path) -> dict[str, Any] | None:
    """The status of what runs with this data folder; None when nothing does or answers."""
    connection = folder.connect(path)
    if connection is None:
        return None
    channel = Channel(connection)
    try:
        channel.send("status")
        answer = _first(channel, "status", clock.monotonic_s() + 2 * STATUS_TIMEOUT_S)
    except ChannelClosed:
        return None
    finally:
        channel.close()
    if answer is None:
        return None
    status = answer["status"]
    assert isinstance(status, dict)
    return status


def _first(channel: Channel, kind: str, until_s: float) -> dict[str, Any] | None:
    """The first message of this kind; None when none comes in time."""
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    while (left_s := until_s - clock.monotonic_s()) > 0:
        poll.poll(left_s * 1000)
        for message in channel.receive():
            if message["kind"] == kind:
                return message
    return None
