"""An acknowledged source that names its ids: a worker that dies again and again, the other side
that sends again, and a file that has everything once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from integration.processes import eventually, is_alive, running, status_of, worker_pid

MESSAGES = 3000

#: Sends what no cut has acknowledged, and a good deal of what one has.
OWN = """
import time
from pathlib import Path
from appliance.connect import Chunk, Messages, source

@source("own")
class Own(Messages):
    end: int

    def open(self, positions):
        acked = Path("acked")
        self.at = max((int(acked.read_text()) if acked.exists() else 0) - 500, 0)

    def read(self, max_bytes):
        if self.at == self.end:
            time.sleep(0.01)
            return None
        time.sleep(0.01)  # no more than a cut or two at a time
        before, self.at = self.at, min(self.at + 20, self.end)
        data = [b'{"id":"message %d","n":%d}' % (n, n) for n in range(before, self.at)]
        return Chunk(data, str(self.at).encode())

    def committed(self, positions):
        fresh = Path("acked.new")
        fresh.write_text(positions[""].decode())
        fresh.replace("acked")

    def close(self):
        pass
"""

FLOW = f"""
version = 1
name = "ids"
[settings]
commit_every = "5ms"
[source.own]
connector = {{ path = "own.py:Own", end = {MESSAGES} }}
id = "id"
[step.numbers]
select = ["n"]
[sink.out]
file = {{ path = "out.jsonl" }}
"""


def test_nothing_is_lost_and_nothing_comes_twice(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text(FLOW)
    (tmp_path / "own.py").write_text(OWN)
    out = tmp_path / "out.jsonl"
    with running(tmp_path, "run", "flow.toml") as flow:
        for start in range(1, 4):
            flow.wait_for(" running ", start)
            size = out.stat().st_size if out.exists() else 0
            eventually(lambda size=size: out.stat().st_size > size, "some more is written")
            worker = worker_pid(flow)
            os.kill(worker, signal.SIGKILL)
            eventually(lambda worker=worker: not is_alive(worker), "the worker is dead")
        wanted = "".join(f'{{"n":{n}}}\n' for n in range(MESSAGES))
        eventually(lambda: out.stat().st_size >= len(wanted), "all of it is there")
        assert out.read_text() == wanted
        assert status_of(tmp_path)["flows"][0]["sources"][0]["repeated"] > 0
        assert flow.stop() == 0
