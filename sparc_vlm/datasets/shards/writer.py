"""Any source of pairs as tar shards with an index, written in parallel.

A shard has its final name only when it is whole, and is in the index only
when it has its name: a run that was stopped goes on with what is missing.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from sparc_vlm.datasets.images import BrokenImage, decode_image
from sparc_vlm.datasets.pairs import PairSource
from sparc_vlm.datasets.shards.files import (
    INDEX,
    need_webdataset,
    read_index,
)
from sparc_vlm.errors import UsageError

Done = Callable[[int], None]
_source: PairSource | None = None


def write_shards(
    source: PairSource,
    folder: str | Path,
    per_shard: int = 1000,
    num_workers: int = 1,
    done: Done = lambda pictures: None,
) -> dict[str, int]:
    """Writes a source as tar shards.

    Pictures go in as they are stored, those that cannot be decoded or have
    no caption are left out and counted.

    Args:
        source: What to write.
        folder: Where to; filled with 000000.tar, ... and `index.jsonl`.
        per_shard: Pictures in a shard.
        num_workers: Processes that write.
        done: Called with the number of pictures gone through, after each
            shard, those of an earlier run included.

    Returns:
        Totals: pictures and captions written, broken_images and
        empty_captions left out, shards.

    Raises:
        ImportError: webdataset is not installed.
        ValueError: The folder holds shards of another source or size, there
            are no pictures, or none are to go into a shard.
    """
    need_webdataset()
    if per_shard < 1:
        raise UsageError(f'per_shard must be 1 or more, got {per_shard}')
    if not len(source):
        raise UsageError('there are no pictures to write')
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _check_folder(folder, source, per_shard)
    total: Counter[str] = Counter()
    finished = set()
    for row in read_index(folder):
        if (folder / row['shard']).is_file() and row['shard'] not in finished:
            finished.add(row['shard'])
            _add(total, row, done)
    starts = range(0, len(source), per_shard)
    names = {start: f'{start // per_shard:06d}.tar' for start in starts}
    left = [start for start in starts if names[start] not in finished]
    with (
        ProcessPoolExecutor(
            max(num_workers, 1), initializer=_keep, initargs=(source,)
        ) as pool,
        (folder / INDEX).open('a', encoding='utf-8') as index,
    ):
        # Ends the line that a killed run may have left half written.
        index.write('\n')
        jobs = [
            pool.submit(
                _write_kept,
                range(start, min(start + per_shard, len(source))),
                folder / names[start],
            )
            for start in left
        ]
        for job in as_completed(jobs):
            row = job.result()
            index.write(json.dumps(row) + '\n')
            index.flush()
            _add(total, row, done)
    return dict(total)


def _keep(source: PairSource) -> None:
    """Gives a writing process the source once, not with every shard."""
    global _source
    _source = source


def _write_kept(indices: range, path: Path) -> dict:
    return write_shard(_source, indices, path)


def _check_folder(folder: Path, source: PairSource, per_shard: int) -> None:
    """Notes what the shards are made of, or compares it with the note."""
    note = folder / 'source.json'
    made_of = {
        'pictures': len(source),
        'per_shard': per_shard,
        'first': source.key(0),
        'last': source.key(len(source) - 1),
    }
    if not note.is_file():
        note.write_text(json.dumps(made_of, indent=1), encoding='utf-8')
    elif json.loads(note.read_text('utf-8')) != made_of:
        raise UsageError(
            f'{folder} holds shards of other pictures or of another size: '
            'write to an empty folder'
        )


def _add(total: Counter[str], row: dict, done: Done) -> None:
    counts = {name: n for name, n in row.items() if name != 'shard'}
    total.update(counts)
    total['shards'] += 1
    done(row['pictures'] + row['broken_images'] + row['empty_captions'])


def write_shard(source: PairSource, indices: range, path: Path) -> dict:
    """Writes some pictures of a source as one tar file.

    Args:
        source: Where they come from.
        indices: Which ones.
        path: Of the file; it is there when it is whole.

    Returns:
        The shard's row in the index.
    """
    wds = need_webdataset()
    row = dict.fromkeys(
        ('pictures', 'captions', 'broken_images', 'empty_captions'), 0
    )
    part = path.with_suffix('.part')
    # A fixed time makes the same pictures the same file.
    with part.open('wb') as file:
        with wds.TarWriter(file, encoder=False, mtime=0) as tar:
            for index in indices:
                captions = [c for c in source.captions(index) if c.strip()]
                if not captions:
                    row['empty_captions'] += 1
                    continue
                try:
                    suffix, data = source.file(index)
                    decode_image(data, source.key(index))
                except BrokenImage:
                    row['broken_images'] += 1
                    continue
                text = {'key': source.key(index), 'captions': captions}
                tar.write(
                    {
                        '__key__': f'{index:09d}',
                        suffix: data,
                        'json': json.dumps(text).encode(),
                    }
                )
                row['pictures'] += 1
                row['captions'] += len(captions)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    return {'shard': path.name, **row}
