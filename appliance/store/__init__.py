"""What a worker keeps on its disk: `Store`."""

from appliance.store.commit import Commit, CommitResult
from appliance.store.examine import Examined, FlowContents, StepContents, examine
from appliance.store.failures import Damage, DiskFull, StoreFailed, StoreRefused
from appliance.store.segment import Section
from appliance.store.shards import ShardRows
from appliance.store.spool import SpoolBlock, SpoolInfo
from appliance.store.store import StepInfo, Store, StoreStats

__all__ = [
    "Commit",
    "CommitResult",
    "Damage",
    "DiskFull",
    "Examined",
    "FlowContents",
    "Section",
    "ShardRows",
    "SpoolBlock",
    "SpoolInfo",
    "StepContents",
    "StepInfo",
    "Store",
    "StoreFailed",
    "StoreRefused",
    "StoreStats",
    "examine",
]
