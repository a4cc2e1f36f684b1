"""Nodes to instructions of the native machine.

A flow has one row of slots: fields, constants and temporaries alike. `Slots` hands them out; the
compiler leaves the value of an expression in the slot it is told, and reads fields and constants
where they are. Every temporary is free again when its block of code is complete, so blocks share
them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence

from appliance.expression import (
    Binary,
    Boolean,
    Call,
    Compare,
    Conditional,
    Constant,
    ExpressionError,
    Field,
    Get,
    ListLiteral,
    MapLiteral,
    Node,
    Not,
    Slice,
    Unary,
)
from appliance.expression.library import TIME_UNITS_NS
from appliance.expression.nodes import INT_MAX, INT_MIN
from appliance.limits import INSTRUCTION_MAX_COUNT, SLOT_MAX_COUNT
from appliance.native import lib
from appliance.plan.functions import (
    BINARY_OPCODES,
    COMPARE_OPCODES,
    FUNCTION_OPCODES,
    UNARY_OPCODES,
)
from appliance.units import parse_duration

# As `instruction_t`, in the machine's own byte order: op, count, to, a, b.
_INSTRUCTION = struct.Struct("=BBHHH")


class Slots:
    """Hands out the slots of one flow's row. Raises ExpressionError when there are too many."""

    def __init__(self) -> None:
        self.count = 0
        self.constants: list[tuple[int, object]] = []
        self._known: dict[object, int] = {}
        self._free: set[int] = set()

    def new(self) -> int:
        """A slot that nobody else has: a field, a result."""
        return self._grow(1)

    def constant(self, value: object) -> int:
        """The slot with this constant: a scalar, or a list or map of scalars, lists and maps."""
        key = _identity(value)
        if key not in self._known:
            self._known[key] = slot = self.new()
            self.constants.append((slot, value))
        return self._known[key]

    def take(self, count: int = 1) -> int:
        """The first of `count` temporaries in a row, to be given back with `give_back`."""
        for first in sorted(self._free):
            if all(slot in self._free for slot in range(first, first + count)):
                self._free.difference_update(range(first, first + count))
                return first
        return self._grow(count)

    def give_back(self, first: int, count: int = 1) -> None:
        self._free.update(range(first, first + count))

    def _grow(self, count: int) -> int:
        first = self.count
        if first + count > SLOT_MAX_COUNT:
            raise ExpressionError.of(
                f"the flow needs more than {SLOT_MAX_COUNT} values for each record",
                "split it into two flows",
            )
        self.count += count
        return first


def compile_expressions(
    items: Iterable[tuple[Node, int]], fields: Mapping[str, int], slots: Slots
) -> bytes:
    """Code that puts the value of each node into its slot; null where it is null or missing.

    `fields` gives the slot of every field that the nodes read. Target slots are fresh: no node
    reads one, so every node sees the record as it entered (S24).
    """
    compiler = Compiler(fields, slots)
    for node, target in items:
        compiler.into(node, target)
    return compiler.finish()


def compile_condition(node: Node, fields: Mapping[str, int], slots: Slots) -> tuple[bytes, int]:
    """Code for one condition and the slot in which its value stands right after that code."""
    compiler = Compiler(fields, slots)
    result = compiler.operand(node)
    return compiler.finish(), result


def compile_operands(
    nodes: Iterable[Node], fields: Mapping[str, int], slots: Slots
) -> tuple[bytes, list[int]]:
    """Code for keys and arguments of aggregates, and the slot of each value: fields and constants
    stay where they are (a missing field is missing there), what is computed gets a slot of its own.
    """
    compiler = Compiler(fields, slots)
    found = []
    for node in nodes:
        place = compiler.place(node)
        if place is None:
            place = slots.new()
            compiler.into(node, place)
        found.append(place)
    return compiler.finish(), found


