"""A flow under test that is captured on the way, to be replayed."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from appliance.limits import CAPTURE_MAX_BYTES, TEST_TURN_MAX_COUNT
from appliance.native import lib
from appliance.plan.logical import Plan
from appliance.testing import LaneRun
from appliance.worker.capture import CaptureWriter
from appliance.worker.capture_form import Rows, merged
from appliance.worker.cut_form import unpack_cut
from appliance.worker.lane import Post


class CapturedRun(LaneRun):
    """A `LaneRun` that keeps the state of its cuts, so that it can be captured from any of them."""

    def __init__(self, plan: Plan, **options: Any) -> None:
        self._rows: Rows = {}
        self._number = 0  # of the last cut
        self._captured = BytesIO()
        self._capture: CaptureWriter | None = None
        self._marks: dict[int, int] = {}  # the cuts that the capture begins and ends with
        super().__init__(plan, **options)

    def capture(self, limit: int = CAPTURE_MAX_BYTES) -> None:
        """Write down what happens from here on, at most so many bytes."""
        self._captured, self._marks = BytesIO(), {}
        self._capture = CaptureWriter(self._captured, self._program, self._sinks, {})
        self._lane.mail_capture(0, limit)
        self.turn()

    def captured(self) -> bytes:
        """What `capture` has led to, ended here: a file for `bettong replay`."""
        for _ in range(TEST_TURN_MAX_COUNT):
            if self._capture is None or self._end != lib.LANE_RUNNING:
                break
            self._lane.mail_capture(0, 0)
            self.turn()
        return self._captured.getvalue()

    def _keep(self, blocks: bytes) -> None:
        super()._keep(blocks)
        self._number += 1
        (flow,) = unpack_cut(blocks)
        sections = ((part.op, part.kind, part.rows) for part in flow.sections)
        self._rows = merged(self._rows, sections)
        if self._capture is not None and self._marks.get(lib.CAPTURE_BEGINS) == self._number:
            self._capture.begin(flow, self._rows)
        self._end_capture()

    def _take_capture(self, post: Post) -> None:
        assert self._capture is not None
        self._capture.add(post.data)
        self._capture_written(len(post.data))
        self._marks[post.index] = post.number
        self._end_capture()

    def _capture_written(self, size: int) -> None:
        self._lane.capture_written(size)

    def _end_capture(self) -> None:
        """Once the cut that it ends with has come; it may have come before."""
        cut = self._marks.get(lib.CAPTURE_ENDS)
        if self._capture is not None and cut is not None and cut <= self._number:
            self._capture.end(self._rows if cut else None)
            self._capture = None
