"""A lane that reads files, driven by hand: its clock is the test's, and its sink's lines are at
hand."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from msgspec.structs import replace

from appliance.native import lib
from appliance.worker.cut_form import unpack_cut
from appliance.worker.lane import Lane
from native.lanes import Document, document_of, pack

FLOW = """
version = 1
[settings]
commit_every = "100ms"
[source.log]
file = { path = "log", follow = true }
format = "text"
[sink.out]
stdout = {}
format = { text = "{line}" }
"""


def document(folder: Path, flow: str = FLOW, **source: Any) -> Document:
    """The program of `flow`, its first source with these entries."""
    made = document_of(folder, flow)
    made["sources"][0].update(
        kind="files", bounded=not source.get("follow"), replayable=True, **source
    )
    return made


class Files:
    """A running lane, from the start or from a cut of an earlier one. Use it in a `with`."""

    def __init__(self, program: Document, cut: bytes = b"") -> None:
        self.logs: list[str] = []
        self._cut = cut
        self.now_ns = 10**12
        self.ended = False
        self.lane = Lane()
        self.lane.set_clock(self.now_ns, 0)
        self.lane.load(pack(program), [], once=True)
        if cut:
            self.lane.restore(0, cut)
        assert self.lane.start()

    def __enter__(self) -> Files:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.lane.destroy()

    def turn(self, count: int = 4) -> None:
        """So many turns without time passing."""
        for _ in range(count):
            self.lane.set_clock(self.now_ns, self.now_ns // 1000)
            self.ended = self.ended or self.lane.turn() == lib.LANE_ENDED
            for post in self.lane.posts():
                if post.kind == lib.POST_CUT:
                    self._cut = first_flow(post.data)
                    self.lane.mail_committed(post.number)
                elif post.kind == lib.POST_LOG:
                    self.logs.append(post.data.decode())

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.now_ns += round(seconds * 10**9)
        self.turn()

    def cut(self) -> bytes:
        """What a cut keeps of it now."""
        self.advance(0.1)
        return self._cut

    def lines(self) -> list[str]:
        """What has come out since the last call."""
        self.turn()
        return self.lane.take_memory(0, 0).decode().split()

    def said(self, words: str) -> int:
        """How many lines of the log have these words."""
        return sum(words in line for line in self.logs)

    def source(self) -> dict[str, Any]:
        """Its counters."""
        (source,) = self.lane.metrics()["sources"]
        return dict(source)


def first_flow(cut: bytes) -> bytes:
    """The positions of the first flow of a cut. What its sink holds is the test's already."""
    return replace(unpack_cut(cut)[0].positions(), sinks=()).pack()


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)
