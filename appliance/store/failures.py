"""What can go wrong with a store, and what is to be done about it.

StoreRefused   the folder is not for us: another format, another worker, in use; left untouched
DiskFull       nothing was committed, the store is good: the same commit may be tried again
StoreFailed    the disk refused a write or a sync: what it holds is known only after opening it
               again, so the process ends and starts from the disk
"""

from __future__ import annotations

from msgspec import Struct

from appliance.errors import EnvironmentFailure


class StoreRefused(EnvironmentFailure):
    """The folder cannot be this worker's store. Nothing in it was changed."""


class DiskFull(EnvironmentFailure):
    """There is no room for the transaction. The store holds what it held before and goes on being
    usable; the same transaction can be tried again once there is room."""


class StoreFailed(EnvironmentFailure):
    """A write or a sync failed. Whether the transaction is on the disk is unknown, and so is what
    the page cache holds: the store takes no further transaction, and the process must start again
    from the disk."""


class Damage(Struct, frozen=True):
    """One thing that was found damaged, and what became of it.

    Lost is something where `kind` is "store" (all of it was set aside), "history" (the newest cut
    may be missing), "record" (positions and numbers of a flow), "rows" (state of a shard, or with
    −1 of several), "spool" (results that waited; `step` names the sink). Nothing is lost by
    "structure" (the file was made again from its values), "stamp" and "copy" (there were two).

    `shard` is −1 and `flow`, `step` are empty where they do not apply or are not known; `file` is
    where the bytes went.
    """

    kind: str
    text: str
    flow: str = ""
    step: str = ""
    shard: int = -1
    file: str = ""
