"""What this version of the program writes, as a file for the tests of every later one:

    python -m integration.formats_written    (in tests/; makes formats/written-by-VERSION.tar.xz)

To be run with the last version before a format changes and with the first one after it, and
committed with the change. In the file are a data folder with state of every kind and results that
wait, its flow, an export of it and a capture of the flow.
"""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from appliance import __version__
from integration.processes import (
    BETTONG,
    PATIENCE_S,
    environment,
    eventually,
    run,
    running,
    status_of,
)

FOLDER = Path(__file__).resolve().parents[1] / "formats"

#: `waiting` has nobody to deliver to: its results stay in the spool.
FLOW = """
version = 1
name = "things"
[settings]
commit_every = "50ms"
[source.numbers]
generate = { rate = "100/s", fields = { n = "counter()", ts = "time()" } }
time = { field = "ts", unit = "ms" }
[step.named]
from = "numbers"
set = { device = 'n % 3' }
[step.total]
from = "named"
key_by = "device"
running = { count = "count()" }
[step.average]
from = "named"
key_by = "device"
window = { tumbling = "1h" }
aggregate = { mean = "mean(n)" }
[step.seen]
from = "named"
key_by = "device"
python = "seen.py:seen"
state = "seen.py:Seen"
[sink.totals]
from = "total"
file = { path = "totals.jsonl" }
[sink.times]
from = "seen"
file = { path = "times.jsonl" }
[sink.means]
from = "average"
file = { path = "means.jsonl" }
[sink.waiting]
from = "total"
tcp = { connect = "127.0.0.1:1" }
delivery = "at_least_once"
"""

SEEN = """
class Seen:
    times: int = 0

def seen(state, event):
    state.times += 1
    return {"device": event.device, "times": state.times}
"""

KEPT = (
    "flow.toml",
    "seen.py",
    "totals.jsonl",
    "times.jsonl",
    "means.jsonl",
    "data/state",
    "export",
    "capture",
)


def write(folder: Path) -> None:
    """Run the flow for a while, with a capture, and export what it leaves."""
    (folder / "flow.toml").write_text(FLOW)
    (folder / "seen.py").write_text(SEEN)
    with running(folder, "run", "flow.toml", "--data", "data") as flow:
        flow.wait_for(" running ")
        with subprocess.Popen(
            [*BETTONG, "capture", "flow.toml", "--data", "data", "--out", "capture"],
            cwd=folder, stderr=subprocess.PIPE, env=environment(),
        ) as capture:  # fmt: skip
            assert capture.stderr is not None and b"capturing" in capture.stderr.readline()
            so_far = events(folder)
            eventually(lambda: events(folder) > so_far + 20, "20 events")
            capture.send_signal(signal.SIGINT)
            assert capture.wait(PATIENCE_S) == 0
        assert flow.stop() == 0
    exported = run(folder, "export", "export", "--data", "data")
    assert exported.returncode == 0, exported.stderr


def events(folder: Path) -> int:
    return int(status_of(folder, "--data", "data")["events"])


def main() -> int:
    target = FOLDER / f"written-by-{__version__}.tar.xz"
    with tempfile.TemporaryDirectory() as name, tarfile.open(target, "w:xz") as archive:
        folder = Path(name)
        write(folder)
        for kept in KEPT:
            for path in [folder / kept, *sorted((folder / kept).rglob("*"))]:
                if path.is_file() and path.name != "lock.mdb":
                    data = path.read_bytes()
                    entry = tarfile.TarInfo(str(path.relative_to(folder)))
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
    print(f"{target}: {target.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
