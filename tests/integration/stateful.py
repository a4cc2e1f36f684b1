"""A flow with every kind of state, a run of it that was stopped, and looks at what it left."""

from __future__ import annotations

import json
from pathlib import Path

from appliance.store import Store
from appliance.store.examine import FlowContents, examine
from appliance.worker.record import FlowRecord
from integration.processes import Running, eventually, running

FLOW = """
version = 1
name = "things"
[settings]
commit_every = "50ms"
[source.readings]
file = { path = "in.jsonl", follow = true }
time = { field = "ts", unit = "ms", idle = "never" }
[step.average]
from = "readings"
key_by = "device"
window = { tumbling = "10s" }
aggregate = { mean = "mean(temp)" }
[step.total]
from = "readings"
key_by = "device"
running = { n = "count()" }
[step.seen]
from = "readings"
key_by = "device"
python = "seen.py:seen"
state = "seen.py:Seen"
[sink.means]
from = "average"
file = { path = "means.jsonl" }
[sink.out]
from = "total"
file = { path = "out.jsonl" }
[sink.times]
from = "seen"
file = { path = "times.jsonl" }
"""

SEEN = """
class Seen:
    times: int = 0

def seen(state, event):
    state.times += 1
    return {"device": event.device, "times": state.times}
"""

COUNT = 40
OUTPUTS = ("means.jsonl", "out.jsonl", "times.jsonl")


def readings(start: int, end: int) -> str:
    """One reading a second, of five devices in turn."""
    return "".join(
        json.dumps({"device": f"d{n % 5}", "room": f"r{n % 3}", "ts": n * 1000, "temp": n % 7})
        + "\n"
        for n in range(start, end)
    )


def prepare(folder: Path, flow: str = FLOW) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "flow.toml").write_text(flow)
    (folder / "seen.py").write_text(SEEN)
    (folder / "in.jsonl").write_text("")


def append(folder: Path, start: int, end: int) -> None:
    with (folder / "in.jsonl").open("a") as file:
        file.write(readings(start, end))


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def run_until(folder: Path, count: int, *words: str, data: str = "data") -> Running:
    """Run until `out.jsonl` and `times.jsonl` have so many results, and stop; what it said."""
    with running(folder, "run", "flow.toml", "--data", data, *words) as flow:
        flow.wait_for(" running ")
        for name in ("out.jsonl", "times.jsonl"):
            eventually(lambda name=name: len(lines(folder / name)) >= count, f"{name}: {count}")  # type: ignore[misc]
        assert flow.stop() == 0
    return flow


def store_folder(folder: Path, data: str = "data", worker: str = "shared") -> Path:
    return folder / data / "state" / worker


def contents(folder: Path, data: str = "data", worker: str = "shared") -> FlowContents:
    """What the store of a run that has ended holds of the flow."""
    (flow,) = [flow for flow in examine(store_folder(folder, data, worker)).flows if flow.record]
    return flow


def record(folder: Path, data: str = "data", worker: str = "shared") -> FlowRecord:
    packed = contents(folder, data, worker).record
    assert packed is not None
    return FlowRecord.unpack(packed)


def forge_record(folder: Path, packed: bytes) -> None:
    """Put these bytes in the place of the flow's record, with checksums that hold."""
    from appliance.store import Commit

    store = Store.open(store_folder(folder))
    store.commit(Commit((), {"things": packed}, (), {}))
    store.close()


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file of a data folder but what the engine notes of its readers."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("lock", "lock.mdb")
    }
