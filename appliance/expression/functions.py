"""The library as functions of columns: `from appliance.expression import functions as f`, then
`f.round(col.x, 1)`.

The names are those of `appliance.expression.library.FUNCTIONS`; each takes columns and constants.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from appliance.expression.column import Column, library_call
from appliance.expression.library import FUNCTIONS, unknown_function


def __getattr__(name: str) -> Callable[..., Column]:
    if name.startswith("__"):
        raise AttributeError(name)
    if name not in FUNCTIONS:
        fault = unknown_function(name).fault
        raise AttributeError(f"{fault.message}: {fault.remedy}")
    return partial(library_call, name)


def __dir__() -> list[str]:
    return sorted(FUNCTIONS)
