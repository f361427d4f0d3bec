"""More data than memory: images on disk, mapped."""

from dlhelpers.packed.packing import pack_dataset, pack_folder
from dlhelpers.packed.shard_writer import ShardWriter
from dlhelpers.packed.shards import ShardDataset, to_float
from dlhelpers.packed.verifying import verify

__all__ = ["ShardDataset", "ShardWriter", "pack_dataset", "pack_folder", "to_float", "verify"]
