"""The worker's main thread while flows run: post from the lane to the threads that can wait, orders
from the supervisor to the lane. It waits in one poll; nothing here is done per event.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgpack

from appliance import clock, connect, points
from appliance.connect import Resume
from appliance.errors import EXIT_DONE, EXIT_FAILED
from appliance.limits import (
    LANE_STACK_BYTES,
    STOP_ABORT_S,
    STOP_GRACE_S,
)
from appliance.logs import Logger
from appliance.native import lib
from appliance.store import Store
from appliance.worker.committer import Committer
from appliance.worker.control import Channel, ChannelClosed
from appliance.worker.cut_form import FlowCut
from appliance.worker.inbox import SourceThread
from appliance.worker.job import Job
from appliance.worker.lane import Lane, Post
from appliance.worker.loading import LoadedFlow
from appliance.worker.opening import OpenEnd
from appliance.worker.overview import Overview
from appliance.worker.recovery import Recovered
from appliance.worker.resolver import PeerFinder, Resolver
from appliance.worker.senders import SenderThread
from appliance.worker.sinks import SinkThread

if TYPE_CHECKING:
    from appliance.worker.captures import Captures

#: In POST_RESOLVE and its answer, the index is that of a source.
_SOURCE_BIT = 0x8000_0000

#: How long threads of connectors get to end once the lane has; a user's call may never return.
_THREAD_END_S = 2.0


class Mailroom:
    """Everything around one lane."""

    def __init__(
        self,
        job: Job,
        lane: Lane,
        channel: Channel,
        log: Logger,
        flows: list[LoadedFlow],
        store: Store,
        recovered: list[Recovered],
    ) -> None:
        self._lane = lane
        self._channel = channel
        self._log = log
        self._flows = flows
        self._result: int | None = None  # an enum lane_end, once the lane has ended
        self._listening = True  # the supervisor is there
        self._is_fresh = job.fresh and not job.restart  # sinks replace what an earlier run left
        self._is_temporary = job.fresh  # what waits in spools at the end is lost with them
        self._may_run_dry = not job.once and all(
            connect.is_bounded(end.connector) for flow in flows for end in flow.open.sources
        )
        self._begun_s = self._ended_s = 0.0  # monotonic: said that it runs; the lane's end
        self._stop_by_s: float | None = None
        self._stopped = self._draining = False
        self._deliver_by_s: float | None = None  # the lane has ended, and sinks get until then
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._store = store
        self._disk_failed = False
        self._durables = [one.durable for one in recovered]
        self._job = job
        self._captures: Captures | None = None
        self._committer = Committer(
            store,
            self._durables,
            lane.mail_committed,
            self._acknowledge,
            self._commit_failed,
            log,
            min(flow.open.plan.settings.commit_every_us for flow in flows) / 1e6,
            _budget(flows),
        )
        self._resolver = Resolver(log)
        self._sources: dict[tuple[int, int], SourceThread] = {}
        self._sinks: dict[tuple[int, int], SinkThread] = {}
        self._senders: dict[tuple[int, int], SenderThread] = {}
        self._finders: list[PeerFinder] = []
        for number, flow in enumerate(flows):
            for end in flow.open.sources:
                if end.native is None:
                    positions = recovered[number].positions.get(end.name, {})
                    thread = SourceThread(end, number, lane, log, positions)
                    self._sources[(number, end.index)] = thread
            for end in flow.open.sinks:
                key = (number, end.index)
                if end.spooled:
                    self._senders[key] = self._sender(end, recovered[number])
                elif end.native is None:
                    self._sinks[key] = SinkThread(end, number, lane, log, self._is_fresh)
        self._overview = Overview(
            lane, flows, store, self._committer, self._sources, self._sinks, self._senders
        )

    def run(self) -> int:
        """Run to the lane's end; the process's exit code."""
        self._connect_datagrams()
        self._begun_s = clock.monotonic_s()
        self._channel.send("ready")
        for flow in self._flows:
            self._say_open(flow)
        self._committer.start()
        for thread in (*self._sinks.values(), *self._senders.values(), *self._sources.values()):
            thread.start()
        lane_thread = start_lane(self._lane.run, self._ended)
        while self._result is None:
            self._wait()
        lane_thread.join()
        self._carry_posts()
        self._deliver()
        self._finish()
        return self._report()

    # ---- the loop ----

    def _wait(self) -> None:
        """One round: wait for post, orders or the lane's end; deal with them."""
        poll = select.poll()
        poll.register(self._lane.post_fd, select.POLLIN)
        poll.register(self._wake_fd, select.POLLIN)
        if self._listening:
            write = select.POLLOUT if self._channel.wants_to_write else 0
            poll.register(self._channel.fileno(), select.POLLIN | write)
        ready = dict(poll.poll(self._patience_ms()))
        if self._wake_fd in ready:
            os.eventfd_read(self._wake_fd)
        if self._lane.post_fd in ready:
            self._carry_posts()
        if self._listening and self._channel.fileno() in ready:
            self._obey()
        self._tell_captures()
        self._log.tick()
        if self._stop_by_s is not None and clock.monotonic_s() >= self._stop_by_s:
            self._stop_by_s = None
            self._log.warning("stopping takes too long; giving up what is left")
            self._lane.mail_abort()

    def _patience_ms(self) -> float | None:
        wanted = (self._stop_by_s, self._deliver_by_s, self._log.next_s())
        moments = [at_s for at_s in wanted if at_s is not None]
        return max(min(moments) - clock.monotonic_s(), 0.0) * 1000 if moments else None

    def _ended(self, result: int) -> None:
        """On the lane's thread: it has ended."""
        self._ended_s = clock.monotonic_s()
        self._result = result
        self._wake()

    def _wake(self) -> None:
        """From any thread: something has changed that the main thread may wait for."""
        os.eventfd_write(self._wake_fd, 1)

    def _obey(self) -> None:
        try:
            self._channel.flush()
            for message in self._channel.receive():
                if message["kind"] == "stop":
                    drain = message.get("drain") is True
                    self._stop(drain=drain, close=message.get("close") is True)
                elif message["kind"] == "status":
                    self._channel.send("status", id=message["id"], **self._overview.words())
                elif message["kind"] == "fit":
                    self._channel.send("fit", misfits=self._misfits(message))
                elif message["kind"] == "capture":
                    self._wanted_captures().ask(message)
        except ChannelClosed as error:
            self._listening = False
            self._log.warning("the supervisor has gone; stopping", reason=error)
            self._stop()

    def _stop(self, *, drain: bool = False, close: bool = False) -> None:
        """Stop reading, finish what is read; bounded, because a sink may never take the rest,
        unless everything shall be delivered however long it takes (`drain`).
        """
        if drain and self._stop_by_s is None:
            self._draining = True
        else:
            self._draining = False
            self._stop_by_s = self._stop_by_s or clock.monotonic_s() + STOP_ABORT_S
        if self._result is not None and not drain:
            self._deliver_by_s = clock.monotonic_s()  # what is not taken stays in the spools
        elif not self._stopped:
            self._stopped = True
            self._lane.mail_stop(close=close)
            self._committer.hurry()
            for thread in self._sources.values():
                thread.stop()

    # ---- post ----

    def _carry_posts(self) -> None:
        for post in self._lane.posts():
            self._carry(post)

    def _carry(self, post: Post) -> None:
        if post.kind == lib.POST_RECORDS:
            self._sinks[(post.flow, post.index)].put(msgpack.unpackb(post.data))
        elif post.kind == lib.POST_CUT:
            points.reach("freeze.after")
            self._committer.put(post.number, post.view)
            self._say_dry()  # a source that ends asks for a cut
        elif post.kind == lib.POST_CAPTURE:
            self._wanted_captures().posted(post)
        elif post.kind == lib.POST_RESOLVE:
            self._resolve(post)
        elif post.kind == lib.POST_LOG:
            self._log.log(post.index, post.data.decode("utf-8", "replace"), {})

    def _say_dry(self) -> None:
        """Once, when nothing more can come: whoever waits for the run to end waits in vain."""
        if not self._may_run_dry or self._stopped:
            return
        if all(source["ended"] for source in self._lane.metrics()["sources"]):
            self._may_run_dry = False
            self._log.info("all sources have ended; waiting (use --once to end then)")

    def _wanted_captures(self) -> Captures:
        """Made when somebody first asks for one: a start need not pay for them."""
        if self._captures is None:
            from appliance.worker.captures import Captures

            self._captures = Captures(
                self._job, self._lane, self._durables, self._store, self._committer, self._wake
            )
        return self._captures

    def _misfits(self, message: dict[str, Any]) -> list[str]:
        """What speaks against going on with these flows, from the state that is here."""
        from appliance.worker.fitting import fit_lines

        return fit_lines(self._store, self._durables, message["flows"], message["drop_state"])

    def _tell_captures(self) -> None:
        for fields in () if self._captures is None else self._captures.news():
            if not self._listening:
                return
            try:
                self._channel.send("capture", **fields)
            except ChannelClosed as error:
                self._log.debug("nobody hears of the capture", reason=error)

    def _resolve(self, post: Post) -> None:
        flow = self._flows[post.flow].open
        ends = flow.sources if post.index & _SOURCE_BIT else flow.sinks
        native = ends[post.index & ~_SOURCE_BIT].native
        assert native is not None and native.peer is not None, "only what connects asks for a name"
        answer: Callable[[bytes], None] = lambda found: self._lane.mail_address(  # noqa: E731
            post.flow, post.index, found
        )
        self._resolver.ask(native.peer, answer)

    def _acknowledge(self, cut: Sequence[FlowCut]) -> None:
        """On the committer's thread, after a commit."""
        for (flow, source), thread in self._sources.items():
            if thread.acknowledges:
                thread.committed(
                    {
                        one.name: one.position
                        for one in cut[flow].partitions
                        if one.source == source and isinstance(one.position, bytes)
                    }
                )

    def _commit_failed(self, error: Exception) -> None:
        """On the committer's thread: what the disk holds is only known after a new start."""
        self._log.error(
            "a cut cannot be committed; the worker starts again from the disk", error=error
        )
        self._disk_failed = True
        self._lane.mail_abort()

    def _sender(self, end: OpenEnd, recovered: Recovered) -> SenderThread:
        durable = recovered.durable
        end_of = dict(durable.record.sinks[end.name].following)
        resume = Resume(
            fresh=self._is_fresh,
            stream=durable.record.stream,
            epoch=durable.record.epoch,
            flow=end.flow,
            sink=end.name,
            first=end_of,
            end=end_of,
        )
        bounds = durable.plan.sinks[end.name].spool
        return SenderThread(end, durable.spools[end.name], bounds, resume, self._log, self._wake)

    def _deliver(self) -> None:
        """The lane has ended: what is committed goes where it belongs. At the end of the input that
        is waited for; a run that was stopped leaves in its spools what is not taken at once.
        """
        for sender in self._senders.values():
            sender.finish()
        patient = self._result == lib.LANE_ENDED or self._draining
        if self._disk_failed or not patient:
            self._deliver_by_s = clock.monotonic_s() + _THREAD_END_S
        while not all(sender.done.is_set() for sender in self._senders.values()):
            if self._deliver_by_s is not None and clock.monotonic_s() >= self._deliver_by_s:
                break
            self._wait()
        for sender in self._senders.values():
            sender.leave()
        # A cut for which the disk has no room. Of a lane that came to its end there is none,
        # and what has been delivered may stay in the store: sent again, it is known.
        self._committer.abandon()
        self._committer.finish()
        self._committer.join()
        if self._captures is not None:
            self._captures.finish()
        self._tell_captures()

    # ---- beginning and end ----

    def _connect_datagrams(self) -> None:
        """A datagram socket is connected by us; one whose peer is not known yet, later."""
        for end in self._all_ends():
            native = end.native
            if native is not None and native.kind == "datagram" and native.peer is not None:
                finder = PeerFinder(native.fd, native.peer, self._log)
                if not finder.try_once():
                    self._finders.append(finder)
                    finder.start()

    def _finish(self) -> None:
        """The lane has ended: end the threads around it, in the direction of the data."""
        for source in self._sources.values():
            source.finish()
        for finder in self._finders:
            finder.stop()
        aborted = self._result in (lib.LANE_FAILED, lib.LANE_SHORT)
        for sink in self._sinks.values():
            if aborted:
                sink.abandon()
            else:
                sink.finish()
        until_s = clock.monotonic_s() + _THREAD_END_S
        for thread in (*self._sources.values(), *self._sinks.values(), *self._senders.values()):
            thread.join(max(until_s - clock.monotonic_s(), 0.0))
        for flow in self._flows:
            flow.open.close()

    def _report(self) -> int:
        results = {lib.LANE_ENDED: "ended", lib.LANE_STOPPED: "stopped"}
        result = results.get(self._result, "failed")
        status = self._overview.words()
        for sink in status["metrics"]["sinks"]:
            if sink["queued"]:
                self._log.warning(
                    "results were not delivered",
                    flow=sink["flow"],
                    sink=sink["name"],
                    bytes=sink["queued"],
                )
        for sender in self._senders.values():
            sender.say_what_waits(kept=not self._is_temporary)
        if self._disk_failed or self._result == lib.LANE_SHORT:
            cause = "a cut could not be committed" if self._disk_failed else "out of memory"
            text = f"{cause}; what the disk holds is read again"
            self._tell("failed", code=EXIT_FAILED, text=text)
        else:
            took_s = self._ended_s - self._begun_s
            self._tell("ended", result=result, took_s=took_s, **status)
        unread = any(source["unread"] for source in status["metrics"]["sources"])
        if self._disk_failed or result == "failed" or (unread and result == "ended"):
            return EXIT_FAILED
        return EXIT_DONE

    def _tell(self, kind: str, **fields: object) -> None:
        """The last words to the supervisor. Without "ended" it starts another worker."""
        if not self._listening:
            return
        try:
            self._channel.send(kind, **fields)
            self._channel.drain(STOP_GRACE_S)
        except ChannelClosed:
            self._log.warning("the supervisor has gone")

    def _say_open(self, flow: LoadedFlow) -> None:
        for end in flow.open.sources:
            if end.native is not None and end.native.kind in ("listen", "datagram"):
                self._log.info("listening", flow=flow.name, source=end.name, address=end.label)
        self._log.info(
            "running",
            flow=flow.name,
            sources=",".join(end.name for end in flow.open.sources),
            sinks=",".join(end.name for end in flow.open.sinks),
        )

    def _all_ends(self) -> list[OpenEnd]:
        return [end for flow in self._flows for end in (*flow.open.sources, *flow.open.sinks)]


def _budget(flows: list[LoadedFlow]) -> int | None:
    """The smallest of the flows' write budgets: they share one store."""
    budgets = [flow.open.plan.settings.write_budget_bytes for flow in flows]
    return min((size for size in budgets if size is not None), default=None)


def start_lane(run: Callable[[], int], ended: Callable[[int], None]) -> threading.Thread:
    """The thread that is one native call: `run`, and `ended(result)` after it."""

    def target() -> None:
        ended(run())

    threading.stack_size(LANE_STACK_BYTES)
    thread = threading.Thread(target=target, name="lane", daemon=True)
    thread.start()
    threading.stack_size(0)
    return thread
