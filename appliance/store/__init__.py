"""What a worker keeps on its disk: `Store`. A look at it from outside is `store.examine`, which no
worker needs.
"""

from appliance.store.commit import Commit, CommitResult
from appliance.store.failures import Damage, DiskFull, StoreFailed, StoreRefused
from appliance.store.segment import Section, one_shard
from appliance.store.shards import ShardRows
from appliance.store.spool import SpoolBlock, SpoolInfo
from appliance.store.store import StepInfo, Store, StoreStats

__all__ = [
    "Commit",
    "CommitResult",
    "Damage",
    "DiskFull",
    "Section",
    "ShardRows",
    "SpoolBlock",
    "SpoolInfo",
    "StepInfo",
    "Store",
    "StoreFailed",
    "StoreRefused",
    "StoreStats",
    "one_shard",
]
