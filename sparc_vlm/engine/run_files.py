"""Reading and writing a run's checkpoints, for the runner.

What to do when one cannot be read or written is decided here: fall back to
the one before, say so and go on, or stop in every process at once.
"""

from __future__ import annotations

import hashlib
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from filelock import FileLock
from mmengine import dist
from mmengine.logging import MMLogger
from mmengine.runner.checkpoint import _load_checkpoint

from sparc_vlm.engine.checkpoint import (
    BrokenCheckpointError,
    CheckpointError,
    RefusedCheckpointError,
    read_checkpoint,
    whole_checkpoints,
    write_checkpoint,
)
from sparc_vlm.files import reason
from sparc_vlm.weights import read_weights

WEB = ('http://', 'https://')


def read_any(filename: str, map_location: Any, trust: bool) -> dict[str, Any]:
    """A checkpoint, or at least its weights under 'state_dict'.

    Args:
        filename: A file, a model folder, or an address that mmengine knows.
        map_location: Only used for addresses.
        trust: Whether to unpickle what it holds.

    Raises:
        CheckpointError: It cannot be read or downloaded, or reading it could
            run code and `trust` is not given.
    """
    path = Path(filename).expanduser()
    if filename.startswith(WEB):
        path = downloaded(filename)
    elif '://' in filename:
        if not trust:
            raise RefusedCheckpointError(
                f'{filename} would be unpickled by mmengine, which can run '
                'code: download it and name the file, or add --trust'
            )
        found = _load_checkpoint(filename, map_location=map_location)
        is_whole = 'state_dict' in found
        return found if is_whole else {'meta': {}, 'state_dict': found}
    if path.suffix == '.pth' and path.is_file():
        try:
            checkpoint = read_checkpoint(path, trust)
        except RefusedCheckpointError:
            checkpoint = {}  # its weights may be readable even so
        if 'state_dict' in checkpoint:
            return checkpoint
    return {'meta': {}, 'state_dict': read_weights(path, trust)}


def downloaded(address: str) -> Path:
    """The file at an address of the web, downloaded once.

    It stays where torch keeps what it downloads, in a folder for the address:
    many files are called `model.pth`. Of several processes of a machine one
    downloads it and the others wait.

    Args:
        address: Begins with http:// or https://.

    Raises:
        CheckpointError: It cannot be downloaded.
    """
    folder = hashlib.sha256(address.encode()).hexdigest()[:16]
    name = Path(urlsplit(address).path).name or 'checkpoint'
    path = Path(torch.hub.get_dir(), 'checkpoints', folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_name(f'{name}.lock')):
            if not path.is_file():
                # It appears under its name only once it is whole.
                torch.hub.download_url_to_file(address, str(path))
    except (OSError, HTTPException) as error:
        raise CheckpointError(
            f'{address} could not be downloaded: {error}'
        ) from error
    return path


def latest_readable(folder: str, trust: bool, logger: MMLogger) -> str | None:
    """The last checkpoint of a work folder that can be read.

    Args:
        folder: The work folder.
        trust: Whether to unpickle what it holds.
        logger: Told of those that are passed over.
    """
    for path in whole_checkpoints(folder):
        try:
            read_checkpoint(path, trust)
            return str(path.absolute())
        except BrokenCheckpointError as error:
            logger.warning(f'{error}; trying the one before')
    return None


def read_run(filename: str, trust: bool, map_location: Any) -> dict[str, Any]:
    """A checkpoint, once every process has read the same one.

    Args:
        filename: A checkpoint to resume.
        trust: Whether to unpickle what it holds.
        map_location: Where its tensors go first.

    Raises:
        CheckpointError: It cannot be read, or the processes read different
            ones.
    """
    checkpoint, error = {}, None
    try:
        checkpoint = read_checkpoint(filename, trust, map_location)
    except (OSError, CheckpointError) as raised:
        error = raised  # told to the others before it is raised
    place = checkpoint.get('meta', {}).get('iter')
    places = dist.all_gather_object('none' if error else place)
    if error is not None:
        raise error
    if len(set(places)) > 1:
        raise CheckpointError(
            f'{filename} is not the same file in every process '
            f'(iterations {", ".join(map(str, places))}): put work_dir '
            'on a disk that all machines share'
        )
    return checkpoint


def write_or_say(
    checkpoint: dict[str, Any], path: Path, last: str, logger: MMLogger
) -> bool:
    """Writes a checkpoint, and says why if that cannot be done.

    Args:
        checkpoint: What it holds.
        path: Where to.
        last: The last good checkpoint, for the message.
        logger: Where to say it.

    Returns:
        Whether it was written.
    """
    try:
        dropped = write_checkpoint(checkpoint, path)
    except OSError as error:
        logger.error(
            f'{path} could not be written ({reason(error)}); training '
            f'goes on, the last good checkpoint is {last}'
        )
        return False
    if dropped:
        logger.warning(
            f'not in {path.name}, for being no plain data: '
            + ', '.join(dropped)
        )
    return True
