"""Loading the functions of a flow, and keeping their states (S11)."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import Fault, FlowError, Place
from appliance.plan.logical import Plan, PythonFunction, PythonStep, Settings
from appliance.worker.python_steps import load_functions, load_step
from appliance.worker.state_codec import StateCodec, StateError

PAGE = Path(__file__).parents[2] / "docs/formats/python-state.md"


def step(target: Any, mode: str = "map", state: Any = None) -> PythonStep:
    kept = PythonFunction("here.py:state", state) if state is not None else None
    return PythonStep(mode, PythonFunction("here.py:f", target), kept)


def fault(target: Any, mode: str = "map", state: Any = None) -> Fault:
    with pytest.raises(FlowError) as raised:
        load_step(step(target, mode, state), ".")
    (only,) = raised.value.faults
    return only


@dataclass
class Total:
    n: int = 0


# ---- functions ----


def test_functions_are_loaded_by_path(tmp_path: Path) -> None:
    tmp_path.joinpath("steps.py").write_text(
        "import beside\n"
        "def f(event): return beside.X\n"
        "class State:\n"
        "    def __init__(self): self.n = 0\n"
        "def g(state, event): pass\n"
    )
    tmp_path.joinpath("beside.py").write_text("X = 5\n")
    steps = [
        PythonStep("map", PythonFunction("steps.py:f")),
        PythonStep("stateful", PythonFunction("steps.py:g"), PythonFunction("steps.py:State")),
    ]
    plan = Plan("p", Settings(), {}, {}, {}, base=str(tmp_path))
    plain, stateful = load_functions(plan, steps)
    assert plain["call"](None) == 5 and plain["arity"] == 1
    assert stateful["arity"] == 2
    state = stateful["state"]()
    state.n = 7
    assert stateful["decode"](stateful["encode"](state)).n == 7
    assert stateful["state_bytes"] > 0


def test_all_faults_of_all_steps_are_reported_at_once(tmp_path: Path) -> None:
    tmp_path.joinpath("steps.py").write_text("def score(event): pass\nx = 5\n")
    references = ["steps.py:scor", "missing.py:f", "steps.py:x", "nothing", "steps.py:scor"]
    steps = [PythonStep("map", PythonFunction(reference)) for reference in references]
    with pytest.raises(FlowError) as raised:
        load_functions(Plan("p", Settings(), {}, {}, {}, base=str(tmp_path)), steps)
    messages = [(fault.message, fault.remedy) for fault in raised.value.faults]
    assert messages[0] == ("steps.py has no 'scor'", "did you mean 'score'?")
    assert messages[1][0] == "there is no such file"
    assert messages[2][0] == "x is a int, not a function"
    assert messages[3][0] == '"nothing" is not FILE.py:NAME'
    assert len(messages) == 4


def test_a_fault_stands_at_its_place() -> None:
    place = Place("flow.toml", 3, 10, 'python = "nothing"')
    with pytest.raises(FlowError, match=re.escape("flow.toml:3:10")):
        load_step(PythonStep("map", PythonFunction("nothing", place=place)), ".")


@pytest.mark.parametrize(
    ("function", "arity"),
    [
        (lambda state, event: 0, 2),
        (lambda state, event, context: 0, 3),
        (lambda state, event, context=None: 0, 3),
        (lambda state, event, alpha=0.1: 0, 2),
        (lambda *arguments: 0, 2),
        (lambda state, event, *more, key=1: 0, 2),
    ],
)
def test_the_context_is_given_where_it_is_asked_for(
    function: Callable[..., Any], arity: int
) -> None:
    assert load_step(step(function, "stateful", Total), ".")["arity"] == arity


@pytest.mark.parametrize(
    "function", [lambda: 0, lambda a, b: 0, lambda event, *, key: 0, lambda *, event: 0]
)
def test_a_function_that_does_not_take_an_event_is_refused(function: Callable[..., Any]) -> None:
    assert fault(function).message == "it cannot be called as f(event)"


def test_builtins_and_objects_may_be_functions() -> None:
    class Scale:
        def __call__(self, event: Any) -> Any:
            return event

    for target in (dict, Scale(), str, min):
        assert load_step(step(target), ".")["arity"] == 1


def test_async_functions_are_refused() -> None:
    async def f(event: Any) -> None: ...

    async def g(event: Any) -> Any:
        yield event

    for function in (f, g):
        assert "a step's function is a plain one" in fault(function).message


class Beat:
    def __init__(self) -> None:
        self.n = 0

    def on_event(self, event: Any) -> None:
        self.n += 1

    def on_timer(self) -> None:
        self.n = 0


class Told(Beat):
    def on_event(self, event: Any, context: Any) -> None: ...  # type: ignore[override]

    def on_timer(self, context: Any) -> None: ...  # type: ignore[override]


def test_a_class_is_its_own_state() -> None:
    beat = load_step(step(Beat, "class"), ".")
    assert (beat["arity"], beat["on_timer_arity"]) == (2, 1)
    assert beat["call"] is Beat.on_event and beat["on_timer"] is Beat.on_timer
    told = load_step(step(Told, "class"), ".")
    assert (told["arity"], told["on_timer_arity"]) == (3, 2)
    assert type(told["decode"](told["encode"](told["state"]()))) is Told


def test_a_class_without_on_event_or_with_arguments_is_refused() -> None:
    class Needs(Beat):
        def __init__(self, limit: int) -> None:
            super().__init__()

    assert fault(Total, "class").message == "f is not a class with on_event"
    assert fault(Needs, "class").message.startswith("Needs() raised TypeError")
    assert "without arguments" in fault(Needs, "class").remedy


# ---- states ----


class Inner(msgspec.Struct):
    at: int
    note: str | None = None


@dataclass(slots=True)
class Declared:
    n: int = 0
    mean: float = 0.0
    last: deque[int] = field(default_factory=lambda: deque(maxlen=4))
    seen: set[str] = field(default_factory=set)
    pair: tuple[int, str] = (0, "")
    inner: Inner | None = None
    by_name: dict[str, Inner] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    lists: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))


class Plain:
    limit = 5

    def __init__(self) -> None:
        self.n = 0
        self.last: deque[int] = deque(maxlen=3)
        self.seen = {1}
        self.pair = (1, 2)
        self.total = Total(3)
        self.note = None

    def __eq__(self, other: object) -> bool:
        return type(other) is Plain and vars(other) == vars(self)


class Slots:
    __slots__ = ("n", "never", "words")
    n: int
    words: list[str]

    def __init__(self) -> None:
        self.n = 1
        self.words = []


def test_a_dataclass_comes_back_by_its_annotations() -> None:
    codec = StateCodec(Declared)
    state = codec.decode(codec.encode(Declared()))
    assert state == Declared() and state.last.maxlen == 4
    state.n, state.mean = 7, 2
    state.last.extend(range(6))
    state.seen.add("x")
    state.pair = (4, "p")
    state.inner = Inner(5, "i")
    state.by_name["a"] = Inner(6)
    state.counts.update("aab")
    state.lists["q"].append(1)
    again = codec.decode(codec.encode(state))
    assert again == state and list(again.last) == [2, 3, 4, 5]
    again.lists["new"].append(2)
    assert again.lists["new"] == [2]


def test_a_class_comes_back_by_what_it_has() -> None:
    codec = StateCodec(Plain)
    state = Plain()
    state.n, state.note = 5, "text"  # type: ignore[assignment]
    state.last.extend([1, 2, 3, 4])
    state.seen.add(2)
    state.total.n = 9
    state.added = [1]  # type: ignore[attr-defined]
    again = codec.decode(codec.encode(state))
    assert again == state and type(again.total) is Total and again.pair == (1, 2)
    assert again.last.maxlen == 3


def test_slots_come_back_but_for_those_that_are_not_set() -> None:
    codec = StateCodec(Slots)
    state = Slots()
    state.words.append("x")
    again = codec.decode(codec.encode(state))
    assert (again.n, again.words, hasattr(again, "never")) == (1, ["x"], False)


@pytest.mark.parametrize(
    ("factory", "fill"),
    [
        (dict, {"a": 1, 2: [3], (4, 5): None}),
        (list, [1, "x", None, {"a": []}]),
        (set, {1, "a"}),
        (lambda: deque(maxlen=3), [1, 2, 3]),
        (Counter, "aab"),
        (lambda: defaultdict(int), {"a": 1}),
        (OrderedDict, {"b": 1, "a": 2}),
        (bytearray, b"\x00\xff"),
    ],
    ids=["dict", "list", "set", "deque", "Counter", "defaultdict", "OrderedDict", "bytearray"],
)
def test_containers_come_back_in_their_own_kind(factory: Any, fill: Any) -> None:
    codec = StateCodec(factory)
    state = factory()
    (state.extend if hasattr(state, "extend") else state.update)(fill)
    again = codec.decode(codec.encode(state))
    assert again == state and type(again) is type(state)
    assert getattr(again, "maxlen", None) == getattr(state, "maxlen", None)
    assert getattr(again, "default_factory", None) == getattr(state, "default_factory", None)


@given(
    st.builds(
        Declared,
        n=st.integers(-(2**63), 2**63 - 1),
        mean=st.floats(allow_nan=False),
        last=st.builds(deque, st.lists(st.integers(0, 9), max_size=4), st.just(4)),
        seen=st.sets(st.text(max_size=4), max_size=4),
        pair=st.tuples(st.integers(0, 9), st.text(max_size=4)),
        inner=st.none() | st.builds(Inner, st.integers(0, 9), st.none() | st.text(max_size=4)),
        by_name=st.dictionaries(
            st.text(max_size=4), st.builds(Inner, st.integers(0, 9)), max_size=3
        ),
    )
)
def test_any_state_comes_back_as_it_was(state: Declared) -> None:
    codec = StateCodec(Declared)
    assert codec.decode(codec.encode(state)) == state


@dataclass(frozen=True)
class Frozen:
    n: int = 0


class FrozenStruct(msgspec.Struct, frozen=True):
    n: int = 0


@pytest.mark.parametrize(
    "factory", [int, float, str, bytes, tuple, frozenset, Frozen, FrozenStruct, lambda: None]
)
def test_states_that_cannot_change_are_refused(factory: Any) -> None:
    with pytest.raises(StateError, match="cannot be changed") as raised:
        StateCodec(factory)
    assert "use a dataclass" in raised.value.remedy


class Locked:
    def __init__(self) -> None:
        self.file = open  # a function has no form

    n = 0


@dataclass
class Wrong:
    n: int = "text"  # type: ignore[assignment]


@dataclass
class Forgets:
    n: int = 0

    def __post_init__(self) -> None:
        self.n += 1


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (
            Locked,
            "a state of type Locked cannot be stored: a builtin_function_or_method has no form",
        ),
        (Wrong, "a state of type Wrong cannot be stored: Expected `int`, got `str`"),
        (Forgets, "does not come back as it was"),
        (lambda: ONE, "the same dict would be the state of every key"),
        (lambda: 1 / 0, r"<lambda>\(\) raised ZeroDivisionError"),
    ],
)
def test_states_that_would_not_come_back_are_refused(factory: Any, message: str) -> None:
    """S11: encoded and decoded once when the flow is loaded."""
    with pytest.raises(StateError, match=message):
        StateCodec(factory)
    assert re.search(message, fault(lambda s, e: 0, "stateful", factory).message)


ONE: dict[str, int] = {}


# ---- the page of the format ----


@dataclass
class Page:
    """As it stands in docs/formats/python-state.md."""

    n: int = 0
    mean: float = 0.0
    last: deque[int] = field(default_factory=lambda: deque(maxlen=3))


def test_the_pages_example_is_what_is_written() -> None:
    state_text, row_text = re.findall(r"```hex\n(.*?)```", PAGE.read_text(), re.DOTALL)
    state = bytes.fromhex(re.sub(r"#.*", "", state_text))
    codec = StateCodec(Page)
    assert codec.encode(Page(2, 1.5, deque([7, 8], 3))) == state
    assert codec.decode(state) == Page(2, 1.5, deque([7, 8], 3))
    shard, key, stored, timer = msgspec.msgpack.decode(bytes.fromhex(re.sub(r"#.*", "", row_text)))
    assert 0 <= shard < 64 and msgspec.msgpack.decode(key) == "a"
    assert stored == state and timer == [60_000_000, 1]
