"""`bettong send`: lines to an `acknowledged_tcp` source, a message each, until all are safe.

A small file beside the input remembers the stream and the number that went before the first line:
so whoever sends the same file again goes on where the receiver is, after a crash of either side.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import click

from appliance import clock
from appliance.client import Client, ClientError
from appliance.connect import parse_address
from appliance.errors import EXIT_DONE, BettongError, EnvironmentFailure, UsageError
from appliance.limits import ACKNOWLEDGED_MESSAGE_MAX_BYTES, PROGRESS_EVERY_S
from appliance.units import parse_duration

#: Of the file's head so much is kept as a hash: enough to notice another file of the same name.
_HEAD_BYTES = 4096


@dataclass(frozen=True)
class Sent:
    """What the state file keeps of an input. Line k has the number `before` + k."""

    stream: str
    before: int
    head_bytes: int
    head_sha256: str
    acknowledged: int = 0
    complete: bool = False  # all there was is acknowledged
    version: int = 1


@click.command()
@click.argument("address")
@click.argument("file", required=False)
@click.option("--stream", metavar="ID", help="The stream's name (default: a new one per file).")
@click.option("--state", metavar="FILE", help="What is sent (default: FILE.sent beside the input).")
@click.option("--token", envvar="BETTONG_TOKEN", default="", help="What the source asks for.")
@click.option("--timeout", metavar="TIME", help='Give up when nothing moves for so long: "30s".')
def command(
    address: str, file: str | None, stream: str | None, state: str | None, token: str,
    timeout: str | None,
) -> int:  # fmt: skip
    """Send the lines of FILE, or of standard input, to an acknowledged_tcp source at ADDRESS."""
    patience_s = _patience_s(address, timeout)
    with _opened(file) as lines:
        path = Path(state) if state else Path(f"{file}.sent") if file else None
        known = _read_state(path, lines, stream) if path is not None else None
        name = known.stream if known else stream or (os.urandom(16).hex() if file else _own_name())
        # Half sent, the same lines have the same numbers. Otherwise it is welcome behind all else.
        first = known.before + 1 if known and not known.complete else None
        with contextlib.closing(Client(address, name, token=token, first=first)) as client:
            watch = _Watch(client, patience_s)
            watch.until(client.flush)
            known = _begun(known or _new(name, lines, client.acknowledged), client.acknowledged)
            if path is not None:
                _write_state(path, known)  # before anything is sent under these numbers
            skipped = client.acknowledged - known.before
            count = _send_all(lines, skipped, client, watch)
            watch.until(client.flush)
            if path is not None:
                done = replace(known, acknowledged=client.acknowledged, complete=True)
                _write_state(path, done)
    watch.finish(count, skipped)
    return EXIT_DONE


def _patience_s(address: str, timeout: str | None) -> float | None:
    try:
        parse_address(address)
        return None if timeout is None else parse_duration(timeout) / 1e6
    except ValueError as error:
        raise UsageError(str(error)) from error


@contextlib.contextmanager
def _opened(file: str | None) -> Iterator[BinaryIO]:
    if file is None:
        yield sys.stdin.buffer
        return
    with contextlib.ExitStack() as stack:
        try:
            opened = stack.enter_context(Path(file).open("rb"))
        except OSError as error:
            raise EnvironmentFailure(f"cannot read {file}: {error.strerror}") from error
        yield opened


def _own_name() -> str:
    """The stream of what is piped in on this box: one after the other they are one stream."""
    return f"{socket.gethostname()[:50]}/stdin"


def _send_all(lines: BinaryIO, skipped: int, client: Client, watch: _Watch) -> int:
    """Send what the receiver does not have; the number of lines there are."""
    count = 0
    while line := lines.readline(ACKNOWLEDGED_MESSAGE_MAX_BYTES + 2):
        count += 1
        message = line.removesuffix(b"\n").removesuffix(b"\r")
        if len(message) > ACKNOWLEDGED_MESSAGE_MAX_BYTES:
            most = ACKNOWLEDGED_MESSAGE_MAX_BYTES
            raise BettongError(f"line {count} is longer than a message may be, {most} bytes")
        if count > skipped:
            watch.until(partial(client.send, message))
    if count < skipped:
        raise BettongError(
            f"the receiver has {skipped} messages of this stream, but there are only {count} lines:"
            " the file was shortened, or another one was sent under the stream's name"
        )
    return count


class _Watch:
    """Waits with a line of progress, and with an end to its patience."""

    def __init__(self, client: Client, patience_s: float | None) -> None:
        self._client = client
        self._patience_s = patience_s
        self._moved_s = clock.monotonic_s()
        self._acknowledged = -1
        self._told = ""
        self._on_terminal = sys.stderr.isatty()

    def until(self, act: Callable[[float], None]) -> None:
        """Do it, however long it takes; `act(timeout)` raises TimeoutError when it has to wait."""
        while True:
            try:
                act(PROGRESS_EVERY_S)
                return
            except TimeoutError:
                self._wait_more()
            except ClientError as error:
                raise BettongError(f"the receiver refused: {error}") from error

    def _wait_more(self) -> None:
        now_s, client = clock.monotonic_s(), self._client
        if client.acknowledged != self._acknowledged:
            self._acknowledged, self._moved_s = client.acknowledged, now_s
        if client.trouble != self._told:
            self._told = client.trouble
            print(f"waiting for the receiver: {self._told}" if self._told else "connected",
                  file=sys.stderr)  # fmt: skip
        if self._patience_s is not None and now_s - self._moved_s > self._patience_s:
            why = client.trouble or "it acknowledges nothing"
            raise EnvironmentFailure(f"the receiver took nothing for {self._patience_s:g} s: {why}")
        if self._on_terminal:
            print(f"\r{client.acknowledged:,} acknowledged", end="", file=sys.stderr, flush=True)

    def finish(self, count: int, skipped: int) -> None:
        """The last line."""
        before = f", {skipped:,} of them before" if skipped else ""
        start = "\r" if self._on_terminal else ""
        print(f"{start}{count:,} messages acknowledged{before}", file=sys.stderr)


# ---- the state file ----


def _head(lines: BinaryIO, most: int) -> tuple[int, str]:
    """The size of a file's head, at most so many bytes, and its hash; (0, "") for a pipe."""
    if not lines.seekable():
        return 0, ""
    start = lines.tell()
    data = lines.read(most)
    lines.seek(start)
    return len(data), hashlib.sha256(data).hexdigest()


