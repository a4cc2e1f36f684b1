"""Cuts of sinks, sinks that go on, and what a lane is given to go on from that is none of its."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
from msgspec.structs import replace

from appliance.errors import BettongError
from appliance.native import ffi, lib
from appliance.testing import LaneRun, Saved
from appliance.worker.cut_form import (
    FlowCut,
    FlowPositions,
    SinkRestore,
    unpack_cut,
    unpack_positions,
)
from appliance.worker.lane import Lane, Post
from native.lanes import Document, document_of, pack
from semantics.compare import lines, plan_of
from semantics.functions import Meter, Silence, function
from semantics.restarts import Model

PASS = 'version = 1\n[source.in]\nstdin = {}\n[sink.out]\nstdout = {}\nformat = { text = "{v}" }\n'
KEYED = PASS.replace("[sink", '[step.k]\nkey_by = "k"\n[sink')


class Running:
    """A lane whose cuts and posts are kept; commits are the test's."""

    def __init__(self, document: Document, positions: FlowPositions | None) -> None:
        self.lane = Lane()
        self.lane.set_clock(0, 0)
        self.lane.load(pack(document), [], once=True)
        if positions is not None:
            self.lane.restore(0, positions.pack())
        assert self.lane.start()
        self.cuts: list[FlowCut] = []
        self.numbers: list[int] = []
        self.posts: list[Post] = []
        self.end = 0

    def turn(self) -> None:
        self.end = self.lane.turn()
        for post in self.lane.posts():
            self.posts.append(post)
            if post.kind == lib.POST_CUT:
                self.cuts += unpack_cut(post.data)
                self.numbers.append(post.number)

    def feed(self, *values: Any) -> None:
        """Records, and the turn in which they are read and a cut is frozen."""
        records = [one if isinstance(one, dict) else {"v": one} for one in values]
        assert self.lane.mail_chunk(0, 0, b"", b"", lines(*records))
        self.turn()

    def commit(self) -> None:
        self.lane.mail_committed(self.numbers[-1])
        self.turn()

    def sink(self) -> dict[str, Any]:
        (sink,) = self.lane.metrics()["sinks"]
        assert isinstance(sink, dict)
        return sink

    def is_paused(self) -> bool:
        return bool(self.lane.metrics()["sources"][0]["paused"])


@contextmanager
def running(
    folder: Path, text: str = PASS, positions: FlowPositions | None = None, **sink: Any
) -> Iterator[Running]:
    document = document_of(folder, text)
    document["commit_every"] = 0
    document["sources"][0]["bounded"] = True
    document["sinks"][0].update(sink)
    run = Running(document, positions)
    try:
        yield run
    finally:
        run.lane.destroy()


def going_on(pending: bytes, started: bool = True) -> FlowPositions:
    return FlowPositions(0, (), (), (), (SinkRestore(0, pending, started),))


# ---- spooled sinks ----


def test_a_spooled_sink_gives_a_cut_all_there_is(tmp_path: Path) -> None:
    with running(tmp_path, kind="spool") as run:
        run.feed(1, 2)
        assert run.cuts[0].sinks[0].block == b"1\n2\n" and run.sink()["queued"] == 0
        run.feed(3)  # the first is in flight
        assert len(run.cuts) == 1 and run.sink()["queued"] == 2
        run.commit()
        first, second = (cut.sinks[0] for cut in run.cuts)
        assert (first.records, first.count, first.shards) == (2, 2, b"")
        assert (second.block, second.records, second.count) == (b"3\n", 3, 1)


def test_a_framed_and_numbered_sink_has_bins_and_shards(tmp_path: Path) -> None:
    """Of the key, or before there is one of the partition's name."""

    def shard(key: bytes) -> int:
        return int(lib.hash_bytes(key, len(key))) >> 58

    with running(tmp_path, KEYED, kind="spool", framed=True, numbered=True) as run:
        run.feed({"k": "a", "v": 1}, {"k": 7, "v": 2})
        sink = run.cuts[0].sinks[0]
    unpacker = msgpack.Unpacker()
    unpacker.feed(sink.block)
    assert list(unpacker) == [b"1\n", b"2\n"]
    assert list(sink.shards) == [shard(b"\xa1a"), shard(b"\x07")]
    with running(tmp_path, kind="spool", numbered=True) as run:
        run.feed(1)
        assert list(run.cuts[0].sinks[0].shards) == [shard(b"")]


