"""A capture done again: the same lane, fed entry by entry, and what it gives held against what the
capture says it gave."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgpack

from appliance.errors import BettongError
from appliance.native import lib
from appliance.plan.logical import Plan
from appliance.plan.program import compile_plan
from appliance.worker import capture_form as form
from appliance.worker.cut_form import unpack_cut
from appliance.worker.lane import Lane
from appliance.worker.python_steps import load_functions

#: Of a source or sink in a program: what the flow means, not what the world outside makes of it.
_MEANING_OF_ENDS = ("name", "format", "time", "layout", "next", "late")

_PROGRAM_MAX_COUNT = 1 << 20


@dataclass
class Outcome:
    """What came of a replay. `differs`: where first; empty when nothing does."""

    entries: int = 0
    events: int = 0
    differs: str = ""
    whole: bool = False  # the capture has its end
    why: str = ""  # why it ended there
    compared_state: bool = False
    stopped: bool = False  # at `until`
    sinks: tuple[tuple[str, int, bytes], ...] = ()
    logs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """Where in its input a replay is to stop: `position` bytes of a partition of `source` have been
    read. `partition` may be the end of a path, or empty: whichever gets so far first."""

    source: str
    partition: str
    position: int


def meaning(document: dict[str, Any]) -> bytes:
    """What a flow's program computes; where sources and sinks lead is no part of it."""
    plain = {key: value for key, value in document.items() if key != "set_aside"}
    for ends in ("sources", "sinks"):
        plain[ends] = [
            {key: entry.get(key) for key in _MEANING_OF_ENDS if key in entry}
            for entry in document[ends]
        ]
    return _pack(plain)


def _source_of(plan: Plan, place: Place | None) -> int:
    """Its index. BettongError: there is none of that name."""
    names = list(plan.sources)
    if place is None:
        return -1
    if place.source not in names:
        raise BettongError(f"the flow has no source {place.source}; it has {', '.join(names)}")
    return names.index(place.source)


def _unpack(program: bytes) -> dict[str, Any]:
    try:
        document = msgpack.unpackb(
            program,
            strict_map_key=False,
            max_array_len=_PROGRAM_MAX_COUNT,
            max_map_len=_PROGRAM_MAX_COUNT,
        )
        if isinstance(document, dict) and all(
            isinstance(document[ends], list) for ends in ("sources", "sinks")
        ):
            return document
    except (ValueError, KeyError, msgpack.exceptions.UnpackException) as error:
        raise BettongError(f"the program in the capture cannot be read: {error!r}") from error
    raise BettongError("the program in the capture is none")


def _pack(document: dict[str, Any]) -> bytes:
    packed = msgpack.packb(document, use_bin_type=True)
    assert isinstance(packed, bytes)
    return packed