class Compiler:
    """One block of code."""

    def __init__(self, fields: Mapping[str, int], slots: Slots) -> None:
        self.fields = fields
        self.slots = slots
        self.code: list[tuple[int, int, int, int, int]] = []
        self.temporaries: set[int] = set()

    def finish(self) -> bytes:
        """The code; all temporaries are free again."""
        for slot in self.temporaries:
            self.slots.give_back(slot)
        if len(self.code) > INSTRUCTION_MAX_COUNT:
            raise ExpressionError.of("the expressions of one step are too long", "use two steps")
        return b"".join(_INSTRUCTION.pack(*instruction) for instruction in self.code)

    def emit(self, op: int, to: int, a: int = 0, b: int = 0, count: int = 0) -> int:
        """Append one instruction; its index."""
        self.code.append((op, count, to, a, b))
        return len(self.code) - 1

    def land(self, jump: int) -> None:
        """Let a jump go to the instruction that comes next."""
        op, count, _, a, b = self.code[jump]
        self.code[jump] = (op, count, len(self.code), a, b)

    # Places of values.

    def place(self, node: Node) -> int | None:
        """Where a value already stands: fields and constants; None when it must be computed."""
        if isinstance(node, Field):
            return self.fields[node.name]
        is_constant, value = constant_value(node)
        return self.slots.constant(value) if is_constant else None

    def operand(self, node: Node) -> int:
        """The slot with the node's value, after code for it where that is needed."""
        place = self.place(node)
        if place is None:
            place = self.take()
            self.into(node, place)
        return place

    def take(self, count: int = 1) -> int:
        first = self.slots.take(count)
        self.temporaries.update(range(first, first + count))
        return first

    def drop(self, *places: int) -> None:
        """Give temporaries back; other slots stay as they are."""
        for place in places:
            if place in self.temporaries:
                self.temporaries.remove(place)
                self.slots.give_back(place)

    # Code for each form.

    def into(self, node: Node, to: int) -> None:
        """Code that puts the node's value into `to`."""
        place = self.place(node)
        if place is not None:
            self.emit(lib.OP_MOVE, to, place)
            return
        match node:
            case Get(value, key):
                self.call(lib.OP_GET, to, (value, key))
            case Slice(value, start, stop):
                self.slice(to, value, start, stop)
            case Unary(operator, operand):
                self.call(UNARY_OPCODES[operator], to, (operand,))
            case Binary(operator, left, right):
                self.call(BINARY_OPCODES[operator], to, (left, right))
            case Compare():
                self.compare(node, to)
            case Boolean(operator, operands):
                self.chain(operator, to, [_later(self.into, operand) for operand in operands])
            case Not(operand):
                self.call(lib.OP_NOT, to, (operand,))
            case Conditional():
                self.conditional(node, to)
            case Call(name, arguments):
                self.function(name, to, arguments)
            case ListLiteral(items):
                self.call(lib.OP_LIST, to, items)
            case MapLiteral(keys, values):
                pairs = zip(map(Constant, keys), values, strict=True)
                self.call(lib.OP_MAP, to, [part for pair in pairs for part in pair])
            case _:
                raise AssertionError(f"{node} is no node")

    def call(self, op: int, to: int, arguments: Sequence[Node], b: int = 0) -> None:
        """One instruction over its arguments; from three on they stand side by side."""
        count = len(arguments)
        if count <= 2:
            places = [self.operand(argument) for argument in arguments]
            a, b = [*places, 0, 0][:2]
            self.emit(op, to, a, b, count)
            self.drop(*places)
            return
        first = self.take(count)
        for index, argument in enumerate(arguments):
            self.into(argument, first + index)
        self.emit(op, to, first, b, count)
        self.drop(*range(first, first + count))

    def slice(self, to: int, value: Node, start: Node | None, stop: Node | None) -> None:
        unused = Constant(None)
        flags = (start is not None) + 2 * (stop is not None)
        self.call(lib.OP_SLICE, to, (value, start or unused, stop or unused), flags)

    def function(self, name: str, to: int, arguments: Sequence[Node]) -> None:
        match name, arguments:
            case "coalesce", _:
                self.coalesce(to, arguments)
            case "get", (value, key, default):
                self.coalesce(to, (Get(value, key), default))
            case "get", _:
                self.call(lib.OP_GET, to, arguments)
            case "contains", (value, part):
                self.call(lib.OP_IN, to, (part, value))
            case "slice", (value, start, *stop):
                self.slice(to, value, start, stop[0] if stop else None)
            case "to_time", (value, *unit):
                text = unit[0].value if unit and isinstance(unit[0], Constant) else "us"
                self.call(lib.OP_TO_TIME, to, (value, Constant(TIME_UNITS_NS[str(text)])))
            case "truncate_time", (value, Constant(str(duration))):
                self.call(lib.OP_TRUNCATE_TIME, to, (value, Constant(parse_duration(duration))))
            case _:
                self.call(FUNCTION_OPCODES[name], to, arguments)

    def compare(self, node: Compare, to: int) -> None:
        """`a < b < c` is `a < b and b < c` with `b` computed once."""
        opcodes = [COMPARE_OPCODES[operator] for operator in node.operators]
        left = self.operand(node.first)
        if len(opcodes) == 1:
            right = self.operand(node.others[0])
            self.emit(opcodes[0], to, left, right, 2)
            self.drop(left, right)
            return

        def link(index: int) -> Callable[[int], None]:
            def compile_link(target: int) -> None:
                nonlocal left
                right = self.operand(node.others[index])
                self.emit(opcodes[index], target, left, right, 2)
                self.drop(left)
                left = right

            return compile_link

        self.chain("and", to, [link(index) for index in range(len(opcodes))])
        self.drop(left)

    def chain(self, operator: str, to: int, parts: Sequence[Callable[[int], None]]) -> None:
        """`and` or `or`: each part is computed only when those before leave the answer open."""
        is_and = operator == "and"
        join, word = (lib.OP_AND, lib.WORD_AND) if is_and else (lib.OP_OR, lib.WORD_OR)
        jump = lib.OP_JUMP_FALSE if is_and else lib.OP_JUMP_TRUE
        parts[0](to)
        jumps = []
        for part in parts[1:]:
            jumps.append(self.emit(jump, 0, to, count=word))
            other = self.take()
            part(other)
            self.emit(join, to, to, other, 2)
            self.drop(other)
        for index in jumps:
            self.land(index)

    def conditional(self, node: Conditional, to: int) -> None:
        test = self.operand(node.condition)
        unless = self.emit(lib.OP_JUMP_UNLESS, 0, test, count=lib.WORD_IF)
        self.drop(test)
        self.into(node.then, to)
        done = self.emit(lib.OP_JUMP, 0)
        self.land(unless)
        self.into(node.otherwise, to)
        self.land(done)

    def coalesce(self, to: int, choices: Sequence[Node]) -> None:
        self.into(choices[0], to)
        jumps = []
        for choice in choices[1:]:
            jumps.append(self.emit(lib.OP_JUMP_KNOWN, 0, to))
            self.into(choice, to)
        for index in jumps:
            self.land(index)


