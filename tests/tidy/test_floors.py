"""Who may import whom: docs/architecture.md, "The house"."""

from __future__ import annotations

import pytest

from tidy.project import Module, modules

# A unit is a module or folder directly under `appliance`. It imports only from lower floors and
# from itself; on the floors that are SHARED the units also import each other.
FLOORS = (
    {
        "errors",
        "limits",
        "formats",
        "clock",
        "points",
        "client",
        "schema",
        "expression",
        "units",
        "layout",
        "disk",
        "logs",
        "frozen",
        "parent",
        "unpacked",
        "toml_places",
    },
    {"connect", "native", "user_module"},
    {"store", "link", "metrics"},
    {"flow", "load", "plan"},
    {"worker"},
    {"supervisor", "cluster", "installation", "upgrade"},
    {"console", "cli", "testing", "__main__"},
)
SHARED = {0, 1, 3}
FLOOR_OF = {unit: floor for floor, units in enumerate(FLOORS) for unit in units}

# Outside packages that only one unit may import.
ONLY_IN = {
    "lmdb": "appliance.store",
    "zmq": "appliance.link",
    "nacl": "appliance.upgrade.signature",
    "appliance._native": "appliance.native",
}

# What belongs to the faces; the engine starts without it.
FACES_ONLY = {"click", "rich", "aiohttp", "prometheus_client"}


def unit_of(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def floor_of(name: str) -> int:
    """A module's floor. `appliance` itself is the front door: on top of everything."""
    return FLOOR_OF[unit_of(name)] if "." in name else len(FLOORS)


def is_allowed(importer: str, imported: str) -> bool:
    if imported == "appliance._native":
        return importer == "appliance.native"
    if imported == "appliance" or importer == "appliance.__main__":
        return floor_of(importer) >= FLOOR_OF["cli"]  # the front door, and the way in by it
    ours, theirs = floor_of(importer), floor_of(imported)
    return (
        theirs < ours
        or unit_of(importer) == unit_of(imported)
        or (theirs == ours and ours in SHARED)
    )


def test_every_unit_has_a_floor() -> None:
    units = {unit_of(module.name) for module in modules() if module.name.startswith("appliance.")}
    assert units <= FLOOR_OF.keys()


@pytest.mark.parametrize("module", modules(), ids=str)
def test_imports_go_down(module: Module) -> None:
    for imported in module.imports():
        if imported.split(".")[0] == "connectors" and not module.name.startswith("connectors"):
            # Connectors are found by name through the registry, and faces may list them.
            assert floor_of(module.name) >= FLOOR_OF["worker"], f"{module} imports {imported}"
        elif imported.split(".")[0] == "appliance":
            if module.name.startswith("connectors"):
                assert floor_of(imported) <= FLOOR_OF["connect"], f"{module} imports {imported}"
            else:
                assert is_allowed(module.name, imported), f"{module} imports {imported}"


@pytest.mark.parametrize("module", modules(), ids=str)
def test_single_importers(module: Module) -> None:
    for imported in module.imports():
        for outside, only in ONLY_IN.items():
            if imported == outside or imported.startswith(outside + "."):
                assert f"{module.name}.".startswith(only + "."), f"{module} imports {imported}"


@pytest.mark.parametrize("module", modules(), ids=str)
def test_the_engine_does_without_the_faces_libraries(module: Module) -> None:
    if module.name.startswith("appliance.") and unit_of(module.name) not in FLOORS[-1]:
        used = {imported.split(".")[0] for imported in module.imports()} & FACES_ONLY
        assert not used, f"{module} imports {', '.join(sorted(used))}"


def test_the_rules_refuse_what_they_should() -> None:
    """The rules themselves, on made-up pairs: up, sideways, and past the single importer."""
    assert not is_allowed("appliance.plan.check", "appliance.worker.loop")
    assert not is_allowed("appliance.metrics.text", "appliance.store.cuts")
    assert not is_allowed("appliance.worker.loop", "appliance._native")
    assert not is_allowed("appliance.errors", "appliance.native")
    assert is_allowed("appliance.schema", "appliance.errors")
    assert is_allowed("appliance.cli.main", "appliance.supervisor.page")
