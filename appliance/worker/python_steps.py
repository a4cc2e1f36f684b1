"""The user's functions, as the lane calls them.

Functions written in a flow file are loaded by path; a flow written in Python brings the objects
themselves. For each Python step the lane gets a dict, under the number that the program gives it:

    call            f(event), f(state, event[, context]), or a class's on_event
    arity           how many arguments it is called with
    state           makes the state of a new key
    encode, decode  the state as bytes and back
    state_bytes     about what a state takes in memory
    state_fields    what its stored form depends on, as text
    on_timer, on_timer_arity   a class's own, when it has one
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from appliance.errors import Fault, FlowError, Place
from appliance.native import address, lib
from appliance.plan.logical import Plan, PythonFunction, PythonStep
from appliance.user_module import import_by_path
from appliance.worker.state_codec import StateCodec, StateError

#: Names that ask for the context where a function would also do without it.
_CONTEXT_NAMES = ("context", "ctx")

_STATEFUL = ("stateful", "class")


def _event_class() -> Any:
    found: list[Any] = []
    lib.event_class(address(found))
    if not found:
        raise ImportError("the native module could not make the class of events")
    return found[0]


#: The class of events. `Event({"temp": 21.5}, device="a")` makes one, to test functions with.
Event: Any = _event_class()


def load_functions(plan: Plan, steps: Sequence[PythonStep]) -> list[dict[str, Any]]:
    """What the lane is given for the Python steps of a program, in the program's order.

    The lane borrows the list: the caller keeps it as long as the lane. Raises FlowError with every
    fault of every step.
    """
    entries: list[dict[str, Any]] = []
    faults: list[Fault] = []
    for step in steps:
        try:
            entries.append(load_step(step, plan.base))
        except FlowError as error:
            faults.extend(fault for fault in error.faults if fault not in faults)
    if faults:
        raise FlowError(faults)
    return entries


def load_step(step: PythonStep, base: str) -> dict[str, Any]:
    """One step's dict; `base` is the folder that the paths of references start from."""
    target = resolve(step.function, base)
    place = step.function.place
    if step.mode == "class":
        return _class_entry(target, step.function)
    if step.mode != "stateful":
        wanted = f"{_name(step.function)}(event)"
        return {"call": target, "arity": _arity(target, 1, 1, wanted, place)}
    assert step.state is not None, "a stateful step has a state"
    wanted = f"{_name(step.function)}(state, event)"
    entry = {"call": target, "arity": _arity(target, 2, 3, wanted, place)}
    return {**entry, **_state_entry(resolve(step.state, base), step.state.place)}


def resolve(function: PythonFunction, base: str) -> Any:
    """The object a reference names: FlowError when there is none that can be called."""
    if function.target is not None:
        return function.target
    path, _, name = function.reference.rpartition(":")
    if not path:
        raise _wrong(
            function.place,
            f'"{function.reference}" is not FILE.py:NAME',
            'write the file, a colon and the name: "score.py:Score"',
        )
    module = import_by_path(Path(base, path))
    target = getattr(module, name, None)
    if target is None:
        close = difflib.get_close_matches(name, dir(module), n=1)
        remedy = f"did you mean {close[0]!r}?" if close else ""
        raise _wrong(function.place, f"{path} has no {name!r}", remedy)
    if not callable(target):
        raise _wrong(function.place, f"{name} is a {type(target).__name__}, not a function")
    return target


def _class_entry(target: Any, function: PythonFunction) -> dict[str, Any]:
    """A class that is its own state: one instance a key."""
    name = _name(function)
    if not isinstance(target, type) or not callable(getattr(target, "on_event", None)):
        raise _wrong(
            function.place,
            f"{name} is not a class with on_event",
            "on_event(self, event) is called for each event",
        )
    wanted = f"{name}.on_event(self, event)"
    on_event = target.on_event  # type: ignore[attr-defined]
    entry = {"call": on_event, "arity": _arity(on_event, 2, 3, wanted, function.place)}
    on_timer = getattr(target, "on_timer", None)
    if callable(on_timer):
        wanted = f"{name}.on_timer(self, context)"
        entry["on_timer"] = on_timer
        entry["on_timer_arity"] = _arity(on_timer, 1, 2, wanted, function.place)
    return {**entry, **_state_entry(target, function.place)}


def _state_entry(factory: Callable[[], Any], place: Place) -> dict[str, Any]:
    try:
        codec = StateCodec(factory)
    except StateError as error:
        raise _wrong(place, str(error), error.remedy) from error
    return {
        "state": factory,
        "encode": codec.encode,
        "decode": codec.decode,
        "state_bytes": codec.size_bytes,
        "state_fields": codec.fields(),
    }


def _arity(target: Any, least: int, most: int, wanted: str, place: Place) -> int:
    """With how many arguments `target` is called, of `least` to `most`; the last is the context.

    It is given where it must be, or where the parameter is called so.
    """
    called = target if not inspect.isclass(target) else target.__init__
    if inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called):
        raise _wrong(place, f"{wanted} is async; a step's function is a plain one")
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # some built-ins tell nothing about themselves
        return least
    by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    has_any = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    needed = sum(p.default is p.empty for p in by_place)
    missing = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if missing or needed > most or (len(by_place) < least and not has_any):
        raise _wrong(place, f"it cannot be called as {wanted}", "see which arguments it takes")
    arity = max(needed, least)
    if arity < most and len(by_place) > arity and by_place[arity].name in _CONTEXT_NAMES:
        arity += 1
    return arity


def _name(function: PythonFunction) -> str:
    return function.reference.rpartition(":")[2]


def _wrong(place: Place, message: str, remedy: str = "") -> FlowError:
    return FlowError([Fault(place, message, remedy)])
