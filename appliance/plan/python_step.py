"""Reading the Python step of a table: which function, in which mode, and whether it can be called
so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from appliance.errors import Fault, Place
from appliance.plan.logical import PythonFunction, PythonStep
from appliance.plan.python_file import Found, look
from appliance.plan.table import Table, nearest, said

MODES = ("map", "flat_map", "filter")
EXAMPLE = '"score.py:score"'


def read_python(table: Table, base: str) -> PythonStep | None:
    """`python = "score.py:Score"`, `python = { flat_map = "words.py:words" }`, with `state` for a
    stateful one."""
    value = table.get("python")
    has_state = table.has("state")
    if value is None:
        if has_state:
            remedy = 'write python = "score.py:score" beside it'
            table.key_fault("state", "state: there is no python function to use it", remedy)
        return None
    mode = ""
    keys: tuple[str, ...] = ("python",)
    if isinstance(value, Mapping):
        if len(value) != 1 or next(iter(value)) not in MODES:
            _wrong_mode(table, value)
            return None
        ((mode, value),) = value.items()
        keys = ("python", mode)
    function, found = _function(table, value, base, keys)
    if function is None:
        return None
    state, state_found = None, None
    if has_state:
        state, state_found = _function(table, table.get("state"), base, ("state",))
    mode = _mode(table, mode, keys, function, found, has_state)
    if not mode or (has_state and state is None):
        return None
    if state is not None and state_found is not None:
        _check_state(table, state, state_found)
    return PythonStep(mode, function, state, table.place("python"))


def describe(target: Callable[..., Any]) -> Found:
    """What a live object is, in the same words as a look at its file."""
    import inspect  # only the Python API needs it

    if isinstance(target, type):
        methods = frozenset(name for name in dir(target) if callable(getattr(target, name, None)))
        return Found("class", 0, None, methods)
    if inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target):
        return Found("async")
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # some built-ins tell nothing about themselves
        return Found("unknown")
    by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    least = sum(p.default is p.empty for p in by_place)
    if any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
        least = len(by_place) + 1
    any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return Found("function", least, None if any_number else len(by_place))


def _wrong_mode(table: Table, value: Mapping[str, object]) -> None:
    remedy = f"write python = {EXAMPLE}, or {{ flat_map = {EXAMPLE} }}"
    if len(value) != 1:
        message = "python: exactly one of map, flat_map and filter was expected"
        table.value_fault("python", message, remedy)
        return
    word = str(next(iter(value)))
    if word == "stateful":
        remedy = f'write python = {EXAMPLE} and state = "score.py:State"'
    else:
        remedy = nearest(word, MODES)
    place = table.locator.key((*table.path, "python", word))
    table.fault(place, f"python: unknown mode {word!r}", remedy)


def _function(
    table: Table, value: object, base: str, keys: tuple[str, ...]
) -> tuple[PythonFunction | None, Found]:
    """The function at `keys`, and what is known of it; a fault and None when it cannot be had."""
    place = table.value_place(*keys)
    if isinstance(value, PythonFunction):
        assert value.target is not None
        return value, describe(value.target)
    if not isinstance(value, str):
        table.fault(place, f"{keys[0]}: a text such as {EXAMPLE} was expected, not {said(value)}")
        return None, Found("unknown")
    found = look(value, base, table.locator.content((*table.path, *keys), value) or place)
    if isinstance(found, Fault):
        table.faults.append(found)
        return None, Found("unknown")
    return PythonFunction(value, place=place), found


def _mode(
    table: Table,
    mode: str,
    keys: tuple[str, ...],
    function: PythonFunction,
    found: Found,
    has_state: bool,
) -> str:
    """The mode of the step, "" with a fault when the function does not fit."""
    name = function.reference.rpartition(":")[2]
    place = table.value_place(*keys)
    if found.kind == "async":
        table.fault(place, f"{name} is async; a step's function is a plain one")
        return ""
    if mode and has_state:
        remedy = f'write python = "{function.reference}" beside the state'
        table.key_fault("state", f"state: not together with {mode}", remedy)
        return ""
    if found.kind == "class" and not mode and not has_state:
        if "on_event" in found.methods or found.open_bases:
            return "class"
        table.fault(
            place,
            f"class {name} has no method on_event",
            "on_event(self, event) is called for each event",
        )
        return ""
    if has_state:
        if "on_event" in found.methods:
            table.key_fault(
                "state", f"state: class {name} keeps its own state", "leave `state` out"
            )
            return ""
        _check_arguments(table, place, name, found, 2, 3, f"{name}(state, event)")
        return "stateful"
    _check_arguments(table, place, name, found, 1, 1, f"{name}(event)")
    return mode or "map"


def _check_arguments(
    table: Table, place: Place, name: str, found: Found, low: int, high: int, wanted: str
) -> None:
    """Whether a function can be called with `low` to `high` positional arguments."""
    if found.kind != "function":
        return
    too_few = found.positional_max is not None and found.positional_max < low
    if too_few or found.positional_min > high:
        table.fault(place, f"{name} cannot be called as {wanted}", "see which arguments it takes")


def _check_state(table: Table, state: PythonFunction, found: Found) -> None:
    name = state.reference.rpartition(":")[2]
    if found.kind == "async":
        table.value_fault("state", f"state: {name} is async; it is called to make a new state")
    elif found.kind == "function" and found.positional_min > 0:
        remedy = "it makes the state of a new key, from nothing"
        table.value_fault("state", f"state: {name} cannot be called as {name}()", remedy)