def constant_value(node: Node) -> tuple[bool, object]:
    """Whether a node is a constant, literals of constants and plain sums of numbers included; its
    value.
    """
    match node:
        case Constant(value):
            return True, value
        case ListLiteral(items):
            found = [constant_value(item) for item in items]
            return all(known for known, _ in found), [value for _, value in found]
        case MapLiteral(keys, values):
            found = [constant_value(value) for value in values]
            return all(known for known, _ in found), dict(
                zip(keys, (value for _, value in found), strict=True)
            )
        case Binary("+" | "-" | "*" as operator, left, right):
            return _folded(operator, constant_value(left)[1], constant_value(right)[1])
    return False, None


def _folded(operator: str, left: object, right: object) -> tuple[bool, object]:
    """A sum, difference or product of two known numbers that is in range; the machine says the
    rest.
    """
    if type(left) not in (int, float) or type(right) not in (int, float):
        return False, None
    assert isinstance(left, int | float) and isinstance(right, int | float)
    value = left + right if operator == "+" else left - right if operator == "-" else left * right
    if isinstance(value, int):
        return INT_MIN <= value <= INT_MAX, value
    return value - value == 0.0, value


def _identity(value: object) -> object:
    """Equal for constants that are the same in type and bits: 1, 1.0 and True are three."""
    if isinstance(value, list):
        return ("list", *map(_identity, value))
    if isinstance(value, dict):
        return ("map", *((key, _identity(item)) for key, item in value.items()))
    return type(value), repr(value)


def _later(into: Callable[[Node, int], None], node: Node) -> Callable[[int], None]:
    return lambda target: into(node, target)
