"""A flow written in Python: its sources, its chains, and the plan they make."""

from __future__ import annotations

from collections.abc import Mapping

from appliance.errors import Fault, FlowError, Place
from appliance.flow.caller import caller_folder, caller_place
from appliance.flow.chain import Stream, Windowed
from appliance.flow.graph import Group, Ref, Verb, fold, unique
from appliance.flow.words import Connector, Wire
from appliance.plan.check import by_place, check
from appliance.plan.logical import Plan
from appliance.plan.read import VERSION, read_flow
from appliance.plan.table import KeyPath


class Flow:
    """A named flow. Settings are those of `[settings]` in a flow file; `base` is the folder that
    paths start from, by default that of the file which makes the flow."""

    def __init__(
        self,
        name: str,
        *,
        commit_every: str | None = None,
        on_error: str | None = None,
        memory: str | None = None,
        worker: str | None = None,
        step_timeout: str | None = None,
        clock: str | None = None,
        write_budget: str | None = None,
        on_damage: str | None = None,
        base: str | None = None,
    ) -> None:
        self.name = name
        self.base = caller_folder() if base is None else base
        self._place = caller_place()
        given = {
            "commit_every": commit_every, "on_error": on_error, "memory": memory,
            "worker": worker, "step_timeout": step_timeout, "clock": clock,
            "write_budget": write_budget, "on_damage": on_damage,
        }  # fmt: skip
        self._settings = {key: value for key, value in given.items() if value is not None}
        self._sources: dict[str, dict[str, object]] = {}
        self._sinks: dict[str, tuple[tuple[Ref, ...], dict[str, object]]] = {}
        self._verbs: list[Verb] = []
        self._unfinished: dict[Windowed, Place] = {}
        self._places: dict[KeyPath, Place] = {(): self._place}
        self._faults: list[Fault] = []

    def source(
        self,
        connector: Connector,
        format: Wire | None = None,
        *,
        name: str | None = None,
        time: str | Mapping[str, object] | None = None,
        schema: Mapping[str, str] | None = None,
        frame: str | Mapping[str, str] | None = None,
        frame_max: str | None = None,
        id: str | None = None,
        id_within: str | None = None,
    ) -> Stream:
        """Events from somewhere: `flow.source(tcp.listen(9000), json(), time=event_time("ts",
        "ms"))`."""
        place = caller_place()
        name = self._named("source", name, connector, self._sources, place)
        entries = {
            "time": time, "schema": schema, "frame": frame, "frame_max": frame_max,
            "id": id, "id_within": id_within,
        }  # fmt: skip
        self._sources[name] = _end_table(connector, format, entries)
        self._places[("source", name)] = place
        return Stream(self, (Ref(name=name),))

    @property
    def errors(self) -> Stream:
        """The flow's error output: what could not be decoded, computed or written (S3)."""
        return Stream(self, (Ref(name="errors"),))

    def plan(self) -> Plan:
        """The logical plan. Raises FlowError with every fault of the flow."""
        faults = list(self._faults)
        for place in self._unfinished.values():
            remedy = "write .window(…).aggregate(n=count())"
            faults.append(Fault(place, "a window without aggregates has no result", remedy))
        document, places = self._document(faults)
        locator = CallLocator(places)
        reading = read_flow(document, self.base, self.name, locator, faults)
        faults += check(reading.plan, locator, reading.broken)
        if faults:
            raise FlowError(by_place(faults))
        return reading.plan

    # ---- within ----

    def _add_sink(
        self,
        refs: tuple[Ref, ...],
        connector: Connector,
        format: Wire | None,
        name: str | None,
        entries: Mapping[str, object],
        place: Place,
    ) -> None:
        name = self._named("sink", name, connector, self._sinks, place)
        self._sinks[name] = refs, _end_table(connector, format, entries)
        self._places[("sink", name)] = place

    def _named(
        self,
        kind: str,
        name: str | None,
        connector: Connector,
        taken: Mapping[str, object],
        place: Place,
    ) -> str:
        """The name that was given, or the connector's; a name given twice is a fault."""
        if not isinstance(connector, Connector):
            raise TypeError(f"a {kind} begins with a connector such as tcp, not {connector!r}")
        if name is None:
            return unique(connector.name, taken.__contains__)
        if name in taken:
            self._faults.append(Fault(place, f"a second {kind} named {name!r}"))
        return unique(name, taken.__contains__)

    def _document(self, faults: list[Fault]) -> tuple[dict[str, object], dict[KeyPath, Place]]:
        """The flow as the tables of a flow file, and where everything was written."""
        places = dict(self._places)
        groups = fold(self._verbs, [ref for refs, _ in self._sinks.values() for ref in refs])
        tables = list(dict.fromkeys(groups.values()))
        self._name_steps(tables, faults)
        steps: dict[str, object] = {}
        for group in tables:
            inputs = [_output(ref, groups) for ref in group.first.inputs]
            steps[group.name] = {"from": inputs, **group.table()}
            places[("step", group.name)] = group.first.place
            for key, place in group.places().items():
                places[("step", group.name, key)] = place
        sinks = {
            name: {"from": [_output(ref, groups) for ref in refs], **table}
            for name, (refs, table) in self._sinks.items()
        }
        document: dict[str, object] = {"version": VERSION, "name": self.name}
        if self._settings:
            document["settings"] = self._settings
        document.update(source=self._sources, step=steps, sink=sinks)
        return document, places

    def _name_steps(self, tables: list[Group], faults: list[Fault]) -> None:
        """Names that were given first, so that those made up keep out of their way."""
        taken = {*self._sources, "errors"}
        for group in tables:
            if group.first.title:
                title, place = group.first.title, group.first.place
                if title in taken and title != "errors":
                    message = f"a second step or source named {title!r}"
                    faults.append(Fault(place, message, "names are unique"))
                group.name = title if title == "errors" else unique(title, taken.__contains__)
                taken.add(group.name)
        for group in tables:
            if not group.first.title:
                operation = group.operation
                if operation is not None and not operation.label:
                    message = "a lambda has no name that could be the step's id"
                    remedy = 'write a function with def, or name the step: .step("hot")'
                    faults.append(Fault(operation.place, message, remedy))
                label = operation.label if operation is not None else ""
                group.name = unique(label or "step", taken.__contains__)
                taken.add(group.name)


class CallLocator:
    """Where things stand in a chain of calls: at the call that said them."""

    def __init__(self, places: Mapping[KeyPath, Place]) -> None:
        self.places = places

    def key(self, path: KeyPath) -> Place:
        while path not in self.places:
            path = path[:-1]
        return self.places[path]

    def value(self, path: KeyPath) -> Place:
        return self.key(path)

    def content(self, path: KeyPath, text: str) -> Place | None:
        return None


def _end_table(
    connector: Connector, format: Wire | None, entries: Mapping[str, object]
) -> dict[str, object]:
    """The table of a source or sink, without what was not said."""
    table = {key: value for key, value in entries.items() if value is not None}
    if format is not None:
        table["format"] = format.format
        if format.frame is not None:
            table.setdefault("frame", format.frame)
    table[connector.name] = connector.options
    return table


def _output(ref: Ref, groups: Mapping[Verb, Group]) -> str:
    if ref.verb is None:
        return ref.name
    return groups[ref.verb].name + (".late" if ref.late else "")
