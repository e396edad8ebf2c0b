"""Which tar files there are, and how many pairs they hold."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from mmengine.logging import print_log

from sparc_vlm.datasets.text import PackedStrings
from sparc_vlm.errors import MissingFileError, MissingPackageError

INDEX = 'index.jsonl'


def need_webdataset() -> ModuleType:
    """The webdataset library.

    Raises:
        ImportError: It is not installed; says how to.
    """
    try:
        import webdataset
    except ImportError as error:
        raise MissingPackageError(
            "tar shards need webdataset: pip install 'sparc_vlm[shards]'"
        ) from error
    return webdataset


def find_shards(urls: str | Iterable[str]) -> PackedStrings:
    """The shards that a pattern stands for.

    Args:
        urls: '/path/{000..999}.tar', a folder of tar files, a glob, a URL,
            or several of them.

    Returns:
        Every shard; local ones that are missing are left out, with a word
        in the log.

    Raises:
        FileNotFoundError: Nothing is there.
    """
    expand = need_webdataset().shardlists.expand_urls
    shards: list[str] = []
    missing: list[str] = []
    for pattern in [urls] if isinstance(urls, str) else urls:
        if Path(pattern).is_dir():
            shards += sorted(map(str, Path(pattern).glob('*.tar')))
            continue
        for url in expand(pattern):
            local = url.removeprefix('file:')
            if '://' in local or local.startswith('pipe:'):
                shards.append(url)
            elif '*' in local:
                shards += sorted(glob.glob(local))
            else:
                there = Path(local).is_file()
                (shards if there else missing).append(local)
    if not shards:
        raise MissingFileError(f'no tar shards at {urls}')
    if missing:
        print_log(
            f'{len(missing)} of {len(missing) + len(shards)} shards are not '
            f'there and are left out, the first is {missing[0]}',
            'current',
        )
    return PackedStrings(shards)


def count_pairs(shards: PackedStrings) -> int | None:
    """Pictures in all shards, from the indexes beside them.

    Args:
        shards: Paths; each folder has an `index.jsonl` if
            `write_shards` filled it.

    Returns:
        None if a shard is in no index.
    """
    folders: dict[str, dict[str, int]] = {}
    total = 0
    for shard in shards:
        folder, _, name = shard.rpartition('/')
        if folder not in folders:
            folders[folder] = {
                row['shard']: row['pictures']
                for row in read_index(Path(folder))
            }
        if name not in folders[folder]:
            return None
        total += folders[folder][name]
    return total


def read_index(folder: Path) -> list[dict]:
    """What is known of the finished shards of a folder.

    Args:
        folder: With an `index.jsonl`, or without: then nothing is known.
    """
    rows = []
    if (folder / INDEX).is_file():
        for line in (folder / INDEX).read_text('utf-8').splitlines():
            # The last line is cut short where a run was killed.
            if line.startswith('{"shard"') and line.endswith('}'):
                rows.append(json.loads(line))
    return rows
