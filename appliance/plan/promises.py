"""What a source and a sink promise together: what can be lost or come twice, and how much later a
result leaves than it was made. `explain` prints it from the plan, `status` of what runs.

A cut commits positions, state and results together, so all of this is told in intervals between
cuts: what no cut holds can be lost if it cannot be read again, or come twice if it has left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from appliance.limits import BUDGET_WAIT_MAX_S
from appliance.plan.logical import Plan, Settings, Sink, Source
from appliance.plan.surprises import sources_of
from appliance.units import duration_text

_LOST = "fire and forget"


class Promise(Struct, frozen=True):
    """Of one source and one sink. Durations in microseconds."""

    source: str
    sink: str
    source_class: str  # "replayable", "acknowledged" or "fire and forget"
    delivery: str
    guarantee: str
    loss_window_us: int  # of what came or left meanwhile, some can be lost
    latency_us: int  # at most so much later

    @property
    def text(self) -> str:
        """`nothing lost, nothing twice; up to 1s later`."""
        us = self.latency_us
        return f"{self.guarantee}; {f'up to {duration_text(us)} later' if us else 'at once'}"


class Chain(Struct, frozen=True):
    """A way through several flows, by links, with what it promises from end to end."""

    names: tuple[str, ...]
    promise: Promise


def promises(plan: Plan, class_of: Callable[[Source], str]) -> list[Promise]:
    """For each sink, in the order of the plan, one for each source that reaches it."""
    return [
        promise(plan.sources[name], [sink], class_of(plan.sources[name]), [plan.settings])
        for sink in plan.sinks.values()
        for name in sources_of(plan, sink.inputs)
    ]


def between_cuts_us(settings: Settings) -> int:
    """How long a record can be without a cut that holds it, on a disk that keeps up. A write budget
    makes a cut wait: the one under way, and then the one with the record."""
    waits_us = 0 if settings.write_budget_bytes is None else 2 * int(BUDGET_WAIT_MAX_S * 1e6)
    return settings.commit_every_us + waits_us


def promise(
    source: Source, sinks: Sequence[Sink], source_class: str, settings: Sequence[Settings]
) -> Promise:
    """What a source of this class and a sink promise together; `sinks` and `settings`: of each flow
    on the way, first that of the source."""
    sink = sinks[-1]
    intervals_us = list(map(between_cuts_us, settings))
    # What the other side sends again is known by its id: as good as what can be read again.
    is_exact = source_class == "replayable" or (
        source_class == "acknowledged" and source.id is not None
    )
    leaves_at_once = sink.delivery == "immediate"
    if source_class == _LOST:
        window_us = intervals_us[0]
        window = duration_text(window_us)
        text = f"what was received since the last cut, up to {window}, can be lost"
    elif leaves_at_once:
        window_us = intervals_us[-1]
        text = f"results of up to {duration_text(window_us)} can come twice, or be lost with a peer"
    else:
        window_us = 0
        is_exact = is_exact and sink.delivery == "exactly_once"
        text = "nothing lost, nothing twice" if is_exact else "nothing lost, possibly twice"
    if any(one.delivery != "immediate" and one.spool.when_full != "block" for one in sinks):
        text += ", while the spool has room"
    latency_us = sum(intervals_us[:-1] if leaves_at_once else intervals_us)
    return Promise(source.name, sink.name, source_class, sink.delivery, text, window_us, latency_us)


def chains(plans: Sequence[Plan], class_of: Callable[[Plan, Source], str]) -> list[Chain]:
    """The ways through flows that links join, from each first source to each last sink. A sink's
    link leads to the flow among `plans` that listens on its port, if there is just one."""
    listening: dict[str, list[tuple[Plan, Source]]] = {}
    for plan in plans:
        for source in plan.sources.values():
            if source.connector == "upstream":
                listening.setdefault(_port(source.options.get("listen")), []).append((plan, source))
    ways = [
        way
        for plan in plans
        for source in plan.sources.values()
        for way in _ways(plan, source, listening, ())
    ]
    # A way that begins at a link is the end of one that comes over it.
    led = {id(source) for way in ways for _, source, _ in way[1:]}
    found = []
    for way in ways:
        (first, source, _), (last, _, sink) = way[0], way[-1]
        if len(way) > 1 and id(source) not in led:
            names = (f"{first.name}.{source.name}", *(plan.name for plan, _, _ in way[1:-1]))
            sinks, settings = [one for _, _, one in way], [plan.settings for plan, _, _ in way]
            made = promise(source, sinks, class_of(first, source), settings)
            found.append(Chain((*names, f"{last.name}.{sink.name}"), made))
    return found


_Way = tuple[tuple[Plan, Source, Sink], ...]


def _ways(
    plan: Plan, source: Source, listening: Mapping[str, list[tuple[Plan, Source]]], before: _Way
) -> Iterable[_Way]:
    for sink in plan.sinks.values():
        if source.name not in sources_of(plan, sink.inputs):
            continue
        way = (*before, (plan, source, sink))
        following = listening.get(_port(sink.options.get("to")), [])
        if sink.connector != "upstream" or len(following) != 1:
            yield way
        elif all(following[0][1] is not one for _, one, _ in way):  # links may form a ring
            yield from _ways(*following[0], listening, way)


def _port(endpoint: object) -> str:
    """Of "tcp://host:port". A box has several names, so that the port alone is compared."""
    return str(endpoint).rpartition(":")[2]
