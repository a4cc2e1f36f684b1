"""What sources and sinks promise together, in one flow and over links."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.plan.explain import explain, explain_chains
from appliance.plan.logical import Plan, Settings
from appliance.plan.promises import between_cuts_us, promises
from unit.flows import read

INTERVAL = '[settings]\ncommit_every = "200ms"\n'
SINKS = {
    "exactly_once": 'file = { path = "out" }\n',
    "at_least_once": 'tcp = { connect = "h:1" }\ndelivery = "at_least_once"\n',
    "immediate": 'tcp = { connect = "h:1" }\n',
}


def plan_of(folder: Path, source: str, sink: str, settings: str = INTERVAL) -> Plan:
    text = f"version = 1\n{settings}[source.s]\n{source}\n[sink.out]\n{sink}"
    return read(folder, text)


@pytest.mark.parametrize(
    ("source_class", "delivery", "text", "loss_window_us", "latency_us"),
    [
        ("replayable", "exactly_once", "nothing lost, nothing twice", 0, 200_000),
        ("replayable", "at_least_once", "nothing lost, possibly twice", 0, 200_000),
        (
            "replayable",
            "immediate",
            "results of up to 200ms can come twice, or be lost with a peer",
            200_000,
            0,
        ),
        ("acknowledged", "exactly_once", "nothing lost, possibly twice", 0, 200_000),
        ("acknowledged", "at_least_once", "nothing lost, possibly twice", 0, 200_000),
        (
            "acknowledged",
            "immediate",
            "results of up to 200ms can come twice, or be lost with a peer",
            200_000,
            0,
        ),
        *(
            (
                "fire and forget",
                delivery,
                "what was received since the last cut, up to 200ms, can be lost",
                200_000,
                latency_us,
            )
            for delivery, latency_us in (
                ("exactly_once", 200_000), ("at_least_once", 200_000), ("immediate", 0),
            )
        ),
    ],
)  # fmt: skip
def test_a_promise_is_as_strong_as_both_ends(
    tmp_path: Path,
    source_class: str,
    delivery: str,
    text: str,
    loss_window_us: int,
    latency_us: int,
) -> None:
    plan = plan_of(tmp_path, 'tcp = { listen = "1" }', SINKS[delivery])
    (made,) = promises(plan, lambda source: source_class)
    assert (made.source, made.sink, made.delivery) == ("s", "out", delivery)
    assert (made.guarantee, made.loss_window_us) == (text, loss_window_us)
    assert made.latency_us == latency_us
    later = "up to 200ms later" if latency_us else "at once"
    assert made.text == f"{text}; {later}"
    if source_class == "fire and forget":  # as the plan's own source is
        assert f"  guarantee  s → out: {text}; {later}\n" in explain(plan)


def test_an_id_makes_an_acknowledged_source_exact(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from appliance.connect import source\n"
        "@source('own')\n"
        "class Own:\n    def committed(self, positions): ...\n    def read(self, max_bytes): ...\n"
        "    def open(self, positions): ...\n    def close(self): ...\n"
    )
    source = 'connector = { path = "own.py:Own" }'
    plain = explain(plan_of(tmp_path, source, SINKS["exactly_once"]))
    assert "s → out: nothing lost, possibly twice" in plain
    known = explain(plan_of(tmp_path, f'{source}\nid = "message"', SINKS["exactly_once"]))
    assert "s → out: nothing lost, nothing twice" in known
    assert "  id         message, known for 1h\n" in known


def test_a_write_budget_and_a_spool_that_gives_up_weaken_it(tmp_path: Path) -> None:
    budget = INTERVAL + 'write_budget = "1MiB"\n'
    sink = 'file = { path = "out" }\nspool = { when_full = "drop_oldest" }\n'
    shown = explain(plan_of(tmp_path, 'file = { path = "in" }', sink, budget))
    assert "a cut waits up to 1m for it" in shown
    promised = "nothing lost, nothing twice, while the spool has room; up to 120200ms later"
    assert promised in shown
    assert between_cuts_us(Settings(commit_every_us=5, write_budget_bytes=1)) == 120_000_005


BOX = """
version = 1
name = "{name}"
[settings]
commit_every = "{interval}"
[source.{source}]
{connector}
[sink.{sink}]
{to}
"""


def node(
    folder: Path, name: str, interval: str, source: tuple[str, str], sink: tuple[str, str]
) -> Plan:
    words = {"source": source[0], "connector": source[1], "sink": sink[0], "to": sink[1]}
    return read(folder, BOX.format(name=name, interval=interval, **words))


def link(port: int) -> tuple[str, str]:
    return f'upstream = {{ listen = "127.0.0.1:{port}" }}', (
        f'upstream = {{ to = "tcp://localhost:{port}" }}'
    )


def test_a_chain_promises_the_sum_of_its_hops(tmp_path: Path) -> None:
    (listen, to), (listen_on, to_on) = link(7701), link(7702)
    file = ("lines", 'file = { path = "in" }')
    box = node(tmp_path, "box", "200ms", file, ("up", to))
    bench = node(tmp_path, "bench", "2s", ("taken", 'udp = { listen = "1" }'), ("up", to))
    gateway = node(tmp_path, "gateway", "1s", ("boxes", listen), ("up", to_on))
    centre = node(tmp_path, "centre", "5s", ("all", listen_on), ("out", 'file = { path = "o" }'))
    assert explain_chains([centre, box, gateway, bench]).splitlines() == [
        "chains",
        "  box.lines → gateway → centre.out: nothing lost, nothing twice; up to 6200ms later",
        "  bench.taken → gateway → centre.out: "
        "what was received since the last cut, up to 2s, can be lost; up to 8s later",
    ]
    shown = node(tmp_path, "centre", "5s", ("all", listen_on), ("out", "stdout = {}"))
    assert explain_chains([gateway, shown]).splitlines()[1:] == [
        "  gateway.boxes → centre.out: "
        "results of up to 5s can come twice, or be lost with a peer; up to 1s later"
    ]


def test_flows_that_no_link_joins_are_no_chain(tmp_path: Path) -> None:
    listen, to = link(7701)
    box = node(tmp_path, "box", "1s", ("lines", 'file = { path = "in" }'), ("up", to))
    other = node(tmp_path, "other", "1s", ("boxes", link(7703)[0]), ("up", "stdout = {}"))
    assert explain_chains([box]) == explain_chains([box, other]) == ""
    first = node(tmp_path, "one", "1s", ("boxes", listen), ("up", "stdout = {}"))
    second = node(tmp_path, "two", "1s", ("boxes", listen), ("up", "stdout = {}"))
    assert explain_chains([box, first, second]) == "", "nobody knows which of them is meant"


def test_a_ring_of_links_ends(tmp_path: Path) -> None:
    (listen, to), (listen_back, to_back) = link(7701), link(7702)
    there = node(tmp_path, "there", "1s", ("in", listen_back), ("up", to))
    back = node(tmp_path, "back", "1s", ("in", listen), ("up", to_back))
    assert explain_chains([there, back]) == ""
