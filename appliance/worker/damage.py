"""Opening stores, and damage that nobody has accepted yet. A store is made sound when it is opened,
so what was lost would be forgotten with the next start: it is kept in a file beside the store until
somebody says that a flow may go on without it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from appliance.errors import EnvironmentFailure
from appliance.limits import DAMAGE_NOTE_MAX_BYTES, STORE_DAMAGE_MAX_COUNT
from appliance.store import Damage, Store

#: What is made good without a loss: there were two copies, or the values were all readable.
LOSSLESS = frozenset({"structure", "stamp", "copy"})


def is_loss(damage: Damage) -> bool:
    """Whether something is gone that no other copy had."""
    return damage.kind not in LOSSLESS


def open_store(folder: Path) -> Store:
    """The store of a worker, called as its folder is. What it lost is written down before it is
    taken out. EnvironmentFailure."""

    def note(damage: Sequence[Damage]) -> None:
        lost = [(one.flow, loss_words(one)) for one in damage if is_loss(one)]
        if lost:
            DamageNotes(folder).add(lost)

    store = Store.open(folder, identity=folder.name, note=note)
    if any(is_loss(one) for one in store.damage):
        DamageNotes(folder).give_to(store.records())
    return store


def loss_words(found: Damage) -> str:
    """Damage with its step and shard."""
    step = f"step {found.step}: " if found.step and found.kind == "rows" else ""
    shard = f"shard {found.shard}: " if found.shard >= 0 else ""
    return f"{step}{shard}{found.text}"


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

    def add(self, notes: Iterable[tuple[str, str]]) -> None:
        """More of it, as pairs of a flow and what it lost; the flow "" is all of them."""
        wanted = [(flow, " ".join(text.split())[:DAMAGE_NOTE_MAX_BYTES]) for flow, text in notes]
        self._replace([*self._notes, *wanted])

    def give_to(self, flows: Iterable[str]) -> None:
        """What all flows lost is these flows' now: each has to accept it."""
        known = list(flows) or [""]
        self._replace(
            [(flow, text) for owner, text in self._notes for flow in ([owner] if owner else known)]
        )

    def of(self, flow: str) -> list[str]:
        """What was lost of a flow."""
        return [text for owner, text in self._notes if owner in ("", flow)]

    def accept(self, flow: str) -> None:
        """The flow goes on without it."""
        self._replace([note for note in self._notes if note[0] not in ("", flow)])

    def all(self) -> list[tuple[str, str]]:
        """Every flow with what it lost."""
        return list(self._notes)

    def _replace(self, notes: Iterable[tuple[str, str]]) -> None:
        fresh = list(dict.fromkeys(notes))[:STORE_DAMAGE_MAX_COUNT]
        if fresh != self._notes:
            self._notes = fresh
            self._write()

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
