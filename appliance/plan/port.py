"""A stream of records between two steps."""

from __future__ import annotations

from msgspec import Struct

from appliance.plan.record import Record


class Port(Struct, frozen=True):
    """What the records look like, and the list that the operators of its readers are put into."""

    record: Record
    next: list[int]
    sources: int  # a set of bits: which sources reach it
    unit: str  # how its times are written
    arrival: bool  # all of those sources have arrival time
