"""What a user might write: the Python steps of generated flows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from appliance.plan.logical import PythonFunction


def doubled(event: Any) -> Any:
    return {**event, "v": event.v * 2}


def only_v(event: Any) -> Any:
    return event["v"]


def itself(event: Any) -> Any:
    return event


def some(event: Any) -> Any:
    """Nothing, many, or one."""
    v = event.get("v")
    if v is None:
        return None
    return [{"k": event.get("k"), "v": v}, v, None, event] if v == 1 else {"w": v}


def sized(event: Any) -> Any:
    return {"k": event.get("k"), "v": len(event.tags), "has": "w" in event}


class Pair(NamedTuple):
    k: Any
    v: Any


def pair(event: Any) -> Any:
    return Pair(event.get("k"), event.get("w"))


def tags(event: Any) -> Iterator[Any]:
    """Raises in the middle where a tag is no number."""
    for tag in event.tags:
        yield {"k": event.get("k"), "v": tag + 1}


def tag_list(event: Any) -> Any:
    return event.get("tags")


def is_big(event: Any) -> Any:
    return event.v > 1


def truth_of_w(event: Any) -> Any:
    return event.get("w")


@dataclass
class Seen:
    count: int = 0
    last: Any = None


def counting(state: Seen, event: Any) -> Any:
    """Changes its state before it may raise: the change stays (S3)."""
    state.count += 1
    before, state.last = state.last, event.get("v")
    return {"k": event.get("k"), "v": event.v + 0, "w": state.count, "before": before}


def every_second(state: dict[str, int], event: Any) -> Any:
    state["n"] = state.get("n", 0) + 1
    return event if state["n"] % 2 == 0 else None


class Meter:
    """A class is its own state: one instance a key (S11)."""

    def __init__(self) -> None:
        self.total = 0

    def on_event(self, event: Any) -> Any:
        self.total += event.get("v") or 1
        return {"k": event.get("k"), "v": self.total}


def told(state: Seen, event: Any, context: Any) -> Any:
    state.count += 1
    return {"k": context.key, "v": state.count, "w": context.time, "late": event.get("v")}


class Silence:
    """Says so when a key has been silent for three units of time (S11)."""

    def __init__(self) -> None:
        self.seen = 0

    def on_event(self, event: Any, context: Any) -> Any:
        self.seen += 1
        if event.get("w") is True:
            context.cancel()
        else:
            v = event.get("v")
            context.timer(after=3 if v is None or v is True or v < 1 else v)
        return event if self.seen == 1 else None

    def on_timer(self, context: Any) -> Any:
        seen, self.seen = self.seen, 0
        if seen == 3:
            context.timer(after=2)
        return {"k": context.key, "v": seen, "w": context.time, "n": 1 // (5 - seen)}


def function(target: Any) -> PythonFunction:
    return PythonFunction(f"functions.py:{target.__name__}", target)


#: Tables of flow files.
STEPS: list[dict[str, Any]] = [
    *({"python": function(one)} for one in (doubled, only_v, itself, some, sized, pair, tags)),
    *({"python": {"flat_map": function(one)}} for one in (tags, tag_list)),
    *({"python": {"filter": function(one)}} for one in (is_big, truth_of_w)),
    {"python": function(counting), "state": function(Seen)},
    {"python": function(every_second), "state": function(dict)},
    {"python": function(Meter)},
    {"python": function(told), "state": function(Seen)},
    {"python": function(Silence)},
]
