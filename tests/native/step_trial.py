"""Driving one Python step by itself: records in, what the function returned out."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgpack
import msgspec

from appliance.native import address, ffi, lib, read_packed
from appliance.worker.state_codec import StateCodec

PYTHON, LIMIT, SCHEMA = lib.REASON_PYTHON, lib.REASON_LIMIT, lib.REASON_SCHEMA
PAGE = Path(__file__).parents[2] / "docs/formats/python-state.md"
END_OF_INPUT = 2**63 - 1
Fault = tuple[int, str, str | None]


class Trial:
    """One Python step. `fields` names what is decoded into slots; `rest` keeps whole records.

    `out` are the fields that somebody wants of a result; None: the whole record.
    """

    def __init__(
        self,
        call: Callable[..., Any],
        fields: list[str] | None = None,
        *,
        mode: str = "map",
        out: list[list[Any]] | None = None,
        key: list[str] | None = None,
        hidden: list[str] | None = None,
        entry: Mapping[str, Any] | None = None,
        unit: str = "us",
        arrival: bool = False,
    ) -> None:
        names = fields or []
        rest = -1 if fields is not None else 40
        stateful = mode in ("stateful", "class")
        self.functions = [{"call": call, "arity": 2 if stateful else 1, **(entry or {})}]
        if key is not None:
            names = names + [name for name in key if name not in names]
        slots = {name: 1 + index for index, name in enumerate(names)}
        layout = {
            "entries": list(slots.items()),
            "rest": rest,
            "hidden": hidden or [],
            "unit": unit,
        }
        wanted = out or []
        results = {
            "entries": [[name, slot] for name, slot, *_ in wanted],
            "rest": 41 if out is None else -1,
            "hidden": [],
            "unit": unit,
        }
        document = {
            "slots": 64,
            "step": {"mode": mode, "function": 0, "arrival": arrival},
            "fields": [[name, slot, lib.TAG_MISSING, False] for name, slot in slots.items()],
            "rest": rest,
            "in": layout,
            "out": wanted,
            "out_rest": 41 if out is None else -1,
            "results": layout if mode == "filter" else results,
            "key": [slots[name] for name in key or []],
        }
        program = msgpack.packb(document)
        message = ffi.new("char[]", 256)
        self.step = lib.step_trial_new(program, len(program), address(self.functions), message, 256)
        self.message = ffi.string(message).decode()
        if self.step == ffi.NULL:
            raise ValueError(self.message)

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        holder = ffi.new("step_trial_t **", self.step)
        lib.step_trial_destroy(holder)

    def run(self, event: Mapping[str, Any], time_us: int = 0) -> list[Any]:
        packed = msgpack.packb(event, default=_time)
        lib.step_trial_run(self.step, packed, len(packed), time_us)
        return [record for _, record in self.emitted()]

    def emitted(self) -> list[Any]:
        """Pairs of time and record since the last call."""
        return self._take(lib.step_trial_take)

    def faults(self) -> list[Fault]:
        return [tuple(fault) for fault in self._take(lib.step_trial_take_faults)]

    def fault(self) -> Fault:
        (only,) = self.faults()
        return only

    def advance(self, now_us: int, arrival: bool = False) -> list[Any]:
        lib.step_trial_advance(self.step, now_us, arrival)
        return self.emitted()

    def due(self, arrival: bool = False) -> int | None:
        due: int = lib.step_trial_due(self.step, arrival)
        return None if due == END_OF_INPUT else due

    def freeze(self) -> int:
        rows = ffi.new("uint64_t *")
        assert lib.step_trial_freeze(self.step, rows)
        return int(rows[0])

    def encode(self, count: int = 1 << 30) -> bool:
        return bool(lib.step_trial_encode(self.step, count))

    def rows(self) -> list[Any]:
        return self._take(lib.step_trial_take_rows)

    def unsaved(self) -> tuple[int, str]:
        message = ffi.new("char **")
        count = int(lib.step_trial_unsaved(self.step, ffi.cast("const char **", message)))
        return count, ffi.string(message[0]).decode()

    def _take(self, function: Callable[..., int]) -> list[Any]:
        packed = read_packed(lambda out, size: function(self.step, out, size))
        unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=1 << 30)
        unpacker.feed(packed)
        return list(unpacker)


def _time(value: object) -> object:
    assert isinstance(value, datetime)
    us = (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return msgpack.ExtType(1, us.to_bytes(8, "big", signed=True))


def stored_time(us: int) -> msgpack.ExtType:
    return msgpack.ExtType(1, us.to_bytes(8, "big", signed=True))


def returning(result: object) -> Callable[[Any], Any]:
    return lambda event: result


Point = namedtuple("Point", "x y")


@dataclass(slots=True)
class Slotted:
    x: int
    y: Any = None


class Struct(msgspec.Struct):
    x: int
    y: Any = None


class Renamed(msgspec.Struct, rename="camel"):
    own_x: int


@dataclass(slots=True)
class Total:
    n: int = 0
    words: list[str] = field(default_factory=list)


def stateful(factory: Callable[[], Any], **more: Any) -> dict[str, Any]:
    codec = StateCodec(factory)
    return {
        "state": factory,
        "encode": codec.encode,
        "decode": codec.decode,
        "state_bytes": codec.size_bytes,
        **more,
    }


def add(state: Total, event: Any) -> dict[str, int]:
    state.n += event.x
    return {"n": state.n}


class Alarm:
    """Says how many events came, `after` its last one."""

    def __init__(self) -> None:
        self.n = 0

    def on_event(self, event: Any, context: Any) -> Any:
        self.n += 1
        if event.x == "cancel":
            return context.cancel()
        if event.x == "at":
            context.timer(at=event.at)
        else:
            context.timer(after=event.at)
        return None

    def on_timer(self, context: Any) -> dict[str, Any]:
        return {"key": context.key, "n": self.n, "time": context.time}


def alarm(cls: type = Alarm, **more: Any) -> Trial:
    entry = stateful(cls, arity=3, on_timer=cls.on_timer, on_timer_arity=2)  # type: ignore[attr-defined]
    return Trial(cls.on_event, ["x", "at"], mode="class", key=["k"], entry=entry, **more)  # type: ignore[attr-defined]
