"""`make bench`: run the measures, print their table, write RESULTS.md.

    python benchmarks/run.py                 all of them
    python benchmarks/run.py sensors ema     only these; RESULTS.md is left as it is

Ends with 1 when a limit is missed or a measure could not be taken.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date

import durability
import link
import measures
import python_step
import results
from programs import HERE, ROOT
from results import Row

MEASURES: dict[str, Callable[[], Iterator[Row]]] = {
    "sensors": measures.sensors_by_file,
    "tcp": measures.sensors_by_socket,
    "ema": measures.ema,
    "celsius": measures.celsius,
    "step": python_step.python_step,
    "latency": measures.latency,
    "echo": measures.socket_to_socket,
    "start": measures.starting,
    "link": link.link,
    "cuts": durability.cuts,
    "pauses": durability.pauses,
    "disk": durability.disk,
    "passing": durability.passing,
    "restart": durability.restart,
    "memory": durability.memory,
}

PAGE = """\
# Benchmark results

    make bench

Taken on {machine}; commit {commit}, {date}.

{table}
CPU is user and system time of all processes of a side. What a run on a short input takes is taken
off, so that starting an interpreter does not count; its row stands by itself. Ours and the other
side run by turns, {rounds} rounds; a ratio is taken within a round and the table shows the median.
The inputs are made by `inputs.py`, the same on every machine, the C programs by the system's
compiler with -O3. A wall-clock figure depends on what else the machine does; the ratios hardly do.
"""


def take(names: list[str]) -> tuple[list[Row], list[str]]:
    """The rows of the measures, printed as they come, and the measures that failed."""
    rows, failed = [], []
    for name in names:
        print(f"… {name}", flush=True)
        try:
            for row in MEASURES[name]():
                print(f"  {' | '.join(row.cells())}", flush=True)
                rows.append(row)
        except (measures.NotComparable, subprocess.SubprocessError, OSError) as error:
            said = getattr(error, "stderr", None) or b""
            text = said.decode(errors="replace") if isinstance(said, bytes) else said
            print(f"  {name} could not be measured: {error}\n{text}", file=sys.stderr, flush=True)
            failed.append(name)
    return rows, failed


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the engine.")
    parser.add_argument(
        "measure", nargs="*", choices=[*MEASURES, []], help="all when none is named"
    )
    chosen = parser.parse_args().measure or list(MEASURES)
    rows, failed = take(chosen)
    table = results.table(rows)
    print(f"\n{table}")
    if len(chosen) == len(MEASURES) and not failed:
        page = PAGE.format(
            machine=results.machine(),
            commit=results.commit(ROOT),
            date=date.today().isoformat(),
            table=table,
            rounds=measures.ROUNDS,
        )
        results.write(HERE / "RESULTS.md", page)
    return 1 if failed or not all(row.is_within for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
