"""The verbs of a chain, and how they fold into step tables.

Each verb remembers what it follows. When the flow is planned, a verb joins the table of the verb
before it if the order of a table allows it (where · set, select, drop · each · key_by · operation ·
having) and nobody else reads what is between them; else it begins a table. So a chain gives the
tables that its author would have written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from appliance.errors import Place
from appliance.expression import Column, ExpressionError, Node, as_node, parse
from appliance.expression.nodes import joined

OPERATION = "operation"

#: Which verbs a verb may follow in one table. `set` and `select` see the record as it entered the
#: table (S24), so they only follow `where`: behind another `set` they would not see its fields.
_FOLLOWS: Mapping[str, tuple[str, ...]] = {
    "where": ("where",),
    "set": ("where",),
    "select": ("where",),
    "drop": ("where", "set", "select", "drop"),
    "each": ("where", "set", "select", "drop"),
    "key_by": ("where", "set", "select", "drop", "each"),
    OPERATION: ("where", "set", "select", "drop", "each", "key_by"),
    "having": (OPERATION, "having"),
}


@dataclass(frozen=True, eq=False)
class Verb:
    """One call of a chain. `entries` are what it puts into its table."""

    kind: str
    inputs: tuple[Ref, ...]
    entries: Mapping[str, object]
    place: Place
    title: str = ""  # the name that `.step()` gave
    label: str = ""  # the name an operation gives by itself; "" for one that cannot


@dataclass(frozen=True)
class Ref:
    """An output: of a verb, or by name of a source (`readings`, `readings.late`) or `errors`."""

    verb: Verb | None = None
    name: str = ""
    late: bool = False


@dataclass(eq=False)
class Group:
    """The verbs of one table."""

    verbs: list[Verb] = field(default_factory=list)
    name: str = ""

    @property
    def first(self) -> Verb:
        return self.verbs[0]

    @property
    def operation(self) -> Verb | None:
        return next((verb for verb in self.verbs if verb.kind == OPERATION), None)

    def takes(self, verb: Verb) -> bool:
        return self.verbs[-1].kind in _FOLLOWS[verb.kind]

    def table(self) -> dict[str, object]:
        """The entries of all verbs; several conditions become one."""
        table: dict[str, object] = {}
        for verb in self.verbs:
            for key, value in verb.entries.items():
                if key in ("where", "having") and key in table:
                    table[key] = _both(table[key], value)
                elif key == "drop" and key in table:
                    table[key] = [*_names(table[key]), *_names(value)]
                else:
                    table[key] = value
        return table

    def places(self) -> dict[str, Place]:
        """Where each key was written."""
        return {key: verb.place for verb in self.verbs for key in verb.entries}


def fold(verbs: Sequence[Verb], read: Sequence[Ref]) -> dict[Verb, Group]:
    """The table of each verb; `verbs` in the order they were made, `read` is what sinks read."""
    readers: dict[Verb, int] = {}
    for ref in [*read, *(ref for verb in verbs for ref in verb.inputs)]:
        if ref.verb is not None and not ref.late:
            readers[ref.verb] = readers.get(ref.verb, 0) + 1
    groups: dict[Verb, Group] = {}
    for verb in verbs:
        group = _group_before(verb, groups, readers)
        if group is None:
            group = Group()
        group.verbs.append(verb)
        groups[verb] = group
    return groups


def _group_before(
    verb: Verb, groups: Mapping[Verb, Group], readers: Mapping[Verb, int]
) -> Group | None:
    """The table that a verb can be put into."""
    if verb.title or len(verb.inputs) != 1:
        return None
    ref = verb.inputs[0]
    if ref.verb is None or ref.late or readers[ref.verb] != 1:
        return None
    group = groups[ref.verb]
    return group if group.takes(verb) else None


def _both(one: object, other: object) -> object:
    """Both conditions as one. A text that is no expression stays as it is: the reader says what is
    wrong with it."""
    nodes: list[Node] = []
    for value in (one, other):
        try:
            nodes.append(parse(value) if isinstance(value, str) else as_node(value))
        except (ExpressionError, TypeError, ValueError):
            return value
    return Column(joined("and", *nodes))


def _names(value: object) -> list[str]:
    return list(value) if isinstance(value, (list, tuple)) else []


def unique(wanted: str, taken: Callable[[str], bool]) -> str:
    """`wanted`, or with the first of -2, -3, … that is free."""
    name, number = wanted, 1
    while taken(name):
        number += 1
        name = f"{wanted}-{number}"
    return name
