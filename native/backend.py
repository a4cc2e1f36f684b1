"""The PEP 517 back end: setuptools, told how the native module is built.

A wheel compiles all of it through `setup.py`. An editable install builds the module in place and
only as far as it is out of date, by the same code as `make build`; `make` itself builds right
afterwards and sets BETTONG_SKIP_NATIVE=1.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = Mapping[str, Any] | None


def prepare_metadata_for_build_editable(directory: str, settings: Settings = None) -> str:
    os.environ["BETTONG_EDITABLE"] = "1"
    return str(build_meta.prepare_metadata_for_build_editable(directory, settings))


def build_editable(
    wheel_directory: str, settings: Settings = None, metadata_directory: str | None = None
) -> str:
    if os.environ.get("BETTONG_SKIP_NATIVE") != "1":
        import bindings  # here: it needs cffi, which a plain sdist does not

        bindings.build_in_place()
    # setup.py must not build the module a second time.
    os.environ["BETTONG_EDITABLE"] = "1"
    return str(build_meta.build_editable(wheel_directory, settings, metadata_directory))
