"""The contracts of sources and sinks, and how they are found by name.

A connector is a dataclass with verbs; its fields are its configuration and there is no second
declaration. A source moves *chunks of bytes* and says to which partition they belong and how far it
has got after each; framing and decoding are the lane's work, and so are all guarantees: retry,
limits, numbering and spooling are wrapped around a sink and never written in one.

    @source("counter")
    class Counter:
        '''Say the numbers below `until`, one a line.'''

        until: int

        def open(self, positions: Mapping[str, bytes]) -> None:
            self._next = int(positions.get("", b"0"))

        def read(self, limit: int) -> Chunk | None:
            if self._next >= self.until:
                raise EndOfInput
            self._next += 1
            return Chunk(b"%d\\n" % (self._next - 1), position=b"%d" % self._next)

        def close(self) -> None:
            pass

A flow names it by path: `connector = { path = "counter.py:Counter", until = 10 }`.
"""

from __future__ import annotations

import dataclasses
import errno
import importlib
import os
import stat
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, NewType, Protocol, TypeVar, runtime_checkable

from appliance import units
from appliance.errors import EnvironmentFailure
from appliance.user_module import import_by_path

if typing.TYPE_CHECKING:
    import socket

SOURCE_NAMES = ("file", "generate", "stdin", "tcp", "udp")
SINK_NAMES = ("blackhole", "file", "stdout", "tcp", "udp")

# Types of fields that a flow file writes with a unit.
Rate = NewType("Rate", float)  #: events a second: `"200/s"`, or a number
Duration = NewType("Duration", int)  #: microseconds: `"10s"`
Size = NewType("Size", int)  #: bytes: `"64KiB"`


# ---- what travels ----


@dataclass(frozen=True)
class Chunk:
    """Bytes as they came, the partition they belong to, and the position after them.

    `data` is a piece of a stream, cut anywhere; for a source with the trait `Messages`, a list of
    whole messages. `position` is in the source's own terms and is given back to `open` as it is.
    """

    data: bytes | Sequence[bytes]
    position: bytes = b""
    partition: str = ""


class EndOfInput(Exception):
    """Raised by `read`: this source has come to its end."""


