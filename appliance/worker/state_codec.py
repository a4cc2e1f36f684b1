"""State objects as bytes and back: msgpack, in the forms of `docs/formats/python-state.md`.

What a state object is gets decided once, from a fresh one that its factory made:

    a dataclass or msgspec.Struct     a map of its fields, read back by their annotations
    dict, list, set, deque, Counter …  its items, put into a fresh one from the factory
    any other object                   a map of its attributes, read back by annotations where the
                                       class has them, else by what a fresh object has there

States are changed in place by the user's function, so values that cannot change are refused.
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from types import GenericAlias
from typing import Any

import msgspec

Factory = Callable[[], Any]

_IMMUTABLE = (type(None), bool, int, float, complex, str, bytes, tuple, frozenset)
_CONTAINERS = (dict, list, set, deque, bytearray)
_SIZED_DEPTH_MAX = 8
_MUTABLE_REMEDY = (
    "a state is changed in place: use a dataclass, a msgspec.Struct, a dict, a list or a class"
)


class StateError(Exception):
    """A state that cannot be kept: `remedy` says what can."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class StateCodec:
    """How the states of one step become bytes and come back.

    `factory` makes the state of a new key. StateError when its states could not be kept.
    """

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        fresh = self._make()
        name = type(fresh).__name__
        if isinstance(fresh, _IMMUTABLE) or _is_frozen(type(fresh)):
            raise StateError(f"a state of type {name} cannot be changed", _MUTABLE_REMEDY)
        if self._make() is fresh:
            raise StateError(
                f"the same {name} would be the state of every key", "make a new one in each call"
            )
        self._type = type(fresh)
        self._is_record = msgspec.inspect.is_struct_type(self._type) or dataclasses.is_dataclass(
            fresh
        )
        self._is_container = isinstance(fresh, _CONTAINERS)
        self._attributes = {} if self._is_record or self._is_container else _attribute_types(fresh)
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_to_plain)
        self._decoder = msgspec.msgpack.Decoder(
            self._type if self._is_record else Any, dec_hook=_from_plain
        )
        self._check(fresh)
        #: About what one state takes in memory, in bytes.
        self.size_bytes = _size_of(fresh)

    def fields(self) -> str:
        """What the stored form depends on: the class and the names of its fields."""
        fresh = self._make()
        if msgspec.inspect.is_struct_type(self._type):
            names = list(self._type.__struct_fields__)
        elif self._is_record:
            names = [field.name for field in dataclasses.fields(fresh)]
        else:
            names = sorted(self._attributes)
        return f"{self._type.__name__}({', '.join(names)})"

    def encode(self, state: Any) -> bytes:
        """The state as bytes. Raises what msgspec raises for values that have no form."""
        if self._is_record or self._is_container:
            return self._encoder.encode(state)
        return self._encoder.encode(_attributes_of(state))

    def decode(self, data: bytes) -> Any:
        """The state again. Raises msgspec.DecodeError or ValidationError when it is another's."""
        plain = self._decoder.decode(data)
        if self._is_record:
            return plain
        if self._is_container:
            return self._refilled(plain)
        state = object.__new__(self._type)
        for name, value in plain.items():
            wanted = self._attributes.get(name, Any)
            # The class may guard its attributes; what is put back here was once its own.
            object.__setattr__(state, name, msgspec.convert(value, wanted, dec_hook=_from_plain))
        return state

    def _refilled(self, plain: Any) -> Any:
        """A fresh container with these items: it keeps its maxlen, default_factory and class."""
        state = self._factory()
        state.clear()
        if isinstance(state, deque):
            state.extend(plain[1:])
        elif isinstance(state, (list, bytearray)):
            state.extend(plain)
        else:
            state.update(plain)
        return state

    def _make(self) -> Any:
        try:
            return self._factory()
        except Exception as error:
            name = getattr(self._factory, "__name__", repr(self._factory))
            raise StateError(
                f"{name}() raised {type(error).__name__}: {error}",
                "it is called without arguments to make the state of a new key",
            ) from error

    def _check(self, fresh: Any) -> None:
        """Whether a fresh state comes back as it was."""
        name = self._type.__name__
        try:
            data = self.encode(fresh)
            again = self.decode(data)
            same = type(again) is self._type and (again == fresh or self.encode(again) == data)
        except Exception as error:
            raise StateError(
                f"a state of type {name} cannot be stored: {error}",
                "give its fields annotations, and values that msgpack has: "
                "numbers, text, bytes, lists, dicts, sets, dataclasses",
            ) from error
        if not same:
            raise StateError(
                f"a state of type {name} is stored but does not come back as it was",
                "give all its fields annotations of the types they have",
            )


def _is_frozen(cls: type) -> bool:
    parameters = getattr(cls, "__dataclass_params__", None)
    if parameters is not None:
        return bool(parameters.frozen)
    config = getattr(cls, "__struct_config__", None)
    return config is not None and bool(config.frozen)


def _slots_of(cls: type) -> list[str]:
    names: list[str] = []
    for base in reversed(cls.__mro__):
        slots = base.__dict__.get("__slots__", ())
        names.extend([slots] if isinstance(slots, str) else slots)
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def _attributes_of(state: Any) -> dict[str, Any]:
    slots = {name: getattr(state, name) for name in _slots_of(type(state)) if hasattr(state, name)}
    return {**slots, **getattr(state, "__dict__", {})}


def _attribute_types(fresh: Any) -> dict[str, Any]:
    """The type that each attribute is read back as."""
    types: dict[str, Any] = {}
    for name, value in _attributes_of(fresh).items():
        # A number may become one of another kind and None anything; these stay what they are.
        keeps = isinstance(value, (tuple, frozenset, *_CONTAINERS)) or _is_declared(type(value))
        types[name] = type(value) if keeps else Any
    try:
        types.update(typing.get_type_hints(type(fresh)))
    except (NameError, TypeError, AttributeError):
        # Annotations that only a type checker can resolve: go by the fresh object alone.
        return types
    return types


def _is_declared(cls: type) -> bool:
    return dataclasses.is_dataclass(cls) or msgspec.inspect.is_struct_type(cls)


def _to_plain(value: Any) -> Any:
    """What msgspec has no form for. A deque: its maxlen, then its items."""
    if isinstance(value, deque):
        return [value.maxlen, *value]
    raise TypeError(f"a {type(value).__name__} has no form in msgpack")


def _from_plain(wanted: Any, value: Any) -> Any:
    origin = typing.get_origin(wanted) or wanted
    arguments = typing.get_args(wanted)
    if origin is deque:
        items = msgspec.convert(
            value[1:], GenericAlias(list, arguments or Any), dec_hook=_from_plain
        )
        return deque(items, value[0])
    if origin is Counter or origin is OrderedDict:
        return origin(value)
    if origin is defaultdict and len(arguments) == 2:
        items = msgspec.convert(value, GenericAlias(dict, arguments), dec_hook=_from_plain)
        return defaultdict(typing.get_origin(arguments[1]) or arguments[1], items)
    raise TypeError(f"a {getattr(origin, '__name__', origin)} cannot be read back")


def _size_of(value: Any, depth: int = 0) -> int:
    """About the memory of an object and what only it holds."""
    size = sys.getsizeof(value)
    if depth >= _SIZED_DEPTH_MAX:
        return size
    parts: list[Any] = []
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        parts = list(value)
    elif not isinstance(value, (*_IMMUTABLE, bytearray, type)):
        parts = [getattr(value, "__dict__", None)]
        parts += [getattr(value, name, None) for name in _slots_of(type(value))]
    return size + sum(_size_of(part, depth + 1) for part in parts if part is not None)
