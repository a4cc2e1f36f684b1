"""A plan in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.plan.explain import explain
from appliance.plan.needs import fields_decoded
from appliance.plan.shape import Shapes
from appliance.plan.signature import address_signature
from unit.flows import SINK, SOURCE, read

FLOW = """\
version = 1
name = "line-monitor"

[source.readings]
file = { path = "in.jsonl" }
time = { field = "ts", unit = "ms", late = "2s" }

[step.hot]
where = 'status == "ok" and (temp > 15)'
set = { f = "temp*1.8+32" }

[step.avg]
key_by = ["device", "lower( kind )"]
window = { hopping = "10s", every = "1s", late_policy = "drop" }
aggregate = { n = "count()", mean = "mean(f, where=f>0)" }
having = "n > 3"

[step.score]
python = "score.py:score"
state = "score.py:State"

[sink.cloud]
where = "score > 0.9"
tcp = { connect = "127.0.0.1:9100" }
format = { text = "{device}: {score}" }
spool = { max_bytes = "1MiB", when_full = "drop_oldest", resend_rate = "30/m" }

[sink.keep]
file = { path = "out.jsonl" }

[sink.bad]
from = "errors"
stdout = {}
"""

EXPECTED = """\
flow line-monitor
  cuts       every 1s
  on error   to the error output
  memory     128MiB
  worker     shared
  timeout    30s for a call of a user's function
  clock      of the box
  writes     as many as it takes
  damage     stops the flow

source readings
  connector  file  path = "in.jsonl"
  class      replayable (it can be read again from any position)
  format     json, lines of at most 1MiB
  time       ts in ms, late 2s, idle 10s, at most 1d ahead
  decodes    device, kind, status, temp, ts

step hot · native
  from       readings
  where      status == "ok" and temp > 15
  set        f = temp * 1.8 + 32

step avg · native
  from       hot
  key by     device, lower(kind)
  window     hopping 10s every 1s, late records dropped
  aggregate  n = count()
  aggregate  mean = mean(f, where = f > 0)
  having     n > 3

step score · Python
  from       avg
  key        device, lower(kind)
  python     stateful score.py:score
  state      score.py:State

sink cloud
  from       score
  where      score > 0.9
  connector  tcp  connect = "127.0.0.1:9100"
  format     text "{device}: {score}", lines
  delivery   immediate (leaves at once)
  spool      at most 1MiB and 7d, when full drop oldest, resent at 30/m
  guarantee  readings → cloud: results of up to 1s can come twice, or be lost with a peer; at once

sink keep
  from       score
  connector  file  path = "out.jsonl"
  format     json, lines
  delivery   exactly once (leaves after the cut, numbered)
  guarantee  readings → keep: nothing lost, nothing twice; up to 1s later

sink bad
  from       errors
  connector  stdout
  format     json, lines
  delivery   immediate (leaves at once)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "score.py").write_text(
        "class State: pass\n"
        "def score(state, event): return dict(event)\n"
        "def narrow(event): return event.a + event['b']\n"
        "def wide(event): return dict(event)\n"
    )
    return tmp_path


def test_the_whole_text(folder: Path) -> None:
    assert explain(read(folder, FLOW)) == EXPECTED


def test_the_text_is_the_same_every_time(folder: Path) -> None:
    assert len({explain(read(folder, FLOW)) for _ in range(5)}) == 1


def test_details_stand_with_what_they_are_about(folder: Path) -> None:
    text = explain(read(folder, SOURCE + SINK), {"readings": ["5 slots"], "": ["the end"]})
    assert "  5 slots\n\nsink out" in text
    assert text.endswith("\nthe end\n")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('tcp = { listen = "1" }', "class      fire and forget"),
        ('file = { path = "x" }', "class      replayable"),
        ('connector = { path = "own.py:Replay" }', "class      replayable"),
        ('connector = { path = "own.py:Acknowledged" }', "class      acknowledged"),
        ('connector = { path = "own.py:Plain" }', "class      fire and forget"),
        ('stdin = {}\nformat = { csv = { delimiter = ";" } }', 'delimiter = ";"), lines of'),
        ('stdin = {}\nformat = "raw"', "raw, u32 of at most 1MiB"),
        ('stdin = {}\nframe = { delimiter = "\\u0000" }', "between '\\x00' of at most"),
        ('udp = { listen = "1" }', "one message at a time"),
        (
            'stdin = {}\ntime = { idle = "never", when_idle = "hold" }',
            "never idle, holds when idle",
        ),
        ('stdin = {}\nschema = { a = "int?" }', "schema     a int?"),
    ],
)
def test_sources(folder: Path, text: str, line: str) -> None:
    (folder / "own.py").write_text(
        "@source('plain')\nclass Plain:\n    def read(self, limit): pass\n"
        "    def open(self, positions): pass\n    def close(self): pass\n"
        "class Acknowledged(Plain):\n    def committed(self, positions): pass\n"
        "class Replay(Plain):\n    def replayable(self): return True\n"
    )
    sink = "[sink.out]\nblackhole = {}\n"
    assert line in explain(read(folder, f"version = 1\n[source.s]\n{text}\n{sink}"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('select = { a = "b+1", c = "c" }', "select     a = b + 1, c"),
        ('drop = ["a", "b"]', "drop       a, b"),
        ('each = "items"', "each       items"),
        ('key_by = "a"\nnull_key = true', "key by     a, null is a key"),
        ('running = { n = "ema(x, 0.1)" }', "key        one for all\n  running    n = ema(x, 0.1)"),
        ('running = { n = "count()" }', "order      sensitive"),
        ('python = { flat_map = "score.py:wide" }', "python     flat map score.py:wide"),
        ('window = { tumbling = "1m", offset = "-1s" }\naggregate = { n = "count()" }',
         "window     tumbling 1m, offset -1s"),
        ('window = { global = true, every = "1s" }\naggregate = { n = "count()" }',
         "window     global, every 1s"),
    ],
)  # fmt: skip
def test_steps(folder: Path, text: str, line: str) -> None:
    assert line in explain(read(folder, f"{SOURCE}[step.one]\n{text}\n{SINK}"))


