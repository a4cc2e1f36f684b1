"""Loading a user's Python file by its path, under a private module name.

A user's `json.py` or `connectors/` must not take the place of anybody else's, so the file never
gets a name that can be imported. What stands beside it can be imported by it: its folder is put at
the end of the search path.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import zlib
from pathlib import Path
from types import ModuleType

from appliance.errors import Fault, FlowError, Place


def import_by_path(path: Path) -> ModuleType:
    """The module of this file; the file is run once in a process. Raises FlowError, also for what
    it raises."""
    path = Path(path)
    resolved = path.resolve()
    name = _private_name(resolved)
    if name in sys.modules:
        return sys.modules[name]
    if not resolved.is_file():
        raise FlowError([Fault(Place(str(path)), "there is no such file")])
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None:
        raise FlowError([Fault(Place(str(path)), "this is not a Python file")])
    module = importlib.util.module_from_spec(spec)
    if str(resolved.parent) not in sys.path:
        sys.path.append(str(resolved.parent))
    sys.modules[name] = module  # dataclasses look their module up while it is being run
    try:
        spec.loader.exec_module(module)
    except FlowError:
        del sys.modules[name]
        raise
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise FlowError([_raised(path, resolved, error)]) from error
    return module


def _private_name(resolved: Path) -> str:
    """One name for a file, the same in every process unless two paths have one checksum."""
    checksum = zlib.crc32(os.fsencode(resolved))
    name = f"_bettong_user_{resolved.stem.replace('.', '_')}_{checksum:08x}"
    while name in sys.modules and getattr(sys.modules[name], "__file__", None) != str(resolved):
        name += "_"
    return name


def _raised(path: Path, resolved: Path, error: BaseException) -> Fault:
    """What running the file raised, at the last line of the file itself that was being run."""
    if isinstance(error, SyntaxError) and error.filename == str(resolved):
        text = (error.text or "").rstrip("\n")
        place = Place(str(path), error.lineno or 0, error.offset or 0, text)
        return Fault(place, f"not Python: {error.msg}")
    import traceback  # only a fault needs it

    place = Place(str(path))
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == str(resolved) and frame.lineno:
            place = Place(str(path), frame.lineno, 0, frame.line or "")
    what = str(error)
    return Fault(place, f"{type(error).__name__}: {what}" if what else type(error).__name__)
