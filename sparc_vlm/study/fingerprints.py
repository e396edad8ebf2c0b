"""What tells weights on disk from others, and those that an arm starts from.

A path stays the same when what lies there is trained anew; what began there
must then begin again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

KINDS = (('*.safetensors',), ('*.bin', '*.pt', '*.pth'))
"""Weights in a folder: others' models may be in files of other kinds alone."""
KEYS = ('checkpoint', 'load_from')
"""Options that name what is started from end so."""
CHUNK = 1 << 24


def fingerprint(path: Path) -> str:
    """A name for weights, the same for the same weights.

    Args:
        path: Of a file, of a model's folder, or of the run that has one.
    """
    return _digest(weight_files(path))


def weight_files(path: Path) -> tuple[Path, ...]:
    """The files that hold the weights; none where there are none.

    Args:
        path: As `fingerprint` takes it.
    """
    if path.is_file():
        return (path,)
    for patterns, at in product(KINDS, (path, path / 'model')):
        found = sorted(p for own in patterns for p in at.glob(own))
        if found:
            return tuple(found)
    return ()


def starts_of(options: Mapping[str, Any]) -> dict[str, str]:
    """Fingerprints of the weights that options name, by option.

    What is not there, or not on this machine, is left out.

    Args:
        options: Changes to a recipe, by dotted key.
    """
    found = {}
    for key, value in options.items():
        if key.rpartition('.')[2] in KEYS and isinstance(value, str):
            files = weight_files(Path(value).expanduser())
            if files:
                stats = tuple(file.stat() for file in files)
                seen = tuple((s.st_size, s.st_mtime_ns) for s in stats)
                found[key] = _known(files, seen)
    return found


def same_starts(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Whether nothing that is known of both has changed.

    Args:
        before: What `starts_of` returned; nothing is known of what was
            trained before that was noted.
        now: Likewise; nothing is known of what was deleted since.
    """
    return all(before[key] == now[key] for key in before.keys() & now.keys())


@cache
def _known(files: tuple[Path, ...], seen: tuple[tuple[int, int], ...]) -> str:
    """As `_digest`, read but once while sizes and times stay the same."""
    return _digest(files)


def _digest(files: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with open(path, 'rb') as file:
            while part := file.read(CHUNK):
                digest.update(part)
    return digest.hexdigest()