def test_secrets_are_not_shown(folder: Path) -> None:
    """Not in `explain`, and not in the signature that stands in the store and in refusals."""
    (folder / "own.py").write_text(
        "@source('r')\nclass Replay:\n    mqtt_password: str\n    tls: dict\n"
        "    def open(self, positions): pass\n    def close(self): pass\n"
        "    def read(self, limit): pass\n    def replayable(self): return True\n"
    )
    key = "ab" * 32
    own = 'connector = { path = "own.py:Replay", mqtt_password = "psst", tls = { token = "psst" } }'
    sink = f'to = "tcp://h:1", server_key = "{key}", token = "psst", keys = "keys"'
    text = f"version = 1\n[source.s]\n{own}\n[sink.out]\nupstream = {{ {sink} }}\n"
    plan = read(folder, text)
    shown = explain(plan)
    assert "psst" not in shown and key not in shown
    assert 'server_key = "…", token = "…", keys = "keys"' in shown
    assert 'mqtt_password = "…", tls = { token = "…" }' in shown
    signature = address_signature(plan.sources["s"])
    assert "psst" not in signature and "own.py:Replay" in signature


# ---- what is decoded ----


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", None),
        ('select = ["b", "a"]', ["a", "b"]),
        ('where = "x > 1"\nselect = { c = "a.b + _arrival" }', ["a", "x"]),
        ('set = { a = "b" }\nrunning = { n = "count()" }', None),
        ('key_by = "k"\nwindow = { tumbling = "1s" }\naggregate = { n = "sum(v, where = w)" }',
         ["k", "v", "w"]),
        ('python = { map = "score.py:narrow" }', ["a", "b"]),
        ('python = { map = "score.py:wide" }', None),
        ('each = "items"\nselect = ["items", "id"]', ["id", "items"]),
    ],
)  # fmt: skip
def test_only_what_is_used_is_decoded(folder: Path, text: str, fields: list[str] | None) -> None:
    plan = read(folder, f"{SOURCE}[step.one]\n{text}\n{SINK}")
    assert fields_decoded(plan, Shapes(plan)) == {"readings": fields}


def test_late_records_leave_whole(folder: Path) -> None:
    text = SOURCE + '[step.w]\nwindow = { tumbling = "1s" }\naggregate = { n = "count()" }\n' + SINK
    plan = read(folder, text + '[sink.late]\nfrom = "w.late"\nblackhole = {}\n')
    assert fields_decoded(plan, Shapes(plan)) == {"readings": None}


def test_a_template_names_what_a_sink_needs(folder: Path) -> None:
    plan = read(folder, SOURCE + SINK + 'format = { text = "{a} {b}" }\n')
    assert fields_decoded(plan, Shapes(plan)) == {"readings": ["a", "b"]}


def test_a_schema_is_decoded_whole(folder: Path) -> None:
    text = SOURCE + 'schema = { b = "int", a = "int" }\n[step.s]\nselect = ["a"]\n' + SINK
    plan = read(folder, text)
    assert fields_decoded(plan, Shapes(plan)) == {"readings": ["b", "a"]}


def test_a_users_source_of_messages_has_nothing_to_frame(folder: Path) -> None:
    verbs = "open = read = close = None"
    bases = {"A": "Messages", "B": "connect.Messages", "C": "object"}
    (folder / "mine.py").write_text(
        "".join(f"class {name}({base}):\n    {verbs}\n" for name, base in bases.items())
    )
    for name, base in bases.items():
        source = f'[source.mine]\nconnector = {{ path = "mine.py:{name}" }}\n'
        frame = read(folder, "version = 1\n" + source + SINK).sources["mine"].frame
        assert frame.kind == ("lines" if base == "object" else "none")