class Replay:
    """One run. `results(sink, bytes)` gets what the sinks get; `until(events, wall_us)` says when
    it is enough, and so does `place`. Use it in a `with`."""

    def __init__(
        self,
        plan: Plan,
        head: form.Head,
        results: Callable[[str, bytes], None] = lambda sink, data: None,
        until: Callable[[int, int], bool] = lambda events, wall_us: False,
        place: Place | None = None,
    ) -> None:
        program = compile_plan(plan)
        document = _unpack(head.program)
        if meaning(document) != meaning(_unpack(program.pack())):
            raise BettongError(
                f"the capture is of another {head.flow}: the flow has changed since; "
                "replay it without naming a flow, for the capture has a copy of what ran"
            )
        self._head = head
        self._names = tuple(plan.sinks)
        self._totals = form.SinkTotals(self._names)
        self._results = results
        self._until = until
        self._place = place
        self._place_source = _source_of(plan, place)
        self._wall_us = 0
        self.outcome = Outcome()
        document["set_aside"] = []
        for entry in document["sources"]:
            entry.update(kind="chunks", follow=False)
        for entry in document["sinks"]:
            entry.update(kind="spool", immediate=False, framed=False, numbered=False)
            entry["drop_newest"] = False
        self._functions = load_functions(plan, program.functions)
        self._lane = Lane()
        try:
            self._lane.load(_pack(document), self._functions, once=False)
        except BettongError:
            self._lane.destroy()
            raise

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *_: object) -> None:
        self._lane.destroy()

    def run(self, entries: Iterable[tuple[int, bytes]]) -> Outcome:
        """All entries behind the head. BettongError: they are not this flow's."""
        outcome = self.outcome
        cut = 0
        for kind, members in entries:
            if kind == form.START:
                self._begin(members)
            elif kind == form.END:
                outcome.why, cut = form.ending(members)
            elif kind == form.DIGEST:
                self._compare_end(form.Digest.unpack(members), cut)
                outcome.whole = True
            elif kind == form.RESULTS:
                self._compare(*form.total(members))
            elif self._step(kind, members):
                outcome.stopped = True
                break
            if outcome.differs:
                break
        outcome.events = self._lane.events
        outcome.sinks = self._totals.digests()
        self._keep_logs()
        return outcome

    def _begin(self, members: bytes) -> None:
        self._lane.restore(0, self._head.positions)
        for op, (_, rows) in self._head.rows.items():
            self._lane.restore_rows(0, op, rows)
        if not self._lane.replay_begin(members):
            self._keep_logs()
            raise BettongError("the capture does not begin with a flow like this one")

    def _step(self, kind: int, members: bytes) -> bool:
        """One entry; whether it is enough."""
        if kind == form.TICK:
            self._wall_us = form.wall_us(members)
            if self._until(self._lane.events, self._wall_us):
                return True
        last = self._up_to_place(members) if kind == form.BYTES else None
        if not self._lane.replay(kind, members if last is None else last):
            raise BettongError(f"entry {self.outcome.entries} of the capture does not fit the flow")
        self.outcome.entries += 1
        for _, more in form.from_lane(self._lane.replay_results()):
            sink, data = form.results(more)
            self._totals.add(sink, data)
            self._results(self._names[sink], data)
        is_read = kind == form.BYTES
        return last is not None or (is_read and self._until(self._lane.events, self._wall_us))

    def _up_to_place(self, members: bytes) -> bytes | None:
        """These bytes as far as the place; None: it is not in them, nor before them."""
        source, number, size = form.bytes_read(members)
        if self._place is None or source != self._place_source:
            return None
        name = os.fsencode(self._place.partition)
        position = self._lane.replay_position(source, number, name)
        if position < 0 or position + size < self._place.position:
            return None
        return form.first_bytes(members, max(self._place.position - position, 0))

    def _compare(self, sink: int, size: int, crc: int) -> None:
        if sink >= len(self._names):
            raise BettongError("the capture has more sinks than the flow")
        ours = (self._totals.sizes[sink], self._totals.crcs[sink])
        if ours != (size, crc):
            what = f"{ours[0]} bytes, not {size}" if ours[0] != size else "other bytes"
            self.outcome.differs = (
                f"sink {self._names[sink]} has got {what} after entry {self.outcome.entries} "
                f"({self._lane.events} events)"
            )

    def _compare_end(self, digest: form.Digest, cut: int) -> None:
        if self.outcome.why in form.INCOMPLETE:
            return
        if self._totals.digests() != digest.sinks:
            self.outcome.differs = "a sink has got other bytes in the end"
        if not digest.state or not cut or self.outcome.differs:
            return
        if not self._lane.replay_end():
            raise BettongError("the state does not fit into memory")
        self.outcome.compared_state = True
        if form.state_digest(self._rows()) != digest.state:
            self.outcome.differs = "the results are the same, and the state in the end is another"

    def _rows(self) -> form.Rows:
        for post in self._lane.posts():
            if post.kind == lib.POST_CUT:
                (flow,) = unpack_cut(post.data)
                sections = ((part.op, part.kind, part.rows) for part in flow.sections)
                return form.merged(self._head.rows, sections)
        raise BettongError("the last cut has not come")

    def _keep_logs(self) -> None:
        for post in self._lane.posts():
            if post.kind == lib.POST_LOG:
                self.outcome.logs.append(post.data.decode("utf-8", "replace"))
