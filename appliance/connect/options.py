"""From the options of a flow file to a connector: its fields say what may be written."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any, NewType

from msgspec import Struct

from appliance import units
from appliance.connect.system import parse_address

# Types of fields that a flow file writes with a unit.
Rate = NewType("Rate", float)  #: events a second: `"200/s"`, or a number
Duration = NewType("Duration", int)  #: microseconds: `"10s"`
Size = NewType("Size", int)  #: bytes: `"64KiB"`
Address = NewType("Address", str)  #: `"host:port"`, kept as it is written

_SECRETS = (
    "token", "server_key", "password", "passphrase", "secret", "secret_key", "api_key",
    "authorization",
)  # fmt: skip


def is_secret(name: str) -> bool:
    """Whether the value of an option of this name is shown to nobody: `token`, `mqtt_password`."""
    words = name.lower().replace("-", "_")
    return any(words == secret or words.endswith(f"_{secret}") for secret in _SECRETS)


class OptionFault(Struct, frozen=True):
    """One thing wrong with the options of a connector. `key` is "" when it concerns all of them."""

    key: str
    message: str
    remedy: str = ""


def check_options(
    cls: type, options: Mapping[str, Any], base: str | Path = "."
) -> list[OptionFault]:
    """Everything wrong with `options` for this connector; nothing outside is touched."""
    return _build(cls, options, Path(base))[1]


def construct(cls: type, options: Mapping[str, Any], base: str | Path = ".") -> Any:
    """The connector with these options; paths start from `base`. ValueError lists what is wrong."""
    made, faults = _build(cls, options, Path(base))
    if faults:
        raise ValueError(
            "; ".join(
                f"{fault.key}: {fault.message}" if fault.key else fault.message for fault in faults
            )
        )
    return made


def _build(cls: type, options: Mapping[str, Any], base: Path) -> tuple[Any, list[OptionFault]]:
    known = {item.name: item for item in dataclasses.fields(cls) if item.init}
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    faults: list[OptionFault] = []
    for key, value in options.items():
        if key not in known:
            faults.append(OptionFault(key, f"unknown key {key!r}", _nearest(key, list(known))))
            continue
        try:
            values[key] = _convert(value, hints.get(key, Any), base)
        except ValueError as error:
            faults.append(OptionFault(key, str(error)))
    for name, item in known.items():
        default = item.default is not MISSING or item.default_factory is not MISSING
        if not default and name not in options:
            faults.append(OptionFault("", f"{name!r} is missing"))
    if faults:
        return None, faults
    try:
        return cls(**values), []
    except ValueError as error:  # what __post_init__ found
        return None, [OptionFault("", str(error))]


def _nearest(word: str, words: list[str]) -> str:
    import difflib  # costs more than all the rest of this module; only a mistake needs it

    close = difflib.get_close_matches(word, words, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(words) or 'none'}"


def _convert(value: Any, hint: Any, base: Path) -> Any:
    """`value` as the type of a field wants it. ValueError says what was expected."""
    arms = (
        [arm for arm in typing.get_args(hint) if arm is not type(None)]
        if _is_union(hint)
        else [hint]
    )
    if value is None and len(arms) != len(typing.get_args(hint)) and _is_union(hint):
        return None
    for arm in arms[:-1]:
        try:
            return _convert_one(value, arm, base)
        except ValueError:  # another arm may take it; the last one speaks for all
            continue
    return _convert_one(value, arms[-1], base)


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _convert_one(value: Any, hint: Any, base: Path) -> Any:
    if hint is Any:
        return value
    if hint in (Rate, Duration, Size):
        return _unit(value, hint)
    if hint is Address and isinstance(value, str):
        parse_address(value)
        return value
    if hint is Address:
        hint = str
    if hint is Path:
        if isinstance(value, (str, Path)) and str(value):
            return base / value
        raise ValueError(f"a path was expected, not {value!r}")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wanted = typing.get_origin(hint) or hint
    if not isinstance(wanted, type):
        return value
    if isinstance(value, bool) and wanted is not bool:
        raise ValueError(f"{_type_word(wanted)} was expected, not {str(value).lower()}")
    if not isinstance(value, wanted) or (isinstance(value, str) and wanted is not str):
        raise ValueError(f"{_type_word(wanted)} was expected, not {value!r}")
    return value


def _type_word(wanted: type) -> str:
    words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    if wanted in words:
        return words[wanted]
    if issubclass(wanted, Mapping):
        return "a table"
    return "a list" if issubclass(wanted, Sequence) else f"a {wanted.__name__}"


def _unit(value: object, hint: Any) -> float:
    """A quantity with its unit, as the flow file writes them all; a rate may be a bare number."""
    if hint is Rate and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = f"{value}/s"
    if not isinstance(value, str):
        example = {Rate: "200/s", Duration: "10s", Size: "64KiB"}[hint]
        raise ValueError(f'a text such as "{example}" was expected, not {value!r}')
    if hint is Rate:
        return units.parse_rate(value)
    return units.parse_duration(value) if hint is Duration else units.parse_size(value)
