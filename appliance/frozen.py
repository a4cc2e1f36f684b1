"""What only the frozen program does: its environment, its parent, and where it is unpacked.

PyInstaller's bootloader starts us in an environment of its own making: its `_PYI_…` variables, and
LD_LIBRARY_PATH, by which our extension modules find the libraries that are packed with them.
Programs that user code starts must see neither, our own workers need both. So they are taken out
of `os.environ` at the start and given to workers alone.

The one file is two processes: the bootloader, which unpacks to a folder `_MEI<its pid><random>`
beside other temporary files, waits, and removes it; and its child, us. `unpacked` says the rest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

_LIBRARIES, _LIBRARIES_BEFORE = "LD_LIBRARY_PATH", "LD_LIBRARY_PATH_ORIG"
_BOOTLOADERS = "_PYI_"

_taken: dict[str, str] = {}


def is_frozen() -> bool:
    """Whether this is the frozen program, of one file or of a folder."""
    return bool(getattr(sys, "frozen", False))


def begin() -> None:
    """Put right what the start has left; to be called before anything else of ours."""
    _taken.update(take_environment(os.environ))
    folder = str(getattr(sys, "_MEIPASS"))  # noqa: B009  # the bootloader's word for it
    if not os.path.basename(folder).startswith("_MEI") or sys.argv[1:2] == ["worker"]:
        return
    from appliance.unpacked import live_in

    live_in(folder)


def take_environment(environ: MutableMapping[str, str]) -> dict[str, str]:
    """Take out what the bootloader has put in, and put back what it has replaced."""
    names = [_LIBRARIES, _LIBRARIES_BEFORE, *(name for name in environ if name[:5] == _BOOTLOADERS)]
    taken = {name: environ.pop(name) for name in names if name in environ}
    if _LIBRARIES_BEFORE in taken:
        environ[_LIBRARIES] = taken[_LIBRARIES_BEFORE]
    return taken


def worker_environment() -> dict[str, str]:
    """What a worker of ours is started with: the environment, and what `begin` took from it."""
    return {**os.environ, **_taken}
