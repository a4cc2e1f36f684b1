"""What `bettong doctor` says of flows and of their state: running, still, damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliance.cli.doctor.command import subject
from appliance.cli.doctor.finding import Finding, Level, fault, ok, warning
from appliance.cli.doctor.flows import check_flows
from appliance.cli.doctor.report import document, lines
from appliance.cli.doctor.running import check_cuts, check_running
from appliance.cli.doctor.still import check_still
from appliance.layout import Layout
from appliance.worker.damage import DamageNotes, open_store

FLOW = """
version = 1
name = "{name}"
[source.in]
stdin = {{}}
[sink.out]
stdout = {{}}
"""


def levels(findings: list[Finding]) -> dict[str, str]:
    return {finding.subject: finding.level.value for finding in findings}


# ---- flows ----


def test_faults_of_flows_are_counted_and_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('version = 1\ntoken = "hunter2"\n')
    (tmp_path / "good.toml").write_text(FLOW.format(name="good"))
    found, loaded = check_flows([str(tmp_path / "bad.toml"), str(tmp_path / "good.toml")])
    assert [one.level for one in found] == [Level.FAULT, Level.OK]
    assert "hunter2" not in str(found)
    assert [plan.name for plan in loaded] == ["good"]


def test_two_flows_that_cannot_run_together(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(FLOW.format(name="same"))
    (tmp_path / "two.toml").write_text(FLOW.format(name="same"))
    found, _ = check_flows([str(tmp_path / "one.toml"), str(tmp_path / "two.toml")])
    assert [one.level for one in found] == [Level.OK, Level.OK, Level.FAULT]


# ---- state ----


def test_a_folder_that_nobody_has_used(tmp_path: Path) -> None:
    found = check_still(tmp_path / "data")
    assert levels(found.findings) == {"run": "ok"}


def test_a_sound_store_and_a_loss_that_nobody_has_accepted(tmp_path: Path) -> None:
    store = tmp_path / "state/shared"
    store.parent.mkdir()
    open_store(store).close()
    found = check_still(tmp_path)
    assert levels(found.findings) == {"run": "ok", "store shared": "ok"}
    assert found.examined.keys() == {"shared"}
    DamageNotes(store).add([("flow", "shard 3: its rows are lost")])
    found = check_still(tmp_path)
    assert found.findings[-1].level is Level.FAULT
    assert "shard 3" in found.findings[-1].found


def test_a_damaged_store(tmp_path: Path) -> None:
    store = tmp_path / "state/shared"
    store.parent.mkdir()
    open_store(store).close()
    (store / "data.mdb").write_bytes(bytes(8192))
    assert levels(check_still(tmp_path).findings)["store shared"] == "fault"
    assert (store / "data.mdb").read_bytes() == bytes(8192)


STORE: dict[str, Any] = {
    "flows": ["flow"], "cuts": 4, "bytes": 100, "last_s": 0.01, "longest_s": 0.02,
    "disk_full": False, "stretched_s": 0.0, "damage": [],
}  # fmt: skip


def status(**changes: Any) -> dict[str, Any]:
    """A run in which all is well, but for these parts of its flow's sink."""
    sink = {"name": "out", "records": 3, **changes}
    source = {"name": "in", "records": 3, "guarantee": "fire and forget"}
    memory = {"bytes": 1, "limit": 9, "memory_full": 0, "waits": False}
    flow = {"name": "flow", "sources": [source], "sinks": [sink], "reasons": {}, "memory": memory}
    worker = {"name": "shared", "state": "running", "reason": "", "restarts": 0}
    return {"state": "running", "pid": 1, "workers": [worker], "stores": [STORE], "flows": [flow]}


def test_a_run_in_which_all_is_well() -> None:
    found = check_running(status())
    assert {finding.level for finding in found} == {Level.OK}
    assert "sink flow.out" in levels(found)
    assert "loss window of flow" in levels(found)


@pytest.mark.parametrize(
    "sink",
    [
        {"state": "failed"},
        {"connected": 0},
        {"spool": {"bytes": 10, "blocks": 1, "dropped": 0, "damaged": 0, "age_s": 100_000}},
        {"spool": {"bytes": 0, "blocks": 0, "dropped": 2, "damaged": 0, "age_s": None}},
    ],
)
def test_a_sink_that_is_away(sink: dict[str, Any]) -> None:
    assert levels(check_running(status(**sink)))["sink flow.out"] == "warning"


def test_a_spool_that_has_just_begun_is_no_fault() -> None:
    spool = {"bytes": 10, "blocks": 1, "dropped": 0, "damaged": 0, "age_s": 3}
    found = {one.subject: one for one in check_running(status(spool=spool))}
    assert found["sink flow.out"].level is Level.OK
    assert "10 bytes wait, the oldest for 3 s" in found["sink flow.out"].found


def test_what_can_be_wrong_with_a_run(tmp_path: Path) -> None:
    found = status()
    found["workers"][0]["restarts"] = 2
    found["stores"] = [{**STORE, "disk_full": True, "damage": ["a", "b"]}]
    found["flows"][0]["memory"]["waits"] = True
    found["flows"][0]["reasons"] = {"decode": 7}
    found["flows"][0]["sources"][0]["state"] = "failed"
    assert {
        name: level for name, level in levels(check_running(found)).items() if level != "ok"
    } == {
        "worker shared": "warning",
        "cuts of flow": "fault",
        "damage": "warning",
        "memory of flow": "warning",
        "records of flow": "warning",
        "source flow.in": "warning",
    }


def test_a_cut_that_takes_longer_than_its_interval() -> None:
    assert check_cuts(STORE, 1_000_000)[0].level is Level.OK
    assert check_cuts({**STORE, "last_s": 2.0}, 1_000_000)[0].level is Level.WARNING


# ---- what is shown ----


def test_findings_are_lines_with_a_remedy_below() -> None:
    found = [ok("a", "b", "c"), warning("long", "d", "e", "f"), fault("g", "h", "i", "j")]
    assert list(lines(found)) == [
        "ok       a     b: c",
        "warning  long  d: e",
        "  = f",
        "fault    g     h: i",
        "  = j",
        "3 checks, 1 fault, 1 warning",
    ]
    assert list(lines(found[:1]))[-1] == "1 check, nothing to do"
    assert document(found)["faults"] == document(found)["warnings"] == 1


def test_where_nothing_is_named_the_service_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BETTONG_DATA", raising=False)
    layout = Layout(tmp_path / "root")
    assert subject((), None, layout) == ((), Path(".bettong"))
    layout.flows.mkdir(parents=True)
    assert subject((), None, layout) == ((), layout.data)
    (layout.flows / "flow.toml").write_text(FLOW.format(name="one"))
    assert subject((), None, layout) == ((str(layout.flows),), layout.data)
    assert subject(("x/f.toml",), None, layout) == (("x/f.toml",), Path("x/.bettong"))
    assert subject((), "here", layout) == ((), Path("here"))
    (tmp_path / ".bettong").mkdir()
    assert subject((), None, layout) == ((), Path(".bettong"))
