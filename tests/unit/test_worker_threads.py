"""The threads around a lane, against a lane that only takes notes."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from appliance import clock
from appliance.connect import Chunk, EndOfInput, Later, Messages, Resume
from appliance.limits import REASON_MAX_COUNT
from appliance.logs import Logger
from appliance.worker import attempts as attempts_module
from appliance.worker import inbox as inbox_module
from appliance.worker.backoff import Backoff
from appliance.worker.inbox import SourceThread, frame_messages
from appliance.worker.opening import OpenEnd
from appliance.worker.resolver import Resolver, sockaddr
from appliance.worker.sinks import SinkThread

PATIENCE_S = 10.0


class Lane:
    """Takes mail; refuses the first `refusals` chunks."""

    def __init__(self, refusals: int = 0) -> None:
        self.chunks: list[tuple[bytes, bytes, bytes]] = []
        self.taken = 0
        self.ended = threading.Event()
        self.refusals = refusals

    def mail_chunk(
        self, flow: int, source: int, partition: bytes, position: bytes, data: bytes
    ) -> bool:
        if self.refusals:
            self.refusals -= 1
            return False
        self.chunks.append((partition, position, data))
        return True

    def mail_end(self, flow: int, source: int) -> None:
        self.ended.set()

    def mail_taken(self, flow: int, sink: int) -> None:
        self.taken += 1


class ListSource:
    """Gives these chunks; an exception among them is raised."""

    def __init__(self, steps: Sequence[Chunk | BaseException | None]) -> None:
        self.steps = list(steps)
        self.opened: list[Mapping[str, bytes]] = []
        self.closed = 0

    def open(self, positions: Mapping[str, bytes]) -> None:
        self.opened.append(dict(positions))

    def read(self, limit: int) -> Chunk | None:
        if not self.steps:
            raise EndOfInput
        step = self.steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step

    def close(self) -> None:
        self.closed += 1


def quiet() -> Logger:
    return Logger("test", level=100)


def end_of(connector: Any) -> OpenEnd:
    return OpenEnd("flow", "end", 0, "connector", connector, None)


def serve(source: ListSource, lane: Lane) -> SourceThread:
    thread = SourceThread(end_of(source), 0, lane, quiet())
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    return thread


def test_chunks_arrive_in_order_with_their_positions_and_then_the_end() -> None:
    lane = Lane()
    chunks = [Chunk(b"a\n", b"2", "left"), None, Chunk(b"b\n", b"2", "right")]
    source = ListSource(chunks)
    serve(source, lane)
    assert lane.chunks == [(b"left", b"2", b"a\n"), (b"right", b"2", b"b\n")]
    assert lane.ended.is_set()
    assert (source.opened, source.closed) == ([{}], 1)


def test_a_full_inbox_loses_nothing_and_keeps_the_order() -> None:
    lane = Lane(refusals=5)
    serve(ListSource([Chunk(b"a", b"1"), Chunk(b"b", b"2")]), lane)
    assert [data for _, _, data in lane.chunks] == [b"a", b"b"]


@pytest.mark.parametrize("failure", [OSError("the line is dead"), SystemExit(1)])
def test_a_source_that_fails_is_opened_again_after_the_last_chunk_handed_over(
    failure: BaseException,
) -> None:
    lane = Lane()
    source = ListSource([Chunk(b"a", b"1", "p"), failure, Chunk(b"b", b"2")])
    serve(source, lane)
    assert source.opened == [{}, {"p": b"1"}]
    assert source.closed == 2
    assert [data for _, _, data in lane.chunks] == [b"a", b"b"]


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        ("text", "read() gave a str, not a Chunk or None"),
        (Chunk("text"), "a Chunk's data is bytes, not a str"),  # type: ignore[arg-type]
        (Chunk(b"a", 1), "a Chunk's position is bytes and its partition a str"),  # type: ignore[arg-type]
    ],
)
def test_a_source_that_gives_what_is_no_chunk_has_failed_and_hears_why(
    chunk: Any, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    lane = Lane()
    source = ListSource([chunk, chunk, Chunk(b"a", b"1")])
    thread = SourceThread(end_of(source), 0, lane, Logger("test"))
    thread.start()
    thread.join(PATIENCE_S)
    assert [data for _, _, data in lane.chunks] == [b"a"]
    log = capfd.readouterr().err.splitlines()
    assert [message in line for line in log] == [True, False]
    assert "source works again" in log[1]


def test_each_new_reason_why_a_source_fails_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    """The network comes back, and then the password is wrong."""
    steps = [OSError("no network"), OSError("no network"), OSError("no entry"), Chunk(b"a", b"1")]
    thread = SourceThread(end_of(ListSource(steps)), 0, Lane(), Logger("test"))
    thread.start()
    thread.join(PATIENCE_S)
    log = capfd.readouterr().err.splitlines()
    assert ["no network" in line for line in log] == [True, False, False]
    assert "no entry" in log[1] and "source works again" in log[2]
    assert thread.trouble == ""


def test_a_source_that_reads_once_and_fails_each_time_is_said_once_and_waits_longer(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(Backoff, "next_s", lambda self: waits.append(self.failures) or _fail(self))
    steps = [step for n in range(3) for step in (Chunk(b"a", b"%d" % n), OSError("no"))]
    thread = SourceThread(end_of(ListSource(steps)), 0, Lane(), Logger("test"))
    thread.start()
    thread.join(PATIENCE_S)
    log = capfd.readouterr().err.splitlines()
    assert ["source failed" in line for line in log] == [True, False]
    assert "source works again" in log[1]
    assert waits == [0, 1, 2]


def _fail(backoff: Backoff) -> float:
    backoff.failures += 1
    return 0.0


def test_a_source_that_has_worked_for_a_while_begins_its_waits_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(Backoff, "next_s", lambda self: waits.append(self.failures) or _fail(self))
    monkeypatch.setattr(inbox_module, "SOURCE_FORGIVE_S", 0.0)
    serve(ListSource([Chunk(b"a", b"1"), OSError("no")] * 3), Lane())
    assert waits == [0, 0, 0]


def test_a_source_that_was_stopped_has_not_ended() -> None:
    """Its windows stay open: the next run goes on with them."""
    lane = Lane(refusals=1 << 30)
    thread = SourceThread(end_of(ListSource([Chunk(b"a", b"1")])), 0, lane, quiet())
    thread.start()
    thread.stop()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert not lane.ended.is_set()


class AcknowledgingSource(ListSource):
    def __init__(self, steps: Sequence[Chunk | BaseException | None]) -> None:
        super().__init__(steps)
        self.acknowledged: list[Mapping[str, bytes]] = []

    def committed(self, positions: Mapping[str, bytes]) -> None:
        self.acknowledged.append(positions)


def test_a_commit_is_told_to_the_source_on_its_own_thread() -> None:
    source = AcknowledgingSource([None])
    thread = SourceThread(end_of(source), 0, Lane(), quiet())
    thread.committed({"p": b"7"})
    thread.committed({"p": b"9", "q": b"1"})
    assert source.acknowledged == []
    thread.start()
    thread.finish()
    thread.join(PATIENCE_S)
    assert source.acknowledged == [{"p": b"9", "q": b"1"}]


@pytest.mark.parametrize("ends_by_itself", [True, False])
def test_the_last_commit_is_told_before_the_source_is_closed(ends_by_itself: bool) -> None:
    """The cut that covers the last events is made after the source was stopped, or has ended."""
    lane = Lane()
    source = AcknowledgingSource([Chunk(b"a", b"1")] + [None] * (0 if ends_by_itself else 1 << 20))
    thread = SourceThread(end_of(source), 0, lane, quiet())
    thread.start()
    if ends_by_itself:
        assert lane.ended.wait(PATIENCE_S)
    thread.stop()
    assert source.closed == 0
    thread.committed({"": b"1"})
    thread.finish()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert (source.acknowledged, source.closed) == ([{"": b"1"}], 1)
    assert lane.ended.is_set() == ends_by_itself


class MessageSource(ListSource, Messages):
    pass


def test_whole_messages_travel_in_one_chunk_with_their_lengths() -> None:
    lane = Lane()
    serve(MessageSource([Chunk([b"one", b"", b"three"], b"3")]), lane)
    ((_, position, data),) = lane.chunks
    assert position == b"3"
    assert data == frame_messages([b"one", b"", b"three"])
    assert data == struct.pack(">I3sII5s", 3, b"one", 0, 5, b"three")


class ListSink:
    """Takes records; raises what `troubles` holds first."""

    def __init__(self, troubles: Sequence[BaseException] = ()) -> None:
        self.troubles = list(troubles)
        self.records: list[bytes] = []
        self.events: list[str] = []

    def open(self, resume: Resume) -> None:
        self.events.append(f"open fresh={resume.fresh}")

    def write(self, records: Sequence[bytes]) -> None:
        if self.troubles:
            raise self.troubles.pop(0)
        self.records += records

    def close(self) -> None:
        self.events.append("close")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts_module, "SINK_RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(attempts_module, "SINK_RETRY_MAX_S", 0.002)


def deliver(sink: ListSink, *batches: list[bytes]) -> Lane:
    lane = Lane()
    thread = SinkThread(end_of(sink), 0, lane, quiet(), fresh=True)
    for batch in batches:
        thread.put(batch)
    thread.finish()
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    return lane


def test_records_are_written_in_order_and_each_list_is_reported_once() -> None:
    sink = ListSink()
    lane = deliver(sink, [b"1", b"2"], [b"3"])
    assert sink.records == [b"1", b"2", b"3"]
    assert lane.taken == 2
    assert sink.events == ["open fresh=True", "close"]


def test_a_sink_that_gets_no_record_is_opened_and_closed() -> None:
    sink = ListSink()
    deliver(sink)
    assert sink.events == ["open fresh=True", "close"]


class ClosedSink(ListSink):
    """Cannot be opened the first `refusals` times."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self.refusals = refusals
        self.tries = 0

    def open(self, resume: Resume) -> None:
        self.tries += 1
        if self.tries <= self.refusals:
            raise ConnectionError("not there")
        super().open(resume)


