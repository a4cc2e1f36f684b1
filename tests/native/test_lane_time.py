"""Event time in a lane: what waits, what closes, what returns, and that waiting costs no turns."""

from __future__ import annotations

import time
from pathlib import Path

from appliance.load import load_file
from appliance.native import lib
from appliance.testing import LaneRun
from native.lanes import document_of, loaded

TWO = """
version = 1
[source.left]
stdin = {}
time = { field = "ts", unit = "s", idle = "10s" }
[source.right]
tcp = { listen = "127.0.0.1:0" }
%s
[step.all]
from = ["left", "right"]
window = { tumbling = "10s" }
aggregate = { n = "count()" }
[sink.out]
from = "all"
stdout = {}
[sink.late]
from = "all.late"
stdout = {}
"""
EVENT_TIME = 'time = { field = "ts", unit = "s", idle = "10s" }'
SECOND_US = 1_000_000


def lane_of(folder: Path, text: str, *, live: bool = False) -> LaneRun:
    (folder / "flow.toml").write_text(text)
    return LaneRun(load_file(folder / "flow.toml"), live=live)


def window(start: int, count: int) -> bytes:
    return b'{"window_start":%d,"window_end":%d,"n":%d}\n' % (start, start + 10, count)


def record(at: int) -> bytes:
    return b'{"ts":%d}\n' % at


def test_what_an_idle_source_held_back_closes_when_it_is_left_out(tmp_path: Path) -> None:
    """S7, S15: not only when the other one speaks again."""
    with lane_of(tmp_path, TWO % EVENT_TIME) as run:
        run.feed("left", record(1))
        run.advance(5 * SECOND_US)
        run.feed("right", record(100))
        assert run.output("out") == b""
        run.advance(5 * SECOND_US)
        assert run.output("out") == window(0, 1)


def test_a_partition_that_returns_with_older_records_counts_again(tmp_path: Path) -> None:
    """S7: an input that brings something is not idle, whatever it brings."""
    with lane_of(tmp_path, TWO % EVENT_TIME) as run:
        run.feed("left", record(15), "a")
        run.advance(10 * SECOND_US)
        run.feed("left", record(14), "a")
        run.feed("left", record(50), "b")
        assert run.output("out") == b""
        run.feed("left", record(21), "a")
        assert run.output("out") == window(10, 2)


def test_a_new_partition_is_late_by_its_own_source_only(tmp_path: Path) -> None:
    """S15: another source, which the window does not read, does not make its records late."""
    text = (
        TWO.replace('["left", "right"]', '"left"') % EVENT_TIME
        + """
[step.others]
from = "right"
window = { tumbling = "10s" }
aggregate = { n = "count()" }
[sink.others]
from = "others"
stdout = {}
"""
    )
    with lane_of(tmp_path, text) as run:
        run.feed("right", record(100))
        run.feed("left", record(5), "a")
        run.feed("right", record(120))
        run.feed("left", record(6), "b")
        found = run.finish()
    assert found["late"] == b""
    assert found["out"] == window(0, 2)


def test_time_that_was_not_read_does_not_move_the_watermark(tmp_path: Path) -> None:
    """S7: all idle, the watermark moves with the clock."""
    with lane_of(tmp_path, TWO % EVENT_TIME, live=True) as run:
        run.feed("left", record(1))
        run.advance(10 * SECOND_US)
        run.advance(8 * SECOND_US)
        assert run.output("out") == b""
        run.advance(1 * SECOND_US)
        assert run.output("out") == window(0, 1)


def test_what_is_due_by_arrival_closes_before_what_arrives_then(tmp_path: Path) -> None:
    """S16: also when both are found in the same turn."""
    text = """
version = 1
[source.left]
stdin = {}
[step.all]
window = { global = true, every = "10s" }
aggregate = { n = "count()" }
[sink.out]
stdout = {}
"""
    with lane_of(tmp_path, text) as run:
        run.feed("left", b"{}\n")
        run._now_ns += 10_000_000_000
        run._wall_us += 10 * SECOND_US
        run.feed("left", b"{}\n")
        assert b'"n":1' in run.output("out")


def test_a_window_that_waits_for_another_source_does_not_keep_the_lane_busy(
    tmp_path: Path,
) -> None:
    """One source's watermark has passed the end, the other's has not: nothing to do till then."""
    text = (TWO % EVENT_TIME).replace('unit = "s", idle = "10s"', 'unit = "s", idle = "never"', 1)
    text = text.replace('unit = "s", idle = "10s"', 'unit = "s", idle = "1ms"')
    with loaded(document_of(tmp_path, text)) as lane:
        lane.mail_chunk(0, 0, b"", b"", record(1))
        lane.mail_chunk(0, 1, b"", b"", record(100))
        for _ in range(3):
            lane.turn()
        ticks = lane.metrics()["ticks"]
        end_s = time.monotonic() + 1.5
        while time.monotonic() < end_s:
            lane.turn()
        assert lane.metrics()["ticks"] - ticks < 20


def test_a_window_of_arrival_time_that_never_opened_ends_with_its_input(tmp_path: Path) -> None:
    """After the end nothing is due any more: no cut follows the last one."""
    document = document_of(
        tmp_path,
        'version = 1\n[source.in]\nstdin = {}\n[step.n]\nwindow = { tumbling = "1s" }\n'
        'aggregate = { n = "count()" }\n[sink.out]\nstdout = {}\n',
    )
    document["sources"][0]["bounded"] = True
    with loaded(document, once=True) as lane:
        lane.set_clock(0, 0)
        lane.mail_end(0, 0)
        for _ in range(20):
            if lane.turn() == lib.LANE_ENDED:
                break
            for post in lane.posts():
                if post.kind == lib.POST_CUT:
                    lane.mail_committed(post.number)
        else:
            raise AssertionError("it goes on for ever")