def test_a_branch_does_not_change_the_shard_of_the_next() -> None:
    plan = plan_of(
        {"a": {}},
        {"x": {"from": "a", "key_by": "k"}, "y": {"from": "x", "key_by": "v"}},
        {"y": {"from": "y"}, "x": {"from": "x"}, "a": {"from": "a"}},
    )
    with LaneRun(plan, spooled=True) as run:
        run.feed("a", lines({"k": "a", "v": 1}))
        run.finish()
        shards = [cut.shards for cut in run.cuts[-1].sinks]
    assert len(set(shards)) == 3
    assert shards[1] == bytes([int(lib.hash_bytes(b"\xa1a", 2)) >> 58])


def test_a_full_spool_pauses_the_sources_until_there_is_room(tmp_path: Path) -> None:
    with running(tmp_path, kind="spool") as run:
        run.lane.mail_spool(0, 0, True)
        run.turn()
        assert run.is_paused()
        run.feed(1)
        assert run.sink()["records"] == 0
        run.lane.mail_spool(0, 0, False)
        run.turn()
        run.turn()
        assert not run.is_paused() and run.cuts[-1].sinks[0].block == b"1\n"


def test_a_sink_that_has_collected_much_asks_for_a_cut_and_stops_its_sources(
    tmp_path: Path,
) -> None:
    big = "x" * (1 << 18)
    with running(tmp_path, kind="spool") as run:
        run.feed("first")
        while not run.is_paused():
            run.feed(big)
            assert run.sink()["queued"] < 4 << 20
        assert len(run.cuts) == 1 and run.sink()["queued"] > 2 << 20
        run.commit()
        assert len(run.cuts) == 2 and run.sink()["queued"] == 0
        run.turn()
        assert not run.is_paused()


def test_drop_newest_refuses_before_it_counts(tmp_path: Path) -> None:
    with running(tmp_path, kind="spool", drop_newest=True, numbered=True) as run:
        run.lane.mail_spool(0, 0, True)
        run.feed(1, 2)
        assert not run.is_paused()
        assert (run.sink()["records"], run.sink()["refused"]) == (0, 2)
        run.lane.mail_spool(0, 0, False)
        run.commit()
        run.feed(3)
        assert run.cuts[-1].sinks[0].block == b"3\n" and run.sink()["records"] == 1


def test_a_run_ends_when_its_last_results_are_in_a_cut(tmp_path: Path) -> None:
    with running(tmp_path, kind="spool") as run:
        run.feed(1)
        run.lane.mail_end(0, 0)
        for _ in range(5):
            run.commit()
        assert run.end == lib.LANE_ENDED
        assert [cut.sinks[0].block for cut in run.cuts] == [b"1\n", b""]


# ---- immediate sinks ----


