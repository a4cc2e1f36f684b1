"""`bettong replay`: do again what was captured, and say whether the same came of it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

import click

from appliance.errors import BettongError, EnvironmentFailure
from appliance.load import load
from appliance.plan.logical import Plan
from appliance.units import parse_duration
from appliance.worker import capture_form as form
from appliance.worker.replay import Outcome, Place, Replay

_UNTIL = '"5000" events, "12s", a time (RFC 3339), or bytes of a source: "readings:in.jsonl@12345".'


@click.command()
@click.argument("file")
@click.argument("flow", required=False)
@click.option("--until", metavar="WHEN", help=_UNTIL)
@click.option("--out", metavar="DIR", help="Write what each sink gets to DIR/SINK.")
def command(file: str, flow: str | None, until: str | None, out: str | None) -> int:
    """Replay a capture with its own copy of the flow, or with FLOW."""
    place = _place(until)
    enough = _until(None if place else until)
    with ExitStack() as stack:
        try:
            source = stack.enter_context(Path(file).open("rb"))
        except OSError as error:
            raise EnvironmentFailure(f"cannot read {file}: {error.strerror}") from error
        entries = form.read_entries(source)
        kind, packed = next(entries, (0, b""))
        if kind != form.HEAD:
            raise BettongError(f"{file} ends before the state that it would begin with")
        head = form.Head.unpack(packed)
        plan = stack.enter_context(_plan(head, flow))
        outputs = _outputs(stack, out, plan)
        replay = stack.enter_context(
            Replay(plan, head, lambda sink, data: _write(outputs, sink, data), enough, place)
        )
        return _say(replay.run(entries))


def _place(text: str | None) -> Place | None:
    """SOURCE@BYTES or SOURCE:PARTITION@BYTES."""
    where, at, position = (text or "").rpartition("@")
    if not at:
        return None
    if not position.isdecimal():
        raise click.BadParameter("behind the @ a number of bytes", param_hint="--until")
    source, _, partition = where.partition(":")
    return Place(source, partition, int(position))


def _until(text: str | None) -> Callable[[int, int], bool]:
    """Whether so many events, at this wall clock (microseconds), are enough."""
    if text is None:
        return lambda events, wall_us: False
    if text.isdecimal():
        count = int(text)
        return lambda events, wall_us: events >= count
    try:
        span_us = parse_duration(text)
    except ValueError:
        return _until_time(text)
    begun: list[int] = []

    def is_over(events: int, wall_us: int) -> bool:
        begun.append(wall_us) if not begun else None
        return wall_us >= begun[0] + span_us

    return is_over


def _until_time(text: str) -> Callable[[int, int], bool]:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(
            "a number of events, a duration, a time or SOURCE:PARTITION@BYTES", param_hint="--until"
        ) from error
    moment_us = int(moment.astimezone().timestamp() * 1e6)
    return lambda events, wall_us: wall_us >= moment_us


@contextmanager
def _plan(head: form.Head, flow: str | None) -> Iterator[Plan]:
    if flow is not None:
        yield _named(load([Path(flow)]), head.flow)
        return
    if all(_is_unchanged(Path(path), text) for path, text in head.files.items()):
        yield _named(load([Path(path) for path in head.files]), head.flow)
        return
    with tempfile.TemporaryDirectory(prefix="bettong-") as folder:
        yield _named(load(_unpack_files(head, Path(folder))), head.flow)


def _is_unchanged(path: Path, text: bytes) -> bool:
    return path.is_file() and path.read_bytes() == text


def _unpack_files(head: form.Head, folder: Path) -> list[Path]:
    """The flow files as they were, beside the user's Python files as they are."""
    paths = []
    for name, text in head.files.items():
        path = folder / Path(name).name
        path.write_bytes(text)
        paths.append(path)
        for module in Path(name).parent.glob("*.py"):
            if not (folder / module.name).exists():
                (folder / module.name).symlink_to(module)
    return paths


def _named(plans: list[Plan], name: str) -> Plan:
    for plan in plans:
        if plan.name == name:
            return plan
    raise BettongError(f"the capture is of a flow {name!r}, which is not there")


def _outputs(stack: ExitStack, out: str | None, plan: Plan) -> dict[str, IO[bytes]]:
    if out is None:
        return {}
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        return {name: stack.enter_context(Path(out, name).open("wb")) for name in plan.sinks}
    except OSError as error:
        raise EnvironmentFailure(f"cannot write to {out}: {error.strerror}") from error


def _write(outputs: dict[str, IO[bytes]], sink: str, data: bytes) -> None:
    if sink in outputs:
        outputs[sink].write(data)


def _say(outcome: Outcome) -> int:
    for line in outcome.logs:
        print(line, file=sys.stderr)
    for name, size, digest in outcome.sinks:
        print(f"{name}: {size} bytes, sha256 {digest.hex()}")
    print(f"{outcome.events} events in {outcome.entries} entries")
    if outcome.differs:
        print(f"DIFFERENT: {outcome.differs}")
        return 1
    if outcome.stopped:
        print("the same so far")
    elif not outcome.whole:
        print("the same up to where the capture is cut short; its state cannot be compared")
    elif not outcome.compared_state:
        print(f"the same results; the capture ended between cuts ({outcome.why}): no state")
    else:
        print("the same results and the same state")
    return 0
