"""A worker's main thread: it starts everything, carries post between the lane and the threads
around it, obeys the supervisor, and ends when the lane has ended.

Signals do nothing here: Ctrl-C in a terminal reaches every process of the group, but whether to
stop is the supervisor's decision, which comes over the control channel. A worker whose supervisor
has gone drains and ends; if the supervisor dies without a word, the kernel ends the worker too.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from appliance import points
from appliance.errors import EXIT_DONE, EXIT_ENVIRONMENT, EXIT_FAILED, BettongError, FlowError
from appliance.limits import (
    DESCRIPTOR_MAX_COUNT,
    FLOW_TEXTS_MAX_BYTES,
    GIL_SWITCH_S,
    STOP_GRACE_S,
)
from appliance.logs import LogFormat, Logger
from appliance.parent import die_with
from appliance.worker.control import Channel, ChannelClosed
from appliance.worker.job import Job

if TYPE_CHECKING:
    from appliance.worker.loading import LoadedFlow


def main(arguments: Sequence[str]) -> NoReturn:
    """`worker CONTROL_FD PAGE_FD SUPERVISOR_PID`: run the job that comes over the channel."""
    control_fd, page_fd, supervisor = (int(argument) for argument in arguments)
    os.set_inheritable(control_fd, False)  # programs that user code starts must not hold them open
    os.set_inheritable(page_fd, False)
    _calm_signals()
    die_with(supervisor)
    _ask_for_descriptors()
    channel = Channel(socket.socket(fileno=control_fd))
    code = EXIT_FAILED
    try:
        code = _run(channel, page_fd)
    except BettongError as error:
        _tell(channel, "failed", code=error.code, text=str(error), faults=_faults(error))
        code = error.code
    except ChannelClosed:
        code = EXIT_FAILED
    except MemoryError:
        _tell(channel, "failed", code=EXIT_ENVIRONMENT, text="the worker ran out of memory")
        code = EXIT_ENVIRONMENT
    except Exception:
        text = "this is a mistake of ours:\n" + traceback.format_exc()
        _tell(channel, "failed", code=EXIT_FAILED, text=text)
    sys.stdout.flush()
    sys.stderr.flush()
    # A user's connector may still sit in a call of its own on a daemon thread; the interpreter's
    # shutdown would pull the ground from under it. Everything of ours is joined and closed by now.
    os._exit(code)


def _calm_signals() -> None:
    """Handlers that do nothing, rather than SIG_IGN, which programs of user code would inherit."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))


def _ask_for_descriptors() -> None:
    """As many as a source can have files or connections, or as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTOR_MAX_COUNT
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _tell(channel: Channel, kind: str, **fields: Any) -> None:
    """Say it and see it off; a supervisor that has gone needs no words."""
    try:
        channel.send(kind, **fields)
        channel.drain(STOP_GRACE_S)
    except ChannelClosed:
        return


def _receive_job(channel: Channel) -> Job:
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    while True:
        poll.poll()
        messages = channel.receive()
        if not messages:
            continue
        assert messages[0].pop("kind") == "job", "the first message is the job"
        if len(messages) > 1:  # told to stop before anything has begun
            raise ChannelClosed("stopped")
        return Job.unpack(messages[0])


def _run(channel: Channel, page_fd: int) -> int:
    job = _receive_job(channel)
    log_format: LogFormat = "json" if job.log_format == "json" else "human"
    log = Logger("worker", log_format, job.log_level)
    sys.setswitchinterval(GIL_SWITCH_S)
    sys.stdout = sys.stderr  # a print() of user code must not stand among a sink's records
    # Loading takes most of a start and says most of what can be wrong; only then is a lane made.
    from appliance.worker.loading import check_flows, load_plans, open_flows

    plans, own, texts = load_plans(job)
    if job.check:
        _tell_loaded(channel, plans, own, texts)
        channel.send("checked", flows=check_flows(job, [*plans, *own]))
        _tell(channel, "ended", result="nothing")
        return EXIT_DONE
    if not job.only and not job.restart:
        # The first worker of a run, before any other: their stores are nobody's yet.
        from appliance.worker.moving import move_flows

        names = [plan.name for plan in plans], [plan.name for plan in own]
        move_flows(Path(job.store).parent, *names, log)
    _tell_loaded(channel, plans, own, texts)
    job = replace(job, texts=texts)
    if not plans:
        _tell(channel, "ended", result="nothing")
        return EXIT_DONE
    from appliance.store import DiskFull
    from appliance.worker.damage import open_store
    from appliance.worker.lane import Lane
    from appliance.worker.mailroom import Mailroom
    from appliance.worker.recovery import held_back, recover
    from appliance.worker.user_logs import adopt_user_logs

    lane = Lane(page_fd)
    lane.end_before_cut(points.count_at("freeze.before"))
    flows: list[LoadedFlow] = []
    try:
        store = open_store(Path(job.store))
        # A bounded run is one job: recovery refuses it as a whole.
        held = {} if job.once else held_back(store, plans, job)
        if held:
            plans = [plan for plan in plans if plan.name not in held]
            _tell_loaded(channel, plans, own, texts, held)
        if not plans:
            store.close()
            _tell(channel, "ended", result="nothing")
            return EXIT_DONE
        flows = open_flows(job, plans, lane)
        adopt_user_logs(log)  # all user code is loaded now
        recovered = recover(store, flows, lane, job, log)
    except BettongError as error:
        for flow in flows:
            flow.open.close()
        if not isinstance(error, DiskFull):
            raise
        # What there is can be gone on with once there is room; a new store is not waited for.
        is_known = Path(job.store).exists()
        _tell(channel, "failed", code=error.code, text=str(error), waits=is_known)
        return error.code
    code = Mailroom(job, lane, channel, log, flows, store, recovered).run()
    log.finish()
    lane.destroy()
    store.close()
    return code


def _tell_loaded(
    channel: Channel,
    plans: list[Any],
    own: list[Any],
    texts: dict[str, Any],
    held: Mapping[str, list[str]] = MappingProxyType({}),
) -> None:
    """What will run and what is held back, and of which texts; those stay here when they are too
    large for a message."""
    size = sum(len(text.encode()) for text in texts.values() if text is not None)
    channel.send(
        "loaded",
        flows=[_described(plan) for plan in plans],
        own=[plan.name for plan in own],
        held=dict(held),
        texts=texts if size <= FLOW_TEXTS_MAX_BYTES else {},
    )


def _faults(error: BettongError) -> list[str]:
    """Each fault of flow files as one line, for the log."""
    if not isinstance(error, FlowError):
        return []
    return [
        f"{fault.place}: {fault.message}" + (f" ({fault.remedy})" if fault.remedy else "")
        for fault in error.faults
    ]


def _described(plan: Any) -> dict[str, Any]:
    """What the supervisor needs to know of a flow to watch over it."""
    return {"name": plan.name, "step_timeout_us": plan.settings.step_timeout_us}
