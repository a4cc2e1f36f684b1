"""What cffi builds: two objects whose attributes come from native/include/cdefs.h."""

from typing import Any

ffi: Any
lib: Any
