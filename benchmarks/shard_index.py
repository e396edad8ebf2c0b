"""What a loader of very many shards takes before it has read a pair."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

from benchmarks.process_memory import resident
from sparc_vlm.datasets.shards import ShardLoader
from sparc_vlm.datasets.shards.files import INDEX, need_webdataset
from sparc_vlm.datasets.tokens import Tokenizer


def index_cost(pattern: str, tokenizer: Tokenizer) -> dict[str, Any]:
    """Time and memory of building one; for a process that does nothing else.

    Args:
        pattern: Of the shards.
        tokenizer: Any.

    Returns:
        Shards, pairs, seconds; bytes that the process grew by; and, built
        once more, bytes that the loader holds, and held at the most.
    """
    need_webdataset()  # what its import takes is nobody's index
    before, begin = resident(), time.perf_counter()
    ShardLoader(pattern, tokenizer, 256)
    seconds, grown = time.perf_counter() - begin, resident() - before
    tracemalloc.start()
    loader = ShardLoader(pattern, tokenizer, 256)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return dict(
        shards=len(loader.shards),
        pairs=loader.pairs_per_epoch,
        seconds=seconds,
        resident_bytes=grown,
        held_bytes=held,
        traced_peak_bytes=peak,
    )


def pretend_shards(folder: Path, count: int) -> str:
    """Shards that are there, and listed, but hold nothing.

    Args:
        folder: Gets them and their index.
        count: How many.

    Returns:
        The pattern that stands for all of them.
    """
    folder.mkdir(parents=True)
    with (folder / INDEX).open('w') as index:
        for number in range(count):
            name = f'{number:06d}.tar'
            (folder / name).touch()
            row = {'shard': name, 'pictures': 1000, 'captions': 5000}
            row |= {'broken_images': 0, 'empty_captions': 0}
            index.write(json.dumps(row) + '\n')
    return f'{folder}/{{000000..{count - 1:06d}}}.tar'
