"""WebDataset tar shards: read, resumed and written."""

from sparc_vlm.datasets.shards.files import count_pairs, find_shards
from sparc_vlm.datasets.shards.loader import ShardLoader
from sparc_vlm.datasets.shards.stream import read_shard, shard_captions
from sparc_vlm.datasets.shards.writer import write_shards

__all__ = [
    'ShardLoader',
    'count_pairs',
    'find_shards',
    'read_shard',
    'shard_captions',
    'write_shards',
]
