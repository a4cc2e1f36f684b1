"""The supervisor: it starts workers, watches them, restarts them, and stops them when asked.

One thread, one poll: signals, the workers' channels, the admin socket. It never touches an event.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from appliance import clock
from appliance.errors import EXIT_DONE
from appliance.limits import PROGRESS_EVERY_S, SIGNAL_AGAIN_S, STATUS_TIMEOUT_S, WATCH_EVERY_S
from appliance.logs import INFO, Logger
from appliance.metrics.status import document
from appliance.supervisor.admin import Admin
from appliance.supervisor.folder import DataFolder, data_folder
from appliance.supervisor.progress import Progress
from appliance.supervisor.slot import Slot
from appliance.worker.job import SHARED, Job, own_store
from appliance.worker.stores import STATE

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


@dataclass(frozen=True)
class RunOptions:
    """What the command line asks for."""

    paths: tuple[str, ...]
    once: bool = False
    data: str | None = None
    temporary: bool = False  # a folder for this run alone, whatever `data` and the environment say
    log_format: str = "human"
    log_level: int = INFO
    options: dict[str, dict[str, Any]] = field(default_factory=dict)  # source name → options
    seconds: float | None = None  # stop after so long
    drop_state: tuple[str, ...] = ()
    drop_spool: tuple[str, ...] = ()
    accept_damage: bool = False
    progress: bool = False  # standard error is a terminal
    on_output: Callable[[bytes], None] | None = None  # gets what workers write to standard output


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `failures` are texts to be shown as they are, `status` the last figures.

    `seconds`: from the moment the worker ran to its lane's end; starting is not part of it.
    """

    code: int
    failures: tuple[str, ...]
    status: dict[str, Any] | None
    seconds: float


