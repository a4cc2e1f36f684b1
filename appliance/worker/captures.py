"""The captures of a worker: one at a time, asked for over the control channel."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from appliance.limits import CAPTURE_END_S, CAPTURE_FILE_MAX_BYTES
from appliance.plan.program import Program
from appliance.store import Store
from appliance.worker.committer import Committer
from appliance.worker.durable import Durable
from appliance.worker.job import Job
from appliance.worker.lane import Lane, Post
from appliance.worker.recorder import Recorder


class Captures:
    """Used by the worker's main thread; `wake` is called when `news` has something."""

    def __init__(
        self,
        job: Job,
        lane: Lane,
        flows: Sequence[Durable],
        store: Store,
        committer: Committer,
        wake: Callable[[], None],
    ) -> None:
        self._job = job
        self._lane = lane
        self._flows = flows
        self._store = store
        self._committer = committer
        self._wake = wake
        self._recorder: Recorder | None = None
        self._news: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def ask(self, message: dict[str, Any]) -> None:
        """Begin: `flow`, `out`, `limit` (bytes); or, without a flow, end what is under way."""
        name = message.get("flow")
        if name is None:
            if self._recorder is not None:
                self._lane.mail_capture(0, 0)
            return
        index = next((i for i, flow in enumerate(self._flows) if flow.name == name), None)
        if index is None or (self._recorder is not None and self._recorder.is_alive()):
            text = f"no flow {name} runs here" if index is None else "a capture is under way"
            self._say({"state": "failed", "text": text})
            return
        flow = self._flows[index]
        try:
            self._recorder = Recorder(
                Path(str(message["out"])),
                index,
                flow,
                Program(flow.open.document, []).pack(),
                flow_files(self._job.paths, self._job.texts),
                self._lane,
                self._store,
                self._committer,
                self._say,
            )
        except OSError as error:
            why = "it is there already" if isinstance(error, FileExistsError) else error.strerror
            self._say({"state": "failed", "text": f"cannot make {message['out']}: {why}"})
            return
        self._recorder.start()
        self._lane.mail_capture(index, int(message["limit"]))

    def posted(self, post: Post) -> None:
        """A POST_CAPTURE."""
        assert self._recorder is not None, "the lane captures what was asked for"
        self._recorder.posted(post)

    def news(self) -> list[dict[str, Any]]:
        """What is to be told to whoever asked."""
        found = []
        while not self._news.empty():
            found.append(self._news.get())
        return found

    def finish(self) -> None:
        """The lane has ended and the committer too."""
        if self._recorder is not None and self._recorder.is_alive():
            self._recorder.finish()
            self._recorder.join(CAPTURE_END_S)

    def _say(self, fields: dict[str, Any]) -> None:
        self._news.put(fields)
        self._wake()


def flow_files(paths: Sequence[str], texts: Mapping[str, str | None]) -> dict[str, bytes]:
    """The flow files that these paths name, by absolute path, as they were read; what is too large
    stays away."""
    found = {}
    for given in map(Path, paths):
        files = sorted(given.glob("*.toml")) if given.is_dir() else [given]
        for path in files:
            text = texts.get(str(path))
            if text is not None:
                found[str(path.absolute())] = text.encode()
            elif path.stat().st_size <= CAPTURE_FILE_MAX_BYTES:
                found[str(path.absolute())] = path.read_bytes()
    return found
