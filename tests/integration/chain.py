"""Three appliances on the loopback, box → gateway → centre, each in processes of its own."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from appliance.link.keys import Keys
from appliance.supervisor.admin import ask_status
from integration.processes import Running, eventually, is_alive, start
from unit.ports import free_port

BOX = """
version = 1
name = "box"
[settings]
commit_every = "20ms"
[source.readings]
file = {{ path = "in.jsonl", follow = true }}
time = {{ field = "ts", unit = "ms", idle = "never" }}
[step.average]
from = "readings"
key_by = "device"
window = {{ tumbling = "10s" }}
aggregate = {{ n = "count()", sum = "sum(temp)" }}
[sink.up]
upstream = {{ to = "tcp://127.0.0.1:{gateway}", name = "box"{box_keys} }}
from = "average"
"""

#: Lines of a file that go from one node to another as they are.
LINES_UP = """
version = 1
name = "box"
[settings]
{settings}
[source.lines]
file = {{ path = "in.txt", follow = true }}
format = "text"
[sink.up]
upstream = {{ to = "tcp://127.0.0.1:{port}", name = "box" }}
"""

#: What a node takes from others goes into a file.
TAKES = """
version = 1
name = "centre"
[settings]
commit_every = "20ms"
[source.boxes]
upstream = {{ listen = "tcp://127.0.0.1:{port}" }}
[sink.out]
file = {{ path = "out.jsonl" }}
"""

#: The same, and the lines are lines again.
LINES_TAKEN = TAKES.replace("out.jsonl", "out.txt") + 'format = {{ text = "{{line}}" }}\n'

#: A second way into the box, for clients that want no loss; what they send is passed on as it is.
TAKEN = """
[source.taken]
acknowledged_tcp = {{ listen = "127.0.0.1:{taken}" }}
[sink.taken]
from = "taken"
upstream = {{ to = "tcp://127.0.0.1:{gateway}", name = "box"{box_keys} }}
"""

GATEWAY = """
version = 1
name = "gateway"
[settings]
commit_every = "20ms"
[source.boxes]
upstream = {{ listen = "tcp://127.0.0.1:{gateway}"{gateway_listens} }}
[sink.up]
upstream = {{ to = "tcp://127.0.0.1:{centre}", name = "gateway" }}
"""

CENTRE = """
version = 1
name = "centre"
[settings]
commit_every = "20ms"
[source.gateways]
upstream = {{ listen = "tcp://127.0.0.1:{centre}" }}
[sink.file]
file = {{ path = "out.jsonl" }}
[sink.table]
sqlite = {{ path = "out.db", table = "averages" }}
"""

DEVICES = 4
STEP_MS = 2500  # between two readings of a device: four to a window
_BEGIN_MS = 1_700_000_000_000

Window = tuple[str, int, int, int]  # device, start, count, sum


def readings(first: int, count: int) -> str:
    """Rounds of readings from round `first` on, one a device each."""
    return "".join(
        json.dumps({"device": f"d{d}", "ts": _BEGIN_MS + i * STEP_MS, "temp": i * DEVICES + d})
        + "\n"
        for i in range(first, first + count)
        for d in range(DEVICES)
    )


def expected(rounds: int, begin: int = 0) -> dict[str, list[Window]]:
    """By device, the windows of `begin` to `rounds` that are over: their end has been reached."""
    found: dict[str, list[Window]] = {}
    for d in range(DEVICES):
        windows: dict[int, tuple[int, int]] = {}
        for i in range(begin, rounds):
            at = _BEGIN_MS + i * STEP_MS
            count, total = windows.get(at - at % 10_000, (0, 0))
            windows[at - at % 10_000] = count + 1, total + i * DEVICES + d
        newest = _BEGIN_MS + (rounds - 1) * STEP_MS
        name = f"d{d}"
        found[name] = [(name, w, *windows[w]) for w in sorted(windows) if w + 10_000 <= newest]
    return found


def by_device(rows: Iterable[Window]) -> dict[str, list[Window]]:
    """Windows in the order in which they came, by device."""
    found: dict[str, list[Window]] = {f"d{d}": [] for d in range(DEVICES)}
    for row in rows:
        found[row[0]].append(row)
    return found


class Node:
    """One appliance in a folder of its own."""

    def __init__(self, folder: Path, flow: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "flow.toml").write_text(flow)
        self.now: Running | None = None
        self.before: list[Running] = []

    def start(self, crash_at: str = "", data: str = "data") -> Running:
        """Start it; `crash_at`: the point at which it ends for good."""
        more = {"BETTONG_CRASH_AT": crash_at} if crash_at else {}
        self.now = start(self.folder, "run", "flow.toml", "--data", data, more=more)
        self.before.append(self.now)
        return self.now

    def is_dead(self, within_s: float) -> bool:
        """Whether it has crashed by then."""
        assert self.now is not None
        try:
            code = self.now.process.wait(within_s)
        except subprocess.TimeoutExpired:
            return False
        assert code == -9, self.now.log
        return True

    def kill(self) -> None:
        """As a power cut: without a word."""
        assert self.now is not None
        pids = [*self.now.worker_pids(), self.now.process.pid]
        self.now.process.kill()
        self.now.end()
        eventually(lambda: not any(map(is_alive, pids)), "its processes are gone")

    def said(self, words: str) -> list[str]:
        """The lines of all its logs with these words."""
        return [line for run in self.before for line in run.log if words in line]

    def end(self, role: str, name: str) -> dict[str, Any]:
        """What `status` says of one source or sink."""
        status = ask_status(self.folder / "data")
        assert status is not None, "it runs"
        (flow,) = status["flows"]
        (found,) = [end for end in flow[f"{role}s"] if end["name"] == name]
        assert isinstance(found, dict)
        return found

    def remove(self) -> None:
        for run in self.before:
            run.remove()


class Chain:
    """box → gateway → centre. `feed` appends to the file that the box follows; with `takes` clients
    reach the box at `address`; with `secured` box and gateway have keys.
    """

    def __init__(self, folder: Path, takes: bool = False, secured: bool = False) -> None:
        words = {name: str(free_port()) for name in ("gateway", "centre", "taken")}
        words |= {"box_keys": "", "gateway_listens": ""}
        self.secrets: list[str] = []
        if secured:
            keys = Keys(folder / "gateway" / "keys")
            key, token = keys.own().public.hex(), keys.new_token()
            self.secrets = [key, token]
            words["box_keys"] = f', keys = "keys", server_key = "{key}", token = "{token}"'
            words["gateway_listens"] = ', keys = "keys"'
        self.address = f"127.0.0.1:{words['taken']}"
        box = BOX + TAKEN if takes else BOX
        self.box = Node(folder / "box", box.format_map(words))
        self.gateway = Node(folder / "gateway", GATEWAY.format_map(words))
        self.centre = Node(folder / "centre", CENTRE.format_map(words))
        self.nodes = {"box": self.box, "gateway": self.gateway, "centre": self.centre}
        self.rounds = 0
        self.input = self.box.folder / "in.jsonl"
        self.input.touch()

    def feed(self, rounds: int = 8) -> None:
        with self.input.open("a") as out:
            out.write(readings(self.rounds, rounds))
        self.rounds += rounds

    def feed_until_dead(self, node: Node) -> None:
        """Results keep coming until the point is reached at which it ends."""
        for _ in range(60):
            self.feed()
            if node.is_dead(within_s=1.0):
                return
        raise AssertionError(f"it never reaches that point: {node.said('')}")

    def in_file(self) -> list[Window]:
        """The windows in the centre's file."""
        rows = [row for row in self._lines() if "device" in row]
        return [(row["device"], row["window_start"], row["n"], row["sum"]) for row in rows]

    def taken(self) -> list[int]:
        """The numbers of the clients' messages in the centre's file."""
        return [row["taken"] for row in self._lines() if "taken" in row]

    def _lines(self) -> list[dict[str, Any]]:
        path = self.centre.folder / "out.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def in_table(self) -> list[Window]:
        path = self.centre.folder / "out.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(path)) as connection:
            try:
                return list(
                    connection.execute(
                        "SELECT device, window_start, n, sum FROM averages "
                        "WHERE device IS NOT NULL ORDER BY rowid"
                    )
                )
            except sqlite3.OperationalError:  # nothing has come yet: there is no table
                return []

    def wait(self, reached: Callable[[], bool] | None = None) -> None:
        """Until the centre has as many windows as were fed, in both places."""
        count = sum(map(len, expected(self.rounds).values()))
        eventually(
            reached or (lambda: len(self.in_file()) >= count and len(self.in_table()) >= count),
            f"{count} windows",
        )

    def check(self) -> None:
        """What the centre has is exact: each window once, of each device in order."""
        assert by_device(self.in_file()) == expected(self.rounds)
        assert by_device(self.in_table()) == expected(self.rounds)

    def numbers(self) -> list[tuple[int, int]]:
        """Of the centre's table: the shard and the number of its last result."""
        with closing(sqlite3.connect(self.centre.folder / "out.db")) as connection:
            assert not list(connection.execute("SELECT * FROM _bettong_gaps"))
            return list(connection.execute("SELECT shard, number FROM _bettong_numbers"))


@contextmanager
def chain(folder: Path, start: bool = True, **more: bool) -> Iterator[Chain]:
    """A chain; whatever happens, its processes are gone afterwards."""
    made = Chain(folder, **more)
    try:
        if start:
            for node in made.nodes.values():
                node.start()
        yield made
    finally:
        for node in made.nodes.values():
            node.remove()
