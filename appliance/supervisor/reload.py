"""A reload: the flow files are read again, and what runs is replaced only if all is well.

    checking ──► asking ──► stopping ──► starting ──► done
        │          │                        │ a worker cannot start
        └──────────┴─► refused              └─► undoing ──► refused, what ran before runs again

A worker of its own checks the files: user code runs there, fresh, and cannot harm what runs. The
workers that run are asked whether their state would fit; then they stop with a cut, and others
start from it with the text that was checked. Where those cannot start (a port is taken), the text
that ran before is started again, and tried for as long as it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from appliance.errors import EXIT_DONE, EXIT_FAILED, EXIT_FLOW
from appliance.limits import RELOAD_ANSWER_S
from appliance.logs import Logger
from appliance.supervisor.slot import Slot
from appliance.supervisor.workers import Workers
from appliance.worker.job import Job


@dataclass(frozen=True)
class Result:
    """How a reload ended: an exit code, and for people what stood in the way."""

    code: int
    text: str = ""


#: Makes workers for a job; `patient` ones are tried until they run.
MakeWorkers = Callable[[Job, bool], Workers]


class Reload:
    """One reload, driven by the supervisor's loop. `workers`: those that run, or shall, now."""

    def __init__(
        self, workers: Workers, job: Job, make: MakeWorkers, log: Logger, now_s: float
    ) -> None:
        """`job`: with the files as the command line named them."""
        self.workers = workers
        self.result: Result | None = None
        self._job = replace(job, accept_damage=False)
        self._before = replace(workers.job, accept_damage=False, drop_state=(), drop_spool=())
        self._make = make
        self._log = log
        self._answer_by_s = 0.0
        self._failure = Result(EXIT_FAILED)
        self._is_cancelled = False
        self.check = Slot("check", replace(self._job, check=True), log)
        self._step = self._checking
        log.info("reloading")
        self.check.start(now_s)

    def turn(self, now_s: float) -> None:
        """Go on as far as it can."""
        if self.result is None:
            self._step(now_s)

    def cancel(self) -> None:
        """The run is to end, and its workers are being stopped: start nothing more."""
        self._is_cancelled = True
        self.check.abort()
        if self.result is None:
            self._refuse(EXIT_FAILED, "the run was stopped")

    @property
    def replaces(self) -> bool:
        """Whether workers may be finished without the run being at its end."""
        return self.result is None and self._step not in (self._checking, self._asking)

    def _checking(self, now_s: float) -> None:
        if not self.check.finished:
            return
        wanted = self.check.checked
        if wanted is None:
            code = EXIT_FLOW if self.check.code == EXIT_FLOW else EXIT_FAILED
            text = self.check.failure_text or "the check of the flow files was ended"
            self._refuse(code, text, self.check.faults)
            return
        for slot in self.workers.slots:
            slot.ask_fit(flows=wanted, drop_state=self._job.drop_state)
        self._answer_by_s = now_s + RELOAD_ANSWER_S
        self._step = self._asking

    def _asking(self, now_s: float) -> None:
        # A worker that has died and waits has nothing to say: its next start finds out.
        asked = [slot for slot in self.workers.slots if slot.runs]
        silent = [slot.name for slot in asked if slot.misfits is None]
        if silent and now_s < self._answer_by_s:
            return
        if silent:
            self._refuse(EXIT_FAILED, f"worker {silent[0]} does not answer; try again")
            return
        lines = [line for slot in asked for line in slot.misfits or ()]
        if lines:
            self._refuse(EXIT_FAILED, "\n".join(lines), [" ".join(line.split()) for line in lines])
            return
        self.workers.stop(now_s)
        self._step = self._stopping

    def _stopping(self, now_s: float) -> None:
        if not self.workers.finished:
            return
        for slot in self.workers.failed:
            self._log.warning(
                "a worker did not stop as it should; its state is that of its last cut",
                worker=slot.name,
                reason=slot.failure_text,
            )
        # What was checked, not what may stand in the files by now.
        checked = replace(self.check.job, check=False)
        self.workers = self._make(checked, False)
        self.workers.start(now_s)
        self._step = self._starting

    def _starting(self, now_s: float) -> None:
        failed = self.workers.failed
        if failed:
            text = "\n".join(slot.failure_text for slot in failed)
            self._failure = Result(EXIT_FAILED, text)
            self._log.error("the changed flows cannot start; going back", reason=text)
            self.workers.stop(now_s)
            self._step = self._undoing
        elif self.workers.ready:
            self._log.info("reloaded")
            self.result = Result(EXIT_DONE)

    def _undoing(self, now_s: float) -> None:
        if self.workers.finished:
            self.workers = self._make(self._before, True)
            self.workers.start(now_s)
            self._refuse(self._failure.code, self._failure.text)

    def _refuse(self, code: int, text: str, faults: Sequence[str] = ()) -> None:
        """`faults`: a line each, when there may be several."""
        if not self._is_cancelled:
            for fault in faults:
                self._log.error(f"reload refused: {fault}")
            reason = f"{len(faults)} fault{'s' * (len(faults) != 1)}" if faults else text
            self._log.error("reload refused; the flows run as they were", reason=reason)
        self.result = Result(code, text)
