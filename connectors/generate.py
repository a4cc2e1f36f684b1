"""A generator: records made up by rule, for demos, tests and measurements.

    generate = { rate = "200/s", fields = { device = "choice(100)", temp = "normal(20, 5)" } }

The same seed gives the same records, however they are cut into chunks; a position is the number of
records made, and going there takes no longer than starting. (Only `time()` is what the clock says.)
"""

from __future__ import annotations

import ast
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from appliance import clock
from appliance.connect import Chunk, EndOfInput, Rate, source
from appliance.limits import GENERATE_SLICE_MAX_COUNT, GENERATE_SLICE_S, READ_WAIT_MAX_S

#: The random numbers begin anew every so many records, from the seed and the number of the block:
#: so any position is reached by making less than one block.
BLOCK_COUNT = 1024

_TIME_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}

_Make = Callable[[random.Random, int], Any]


@source("generate")
class GenerateSource:
    """Make `count` records (without it: endlessly), `rate` a second (without it: as fast as
    wanted).

    `fields` says how each field is made:

    - `choice("a", "b")` one of these; `choice(100)` the field's name with a number below 100
    - `int(1, 6)` a whole number, both ends included; `uniform(0, 1)` a number between them
    - `normal(20, 5)` a number around 20, of standard deviation 5; a third argument is its decimals
    - `counter()` 0, 1, 2, …; `counter(start, step)`
    - `time()` the clock in milliseconds; `time("us")`, `time("s")`
    """

    fields: Mapping[str, str]
    rate: Rate | None = None
    count: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError('fields is empty; say for example fields = { n = "counter()" }')
        if self.count is not None and self.count < 0:
            raise ValueError(f"count is {self.count}; it must not be negative")
        self._makers = [(name, _maker(name, text)) for name, text in self.fields.items()]
        self._random = random.Random()
        self._encoder = msgspec.json.Encoder()
        self._made = 0
        self._block = -1
        self._begun_s = 0.0
        self._begun_at = 0
        self._never = threading.Event()

    def bounded(self) -> bool:
        return self.count is not None

    def replayable(self) -> bool:
        return not any(text.strip().startswith("time") for text in self.fields.values())

    def open(self, positions: Mapping[str, bytes]) -> None:
        self._made = self._begun_at = int(positions.get("", b"0"))
        self._begun_s = clock.monotonic_s()
        self._block = -1

    def read(self, limit: int) -> Chunk | None:
        if self.count is not None and self._made >= self.count:
            raise EndOfInput
        due = self._due()
        if due == 0:
            return None
        return Chunk(self._make(due, limit), position=b"%d" % self._made)

    def close(self) -> None:
        """Nothing is open."""

    def _due(self) -> int:
        """How many records to make now; waits a little when none is due."""
        due = GENERATE_SLICE_MAX_COUNT
        if self.rate is not None:
            due = self._behind()
            if due == 0:
                next_s = (self._made + 1 - self._begun_at) / self.rate + self._begun_s
                wait_s = max(next_s - clock.monotonic_s(), GENERATE_SLICE_S)
                self._never.wait(min(wait_s, READ_WAIT_MAX_S))
                due = self._behind()
        left = due if self.count is None else self.count - self._made
        return min(due, left, GENERATE_SLICE_MAX_COUNT)

    def _behind(self) -> int:
        assert self.rate is not None
        now = clock.monotonic_s()
        behind = int((now - self._begun_s) * self.rate) - (self._made - self._begun_at)
        if behind > max(self.rate, GENERATE_SLICE_MAX_COUNT):
            # More than a second behind: the flow pushes back. The rate is a wish, not a debt.
            self._begun_s, self._begun_at = now, self._made
            return 1
        return behind

    def _make(self, count: int, limit: int) -> bytes:
        """`count` records, or fewer when they are `limit` bytes long; at least one."""
        if self._block < 0:
            self._seek()
        out = bytearray()
        line = bytearray()
        for _ in range(count):
            if self._made // BLOCK_COUNT != self._block:
                self._start_block(self._made // BLOCK_COUNT)
            number = self._made
            record = {name: make(self._random, number) for name, make in self._makers}
            self._encoder.encode_into(record, line)
            line += b"\n"
            out += line
            self._made += 1
            if len(out) + len(line) > limit:
                break
        return bytes(out)

    def _seek(self) -> None:
        """Bring the random numbers to where the record `_made` takes them up."""
        self._start_block(self._made // BLOCK_COUNT)
        for number in range(self._block * BLOCK_COUNT, self._made):
            for _, make in self._makers:
                make(self._random, number)

    def _start_block(self, block: int) -> None:
        self._block = block
        self._random.seed(self.seed * 0x1_0000_0000 + block)


def _maker(name: str, text: str) -> _Make:
    """The function that makes one field. ValueError when the text does not say one."""
    if not isinstance(text, str):
        raise ValueError(f'{name}: a text such as "int(1, 6)" was expected, not {text!r}')
    kind, arguments = _call(name, text)
    build = _KINDS.get(kind)
    if build is None:
        raise ValueError(f"{name}: there is no {kind!r}; there are: {', '.join(_KINDS)}")
    try:
        return build(name, *arguments)
    except TypeError as error:
        raise ValueError(f"{name}: {text!r} has wrong arguments") from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _call(name: str, text: str) -> tuple[str, list[Any]]:
    """`"normal(20, 5)"` as a name and literal arguments; nothing is evaluated but literals."""
    wrong = f'{name}: {text!r} is not of the form "normal(20, 5)"'
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, []
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.keywords:
            raise ValueError(wrong)
        return node.func.id, [ast.literal_eval(argument) for argument in node.args]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(wrong) from error


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"a number was expected, not {value!r}")
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"a whole number was expected, not {value!r}")
    return value


def _choice(name: str, *values: Any) -> _Make:
    if not values:
        raise ValueError("choice needs a number, or what to choose from")
    if len(values) == 1 and isinstance(values[0], int) and not isinstance(values[0], bool):
        if values[0] < 1:
            raise ValueError("choice needs a number of at least 1")
        below = values[0]
        return lambda rng, _: f"{name}-{int(rng.random() * below)}"
    count = len(values)
    return lambda rng, _: values[int(rng.random() * count)]


def _int(name: str, low: Any, high: Any) -> _Make:
    if _whole(low) > _whole(high):
        raise ValueError(f"{low} is above {high}")
    return lambda rng, _: low + int(rng.random() * (high - low + 1))


def _uniform(name: str, low: Any, high: Any, decimals: Any = 3) -> _Make:
    _number(low), _number(high), _whole(decimals)
    return lambda rng, _: round(low + rng.random() * (high - low), decimals)


def _normal(name: str, mean: Any, deviation: Any, decimals: Any = 3) -> _Make:
    _number(mean), _number(deviation), _whole(decimals)
    return lambda rng, _: round(rng.normalvariate(mean, deviation), decimals)


def _counter(name: str, start: Any = 0, step: Any = 1) -> _Make:
    _number(start), _number(step)
    return lambda _, number: start + number * step


def _time(name: str, unit: Any = "ms") -> _Make:
    if unit not in _TIME_UNITS:
        raise ValueError(f"the unit is one of {', '.join(_TIME_UNITS)}")
    divisor = _TIME_UNITS[unit]
    return lambda _, __: clock.wall_us() // divisor


_KINDS: dict[str, Callable[..., _Make]] = {
    "choice": _choice,
    "int": _int,
    "uniform": _uniform,
    "normal": _normal,
    "counter": _counter,
    "time": _time,
}
