"""How a run is doing, from its status document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from appliance.cli.doctor.finding import Finding, fault, ok, warning
from appliance.limits import DOCTOR_LISTED_MAX_COUNT, DOCTOR_SPOOL_AGE_S
from appliance.metrics.summary import size_words, time_words
from appliance.plan.logical import Plan

GROUP = "state"

#: What the ends of a flow say of themselves while they do not work.
_AWAY = ("failed", "pushing back")


def check_running(status: Mapping[str, Any], plans: Sequence[Plan] = ()) -> list[Finding]:
    """Workers, cuts, damage, sources and sinks. `plans`: the flows as they are now, if known."""
    every_us = {plan.name: plan.settings.commit_every_us for plan in plans}
    findings = [ok(GROUP, "run", f"{status['state']} as process {status['pid']}")]
    findings += [check_worker(worker) for worker in status["workers"]]
    for store in status.get("stores", ()):
        shortest = min(
            (every_us[flow] for flow in store["flows"] if flow in every_us), default=None
        )
        findings += check_cuts(store, shortest)
        findings += check_damage(store)
    for flow in status["flows"]:
        findings += [*check_flow(flow), *check_loss(flow)]
        findings += [check_source(flow["name"], end) for end in flow["sources"]]
        findings += [check_sink(flow["name"], end) for end in flow["sinks"]]
    return findings


def check_worker(worker: Mapping[str, Any]) -> Finding:
    """Whether it runs, and how often it had to be started again."""
    subject, restarts = f"worker {worker['name']}", worker["restarts"]
    if worker["state"] not in ("running", "finished"):
        remedy = "wait a moment; if it stays so, its log says why"
        found = f"is {worker['state']}" + f": {worker['reason']}" * bool(worker["reason"])
        return warning(GROUP, subject, found, remedy)
    if restarts:
        remedy = "the log says why it ended (`journalctl -u bettong` for the service)"
        times = f"{restarts} time{'s' * (restarts != 1)}"
        return warning(GROUP, subject, f"was started again {times}", remedy)
    return ok(GROUP, subject, f"{worker['state']}, never started again")


def check_cuts(store: Mapping[str, Any], every_us: int | None) -> list[Finding]:
    """Whether what is done is kept, in time. `every_us`: how often it should be."""
    subject = f"cuts of {', '.join(store['flows'])}"
    if store["disk_full"]:
        remedy = "make room: the flows go on by themselves then"
        return [fault(GROUP, subject, "the disk is full, nothing is committed", remedy)]
    last_us, longest_us = store["last_s"] * 1e6, store["longest_s"] * 1e6
    found = f"{store['cuts']:,} so far, the last in {time_words(last_us)}, "
    found += f"the longest {time_words(longest_us)}"
    if store["stretched_s"]:
        found += f"; the write budget has made them wait {time_words(store['stretched_s'] * 1e6)}"
    if every_us is not None and last_us > every_us:
        remedy = "see `doctor`'s lines on the disk; a longer `commit_every` asks less of it"
        found += f": longer than commit_every, {time_words(every_us)}"
        return [warning(GROUP, subject, found, remedy)]
    return [ok(GROUP, subject, found)]


def check_damage(store: Mapping[str, Any]) -> list[Finding]:
    """What was found damaged when the store was opened."""
    texts = [str(text) for text in store["damage"]]
    shown = texts[:DOCTOR_LISTED_MAX_COUNT]
    if len(texts) > len(shown):
        shown.append(f"and {len(texts) - len(shown)} more")
    remedy = "stop the run, keep a copy of the data folder, and look at it with `bettong fsck`"
    return [warning(GROUP, "damage", "; ".join(shown), remedy)] if texts else []


def check_flow(flow: Mapping[str, Any]) -> Iterator[Finding]:
    """Records set aside, and memory that is full."""
    name, memory = flow["name"], flow["memory"]
    if memory["waits"]:
        found = f"{size_words(memory['bytes'])} of {size_words(memory['limit'])}: its sources wait"
        remedy = "raise `settings.memory`, or see why its windows or results do not leave"
        yield warning(GROUP, f"memory of {name}", found, remedy)
    if flow["reasons"]:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in flow["reasons"].items())
        remedy = "`bettong status --json` has the last of them; a sink on `errors` keeps them all"
        yield warning(GROUP, f"records of {name}", f"set aside: {reasons}", remedy)


def check_loss(flow: Mapping[str, Any]) -> Iterator[Finding]:
    """What a power cut would cost now."""
    lossy = [end["name"] for end in flow["sources"] if end.get("guarantee") == "fire and forget"]
    if lossy:
        found = f"what {', '.join(lossy)} brought since the last cut, for nobody can be asked again"
        yield ok(GROUP, f"loss window of {flow['name']}", found)


def check_source(flow: str, end: Mapping[str, Any]) -> Finding:
    """Whether it can read."""
    subject = f"source {flow}.{end['name']}"
    if end.get("state") in _AWAY or not end.get("connected", True):
        words = end.get("state", "") if end.get("connected", True) else "not connected"
        remedy = "see whether the other side is there; it is tried again by itself"
        return warning(GROUP, subject, words, remedy)
    return ok(GROUP, subject, f"{end['records']:,} records")


def check_sink(flow: str, end: Mapping[str, Any]) -> Finding:
    """Whether it takes results, and what waits for it."""
    subject, spool = f"sink {flow}.{end['name']}", end.get("spool", {})
    found = f"{end['records']:,} results"
    if spool.get("bytes"):
        age_s = spool.get("age_s")
        found += f"; {size_words(spool['bytes'])} wait"
        found += f", the oldest for {time_words(age_s * 1e6)}" if age_s else ""
    given_up = spool.get("dropped", 0) + spool.get("damaged", 0)
    if given_up:
        found += f"; {given_up:,} blocks were given up"
    is_old = (spool.get("age_s") or 0) > DOCTOR_SPOOL_AGE_S
    if end.get("state") in _AWAY or not end.get("connected", True):
        remedy = "see whether the other side is there; what waits is sent by itself"
        return warning(GROUP, subject, f"does not take results: {found}", remedy)
    if given_up or is_old:
        remedy = "see `spool` of this sink (max_bytes, max_age), and how fast it takes results"
        return warning(GROUP, subject, found, remedy)
    return ok(GROUP, subject, found)