class Later(Exception):
    """Raised by `write`: nothing of these records was taken; try again. `after_s` is a wish, in
    seconds.
    """

    def __init__(self, reason: str = "", after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


@dataclass(frozen=True)
class Resume:
    """What a sink is told when it opens.

    `fresh`: the run starts from nothing, so what is there is replaced.
    """

    fresh: bool = False


@dataclass(frozen=True)
class NativeEnd:
    """How the lane itself reads or writes, as `native` returns it. The lane takes `fd` over.

    Sources: `listen` (fd), `connect` (peer), `datagram` (fd), `files` (paths, follow), `stream`
    (fd). Sinks: `file` (fd, offset), `stream` (fd), `connect` (peer), `datagram` (fd, connected to
    its peer by us as soon as the peer's name is known), `blackhole`. Descriptors do not block and
    are not inherited.
    """

    kind: str
    fd: int = -1
    offset: int = 0
    paths: tuple[str, ...] = ()
    follow: bool = False
    peer: tuple[str, int] | None = None
    label: str = ""  # what a person calls it: the address that was bound, the path

    def entry(self) -> dict[str, object]:
        """What the lane's program says about it."""
        entry: dict[str, object] = {"kind": self.kind}
        if self.kind == "files":
            entry.update(paths=list(self.paths), follow=self.follow)
        elif self.kind == "file":
            entry.update(fd=self.fd, offset=self.offset)
        elif self.fd >= 0:
            entry.update(fd=self.fd)
        return entry


# ---- the contracts ----


@runtime_checkable
class Source(Protocol):
    """Where events come from. All verbs are called on one thread of the source's own.

    `open` is called first, and again, after `close`, when `read` has failed (with back-off): what
    it raises is logged once and tried again later. `read` is called while the lane has room.
    """

    def open(self, positions: Mapping[str, bytes]) -> None:
        """Begin exactly after these positions, by partition; an unknown partition begins at its
        start.
        """

    def read(self, limit: int) -> Chunk | None:
        """At most `limit` bytes.

        None: nothing now; it may wait up to 100 ms to find out. EndOfInput: no more, ever.
        """

    def close(self) -> None:
        """Let go of everything. Called once after each `open`, on the same thread."""


@runtime_checkable
class Sink(Protocol):
    """Where results go. All verbs are called on one thread of the sink's own."""

    def open(self, resume: Resume) -> None:
        """Make ready. What it raises is logged once and tried again with back-off."""

    def write(self, records: Sequence[bytes]) -> None:
        """Take all of these encoded records, in order.

        Later: none was taken, the same ones come again.
        """

    def close(self) -> None:
        """Let go of everything, after the last record."""


@runtime_checkable
class Acknowledging(Protocol):
    """Trait of a source whose other side wants to know what is safe."""

    def committed(self, positions: Mapping[str, bytes]) -> None:
        """Everything up to these positions is in a cut. Called on the source's own thread."""


class Messages:
    """Trait of a source that brings whole messages: the data of its chunks is a list, one message
    an entry.
    """


@runtime_checkable
class Native(Protocol):
    """Trait of a connector that the lane reads or writes itself; `read` and `write` are then never
    called.

    `open` is called before the lane starts, on the worker's main thread; what is wrong then is an
    EnvironmentFailure.
    """

    def native(self) -> NativeEnd:
        """Describe itself, after `open`."""


@runtime_checkable
class Bounded(Protocol):
    """Trait of a source that can come to an end by itself."""

    def bounded(self) -> bool:
        """Whether, as it is configured, it will."""


@runtime_checkable
class Replayable(Protocol):
    """Trait of a source that gives the same bytes again when opened at an earlier position."""

    def replayable(self) -> bool:
        """Whether, as it is configured, it does."""


def is_native(connector: object) -> bool:
    """Whether the lane reads or writes it itself."""
    return isinstance(connector, Native)


def is_bounded(connector: object) -> bool:
    """Whether this source ends by itself."""
    return isinstance(connector, Bounded) and connector.bounded()


def is_replayable(connector: object) -> bool:
    """Whether this source can be read again from a position."""
    return isinstance(connector, Replayable) and connector.replayable()


def guarantee(connector: object) -> str:
    """The class of a source: what a crash can do to what it sent (architecture, "Sources")."""
    if is_replayable(connector):
        return "replayable"
    return "acknowledged" if isinstance(connector, Acknowledging) else "fire and forget"


# ---- registration ----

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
        if cls.__module__ == f"connectors.{name}":
            _BUILT_IN[("source" if "read" in verbs else "sink", name)] = made
        return made

    return decorate


def source_class(name: str) -> type[Source]:
    """The built-in source of this name. LookupError with the names there are."""
    return typing.cast("type[Source]", _built_in("source", name, SOURCE_NAMES))


def sink_class(name: str) -> type[Sink]:
    """The built-in sink of this name. LookupError with the names there are."""
    return typing.cast("type[Sink]", _built_in("sink", name, SINK_NAMES))


def _built_in(role: str, name: str, names: Sequence[str]) -> type:
    if name not in names:
        raise LookupError(f"there is no {role} named {name!r}; there are: {', '.join(names)}")
    importlib.import_module(f"connectors.{name}")
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


# ---- from options to an instance ----


@dataclass(frozen=True)
class OptionFault:
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


def parse_address(text: str) -> tuple[str, int]:
    """`"host:port"`, `"[::1]:port"`, `":port"` or `"port"`; without a host it is the loopback.
    ValueError otherwise.
    """
    host, _, port_text = text.strip().rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not port_text.isascii() or not port_text.isdigit() or int(port_text) > 65535:
        raise ValueError(f'{text!r} is not an address such as "127.0.0.1:9000"')
    return host or "127.0.0.1", int(port_text)


def address_text(host: str, port: int) -> str:
    """The same, written out."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# ---- what several connectors need of the system ----


def listening_socket(address: str, kind: int) -> socket.socket:
    """A socket of this kind (SOCK_STREAM, SOCK_DGRAM) bound to `"host:port"`, not blocking.

    EnvironmentFailure says why it cannot be had.
    """
    import socket

    host, port = parse_address(address)
    try:
        infos = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise EnvironmentFailure(f"cannot listen on {address}: {error.strerror}") from error
    family, _, _, _, place = infos[0]
    made = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(place)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise EnvironmentFailure(f"cannot listen on {address}: {_why(error)}") from error
    return made


def _why(error: OSError) -> str:
    remedies = {
        errno.EADDRINUSE: "another program has this port",
        errno.EADDRNOTAVAIL: "this box has no such address",
        errno.EACCES: "no permission (ports below 1024 need it)",
    }
    return remedies.get(error.errno or 0, error.strerror or str(error))


def own_stream(fd: int, flags: int) -> int:
    """A descriptor of our own for standard input (0) or output (1), which does not block.

    Whether a descriptor blocks belongs to the open file, which a terminal or a pipe shares with
    other programs: those would be surprised. So it is opened anew where the system allows it.
    """
    try:
        mode = os.fstat(fd).st_mode
    except OSError as error:
        name = "standard input" if fd == 0 else "standard output"
        raise EnvironmentFailure(f"{name} is closed") from error
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        try:
            return os.open(
                f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            )
        except OSError:
            # Another user's terminal cannot be opened again; a copy that blocks still works,
            # because the lane only touches it when it is ready.
            return os.dup(fd)
    copy = os.dup(fd)
    if stat.S_ISSOCK(mode):
        os.set_blocking(copy, False)
    return copy