def test_what_a_stream_has_not_taken_goes_on_from_a_whole_record(tmp_path: Path) -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    values = [f"{number:08d}" * 1000 for number in range(40)]
    with running(tmp_path, kind="stream", fd=writer, immediate=True) as run:
        run.feed(*values)
        (cut,) = run.cuts
    got = b"".join(iter(lambda: read_some(reader), b""))
    os.close(reader)
    pending = bytes(cut.sinks[0].block)
    whole = b"".join(value.encode() + b"\n" for value in values)
    assert pending.startswith(b"0") and pending.count(b"\n") * 8001 == len(pending)
    assert got[: len(got) // 8001 * 8001] + pending == whole
    reader, writer = os.pipe2(os.O_NONBLOCK)
    with running(
        tmp_path, kind="stream", fd=writer, immediate=True, positions=going_on(pending)
    ) as run:
        again = b""
        run.lane.mail_end(0, 0)
        while run.end == 0:
            run.turn()
            again += read_some(reader)
            if run.numbers:
                run.commit()
        assert again + read_some(reader) == pending
        assert run.cuts[-1].sinks[0].block == b"", "the last cut says that all of it is gone"
    os.close(reader)


def read_some(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 20)
    except BlockingIOError:
        return b""


def test_what_was_posted_is_kept_until_it_is_taken(tmp_path: Path) -> None:
    with running(tmp_path, kind="records", immediate=True) as run:
        run.feed(1, 2)
        assert run.cuts[0].sinks[0].block == b"\xc4\x021\n\xc4\x022\n"
        run.lane.mail_taken(0, 0)
        run.turn()
        run.commit()
        run.feed(3)
        assert run.cuts[1].sinks[0].block == b"\xc4\x023\n"
        assert [post.number for post in run.posts if post.kind == lib.POST_RECORDS] == [2, 1]
    positions = going_on(run.cuts[1].sinks[0].block)
    with running(tmp_path, kind="records", immediate=True, positions=positions) as run:
        run.turn()
        run.feed(4)
        posts = [msgpack.unpackb(post.data) for post in run.posts if post.kind == lib.POST_RECORDS]
        assert posts == [[b"3\n"], [b"4\n"]]


def test_a_file_goes_on_at_its_place(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"1\n2\nhalf")
    fd = os.open(path, os.O_RDWR)
    positions = replace(going_on(b"3\n"), sinks=(SinkRestore(0, b"3\n", True, 4),))
    with running(tmp_path, kind="file", fd=fd, immediate=True, positions=positions) as run:
        run.turn()
        run.feed(4567)
        assert path.read_bytes() == b"1\n2\n3\n4567\n"
        assert run.cuts[-1].sinks[0].offset == 11


@pytest.mark.parametrize(
    ("kind", "pending"), [("records", b"\xc4\x09x"), ("records", b"\x01"), ("spool", b"x")]
)
def test_pending_bytes_that_are_not_the_sinks_are_refused(
    tmp_path: Path, kind: str, pending: bytes
) -> None:
    with (
        pytest.raises(BettongError, match="what a sink had not sent yet"),
        running(tmp_path, kind=kind, immediate=True, positions=going_on(pending)),
    ):
        pass


# ---- what cannot come back ----


def test_the_half_line_of_a_stream_is_lost_and_counted_and_its_watermark_stays(
    tmp_path: Path,
) -> None:
    text = (
        'version = 1\n[source.in]\nstdin = {}\ntime = { field = "t", unit = "s" }\n'
        '[step.n]\nwindow = { tumbling = "10s" }\naggregate = { n = "count()" }\n'
        '[sink.out]\nstdout = {}\nfrom = ["n.late", "n"]\n'
    )

    def started(positions: FlowPositions | None) -> tuple[Running, int]:
        reader, writer = os.pipe2(os.O_NONBLOCK)
        document = document_of(tmp_path, text)
        document["commit_every"] = 0
        document["sources"][0].update(kind="stream", fd=reader, bounded=True)
        document["sinks"][0].update(kind="spool")
        return Running(document, positions), writer

    run, writer = started(None)
    os.write(writer, b'{"t":1}\n{"t":25}\n{"t":')
    run.turn()
    os.close(writer)
    positions = run.cuts[-1].positions()
    run.lane.destroy()
    assert positions.partitions[0].unfinished == b'{"t":'
    run, writer = started(replace(positions, sinks=()))
    os.write(writer, b'{"t":12}\n{"t":31}\n')
    run.turn()
    assert run.cuts[-1].sinks[0].block == b'{"t":12}\n'
    (source,) = run.lane.metrics()["sources"]
    assert source["lost"] == 5
    assert any(b"5 bytes" in post.data for post in run.posts if post.kind == lib.POST_LOG)
    os.close(writer)
    run.lane.destroy()


# ---- documents and rows that are damaged, or another's ----

ALL_KINDS = plan_of(
    {"a": {"time": {"field": "ts", "unit": "s"}, "format": {"csv": {"header": True}},
           "schema": {"ts": "int", "k": "str", "v": "int?"}}},
    {
        "t": {"from": "a", "key_by": "k", "window": {"tumbling": "5s"},
              "aggregate": {"n": "count()", "l": "last(v)", "m": "mean(v)"}},
        "h": {"from": "a", "key_by": "k", "window": {"hopping": "6s", "every": "2s"},
              "aggregate": {"n": "max_by(k, v)"}},
        "g": {"from": "a", "key_by": ["k", "v"], "window": {"global": True, "every": "5s"},
              "aggregate": {"n": "sum(v)", "s": "stddev(v)"}},
        "r": {"from": "a", "key_by": "k", "running": {"l": "lag(k, 2)", "e": "ema(v, 0.5)"}},
        "p": {"from": "a", "key_by": "k", "python": function(Silence)},
        "q": {"from": "a", "key_by": "k", "python": function(Meter)},
    },
    {name: {"from": name} for name in "thgrpq"},
)  # fmt: skip


def full_model() -> Model:
    model = Model()
    with LaneRun(ALL_KINDS, spooled=True) as run:
        for partition in ("p0", "p1"):
            run.feed("a", b"ts,k,v\n", partition)
        for number in range(12):
            run.feed("a", b"%d,key-%d,%d\n" % (number, number % 5, number % 3), f"p{number % 2}")
        run.feed("a", b"3,unfin", "p0")
        run.freeze()
        model.take(run.cuts)
    return model


def test_a_restored_flow_has_nothing_to_store() -> None:
    """Its rows count as stored: what is closed is a tombstone, what is not changed is not there."""
    model = full_model()
    before = dict(model.rows)
    with LaneRun(ALL_KINDS, spooled=True, saved=model.saved()) as run:
        run.freeze()
        assert run.cuts == []
        run.feed("a", b"100,other,1\n", "p1")
        run.feed("a", b"ished,\n100,other,1\n", "p0")
        run.freeze()
        model.take(run.cuts)
    kinds = {section.kind for section in run.cuts[-1].sections if section.count}
    assert kinds == {"window", "global", "running", "python"}
    window_rows = {identity for identity in before if identity[2] is not None}
    assert window_rows and not window_rows & model.rows.keys()


def try_restore(saved: Saved) -> str:
    """What is said of it; empty when it is taken, and then it runs."""
    try:
        with LaneRun(ALL_KINDS, spooled=True, saved=saved) as run:
            run.feed("a", b"\n50,x,1\n", "p0")
            run.finish()
    except BettongError as error:
        return str(error)
    return ""


def test_rows_that_are_not_this_steps_are_refused_by_name() -> None:
    saved = full_model().saved()
    rows = list(saved.rows)
    ops = sorted({op for op, _ in rows})
    assert len(ops) == 6
    for op in ops:
        packed = next(packed for at, packed in rows if at == op)
        twice = Saved(saved.positions, [(op, packed), (op, packed)])
        assert "comes twice" in try_restore(twice)
        row = msgpack.unpackb(packed, strict_map_key=False)
        for change, words in wrongs(row):
            found = try_restore(Saved(saved.positions, [(op, msgpack.packb(change))]))
            assert words in found, (row, change)
        for other in ops:
            if other != op:
                try_restore(Saved(saved.positions, [(other, packed)]))  # never more than a message
    assert "without state" in try_restore(Saved(saved.positions, [(0, b"\x90")]))
    assert "without state" in try_restore(Saved(saved.positions, [(9999, b"\x90")]))


def wrongs(row: list[Any]) -> Iterator[tuple[list[Any], str]]:
    yield [(row[0] + 1) % 64, *row[1:]], "stands under shard"
    yield row[:-1], "malformed"
    yield [row[0], "text", *row[2:]], "malformed"
    yield [*row[:-1], 7], "refused"
    if len(row) == 6:
        yield [*row[:4], -2, row[5]], "order"
        yield [*row[:4], 1 << 40, row[5]], "order"
        yield [*row[:5], None], "tombstone"
        yield [*row[:5], [1]], "does not fit"


@pytest.mark.parametrize("what", ["positions", "rows"])
def test_damage_is_never_more_than_a_message(what: str) -> None:
    """A byte, or the end, of a document or of rows is another: refused, or taken as what it is."""
    saved = full_model().saved()
    rows = {op: b"".join(one for at, one in saved.rows if at == op) for op, _ in saved.rows}
    chance = random.Random(7)
    packed = saved.positions.pack()
    refused = 0
    for _ in range(100):
        damaged = dict(rows)
        document = packed
        if what == "positions":
            document = damage(packed, chance)
        else:
            op = chance.choice(list(rows))
            damaged[op] = damage(rows[op], chance)
        refused += not restores(document, damaged)
    assert refused > 10


def damage(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    if chance.random() < 0.2:
        return data[:at]
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def restores(document: bytes, rows: dict[int, bytes]) -> bool:
    """The lane's own checks: the document is not looked at before."""
    return try_restore(Saved(Unchecked(document), list(rows.items()))) == ""  # type: ignore[arg-type]


class Unchecked:
    """Positions as they come."""

    partitions = ()

    def __init__(self, document: bytes) -> None:
        self._document = document

    def pack(self) -> bytes:
        return self._document


def test_positions_of_another_flow_are_refused() -> None:
    saved = full_model().saved()
    positions = saved.positions
    for wrong in [
        replace(positions, sources=(replace(positions.sources[0], index=1),)),
        replace(positions, steps=(replace(positions.steps[0], op=0),)),
        replace(positions, partitions=(replace(positions.partitions[0], source=3),)),
        replace(positions, partitions=(replace(positions.partitions[0], frame=(3, 9, False, 0)),)),
        replace(positions, partitions=(replace(positions.partitions[0], format=b"\x92\x05\xc0"),)),
        replace(positions, sinks=(SinkRestore(99, b"", False),)),
    ]:
        assert "refused" in try_restore(Saved(wrong, ()))
    assert "begun already" in said(lambda lane: [lane.restore(0, positions.pack())] * 2, 2)
    assert "no such flow" in said(lambda lane: lane.restore(5, positions.pack()))
    assert "between a flow's positions and its start" in said(
        lambda lane: lane.restore_rows(0, 1, b"")
    )


def said(act: Callable[[Lane], object], times: int = 1) -> str:
    with LaneRun(ALL_KINDS) as run:
        lane = run._lane
        try:
            for _ in range(times):
                act(lane)
        except BettongError as error:
            return str(error)
    return ""


def test_a_cut_is_read_or_refused() -> None:
    model = full_model()
    assert model.cut is not None
    packed = model.cut.positions().pack()
    assert unpack_positions(packed) == model.cut.positions()
    chance = random.Random(3)
    for _ in range(500):
        try:
            unpack_positions(damage(packed, chance))
        except BettongError as error:
            assert "cannot be read" in str(error)


# ---- no memory for a cut ----

STARVED = """
import resource
from appliance.testing import LaneRun
from semantics.compare import lines, plan_of
from semantics.functions import Meter, function

plan = plan_of({"a": {}}, {"r": {"key_by": "k", "running": {"n": "count()"}},
                           "p": {"from": "a", "key_by": "k", "python": function(Meter)}},
               {"out": {"from": "r", "format": {"text": ""}}})
with LaneRun(plan, spooled=True) as run:
    for at in range(0, 30000, 500):
        run.feed("a", lines(*({"k": f"{number:0200d}"} for number in range(at, at + 500))))
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 20), resource.RLIM_INFINITY))
    run.advance(10)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert run.cuts == [] and any("does not fit into memory" in line for line in run.logs), run.logs
    run.advance(100)
    assert run.cuts == []  # not at once again
    run.advance(2_000_000)
    run.freeze()
    assert [section.count for section in run.cuts[0].sections] == [30000, 30000]
    assert run.cuts[0].sinks[0].count == 30000
"""


@pytest.mark.skipif("BETTONG_SANITIZE" in os.environ, reason="the sanitizers need all addresses")
def test_a_cut_that_does_not_fit_is_as_if_nobody_had_tried() -> None:
    folders = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parents[1])])
    ended = subprocess.run(
        [sys.executable, "-c", STARVED],
        env={**os.environ, "PYTHONPATH": folders},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr.decode()


def test_a_visit_of_dirty_rows_forgets_nothing() -> None:
    """It is the settling that does."""
    table = lib.table_new(8)
    row, is_new = ffi.new("table_row_t *"), ffi.new("bool *")
    key = ffi.new("bkey_t *", {"bytes": ffi.NULL, "size": 0, "hash": 1})
    assert lib.table_put(table, key, row, is_new)
    lib.table_mark(table, row.index)
    seen: list[int] = []

    @ffi.callback("table_visit_fn")  # type: ignore[untyped-decorator]
    def visit(_: Any, found: Any, removed: bool) -> bool:
        seen.append(found.index)
        return True

    assert lib.table_visit_dirty(table, visit, ffi.NULL)
    assert not lib.table_stored(table, row.index)
    assert lib.table_take_dirty(table, visit, ffi.NULL)
    assert lib.table_take_dirty(table, visit, ffi.NULL)
    assert seen == [0, 0] and lib.table_stored(table, row.index)
    lib.table_destroy(ffi.new("table_t **", table))