@pytest.mark.usefixtures("impatient")
def test_each_new_reason_why_a_sink_fails_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    sink = ListSink([OSError("no network"), OSError("no network"), OSError("no entry")])
    thread = SinkThread(end_of(sink), 0, Lane(), Logger("test"), fresh=True)
    thread.put([b"1"])
    thread.finish()
    thread.start()
    thread.join(PATIENCE_S)
    log = capfd.readouterr().err.splitlines()
    assert ["no network" in line for line in log] == [True, False, False]
    assert "no entry" in log[1] and "sink works again" in log[2]
    assert (sink.records, thread.trouble) == ([b"1"], "")


@pytest.mark.usefixtures("impatient")
def test_reasons_that_take_turns_are_said_once_each_and_not_without_end(
    capfd: pytest.CaptureFixture[str],
) -> None:
    turns = [OSError("refused"), OSError("no answer")] * 20
    never_the_same = [OSError(f"from port {n}") for n in range(100)]
    thread = SinkThread(end_of(ListSink(turns + never_the_same)), 0, Lane(), Logger("test"), True)
    thread.put([b"1"])
    thread.finish()
    thread.run()
    *log, works = capfd.readouterr().err.splitlines()
    assert "works again" in works
    assert ["refused" in line for line in log[:2]] == [True, False]
    assert len(log) <= REASON_MAX_COUNT + 1, "and one line for those that were left out"


