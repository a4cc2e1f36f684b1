"""Damage that nobody has accepted yet. A store is made sound when it is opened, so what was lost
would be forgotten with the next start: it is kept in a file beside the store until somebody says
that a flow may go on without it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from appliance.errors import EnvironmentFailure
from appliance.limits import DAMAGE_NOTE_MAX_BYTES, STORE_DAMAGE_MAX_COUNT
from appliance.store import Damage

#: What is made good without a loss: there were two copies, or the values were all readable.
LOSSLESS = frozenset({"structure", "stamp", "copy"})


def is_loss(damage: Damage) -> bool:
    """Whether something is gone that no other copy had."""
    return damage.kind not in LOSSLESS


class DamageNotes:
    """What was lost of each flow of one worker: a line for each in `<store>.damage.txt`."""

    def __init__(self, store: Path) -> None:
        """`store`: the folder of the store. EnvironmentFailure if the file cannot be read."""
        self.path = store.with_name(f"{store.name}.damage.txt")
        self._notes: list[tuple[str, str]] = []
        try:
            with self.path.open("rb") as file:
                text = file.read(STORE_DAMAGE_MAX_COUNT * DAMAGE_NOTE_MAX_BYTES)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._refusal("read", error) from error
        for line in text.decode("utf-8", "replace").splitlines():
            flow, _, words = line.partition("\t")
            self._notes.append((flow, words))

    def add(self, notes: Iterable[tuple[str, str]], flows: Iterable[str]) -> None:
        """More of it, as pairs of a flow and what it lost; the flow "" is all of `flows`, or
        whichever comes where none is known any more."""
        known = list(flows) or [""]
        wanted = [
            (flow, " ".join(text.split())[:DAMAGE_NOTE_MAX_BYTES])
            for owner, text in notes
            for flow in ([owner] if owner else known)
        ]
        fresh = [note for note in dict.fromkeys(wanted) if note not in self._notes]
        if fresh:
            self._notes = (self._notes + fresh)[:STORE_DAMAGE_MAX_COUNT]
            self._write()

    def of(self, flow: str) -> list[str]:
        """What was lost of a flow."""
        return [text for owner, text in self._notes if owner in ("", flow)]

    def accept(self, flow: str) -> None:
        """The flow goes on without it."""
        kept = [note for note in self._notes if note[0] not in ("", flow)]
        if kept != self._notes:
            self._notes = kept
            self._write()

    def all(self) -> list[tuple[str, str]]:
        """Every flow with what it lost."""
        return list(self._notes)

    def _write(self) -> None:
        try:
            if not self._notes:
                self.path.unlink(missing_ok=True)
                return
            fresh = self.path.with_name(f".{self.path.name}")
            with fresh.open("w", encoding="utf-8") as out:
                out.writelines(f"{flow}\t{text}\n" for flow, text in self._notes)
                out.flush()
                os.fsync(out.fileno())
            fresh.replace(self.path)
        except OSError as error:
            raise self._refusal("written", error) from error

    def _refusal(self, verb: str, error: OSError) -> EnvironmentFailure:
        why = error.strerror or error
        return EnvironmentFailure(f"{self.path}: what was lost cannot be {verb}: {why}")
