"""A flow that is killed and goes on: the state is built from its cuts by a model so simple that it
can be trusted, and the output is that of a run that nothing has disturbed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgpack
from msgspec.structs import replace

from appliance.plan.logical import Plan
from appliance.testing import LaneRun, Saved
from appliance.worker.cut_form import FlowCut, Section
from semantics.compare import Piece

#: What identifies a row: its operator, its key and, for windows, the window's start.
Identity = tuple[Any, ...]

#: Done to a saved state before it is restored.
Change = Callable[[Saved], Saved]


def nothing(saved: Saved) -> Saved:
    return saved


class Model:
    """What a store would hold: the newest row of each identity, and all results."""

    def __init__(self, seed: int = 0) -> None:
        self.cut: FlowCut | None = None
        self.rows: dict[Identity, bytes] = {}
        self._random = random.Random(seed)

    def take(self, cuts: Iterable[FlowCut]) -> None:
        for cut in cuts:
            self.cut = cut
            for section in cut.sections:
                self._take_section(section)

    def _take_section(self, section: Section) -> None:
        sizes = [0] * 64
        shards = []
        for row, packed in rows_of(section.rows):
            sizes[row[0]] += len(packed)
            shards.append(row[0])
            has_start = section.kind == "window"
            identity = (section.op, row[1], row[2] if has_start else None)
            if row[-1] is None and section.kind in ("window", "running", "seen"):
                assert identity in self.rows, "a tombstone of a row that no cut has had"
                del self.rows[identity]
            else:
                self.rows[identity] = packed
        assert shards == sorted(shards) and len(shards) == section.count
        assert tuple(sizes) == section.sizes

    def saved(self) -> Saved:
        """The rows in parts and in no order."""
        assert self.cut is not None
        rows = [(identity[0], packed) for identity, packed in self.rows.items()]
        self._random.shuffle(rows)
        positions = replace(self.cut.positions(), sinks=tuple(
            replace(sink, pending=b"") for sink in self.cut.positions().sinks
        ))  # fmt: skip
        return Saved(positions, rows)


def rows_of(packed: bytes) -> Iterable[tuple[list[Any], bytes]]:
    """Each row, and its bytes."""
    unpacker = msgpack.Unpacker(strict_map_key=False, unicode_errors="surrogateescape")
    unpacker.feed(packed)
    while (begin := unpacker.tell()) < len(packed):
        row = unpacker.unpack()
        yield row, packed[begin : unpacker.tell()]


class Restarted:
    """A run that is killed again and again."""

    def __init__(
        self,
        plan: Plan,
        every: int = 1,
        restarts: set[int] | None = None,
        change: Change = nothing,
    ) -> None:
        self.plan, self.every, self.restarts, self.change = plan, every, restarts, change
        self.model = Model()
        self.outputs = dict.fromkeys(plan.sinks, b"")
        self.run = LaneRun(plan, spooled=True)
        self.seen = 0  # cuts of this run that the model has
        self.kills = 0

    def take_cuts(self) -> None:
        new = self.run.cuts[self.seen :]
        self.seen = len(self.run.cuts)
        self.model.take(new)
        for cut in new:
            for name, sink in zip(self.plan.sinks, cut.sinks, strict=True):
                self.outputs[name] += sink.block

    def kill(self) -> None:
        """All that is not in a cut is gone."""
        self.run.__exit__(None, None, None)
        self.kills += 1
        saved = self.change(self.model.saved()) if self.model.cut is not None else None
        self.run = LaneRun(self.plan, spooled=True, saved=saved)
        self.seen = 0

    def feed_all(self, pieces: Sequence[Piece]) -> dict[str, bytes]:
        """A cut after every `every`-th piece; killed after the pieces in `restarts` (None: after
        all), and what no cut has is fed again. The sources end one by one, with a kill between."""
        behind = 0  # the first piece that no cut has
        for number, (source, partition, data) in enumerate(pieces):
            self.run.feed(source, data, partition)
            if (number + 1) % self.every == 0:
                self.run.freeze()
                self.take_cuts()
                behind = number + 1
            if self.restarts is None or number in self.restarts:
                self.kill()
                for source, partition, data in pieces[behind : number + 1]:
                    self.run.feed(source, data, partition)
        ended: list[str] = []
        for source in self.plan.sources:
            self.run.end(source)
            ended.append(source)
            self.run.freeze()
            self.take_cuts()
            if len(ended) < len(self.plan.sources):
                self.kill()
                for name in ended:  # it brings nothing more, and says so again
                    self.run.end(name)
        self.run.finish()
        self.take_cuts()
        self.run.__exit__(None, None, None)
        return self.outputs


def undisturbed(plan: Plan, pieces: Iterable[Piece]) -> dict[str, bytes]:
    """The same pieces without a cut before the end."""
    with LaneRun(plan) as run:
        for source, partition, data in pieces:
            run.feed(source, data, partition)
        return run.finish()


def assert_restarts_do_not_show(
    plan: Plan,
    pieces: Sequence[Piece],
    every: int = 1,
    restarts: set[int] | None = None,
    change: Change = nothing,
) -> None:
    """Every sink gets the bytes that it gets from an undisturbed run."""
    wanted = undisturbed(plan, pieces)
    found = Restarted(plan, every, restarts, change).feed_all(pieces)
    for name, sink in plan.sinks.items():
        got, expected = found[name], wanted[name]
        if "errors" in sink.inputs:
            got, expected = without_traceback(got), without_traceback(expected)
        assert got.split(b"\n") == expected.split(b"\n"), name


def without_traceback(output: bytes) -> bytes:
    """The first error of its kind in a process brings its traceback; a restart begins anew."""
    kept = []
    for line in output.splitlines():
        record = json.loads(line)
        if isinstance(record, dict) and "reason" in record:
            record.pop("traceback", None)
            line = json.dumps(record).encode()
        kept.append(line)
    return b"\n".join(kept)
