"""All workers that run one reading of the flow files: the one that flows share, and one for each
flow that asked for its own.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from appliance.logs import Logger
from appliance.supervisor.slot import Slot
from appliance.worker.job import SHARED, Job, own_store


class Workers:
    """Driven by the supervisor's loop. `patient`: a worker that cannot start is tried again, as one
    that has run before is; otherwise it is finished, with its reason.
    """

    def __init__(
        self,
        job: Job,
        state: Path,
        log: Logger,
        stdout_fd: int | None = None,
        *,
        patient: bool = False,
    ) -> None:
        """`state`: the folder of all stores."""
        self._state = state
        self._log = log
        self._stdout_fd = stdout_fd
        self._is_patient = patient
        self.slots = [self._slot("shared", job)]

    def _slot(self, name: str, job: Job) -> Slot:
        folder = SHARED if not job.only else own_store(name)
        job = replace(job, store=str(self._state / folder))
        return Slot(name, job, self._log, self._stdout_fd, patient=self._is_patient)

    @property
    def job(self) -> Job:
        """What all of them run: with the flow files as they were read."""
        return self.slots[0].job

    def start(self, now_s: float) -> None:
        """Start the first; it says which others there are."""
        self.slots[0].start(now_s)

    def start_own(self, now_s: float) -> None:
        """Flows that asked for a worker of their own get one, as soon as they are known."""
        known = {slot.name for slot in self.slots[1:]}
        for name in self.slots[0].own_flows:
            if name not in known:
                slot = self._slot(name, replace(self.job, only=(name,)))
                self.slots.append(slot)
                slot.start(now_s)

    @property
    def finished(self) -> bool:
        """Whether nothing runs any more."""
        return all(slot.finished for slot in self.slots)

    @property
    def failed(self) -> list[Slot]:
        """Those that could not run."""
        return [slot for slot in self.slots if slot.finished and slot.failure_text]

    @property
    def held(self) -> dict[str, list[str]]:
        """Flows that are held back until somebody accepts what was lost of them, and what it is."""
        return {name: lines for slot in self.slots for name, lines in slot.held.items()}

    @property
    def ready(self) -> bool:
        """Whether every flow that may run is open and restored: all run, or came to their end."""
        known = len(self.slots) == 1 + len(self.slots[0].own_flows)
        return known and not self.failed and all(s.runs or s.finished for s in self.slots)

    @property
    def progressing(self) -> bool:
        """Whether all are alive, and no look at a page found one that stands still."""
        return all(slot.progresses or slot.finished for slot in self.slots)

    @property
    def starting(self) -> bool:
        """Whether one of them does not run yet, or not again."""
        return any(slot.state in ("starting", "waiting") for slot in self.slots)

    def stop(self, now_s: float, *, drain: bool = False, close: bool = False) -> None:
        """Ask all to finish what they have read."""
        for slot in self.slots:
            slot.stop(now_s, drain=drain, close=close)

    def abort(self) -> None:
        """End all now."""
        for slot in self.slots:
            slot.abort()


def end_children(slots: list[Slot]) -> None:
    """Nothing is left behind, whatever went wrong."""
    for slot in slots:
        slot.abort()
        if slot.child is not None:
            os.waitpid(slot.child.pid, 0)
            slot.child.close()
