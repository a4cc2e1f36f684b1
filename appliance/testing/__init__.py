"""Flows under test: the worker's own code in the test's process, turn by turn, on a given clock.

    assert run_flow(plan, {"readings": [b'{"temp": 21}\\n']}) == {"out": b'{"temp":21}\\n'}

Sources are fed by the test and sinks are memory, whatever the flow names; between them everything
is what runs in production: the same program, lane, cuts and Python steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import zip_longest
from types import TracebackType
from typing import Any

from msgspec import Struct

from appliance.errors import BettongError
from appliance.limits import TEST_TURN_MAX_COUNT
from appliance.native import lib
from appliance.plan.logical import Plan
from appliance.plan.program import compile_plan
from appliance.worker.cut_form import FlowCut, FlowPositions, unpack_cut
from appliance.worker.lane import Lane, Post
from appliance.worker.python_steps import load_functions

#: 2023-11-14T22:13:20Z: after the build date of no clock check, before any test's records end.
START_US = 1_700_000_000_000_000

#: What the lane's monotonic clock moves on by to make a cut: nothing else is due so soon.
_FREEZE_US = 1

#: A piece of input: bytes of the source's only partition, or (partition, bytes).
Piece = bytes | tuple[str, bytes]


def run_flow(
    plan: Plan, inputs: Mapping[str, Iterable[Piece]], *, start_us: int = START_US
) -> dict[str, bytes]:
    """Run `plan` over bounded inputs to its end; what each sink got.

    Sources take turns, a piece each; a piece may end anywhere in a record. The clock stands still.
    """
    with LaneRun(plan, start_us=start_us) as run:
        missing = set(inputs) - set(plan.sources)
        if missing:
            raise ValueError(f"{plan.name} has no source {', '.join(sorted(missing))}")
        for turn in zip_longest(*inputs.values()):
            for source, piece in zip(inputs, turn, strict=True):
                if piece is not None:
                    partition, data = ("", piece) if isinstance(piece, bytes) else piece
                    run.feed(source, data, partition)
        return run.finish()


class Saved(Struct, frozen=True):
    """What a flow goes on from: its positions, and the rows that all cuts together have left, by
    operator, in any order and any number of parts.
    """

    positions: FlowPositions
    rows: Iterable[tuple[int, bytes]]


class LaneRun:
    """A lane with one flow, driven by hand. Use it in a `with`.

    `live`: its sources may always bring more, as sockets do, so that time moves on when they are
    all silent (S7). `spooled`: a cut is made when `freeze` asks for one, or time moves on; cuts are
    kept, and results leave with them. `saved`: the run goes on from there.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        start_us: int = START_US,
        live: bool = False,
        spooled: bool = False,
        saved: Saved | None = None,
    ) -> None:
        program = compile_plan(plan)
        self.plan = plan
        self.logs: list[str] = []  # what the lane said
        self.cuts: list[FlowCut] = []  # when spooled
        self._spooled = spooled
        self._sources = list(plan.sources)
        self._sinks = list(plan.sinks)
        self._outputs = {name: bytearray() for name in self._sinks}
        self._positions: dict[tuple[str, str], int] = {}
        self._end = lib.LANE_RUNNING
        self._now_ns = 1_000_000_000_000
        self._wall_us = start_us
        for entry in program.document["sources"]:
            entry.update(kind="chunks", bounded=not live, replayable=True)
        for entry in program.document["sinks"]:
            entry.update(kind="spool" if spooled else "memory", numbered=True)
        if spooled:
            program.document["commit_every"] = _FREEZE_US
        self._program = program.pack()
        self._functions = load_functions(plan, program.functions)
        self._lane = Lane()
        self._set_clock()
        try:
            self._lane.load(self._program, self._functions, once=True)
            if saved is not None:
                self._restore(saved)
            if not self._lane.start():
                raise BettongError("the lane could not start")
        except BettongError:
            self._lane.destroy()
            raise

    def __enter__(self) -> LaneRun:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lane.destroy()

    def feed(self, source: str, data: bytes, partition: str = "") -> None:
        """Bytes that arrive now; they are worked through before this returns."""
        key = (source, partition)
        self._positions[key] = self._positions.get(key, 0) + len(data)
        position = b"%d" % self._positions[key]
        index = self._sources.index(source)
        for _ in range(TEST_TURN_MAX_COUNT):
            if self._lane.mail_chunk(0, index, partition.encode(), position, data):
                self.turn()
                return
            self.turn()
        raise BettongError(f"the lane takes no more of {source}")

    def end(self, source: str) -> None:
        """This source has come to its end."""
        self._lane.mail_end(0, self._sources.index(source))
        self.turn()

    def advance(self, microseconds: int) -> None:
        """The clock moves on, and the lane sees it."""
        self._now_ns += microseconds * 1000
        self._wall_us += microseconds
        self.turn()

    def freeze(self) -> None:
        """When spooled: make a cut and commit it, if anything has changed."""
        self._now_ns += _FREEZE_US * 1000
        self.turn()
        for _ in range(TEST_TURN_MAX_COUNT):  # Python states are encoded in slices
            if self.metrics()["cuts"] == len(self.cuts):
                return
            self.turn()
        raise BettongError("the lane does not finish its cut: " + "; ".join(self.logs))

    def turn(self) -> None:
        """One turn of the lane's loop, and what it asked of the threads around it."""
        self._set_clock()
        if self._end == lib.LANE_RUNNING:
            self._end = self._lane.turn()
        for post in self._lane.posts():
            if post.kind == lib.POST_CUT:
                self._keep(post.data)
                self._lane.mail_committed(post.number)
            elif post.kind == lib.POST_CAPTURE:
                self._take_capture(post)
            elif post.kind == lib.POST_LOG:
                self.logs.append(post.data.decode("utf-8", "replace"))

    def output(self, sink: str) -> bytes:
        """All that this sink has got until now."""
        if not self._spooled:
            self._outputs[sink] += self._lane.take_memory(0, self._sinks.index(sink))
        return bytes(self._outputs[sink])

    def finish(self) -> dict[str, bytes]:
        """End all sources and run to the lane's end; what each sink got."""
        for source in self._sources:
            self.end(source)
        for _ in range(TEST_TURN_MAX_COUNT):
            if self._end != lib.LANE_RUNNING:
                return {name: self.output(name) for name in self._sinks}
            self.turn()
        raise BettongError("the lane does not end: " + "; ".join(self.logs))

    def metrics(self) -> dict[str, Any]:
        """All counters of the lane."""
        return self._lane.metrics()

    def last_errors(self) -> list[dict[str, Any]]:
        """The error records that no sink takes."""
        return self._lane.last_errors()

    def _keep(self, blocks: bytes) -> None:
        if not self._spooled:
            return
        (cut,) = unpack_cut(blocks)
        self.cuts.append(cut)
        for name, sink in zip(self._sinks, cut.sinks, strict=True):
            self._outputs[name] += sink.block

    def _take_capture(self, post: Post) -> None:
        raise AssertionError("a CapturedRun captures")

    def _restore(self, saved: Saved) -> None:
        self._lane.restore(0, saved.positions.pack())
        for op, rows in saved.rows:
            self._lane.restore_rows(0, op, rows)
        for partition in saved.positions.partitions:
            if isinstance(partition.position, bytes):
                key = (self._sources[partition.source], partition.name)
                self._positions[key] = int(partition.position)

    def _set_clock(self) -> None:
        self._lane.set_clock(self._now_ns, self._wall_us)
