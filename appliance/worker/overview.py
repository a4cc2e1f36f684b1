"""What `status` says of a worker: counters of its lane, cuts, sources and sinks, and what they
promise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import asdict

from appliance import clock, connect
from appliance.limits import STATUS_ERRORS_MAX_BYTES
from appliance.store import Store
from appliance.worker.committer import Committer
from appliance.worker.inbox import SourceThread
from appliance.worker.lane import Lane
from appliance.worker.loading import LoadedFlow
from appliance.worker.opening import OpenEnd
from appliance.worker.senders import SenderThread
from appliance.worker.sinks import SinkThread

_Place = tuple[int, int]


class Overview(Struct, frozen=True):
    """Of one lane and what stands around it. `sources`, `sinks` and `senders`: the threads there
    are, by the numbers of flow and end."""

    lane: Lane
    flows: Sequence[LoadedFlow]
    store: Store
    committer: Committer
    sources: Mapping[_Place, SourceThread]
    sinks: Mapping[_Place, SinkThread]
    senders: Mapping[_Place, SenderThread]
    begun_s: float = field(default_factory=clock.monotonic_s)

    def words(self) -> dict[str, Any]:
        """As the supervisor is told."""
        return {
            "flows": [flow.name for flow in self.flows],
            "metrics": self.lane.metrics(),
            "errors": self._last_errors(),
            "ends": list(self._ends()),
            "promises": [one for flow in self.flows for one in _promises(flow)],
            "store": self._store_words(),
        }

    def _store_words(self) -> dict[str, object]:
        """How the cuts are getting on. Seconds and bytes; `bytes_a_day` at the present pace."""
        stats, store = self.committer.stats, self.store.stats()
        ran_s = clock.monotonic_s() - self.begun_s
        return {
            **asdict(stats),
            "bytes_a_day": round(stats.bytes / ran_s * 86_400) if ran_s > 1 else None,
            "used_bytes": store.used_bytes,
            "spool_bytes": store.spool_bytes,
            "damage": [found.text for found in self.store.damage],
        }

    def _last_errors(self) -> list[dict[str, Any]]:
        """The newest that fit into an answer together."""
        errors = self.lane.last_errors()
        room = STATUS_ERRORS_MAX_BYTES
        for index in range(len(errors) - 1, -1, -1):
            room -= len(repr(errors[index]))
            if room < 0:
                return errors[index + 1 :]
        return errors

    def _ends(self) -> Iterator[dict[str, object]]:
        for number, flow in enumerate(self.flows):
            for end in flow.open.sources:
                words: dict[str, object] = {"role": "source"}
                words["guarantee"] = connect.guarantee(end.connector)
                words["connects"] = end.native is not None and end.native.kind == "connect"
                yield words | _end_words(end, self.sources.get((number, end.index)))
            for end in flow.open.sinks:
                at = number, end.index
                thread = self.sinks.get(at) or self.senders.get(at)
                yield {"role": "sink"} | _end_words(end, thread)


def _end_words(
    end: OpenEnd, thread: SourceThread | SinkThread | SenderThread | None
) -> dict[str, object]:
    words: dict[str, object] = {
        "flow": end.flow,
        "name": end.name,
        "kind": end.kind,
        "label": end.label,
    }
    if thread is not None:
        words["state"], words["trouble"] = thread.state, thread.trouble
    if isinstance(end.connector, connect.Telling):
        words["counts"] = dict(end.connector.counts())
    if isinstance(thread, SenderThread):
        words["spool"] = thread.spool_words()
    return words


def _promises(flow: LoadedFlow) -> list[dict[str, object]]:
    """What each source and sink of this flow promise together. Durations in seconds."""
    from appliance.plan.promises import promises

    plan = flow.open.plan
    connectors = {end.name: end.connector for end in flow.open.sources}
    return [
        {
            "flow": plan.name,
            "source": one.source,
            "sink": one.sink,
            "class": one.source_class,
            "delivery": one.delivery,
            "guarantee": one.guarantee,
            "loss_window_s": one.loss_window_us / 1e6,
            "latency_s": one.latency_us / 1e6,
            "text": one.text,
        }
        for one in promises(plan, lambda source: connect.guarantee(connectors[source.name]))
    ]
