"""Box → gateway → centre: whatever is killed on the way, the centre has each result once."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from appliance import points
from appliance.client import Client
from appliance.supervisor.admin import ask_status
from integration.chain import chain, expected
from integration.processes import PATIENCE_S, run

#: Where the hand-over can be cut off. The longer form ends it at every point there is, also when it
#: is reached for the third time.
STAGES = [
    "epoch.after", "freeze.before", "freeze.after", "commit.before", "commit.after",
    "release.after", "ack.after", "send.before", "send.after", "trim.before", "trim.after",
]  # fmt: skip
if os.environ.get("BETTONG_SOAK") == "1":
    STAGES = [
        f"{point}:{count}"
        for count in (1, 3)
        for point in points.POINTS
        if not point.startswith(("create", "merge")) and (count == 1 or point[:5] != "epoch")
    ]


def test_an_undisturbed_chain_delivers_each_window_once(tmp_path: Path) -> None:
    with chain(tmp_path) as three:
        three.feed(400)
        three.wait()
        three.check()
        total = sum(map(len, expected(three.rounds).values()))
        assert sum(number for _, number in three.numbers()) == total
        assert three.gateway.end("source", "boxes")["counts"].get("lost", 0) == 0


def test_clients_and_two_sinks_of_one_flow_over_encrypted_links(tmp_path: Path) -> None:
    """Windows and what clients send go over a link each; the box is killed in between."""
    with chain(tmp_path, takes=True, secured=True) as three, Client(three.address, "press") as up:
        for n in range(2000):
            up.send(b'{"taken":%d}' % n)
        three.feed()
        up.flush(PATIENCE_S)
        three.box.kill()
        for n in range(2000, 4000):
            up.send(b'{"taken":%d}' % n)
        three.feed()
        three.box.start()
        up.flush(PATIENCE_S)
        three.wait(lambda: len(three.taken()) >= 4000)
        three.wait()
        three.check()
        assert three.taken() == list(range(4000))
        assert three.gateway.end("source", "boxes")["counts"].get("lost", 0) == 0
        shown = json.dumps(ask_status(three.box.folder / "data"))
        shown += run(three.box.folder, "explain", "flow.toml").stdout.decode()
        assert '"spool": {' in shown and 'token = "…"' in shown
        assert not [secret for secret in three.secrets if secret in shown]
        assert set(three.box.end("sink", "up")["spool"]) >= {
            "bytes", "blocks", "dropped", "damaged", "age_s",
        }  # fmt: skip
        assert not three.gateway.said("is refused") and not three.gateway.said("another place")


@pytest.mark.parametrize("name", ["box", "gateway", "centre"])
def test_a_node_killed_at_every_stage_of_the_hand_over(name: str, tmp_path: Path) -> None:
    """It goes on after each, and is killed again at the next."""
    with chain(tmp_path, start=False) as three:
        for other in three.nodes:
            if other != name:
                three.nodes[other].start()
        node = three.nodes[name]
        for stage in STAGES:
            node.start(crash_at=stage)
            three.feed_until_dead(node)
        node.start()
        three.feed()
        three.wait()
        three.check()
        for each in three.nodes.values():
            assert not each.said("gap") and not each.said("new history"), each.said("")
        total = sum(map(len, expected(three.rounds).values()))
        assert sum(number for _, number in three.numbers()) == total
