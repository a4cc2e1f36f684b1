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
from appliance.errors import EXIT_DONE, EXIT_ENVIRONMENT
from appliance.limits import PROGRESS_EVERY_S, SIGNAL_AGAIN_S, STATUS_TIMEOUT_S, WATCH_EVERY_S
from appliance.logs import INFO, Logger
from appliance.metrics.status import document
from appliance.supervisor.admin import Admin
from appliance.supervisor.folder import DataFolder, data_folder
from appliance.supervisor.notify import Notifier
from appliance.supervisor.progress import Progress
from appliance.supervisor.reload import Reload
from appliance.supervisor.slot import Slot
from appliance.supervisor.workers import Workers, end_children
from appliance.worker.job import Job
from appliance.worker.stores import STATE


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
            self._folder.listen(),
            self._wants_status,
            self._drain,
            self._wants_capture,
            self._wants_reload,
        )
        self._manager = Notifier(os.environ, log)
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
        self._workers = self._make_workers(job)
        self._reload: Reload | None = None
        self._has_been_ready = False
        self._reload_again = False  # asked for while one was under way
        self._hangup_reloads = not job.once and not job.fresh and not _has_terminal()
        self._progress = Progress(2, self._begun_s) if options.progress else None
        self._progress_at_s = self._begun_s + PROGRESS_EVERY_S
        self._stop_seen_s: float | None = None
        self._draining = False  # it stops, but not before everything is delivered
        self._interrupted = False  # a signal stopped it
        self._said_held: set[str] = set()
        self._status_number = 0
        self._status_by_s: float | None = None  # a status is being gathered until then

    def _make_workers(self, job: Job, patient: bool = False) -> Workers:
        stdout_fd = self._output[1] if self._output else None
        return Workers(job, self._folder.path / STATE, self._log, stdout_fd, patient=patient)

    @property
    def _slots(self) -> list[Slot]:
        return self._workers.slots

    @property
    def _all_slots(self) -> list[Slot]:
        """With the one that checks changed flows."""
        return self._slots + ([self._reload.check] if self._reload is not None else [])

    @property
    def data(self) -> Path:
        """The data folder, which is ours from now on."""
        return self._folder.path

    def run(self) -> Outcome:
        """Run until all workers have finished, or were stopped by a signal."""
        wake, wake_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        before = {number: signal.signal(number, lambda *_: None) for number in _signals()}
        old_wakeup = signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        try:
            self._manager.status("starting")
            self._workers.start(clock.monotonic_s())
            while not self._is_over():
                self._turn(wake)
            self._manager.stopping()
            self._log.finish()
            return self._outcome()
        finally:
            end_children(self._all_slots)
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

    def _is_over(self) -> bool:
        if self._reload is not None and self._reload.replaces:
            return False
        return self._workers.finished

    def _turn(self, wake: int) -> None:
        """Wait for something, deal with it, then look at everything that depends on time."""
        handlers: dict[int, Callable[[], None]] = {wake: lambda: self._hear_signals(wake)}
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        self._register(poll, handlers)
        for fd, _ in poll.poll(self._patience_s() * 1000):
            handlers[fd]()
        now_s = clock.monotonic_s()
        for slot in self._all_slots:
            slot.tick(now_s)
        if self._stop_seen_s is None:
            self._workers.start_own(now_s)
        self._go_on_reloading(now_s)
        self._finish_status(now_s)
        self._tell_captures()
        self._show_progress(now_s)
        self._log.tick()
        over_s = self._options.seconds
        if over_s is not None and now_s - self._begun_s >= over_s and self._stop_seen_s is None:
            self._stop(now_s)
        if self._workers.failed and not (self._reload is not None and self._reload.replaces):
            self._stop(now_s)  # what cannot start takes the rest along: the run is one thing
        if self._workers.ready and not self._workers.finished:
            self._say_held()
        self._tell_manager(now_s)

    def _say_held(self) -> None:
        """Flows that wait until somebody accepts what was lost of them, while the others run."""
        for name, lines in self._workers.held.items():
            if name not in self._said_held:
                self._said_held.add(name)
                self._log.error("a flow is held back", flow=name, reason="; ".join(lines))

    def _register(self, poll: select.poll, handlers: dict[int, Callable[[], None]]) -> None:
        for slot in self._all_slots:
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
        moments += [at_s for slot in self._all_slots if (at_s := slot.next_s()) is not None]
        if (beat_s := self._manager.next_s()) is not None:
            moments.append(beat_s)
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
            if number == signal.SIGHUP and self._hangup_reloads:
                self._hear_reload()
            elif self._stop_seen_s is None or self._draining:
                self._interrupted = True
                self._log.info("stopping", signal=signal.Signals(number).name)
                self._stop(now_s)
            elif now_s - self._stop_seen_s >= SIGNAL_AGAIN_S:
                self._log.warning("aborting", signal=signal.Signals(number).name)
                self._workers.abort()
        for slot in self._all_slots:
            slot.reap(now_s)

    def _stop(self, now_s: float) -> None:
        if self._stop_seen_s is None or self._draining:
            self._stop_seen_s = now_s
            self._draining = False
            self._manager.stopping()
        self._cancel_reload()
        self._workers.stop(now_s)

    def _drain(self, close: bool) -> None:
        """Somebody asks: stop reading; end when everything is delivered, however long it takes."""
        if self._stop_seen_s is not None:
            self._log.info("draining already" if self._draining else "stopping already")
            return
        self._log.info("draining", close=close)
        now_s = self._stop_seen_s = clock.monotonic_s()
        self._draining = True
        # The service manager is not told before the end: it would give this half a minute.
        self._manager.status("draining")
        self._cancel_reload()
        self._workers.stop(now_s, drain=True, close=close)

    # ---- reload, and the service manager ----

    def _hear_reload(self) -> None:
        """SIGHUP; while a reload is under way the files may have changed since it read them."""
        if self._reload is not None:
            self._reload_again = True
            return
        refused = self._wants_reload({})
        if refused:
            self._log.error("reload refused", reason=refused)

    def _wants_reload(self, message: dict[str, Any]) -> str:
        """Begin a reload; why not, otherwise."""
        if self._job.once or self._job.fresh:
            return "a run to an end is not reloaded"
        if self._stop_seen_s is not None:
            return "the run is stopping"
        if self._reload is not None:
            return "a reload is under way"
        if not self._has_been_ready:
            return "the run is still starting; try again"
        now_s = clock.monotonic_s()
        job = replace(self._job, drop_state=_names(message, "drop_state"))
        job = replace(job, drop_spool=_names(message, "drop_spool"))
        self._manager.reloading(clock.monotonic_ns())
        self._reload = Reload(self._workers, job, self._make_workers, self._log, now_s)
        return ""

    def _go_on_reloading(self, now_s: float) -> None:
        reload = self._reload
        if reload is None:
            return
        reload.turn(now_s)
        self._workers = reload.workers
        if reload.result is not None and reload.check.finished:
            self._reload = None
            self._admin.answer_reload(reload.result.code, reload.result.text)
            if self._reload_again and self._stop_seen_s is None:
                self._reload_again = False
                self._hear_reload()

    def _cancel_reload(self) -> None:
        if self._reload is not None:
            self._reload.cancel()

    def _tell_manager(self, now_s: float) -> None:
        """What a service manager wants to know of this turn."""
        if self._stop_seen_s is None and self._reload is None and self._workers.ready:
            self._has_been_ready = True
            self._manager.ready()
        if self._manager.is_wanted and self._stop_seen_s is None:
            self._manager.status(self._words())
        self._manager.beat(now_s, self._workers.progressing)

    def _words(self) -> str:
        """How the run is, in a line."""
        if self._reload is not None:
            return "reloading"
        for slot in self._slots:
            if slot.state == "waiting":
                return f"worker {slot.name} has died and is started again"
        if self._workers.starting:
            return "starting"
        flows = [name for slot in self._slots if slot.child for name in slot.child.flows]
        held = f"; held back: {', '.join(self._workers.held)}" * bool(self._workers.held)
        return f"running {', '.join(flows)}{held}"

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
        if self._reload is not None:
            state = "reloading"
        elif self._workers.starting:
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
        if self._workers.starting:
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
        failures = [slot.failure_text for slot in self._slots if slot.failure_text]
        codes = [slot.code for slot in self._slots]
        if self._stop_seen_s is None:
            for lines in self._workers.held.values():
                failures.append("\n".join(lines))
                codes.append(EXIT_ENVIRONMENT)
        known = any(slot.reply is not None for slot in self._slots)
        if self._interrupted and self._options.once and not self._all_read():
            self._log.warning("stopped before its sources had ended")
        return Outcome(
            code=next((code for code in codes if code != EXIT_DONE), EXIT_DONE),
            failures=tuple(failures),
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


def _signals() -> tuple[signal.Signals, ...]:
    """Those that mean something. Under `nohup` SIGHUP is ignored, and stays so."""
    always = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
    is_ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return always if is_ignored else (*always, signal.SIGHUP)


def _has_terminal() -> bool:
    """Whether a terminal controls us: SIGHUP then says that it has gone, otherwise "reload"."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _names(message: dict[str, Any], key: str) -> tuple[str, ...]:
    """A list of names in what a client has sent."""
    given = message.get(key)
    return tuple(map(str, given)) if isinstance(given, list) else ()


def _is_fresh(options: RunOptions) -> bool:
    """Whether the run starts from nothing: `--once` without a data folder of its own."""
    if options.temporary:
        return True
    return options.once and not options.data and not os.environ.get("BETTONG_DATA")


def _open_folder(options: RunOptions) -> DataFolder:
    if _is_fresh(options):
        return DataFolder(None)
    return DataFolder(Path(data_folder(options.data, options.paths[0])))
