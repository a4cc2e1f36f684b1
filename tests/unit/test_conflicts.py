"""Flows that are right by themselves and must not run together: said before anything is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import FlowError
from appliance.load import load

STDIN = "stdin = {}"


def flow(folder: Path, name: str, source: str, *sinks: str) -> Path:
    """A flow file with these ends."""
    ends = "".join(f'[sink.s{n}]\nfrom = "in"\n{sink}\n' for n, sink in enumerate(sinks))
    path = folder / f"{name}.toml"
    path.write_text(f"version = 1\n[source.in]\n{source}\n{ends}")
    return path


def messages(*paths: Path) -> list[str]:
    try:
        load(paths)
    except FlowError as error:
        assert all(one.place.line > 0 for one in error.faults)
        return [one.message for one in error.faults]
    return []


def out(path: str) -> str:
    return f'file = {{ path = "{path}" }}'


def test_two_sinks_of_a_flow_cannot_write_one_file(tmp_path: Path) -> None:
    path = flow(tmp_path, "a", STDIN, out("x.json"), out("y.json"), out("./x.json"))
    assert messages(path) == ["sink s0 of a writes ./x.json too"]


def test_nor_can_two_flows_of_a_run_by_whatever_name(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    one, two = flow(tmp_path, "a", STDIN, out("x")), flow(tmp_path, "b", STDIN, out("link/x"))
    assert messages(one) == messages(two) == []
    assert messages(one, two) == ["sink s0 of a writes link/x too"]


def test_devices_can_be_written_by_many(tmp_path: Path) -> None:
    assert messages(flow(tmp_path, "a", STDIN, out("/dev/null"), out("/dev/null"))) == []


@pytest.mark.parametrize(
    ("source", "sink", "is_read"),
    [
        ('file = { path = "in.json" }', "in.json", True),
        ('file = { path = "in.json", follow = true }', "in.json", True),
        ('file = { path = "in.json" }', "out.json", False),
        ('file = { glob = "*.json" }', "out.json", True),
        ('file = { glob = "*.json" }', "out/x.json", False),
        ('file = { glob = "*.json" }', "out.csv", False),
        ('file = { glob = "**/*.json" }', "out/deep/x.json", True),
    ],
)
def test_a_sink_cannot_write_what_a_source_reads(
    tmp_path: Path, source: str, sink: str, is_read: bool
) -> None:
    """With --once the input would be replaced before a byte of it was read."""
    expected = [f"this sink writes {sink}, which source in of a reads"] if is_read else []
    assert messages(flow(tmp_path, "a", source, out(sink))) == expected


def test_a_flow_may_follow_what_another_writes(tmp_path: Path) -> None:
    writer = flow(tmp_path, "a", STDIN, out("log.json"))
    reader = flow(tmp_path, "b", 'file = { path = "log.json", follow = true }', out("x"))
    bounded = flow(tmp_path, "c", 'file = { path = "log.json" }', out("y"))
    assert messages(writer, reader) == []
    assert messages(writer, bounded) == ["this sink writes log.json, which source in of c reads"]


def test_two_sinks_cannot_store_in_one_table(tmp_path: Path) -> None:
    one, two = (f'sqlite = {{ path = "x.db", table = "{table}" }}' for table in ("t", "u"))
    assert messages(flow(tmp_path, "a", STDIN, one, two)) == []
    again = 'sqlite = { path = "./x.db", table = "T" }'
    assert messages(flow(tmp_path, "b", STDIN, one, again)) == [
        "sink s0 of b writes the table T of the same file too"
    ]


def test_an_address_has_one_listener(tmp_path: Path) -> None:
    one = flow(tmp_path, "a", 'tcp = { listen = "127.0.0.1:9000" }', "blackhole = {}")
    two = flow(tmp_path, "b", 'tcp = { listen = "9000" }', "blackhole = {}")
    three = flow(tmp_path, "c", 'udp = { listen = "9000" }', "blackhole = {}")
    assert messages(one, two, three) == ["source in of a listens at 9000 too"]
    four = flow(tmp_path, "f", 'acknowledged_tcp = { listen = "9000" }', "blackhole = {}")
    assert messages(two, four) == ["source in of b listens at 9000 too"]
    any_one = flow(tmp_path, "d", 'tcp = { listen = "0" }', "blackhole = {}")
    any_two = flow(tmp_path, "e", 'tcp = { listen = "0" }', "blackhole = {}")
    assert messages(any_one, any_two) == []
