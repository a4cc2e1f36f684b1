"""What a supervisor asks of a worker when it starts it, as plain data."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass, field
from typing import Any

from appliance.logs import INFO

#: The folder name of the store of the worker that flows share.
SHARED = "shared"


def own_store(flow: str) -> str:
    """The folder name of the store of a flow's own worker. A flow may be called "shared" too."""
    return f"own-{flow}"


@dataclass(frozen=True)
class SetAside:
    """An event whose user function did not come back: it goes to the error output.

    `raw` is empty where the source brings the event again; there it is known by its position.
    """

    flow: str
    source: int
    partition: bytes
    position: int
    raw: bytes


@dataclass(frozen=True)
class Job:
    """The flows of one worker and how to run them."""

    paths: tuple[str, ...]
    only: tuple[
        str, ...
    ] = ()  # names of flows; none: all that do not ask for a worker of their own
    once: bool = False
    fresh: bool = False  # the run starts from nothing: file sinks replace their files
    restart: bool = False  # a worker before this one died
    log_format: str = "human"
    log_level: int = INFO
    options: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # source name → options put over
    set_aside: tuple[SetAside, ...] = ()
    store: str = ""  # the folder of the worker's store
    drop_state: tuple[str, ...] = ()  # steps and sources whose changed or stale state may go
    drop_spool: tuple[str, ...] = ()  # sinks whose undelivered results may go
    accept_damage: bool = False  # go on although something of the state was lost
    check: bool = False  # only load everything, and say what would run
    # The flow files as they were first read: what runs changes only by a reload. None for Python.
    texts: dict[str, str | None] = field(default_factory=dict)

    def pack(self) -> dict[str, Any]:
        """As it travels over the control channel."""
        packed = asdict(self)
        for aside in packed["set_aside"]:
            for name in ("partition", "raw"):
                aside[name] = base64.b64encode(aside[name]).decode()
        return packed

    @classmethod
    def unpack(cls, packed: dict[str, Any]) -> Job:
        """The same on the other side."""
        values = dict(packed)
        asides = values.pop("set_aside")
        for aside in asides:
            for name in ("partition", "raw"):
                aside[name] = base64.b64decode(aside[name])
        for name in ("paths", "only", "drop_state", "drop_spool"):
            values[name] = tuple(values[name])
        return cls(**values, set_aside=tuple(SetAside(**aside) for aside in asides))
