"""A sink that counts and forgets: for measuring, and for trying a flow without its outside."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.connect import NativeEnd, Resume, sink


@sink("blackhole")
class BlackholeSink:
    """Take everything, keep nothing."""

    def open(self, resume: Resume) -> None:
        """Nothing to open."""

    def native(self) -> NativeEnd:
        return NativeEnd("blackhole", label="nowhere")

    def write(self, records: Sequence[bytes]) -> None:
        """After a cut: taken."""

    def close(self) -> None:
        """Nothing to close."""