class Supervisor:
    """One run. `run` returns when all workers have finished."""

    def __init__(self, options: RunOptions, log: Logger) -> None:
        self._options = options
        self._log = log
        self._begun_s = clock.monotonic_s()
        self._folder = _open_folder(options)
        self._admin = Admin(
            self._folder.listen(), self._wants_status, self._drain, self._wants_capture
        )
        self._output = os.pipe2(os.O_CLOEXEC) if options.on_output is not None else None
        job = Job(
            paths=options.paths,
            once=options.once,
            fresh=_is_fresh(options),
            log_format=options.log_format,
            log_level=options.log_level,
            options=options.options,
            drop_state=options.drop_state,
            drop_spool=options.drop_spool,
            accept_damage=options.accept_damage,
        )
        self._job = job
        self._slots = [self._slot("shared", job)]
        self._progress = Progress(2, self._begun_s) if options.progress else None
        self._progress_at_s = self._begun_s + PROGRESS_EVERY_S
        self._stop_seen_s: float | None = None
        self._interrupted = False  # a signal stopped it
        self._status_number = 0
        self._status_by_s: float | None = None  # a status is being gathered until then

    def _slot(self, name: str, job: Job) -> Slot:
        folder = SHARED if not job.only else own_store(name)
        job = replace(job, store=str(self._folder.path / STATE / folder))
        return Slot(name, job, self._log, self._output[1] if self._output else None)

    def run(self) -> Outcome:
        """Run until all workers have finished, or were stopped by a signal."""
        wake, wake_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        old_wakeup = signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        try:
            self._slots[0].start(clock.monotonic_s())
            while not all(slot.finished for slot in self._slots):
                self._turn(wake)
            return self._outcome()
        finally:
            self._end_children()
            signal.set_wakeup_fd(old_wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(wake)
            os.close(wake_end)
            self._admin.close()
            self._folder.close()
            for fd in self._output or ():
                os.close(fd)

    # ---- the loop ----

    def _turn(self, wake: int) -> None:
        """Wait for something, deal with it, then look at everything that depends on time."""
        handlers: dict[int, Callable[[], None]] = {wake: lambda: self._hear_signals(wake)}
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        self._register(poll, handlers)
        for fd, _ in poll.poll(self._patience_s() * 1000):
            handlers[fd]()
        now_s = clock.monotonic_s()
        for slot in self._slots:
            slot.tick(now_s)
        self._start_own(now_s)
        self._finish_status(now_s)
        self._tell_captures()
        self._show_progress(now_s)
        over_s = self._options.seconds
        if over_s is not None and now_s - self._begun_s >= over_s and self._stop_seen_s is None:
            self._stop(now_s)
        if any(slot.finished and slot.failure_text for slot in self._slots):
            self._stop(now_s)  # what cannot start takes the rest along: the run is one thing

    def _register(self, poll: select.poll, handlers: dict[int, Callable[[], None]]) -> None:
        for slot in self._slots:
            if slot.listens and slot.child is not None:
                channel = slot.child.channel
                _watch(poll, channel.fileno(), channel.wants_to_write)
                handlers[channel.fileno()] = lambda s=slot: s.hear(clock.monotonic_s())  # type: ignore[misc]
        listener = self._admin.listener.fileno()
        _watch(poll, listener, False)
        handlers[listener] = self._admin.accept
        for client in self._admin.clients:
            _watch(poll, client.fileno(), client.wants_to_write)
            handlers[client.fileno()] = lambda c=client: self._admin.serve(c)  # type: ignore[misc]
        if self._output is not None:
            _watch(poll, self._output[0], False)
            handlers[self._output[0]] = self._read_output

    def _patience_s(self) -> float:
        """How long to wait at most: a look at the pages, or the next deadline."""
        now_s = clock.monotonic_s()
        moments = [now_s + WATCH_EVERY_S]
        moments += [at_s for slot in self._slots if (at_s := slot.next_s()) is not None]
        if self._status_by_s is not None:
            moments.append(self._status_by_s)
        if self._options.seconds is not None and self._stop_seen_s is None:
            moments.append(self._begun_s + self._options.seconds)
        return max(min(moments) - now_s, 0.0)

    def _hear_signals(self, wake: int) -> None:
        now_s = clock.monotonic_s()
        self._hide_progress()  # every signal may lead to a line of the log
        for number in os.read(wake, 4096):
            if number == signal.SIGCHLD:
                continue
            if self._stop_seen_s is None:
                self._interrupted = True
                self._log.info("stopping", signal=signal.Signals(number).name)
                self._stop(now_s)
            elif now_s - self._stop_seen_s >= SIGNAL_AGAIN_S:
                self._log.warning("aborting", signal=signal.Signals(number).name)
                for slot in self._slots:
                    slot.abort()
        for slot in self._slots:
            slot.reap(now_s)

    def _stop(self, now_s: float) -> None:
        if self._stop_seen_s is None:
            self._stop_seen_s = now_s
        for slot in self._slots:
            slot.stop(now_s)

    def _drain(self, close: bool) -> None:
        """Somebody asks: stop reading; end when everything is delivered, however long it takes."""
        self._log.info("draining", close=close)
        now_s = clock.monotonic_s()
        if self._stop_seen_s is None:
            self._stop_seen_s = now_s
        for slot in self._slots:
            slot.stop(now_s, drain=True, close=close)

    def _start_own(self, now_s: float) -> None:
        """Flows that asked for a worker of their own get one, as soon as they are known."""
        known = {slot.name for slot in self._slots}
        for name in self._slots[0].own_flows:
            if name not in known and self._stop_seen_s is None:
                slot = self._slot(name, _only(self._job, name))
                self._slots.append(slot)
                slot.start(now_s)

    def _end_children(self) -> None:
        """Nothing is left behind, whatever went wrong."""
        for slot in self._slots:
            slot.abort()
            if slot.child is not None:
                os.waitpid(slot.child.pid, 0)
                slot.child.close()

    # ---- output, status, progress ----

    def _read_output(self) -> None:
        assert self._output is not None and self._options.on_output is not None
        self._options.on_output(os.read(self._output[0], 65_536))

    def _wants_status(self) -> None:
        """Somebody asks: gather, unless that is already under way."""
        if self._status_by_s is not None:
            return
        self._status_number += 1
        self._status_by_s = clock.monotonic_s() + STATUS_TIMEOUT_S
        for slot in self._slots:
            slot.ask_status(self._status_number)

    def _wants_capture(self, message: dict[str, Any]) -> str:
        """Pass it on to the worker that runs the flow, or to all; what stands in the way."""
        name = message.get("flow")
        if name is None:
            for slot in self._slots:
                slot.capture({})
            return ""
        for slot in self._slots:
            if slot.child is not None and name in ("", *slot.child.flows):
                flow = name or slot.child.flows[0]
                if slot.capture({**message, "flow": flow}):
                    return ""
        return f"no flow {name} runs with this data folder" if name else "no flow runs yet"

    def _tell_captures(self) -> None:
        for slot in self._slots:
            said, slot.captures = slot.captures, []
            for message in said:
                self._admin.answer_capture(message)

    def _finish_status(self, now_s: float) -> None:
        if self._status_by_s is None:
            return
        number = self._status_number
        if now_s >= self._status_by_s or all(slot.has_answered(number) for slot in self._slots):
            self._status_by_s = None
            self._admin.answer_status(self._status())

    def _status(self) -> dict[str, Any]:
        state = "stopping" if self._stop_seen_s is not None else "running"
        if any(slot.state in ("starting", "waiting") for slot in self._slots):
            state = "starting"
        replies = [slot.reply for slot in self._slots if slot.reply is not None]
        found = document(state, [slot.describe() for slot in self._slots], replies)
        found["pid"] = os.getpid()
        found["data"] = str(self._folder.path)
        found["uptime_s"] = round(clock.monotonic_s() - self._begun_s, 3)
        return found

    def _show_progress(self, now_s: float) -> None:
        if self._progress is None:
            return
        if any(slot.state in ("starting", "waiting") for slot in self._slots):
            # The next words are a worker's, which knows nothing of our line.
            self._progress.hide()
            self._progress_at_s = now_s + PROGRESS_EVERY_S
        if now_s < self._progress_at_s:
            return
        self._progress_at_s = now_s + PROGRESS_EVERY_S
        pulses = [slot.child.page.pulse() for slot in self._slots if slot.child is not None]
        seen = [pulse for pulse in pulses if pulse is not None]
        events = sum(pulse.events for pulse in seen)
        self._progress.show(events, sum(pulse.pending_bytes for pulse in seen), now_s)

    def _hide_progress(self) -> None:
        if self._progress is not None:
            self._progress.hide()

    def _outcome(self) -> Outcome:
        self._hide_progress()
        failures = tuple(slot.failure_text for slot in self._slots if slot.failure_text)
        codes = [slot.code for slot in self._slots]
        known = any(slot.reply is not None for slot in self._slots)
        if self._interrupted and self._options.once and not self._all_read():
            self._log.warning("stopped before its sources had ended")
        return Outcome(
            code=next((code for code in codes if code != EXIT_DONE), EXIT_DONE),
            failures=failures,
            status=self._status() if known else None,
            seconds=self._took_s(),
        )

    def _all_read(self) -> bool:
        return all(slot.sources_ended for slot in self._slots)

    def _took_s(self) -> float:
        """Of the worker that took longest, as it measured; else of all of this."""
        replies = [slot.reply for slot in self._slots if slot.reply is not None]
        took_s = [float(reply["took_s"]) for reply in replies if "took_s" in reply]
        return max(took_s, default=clock.monotonic_s() - self._begun_s)


def _watch(poll: select.poll, fd: int, writing: bool) -> None:
    poll.register(fd, select.POLLIN | (select.POLLOUT if writing else 0))


def _only(job: Job, flow: str) -> Job:
    return replace(job, only=(flow,))


def _is_fresh(options: RunOptions) -> bool:
    """Whether the run starts from nothing: `--once` without a data folder of its own."""
    if options.temporary:
        return True
    return options.once and not options.data and not os.environ.get("BETTONG_DATA")


def _open_folder(options: RunOptions) -> DataFolder:
    if _is_fresh(options):
        return DataFolder(None)
    return DataFolder(Path(data_folder(options.data, options.paths[0])))