def _read_state(path: Path, lines: BinaryIO, stream: str | None) -> Sent | None:
    """What was sent of this input; None when nothing was."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {path}: {error.strerror}") from error
    try:
        sent = Sent(**json.loads(text))
        right = sent.version == 1 and type(sent.before) is type(sent.acknowledged) is int
    except (ValueError, TypeError):
        right = False
    if not right:
        raise BettongError(f"{path} is no state of `bettong send`; name another with --state")
    if stream is not None and stream != sent.stream:
        raise UsageError(f"{path} is of stream {sent.stream}; name another with --state")
    if lines.seekable() and _head(lines, sent.head_bytes)[1] != sent.head_sha256:
        raise BettongError(
            f"{path} was made for another content of this file; remove it to send this one as new"
        )
    return sent


def _write_state(path: Path, sent: Sent) -> None:
    """Durably: after a power cut it is the old or the new."""
    new = path.with_name(f"{path.name}.new")
    try:
        with open(new, "w") as file:
            json.dump(asdict(sent), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise EnvironmentFailure(f"cannot write {path}: {error.strerror}") from error


def _new(stream: str, lines: BinaryIO, stands: int) -> Sent:
    """An input of which nothing was sent, for a stream that stands there."""
    head_bytes, head = _head(lines, _HEAD_BYTES)
    return Sent(stream, stands, head_bytes, head, stands)


def _begun(sent: Sent, stands: int) -> Sent:
    """The same when the receiver stands there, and more is to be sent."""
    if sent.complete and stands > sent.acknowledged:
        # Something else was sent in this stream since: what comes now goes behind it.
        before = sent.before + stands - sent.acknowledged
        return replace(sent, before=before, acknowledged=stands, complete=False)
    if stands < sent.before:
        raise BettongError(
            f"the receiver has only {stands} messages of stream {sent.stream}, and there were "
            f"{sent.before} before this file: it has lost its memory, or is another one"
        )
    if stands < sent.acknowledged:
        print(
            f"the receiver had {sent.acknowledged:,} and has only {stands:,} now: "
            "the rest is sent again",
            file=sys.stderr,
        )
    return replace(sent, complete=False)