@pytest.mark.usefixtures("impatient")
def test_a_sink_that_cannot_be_opened_is_tried_again_before_there_are_records() -> None:
    sink = ClosedSink(3)
    thread = SinkThread(end_of(sink), 0, Lane(), quiet(), fresh=True)
    thread.start()
    eventually(lambda: thread.state == "open")
    thread.finish()
    thread.join(PATIENCE_S)
    assert (sink.tries, sink.events) == (4, ["open fresh=True", "close"])


def test_a_sink_that_can_never_be_opened_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempts_module, "SINK_RETRY_FIRST_S", 1000.0)
    monkeypatch.setattr(attempts_module, "SINK_RETRY_MAX_S", 1000.0)
    sink = ClosedSink(1 << 30)
    thread = SinkThread(end_of(sink), 0, Lane(), quiet(), fresh=True)
    thread.start()
    eventually(lambda: thread.state == "failed")
    thread.finish()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert sink.events == []


@pytest.mark.usefixtures("impatient")
def test_later_means_the_same_records_again_without_opening_anew() -> None:
    sink = ListSink([Later("busy"), Later("busy", after_s=0.001)])
    lane = deliver(sink, [b"1"], [b"2"])
    assert sink.records == [b"1", b"2"]
    assert lane.taken == 2
    assert sink.events == ["open fresh=True", "close"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("troubles", "said"),
    [
        ([Later("busy")] * 3, []),
        (
            [Later("busy"), OSError("gone"), Later("busy"), OSError("gone")],
            ["tried again", "works"],
        ),
    ],
)
def test_a_sink_that_says_later_has_not_failed_and_does_not_work_again(
    troubles: list[BaseException], said: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    sink = ListSink(troubles)
    thread = SinkThread(end_of(sink), 0, Lane(), Logger("test"), fresh=True)
    thread.put([b"1"])
    thread.finish()
    thread.run()
    assert sink.records == [b"1"]
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == len(said)
    assert all(word in line for word, line in zip(said, lines, strict=True))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("failure", [ConnectionError("gone"), SystemExit(1)])
def test_a_sink_that_raises_is_closed_and_opened_again_and_not_fresh_any_more(
    failure: BaseException,
) -> None:
    sink = ListSink([failure])
    deliver(sink, [b"1"])
    assert sink.records == [b"1"]
    assert sink.events == ["open fresh=True", "close", "open fresh=False", "close"]


def test_an_abandoned_sink_gives_up_what_is_left() -> None:
    lane = Lane()
    sink = ListSink([Later("never", after_s=1000.0)])
    thread = SinkThread(end_of(sink), 0, lane, quiet(), fresh=False)
    thread.put([b"1"])
    thread.start()
    thread.abandon()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert lane.taken == 0


def test_a_name_is_resolved_to_what_the_kernel_takes() -> None:
    answers: list[bytes] = []
    answered = threading.Event()

    def answer(found: bytes) -> None:
        answers.append(found)
        answered.set()

    resolver = Resolver(quiet())
    resolver.ask(("127.0.0.1", 9000), answer)
    assert answered.wait(PATIENCE_S)
    assert answers == [
        struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", 9000, b"\x7f\0\0\1")
    ]


def test_an_address_of_version_six_has_its_flow_and_scope() -> None:
    made = sockaddr(socket.AF_INET6, ("::1", 80, 1, 2))
    assert len(made) == 28
    assert made[2:8] == struct.pack("!HI", 80, 1)
    assert made[8:24] == bytes(15) + b"\1"
    assert made[24:] == struct.pack("=I", 2)


def test_an_unknown_name_is_answered_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert Resolver(quiet())._resolve(("nowhere.invalid", 1)) == b""


def test_waits_double_up_to_a_bound_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(0.1, 1.0)
    waits = [backoff.next_s() for _ in range(100)]
    limits = [min(0.1 * 2**n, 1.0) for n in range(100)]
    assert all(limit / 2 <= wait <= limit for wait, limit in zip(waits, limits, strict=True))
    backoff.reset()
    assert backoff.next_s() <= 0.1


def eventually(true: Callable[[], bool]) -> None:
    until_s = clock.monotonic_s() + PATIENCE_S
    waiting = threading.Event()
    while not true():
        assert clock.monotonic_s() < until_s
        waiting.wait(0.001)


def test_a_source_pushed_back_says_so() -> None:
    thread = SourceThread(end_of(ListSource([Chunk(b"a", b"1")])), 0, Lane(1 << 30), quiet())
    thread.start()
    eventually(lambda: thread.state == "pushed back")
    thread.stop()
    thread.join(PATIENCE_S)
    assert thread.state == "stopped"
