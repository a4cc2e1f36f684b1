"""How connectors get their names, and are found by them: ours by name, a user's own by path."""

from __future__ import annotations

import dataclasses
import importlib
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from appliance.connect.contracts import Sink, Source
from appliance.user_module import import_by_path

SOURCE_NAMES = ("acknowledged_tcp", "file", "generate", "stdin", "tcp", "udp", "upstream")
SINK_NAMES = ("blackhole", "file", "sqlite", "stdout", "tcp", "udp", "upstream")

#: Ours that are not a file of their name in `connectors`.
_MODULES = {"upstream": "appliance.link.upstream"}

_Class = TypeVar("_Class", bound=type)


@typing.dataclass_transform()
def source(name: str) -> Callable[[_Class], _Class]:
    """Make the class below a dataclass and the source of this name."""
    return _register(name, ("open", "read", "close"))


@typing.dataclass_transform()
def sink(name: str) -> Callable[[_Class], _Class]:
    """Make the class below a dataclass and the sink of this name."""
    return _register(name, ("open", "write", "close"))


_BUILT_IN: dict[tuple[str, str], type] = {}


def _register(name: str, verbs: tuple[str, str, str]) -> Callable[[_Class], _Class]:
    def decorate(cls: _Class) -> _Class:
        missing = [verb for verb in verbs if not callable(getattr(cls, verb, None))]
        if missing and not hasattr(cls, "native"):
            raise TypeError(f"{cls.__name__} lacks {', '.join(missing)}")
        made = typing.cast(_Class, dataclass(cls))
        made.connector_name = name  # type: ignore[attr-defined]  # a class attribute we add
        # A user's class is reached by its path: it can never take the name of one of ours.
        if cls.__module__ == _module(name):
            _BUILT_IN[("source" if "read" in verbs else "sink", name)] = made
        return made

    return decorate


def _module(name: str) -> str:
    return _MODULES.get(name, f"connectors.{name}")


def source_class(name: str) -> type[Source]:
    """The built-in source of this name. LookupError with the names there are."""
    return typing.cast("type[Source]", _built_in("source", name, SOURCE_NAMES))


def sink_class(name: str) -> type[Sink]:
    """The built-in sink of this name. LookupError with the names there are."""
    return typing.cast("type[Sink]", _built_in("sink", name, SINK_NAMES))


def _built_in(role: str, name: str, names: Sequence[str]) -> type:
    if name not in names:
        raise LookupError(f"there is no {role} named {name!r}; there are: {', '.join(names)}")
    importlib.import_module(_module(name))
    return _BUILT_IN[(role, name)]


def load_user_connector(reference: str, base: str | Path) -> type:
    """The class that `"modbus.py:Modbus"` names, its path relative to `base`.

    ValueError says what is wrong.
    """
    path_text, _, class_name = reference.rpartition(":")
    if not path_text or not class_name.isidentifier():
        raise ValueError(f"{reference!r} is not FILE.py:CLASS")
    path = (Path(base) / path_text).resolve()
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    module = import_by_path(path)
    cls = getattr(module, class_name, None)
    if not isinstance(cls, type):
        raise ValueError(f"{path} has no class {class_name}")
    if not dataclasses.is_dataclass(cls):
        raise ValueError(f'{class_name} is no connector: put @source("…") or @sink("…") above it')
    return cls
