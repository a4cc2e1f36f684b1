"""The n-th read, write, sync, send or allocation of a worker fails: the output is exact all the
same, in the same run or, where that says why it ends, in the next; nothing hangs, and no user sees
a traceback.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from appliance import clock
from crash.images import build_shim
from integration.processes import BETTONG, PATIENCE_S, environment

FLOW = """
version = 1
name = "flow"
[settings]
commit_every = "1ms"
[source.lines]
file = { path = "in.jsonl" }
time = { field = "ts", unit = "s" }
[step.count]
key_by = "k"
window = { tumbling = "10s" }
aggregate = { n = "count()", last = "last(v)" }
[sink.out]
file = { path = "out.jsonl" }
[sink.copy]
from = "lines"
file = { path = "copy.jsonl" }
"""

LINES = "".join(
    f'{{"k":"key {n % 7} {"x" * (n % 40)}","ts":{n // 3},"v":{n}}}\n' for n in range(4000)
)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"), "fail_nth.c")


def prepare(folder: Path) -> None:
    folder.mkdir()
    (folder / "flow.toml").write_text(FLOW)
    (folder / "in.jsonl").write_text(LINES)


def run(folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BETTONG, "run", "flow.toml", "--once"],
        cwd=folder,
        env=environment() | more,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def outputs(folder: Path) -> tuple[str, str]:
    return (folder / "out.jsonl").read_text(), (folder / "copy.jsonl").read_text()


@pytest.mark.parametrize(
    ("kind", "first", "step"),
    [("read", 1, 1), ("write", 1, 1), ("sync", 1, 1), ("send", 1, 1)]
    + [("allocate", first, 6) for first in range(1, 7)],
)
def test_the_nth_operation_fails_and_the_output_is_exact(
    kind: str, first: int, step: int, shim: Path, quick_path: Path
) -> None:
    failing = {"LD_PRELOAD": str(shim), "FAIL_KIND": kind, "FAIL_MARK": str(quick_path / "mark")}
    prepare(quick_path / "sound")
    counted = quick_path / "count"
    ended = run(quick_path / "sound", **failing, FAIL_N="0", FAIL_COUNT=str(counted))
    assert ended.returncode == 0, ended.stderr
    expected = outputs(quick_path / "sound")
    total = int(counted.read_text())
    assert total, "the operations are seen"
    hit = 0
    for n in range(first, total + 1, step):
        folder = quick_path / f"run{n}"
        prepare(folder)
        mark = quick_path / f"mark{n}"
        begun_s = clock.monotonic_s()
        ended = run(folder, **failing | {"FAIL_N": str(n), "FAIL_MARK": str(mark)})
        hit += mark.exists()
        where = f"{kind} {n} of {total}, {clock.monotonic_s() - begun_s:.0f} s: {ended.stderr}"
        assert "Traceback" not in ended.stderr, where
        if ended.returncode:
            assert mark.exists() and ended.stderr.strip(), where
            ended = run(folder)
            assert ended.returncode == 0, f"{where}\nthen {ended.stderr}"
        # A record for which there is no memory is set aside, as every record that fails (S3).
        if kind != "allocate" or "set aside as errors" not in ended.stderr:
            assert outputs(folder) == expected, where
    assert hit, "some of them failed"
