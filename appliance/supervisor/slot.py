"""A place for one worker: what it is to run, the process that runs it now, and what happens when
that process dies.

    starting ── ready ──► running ── said "ended" ──► finished
        │                    │
        │ first time         └─ died ──► waiting ── back-off over ──► starting
        └─ failed ──► finished
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from appliance.errors import EXIT_DONE, EXIT_ENVIRONMENT, EXIT_FAILED
from appliance.limits import CHANNEL_GONE_S, SET_ASIDE_MAX_COUNT, START_TIMEOUT_S, STOP_KILL_S
from appliance.logs import Logger
from appliance.supervisor.child import Child, death_words
from appliance.supervisor.restart import RestartPolicy
from appliance.supervisor.watch import Watch
from appliance.worker.control import ChannelClosed
from appliance.worker.job import Job, SetAside


class Slot:
    """One worker's place. Driven by the supervisor's loop; all times are monotonic seconds."""

    def __init__(
        self,
        name: str,
        job: Job,
        log: Logger,
        stdout_fd: int | None = None,
        *,
        patient: bool = False,
    ) -> None:
        """`patient`: it is tried again even when the first start fails."""
        self.name = name
        self.state = "starting"
        self.code = EXIT_DONE  # once finished
        self.failure_text = ""  # why it cannot run, once finished
        self.faults: list[str] = []  # of flow files, when that is why
        self.job = job
        self.checked: dict[str, dict[str, str]] | None = None  # what a job that checks has found
        self.misfits: list[str] | None = None  # what speaks against changed flows, once answered
        self.held: dict[str, list[str]] = {}  # flows held back, for what was lost of them
        self.own_flows: list[str] = []  # flows that asked for a worker of their own
        self.reply: dict[str, Any] | None = None  # the last status
        self.sources_ended = False  # it ended by itself, or there was nothing to run
        self.policy = RestartPolicy()
        self.child: Child | None = None
        self._is_patient = patient
        self._log = log
        self._stdout_fd = stdout_fd
        self.captures: list[dict[str, Any]] = []  # what its worker says of a capture, not passed on
        self._capturing = False
        self._was_ready = False
        self._stopping = self._draining = False
        self._asides: list[SetAside] = []
        self._reason = ""  # why it does not run, once it has failed
        self._said_full = False
        self._deadline_s: float | None = None  # of the state it is in
        self._gone_s: float | None = None  # since when its channel is closed

    @property
    def finished(self) -> bool:
        """Whether nothing will run here any more."""
        return self.state == "finished"

    @property
    def runs(self) -> bool:
        """Whether its sources are open and its state is restored."""
        return self.state == "running"

    @property
    def progresses(self) -> bool:
        """Whether it runs and was not found standing still."""
        child = self.child
        return self.runs and child is not None and not child.kill_reason and self._gone_s is None

    @property
    def listens(self) -> bool:
        """Whether there is a channel to poll."""
        return self.child is not None and self._gone_s is None

    def start(self, now_s: float) -> None:
        """Start the process; a box that has no room for it is asked again later."""
        self.state = "starting"
        self._deadline_s = now_s + START_TIMEOUT_S
        self._gone_s = None
        self.reply = None
        try:
            self.child = Child(self._stdout_fd)
        except OSError as error:
            text = f"cannot start a worker: {error.strerror}"
            if self._was_ready or self._is_patient:
                self._wait(text, now_s)
            else:
                self._finish(EXIT_ENVIRONMENT, text)
            return
        job = replace(self.job, restart=self._was_ready, set_aside=tuple(self._asides))
        self._say("job", **job.pack())
        # This worker puts out what does not come again; the rest comes again after every start.
        self._asides = [aside for aside in self._asides if not aside.raw]
        if self._stopping:
            self._say("stop")

    def stop(self, now_s: float, *, drain: bool = False, close: bool = False) -> None:
        """Ask it to finish what it has read; bounded, unless everything shall be delivered
        (`drain`). `close`: open windows are closed first. One that drains can be stopped.
        """
        if (self._stopping and (drain or not self._draining)) or self.finished:
            return
        self._stopping, self._draining = True, drain
        if self.child is None:
            self._finish(EXIT_FAILED if self.state == "waiting" else EXIT_DONE)
            return
        self._deadline_s = None if drain else now_s + STOP_KILL_S
        self._say("stop", drain=drain, close=close)

    def abort(self) -> None:
        """End it now."""
        self._stopping = True
        if self.child is not None:
            self.child.kill("aborted")
        elif not self.finished:
            self._finish(EXIT_FAILED)

    def ask_status(self, number: int) -> bool:
        """Ask for a status; False when there is nobody to answer."""
        if self.child is None or self.state != "running" or self._gone_s is not None:
            return False
        self._say("status", id=number)
        return True

    def ask_fit(self, **wanted: Any) -> None:
        """Ask whether changed flows could go on from its state; `misfits` is the answer."""
        self.misfits = None
        if self.runs and self.listens:
            self._say("fit", **wanted)

    def capture(self, message: dict[str, Any]) -> bool:
        """Pass on what is asked about a capture; False when there is nobody to answer."""
        if self.child is None or self.state != "running" or self._gone_s is not None:
            return False
        self._capturing = True
        self._say("capture", **message)
        return True

    def has_answered(self, number: int) -> bool:
        """Whether the status with this number has come, or nobody is left to give it."""
        if self.state != "running":
            return True
        return self.reply is not None and self.reply.get("id", -1) >= number

    # ---- what the loop hears ----

    def hear(self, now_s: float) -> None:
        """Its channel is ready: take what has come, send what waits."""
        if self.child is None:  # reaped in the same round
            return
        try:
            self.child.channel.flush()
            for message in self.child.channel.receive():
                self._take(self.child, message, now_s)
        except ChannelClosed:
            if self._gone_s is None:
                self._gone_s = now_s

    def _take(self, child: Child, message: dict[str, Any], now_s: float) -> None:
        kind = message["kind"]
        if kind == "loaded":
            child.flows = [flow["name"] for flow in message["flows"]]
            child.watch = Watch([flow["step_timeout_us"] / 1e6 for flow in message["flows"]])
            self.own_flows = message["own"]
            self.held = message["held"]
            if message["texts"]:  # another start runs the same, whatever the files say then
                paths = tuple(message["texts"])
                self.job = replace(self.job, paths=paths, texts=message["texts"])
        elif kind == "checked":
            self.checked = message["flows"]
        elif kind == "fit":
            self.misfits = message["misfits"]
        elif kind == "ready":
            self.state = "running"
            self._was_ready = True
            self._aside = None
            self.policy.ready(now_s)
            self._reason = ""
            if not self._stopping:
                self._deadline_s = None
            if self._said_full:
                self._said_full = False
                self._log.info("there is room on the disk again", worker=self.name)
        elif kind == "failed":
            child.failure = (message["code"], message["text"])
            child.waits = message.get("waits") is True
            self.faults = message.get("faults", [])
        elif kind == "status":
            self.reply = message
        elif kind == "capture":
            self._capturing = message["state"] == "began"
            self.captures.append(message)
        elif kind == "ended":
            child.ended = True
            if message["result"] != "nothing":
                self.reply = message
            sources = message["metrics"]["sources"] if "metrics" in message else ()
            self.sources_ended = all(source["ended"] for source in sources)

    def tick(self, now_s: float) -> None:
        """Look at the page, at deadlines, at the time to start again."""
        if self.state == "waiting" and self._due(now_s):
            self.start(now_s)
        child = self.child
        if child is None or child.kill_reason:
            return
        pulse = child.page.pulse()
        if self._due(now_s):
            child.kill("it did not stop in time" if self._stopping else "it did not start in time")
        elif self._gone_s is not None and now_s - self._gone_s > CHANNEL_GONE_S:
            child.kill("it closed its channel")
        elif pulse is not None and child.watch is not None:
            reason = child.watch.look(pulse, now_s)
            if reason:
                child.kill(reason)

    def next_s(self) -> float | None:
        """When `tick` has something to do that is not a look at the page."""
        return self._deadline_s

    def _due(self, now_s: float) -> bool:
        return self._deadline_s is not None and now_s >= self._deadline_s

    def reap(self, now_s: float) -> None:
        """If the process has died: take its last words, then decide what comes."""
        child = self.child
        code = None if child is None else child.reap()
        if child is None or code is None:
            return
        if self._gone_s is None:
            self.hear(now_s)
        event = child.page.event_in_hand()
        if event is not None and event.flow < len(child.flows) and not child.ended:
            flow = child.flows[event.flow]
            aside = SetAside(flow, event.source, event.partition, event.position, event.raw)
            self._asides = [*self._asides, aside][-SET_ASIDE_MAX_COUNT:]
        if self._capturing:
            self._capturing = False
            self.captures.append({"state": "failed", "text": "the worker has ended"})
        self._decide(child, code, now_s)
        child.close()
        self.child = None

    def _decide(self, child: Child, code: int, now_s: float) -> None:
        if child.ended:
            self._finish(code if code >= 0 else EXIT_FAILED)
        elif child.failure is not None and not self._goes_on(child):
            self._finish(*child.failure)
        elif self._stopping or not self._goes_on(child):
            reason = child.kill_reason or death_words(code)
            stage = "stopping" if self._stopping else "starting"
            text = "" if reason == "aborted" else f"the worker died while {stage}: {reason}"
            self._finish(EXIT_FAILED, text)
        else:
            reason = child.failure[1] if child.failure is not None else child.kill_reason
            self._wait(reason or death_words(code), now_s, is_full=child.waits)

    def _goes_on(self, child: Child) -> bool:
        """Whether its death is no reason to give it up."""
        return self._was_ready or ((self._is_patient or child.waits) and not self._stopping)

    def _wait(self, reason: str, now_s: float, *, is_full: bool = False) -> None:
        """Start again after a while; a full disk is said once."""
        at_s = self.policy.died(now_s)
        self.state, self._reason = "waiting", reason
        self._deadline_s = at_s
        if is_full:
            if not self._said_full:
                self._said_full = True
                text = "the disk is full: a worker waits for room to start"
                self._log.error(text, worker=self.name, reason=reason)
            return
        fields: dict[str, object] = {"worker": self.name, "reason": reason}
        if self._asides:
            aside = self._asides[-1]
            fields["set_aside"] = f"the event at {aside.position} of {aside.flow}"
        self._log.error("worker died; starting it again", **fields, after_s=round(at_s - now_s, 1))

    def _finish(self, code: int, text: str = "") -> None:
        self.state = "finished"
        self.code = code
        self.failure_text = text
        self._deadline_s = None

    def _say(self, kind: str, **fields: Any) -> None:
        """Tell the worker; if it has gone, its death is on its way to us."""
        assert self.child is not None
        try:
            self.child.channel.send(kind, **fields)
        except ChannelClosed as error:
            self._log.debug("a worker does not listen", worker=self.name, reason=error)

    def describe(self) -> dict[str, Any]:
        """For `status`."""
        words: dict[str, Any] = {
            "name": self.name,
            "state": self.state,
            "reason": self._reason,
            "restarts": self.policy.count,
            "flows": [] if self.child is None else self.child.flows,
            "held": self.held,
            "pid": None if self.child is None else self.child.pid,
        }
        pulse = None if self.child is None else self.child.page.pulse()
        if pulse is not None:
            words["events"] = pulse.events
            words["pending_bytes"] = pulse.pending_bytes
        return words
