"""Checkpoints on disk: written whole, read without running code, found again.

What is in one is the runner's matter; here it is a dict of plain data.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from sparc_vlm.engine.plain import pack, unpack
from sparc_vlm.errors import MissingFileError, UserError
from sparc_vlm.files import atomic_file

POINTER = 'last_checkpoint'
OWN = 'auto'
"""`resume` of a run that goes on from the latest of its own checkpoints, and
not from the `load_from` that it began with, as `resume=True` would."""
NUMBERED = re.compile(r'(?:iter|epoch)_(\d+)\.pth')


class CheckpointError(UserError, RuntimeError):
    """A checkpoint cannot be used; the message says why in one sentence."""


class RefusedCheckpointError(CheckpointError):
    """Loading would run code that came with the file."""


class BrokenCheckpointError(CheckpointError):
    """The file is damaged or was never written to its end."""


def write_checkpoint(
    checkpoint: dict[str, Any], path: str | Path
) -> list[str]:
    """Writes a checkpoint; it appears under its name only once it is whole.

    Args:
        checkpoint: What to save. Entries of `meta` and `message_hub` that are
            not plain data are left out.
        path: Where to write it.

    Returns:
        The dotted names of the entries left out.

    Raises:
        OSError: The disk is full or the folder cannot be written to; nothing
            is left behind.
        TypeError: Something outside `meta` and `message_hub` is not plain
            data.
    """
    dropped: list[str] = []
    optional = ('meta', 'message_hub')
    plain = {
        key: pack(value, dropped if key in optional else None, key)
        for key, value in checkpoint.items()
    }
    with atomic_file(path) as file:
        torch.save(plain, file)
    return dropped


def read_checkpoint(
    path: str | Path,
    trust: bool = False,
    map_location: Any = 'cpu',
) -> dict[str, Any]:
    """Reads a checkpoint, without running code that came with it.

    Args:
        path: A .pth file.
        trust: Unpickle whatever the file holds. Only for files whose origin
            you trust: unpickling can run any program.
        map_location: Where tensors go, as for `torch.load`.

    Raises:
        FileNotFoundError: There is no such file.
        RefusedCheckpointError: It holds more than plain data, and `trust`
            is off.
        BrokenCheckpointError: It is damaged or half written.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f'there is no checkpoint {path}')
    if not is_whole(path):
        raise BrokenCheckpointError(
            f'{path} is damaged or was not written to its end: use another '
            'checkpoint'
        )
    try:
        checkpoint = torch.load(
            path, map_location=map_location, weights_only=not trust
        )
    except Exception as error:  # a damaged file may raise anything
        found = re.search(r'GLOBAL ([\w.]+)', str(error))
        if found:
            raise RefusedCheckpointError(
                f'{path} holds more than plain data ({found[1]}), and '
                'unpickling it could run any program: if you trust where it '
                'comes from, load it with --trust'
            ) from None
        raise BrokenCheckpointError(
            f'{path} is damaged ({type(error).__name__} on reading it): use '
            'another checkpoint'
        ) from error
    if not isinstance(checkpoint, dict):
        raise BrokenCheckpointError(
            f'{path} holds a {type(checkpoint).__name__}, not a checkpoint'
        )
    return unpack(checkpoint)


def is_whole(path: str | Path) -> bool:
    """Whether a checkpoint was written to its end.

    A zip file's table of contents stands at its end, so that a file that was
    cut off anywhere has none. Files from before torch 1.6 are no zip files
    and pass here; reading them tells.
    """
    try:
        with open(path, 'rb') as file:
            if file.read(1) == b'\x80':  # a bare pickle: the old format
                return True
        with zipfile.ZipFile(path) as archive:
            return bool(archive.infolist())
    except (OSError, zipfile.BadZipFile):
        return False


def whole_checkpoints(folder: str | Path) -> Iterator[Path]:
    """The checkpoints of a run that can be resumed, the latest first.

    Those that a previous, longer run left in the same folder are passed
    over: they have a higher number than the one that the file
    `last_checkpoint` names, and are older.
    """
    folder = Path(folder)
    found = {
        path: int(match[1])
        for path in folder.glob('*.pth')
        if (match := NUMBERED.fullmatch(path.name))
    }
    last = _pointed(folder)
    if last in found:
        written = last.stat().st_mtime_ns
        found = {
            path: number
            for path, number in found.items()
            if number <= found[last] or path.stat().st_mtime_ns >= written
        }
    for path in sorted(found, key=found.__getitem__, reverse=True):
        if is_whole(path):
            yield path


def _pointed(folder: Path) -> Path | None:
    """What the file `last_checkpoint` names, moved folders or not."""
    try:
        name = (folder / POINTER).read_text().strip()
    except OSError:
        return None
    return folder / Path(name).name if name else None
