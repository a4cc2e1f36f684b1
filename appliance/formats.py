"""Which versions of our own data this program writes and reads. This is the one place that decides.

The rule, in docs/formats/README.md: a program that writes version N reads N and N − 1. It refuses
anything else with `refusal`, before it touches anything. What another form carries (the rows in a
store, the positions in a record) has no version of its own: when it changes, its carrier's counts
up.
"""

from __future__ import annotations

from msgspec import Struct


class Format(Struct, frozen=True):
    """One form in which data outlives the program that wrote it; `version` is what is written."""

    name: str
    version: int

    @property
    def oldest(self) -> int:
        """The oldest version that is read."""
        return max(self.version - 1, 1)

    def refusal(self, version: int, otherwise: str = "") -> str:
        """Why data of this version is not read; nothing when it is. `otherwise`: what else there is
        to do than to use the program that wrote it."""
        if self.oldest <= version <= self.version:
            return ""
        known = f"{self.oldest} and {self.version}" if self.oldest < self.version else self.version
        found = f"this {self.name} has format {version}, and this program knows {known}"
        if version < self.oldest:
            return f"{found}: go by a version of bettong in between (nothing was changed)"
        use = f"use that one, or {otherwise}" if otherwise else "use that one"
        return f"{found}: it was written by a newer version; {use} (nothing was changed)"


STORE = Format("store", 1)
RECORD = Format("record", 1)
UPSTREAM_POSITION = Format("position", 1)
EXPORT = Format("export", 1)
CAPTURE = Format("capture", 1)
MANIFEST = Format("manifest", 1)

#: What a data folder, or a file of ours, may hold.
ALL = (STORE, RECORD, UPSTREAM_POSITION, EXPORT, CAPTURE, MANIFEST)
