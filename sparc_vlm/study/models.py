"""A model by whatever names it: ours, or another's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sparc_vlm
from sparc_vlm import hub
from sparc_vlm.devices import find_device
from sparc_vlm.errors import MissingFileError
from sparc_vlm.study.fingerprints import fingerprint

PREFIXES = ('open_clip:', 'hf:')
LOCAL = 'local-dir:'


def open_model(name: str, device: str = 'cpu') -> Any:
    """A model to measure.

    Args:
        name: What `sparc_vlm.load`, `sparc_vlm.detection.load` or
            `sparc_vlm.captioning.load` takes;
            'open_clip:NAME[:WEIGHTS]', where
            the weights are a file or a name that open_clip knows, or
            'open_clip:local-dir:FOLDER'; or 'hf:FOLDER' for a CLIP model of
            transformers.
        device: Where to put it.

    Raises:
        MissingFileError: Nothing is there.
        UsageError: There is no such device.
        UserError: What is there cannot be loaded, or needs a package that is
            not installed.
    """
    check_model(name)
    find_device(device)
    if is_detector(name):
        # Not for everyone: MMDetection takes seconds to import.
        from sparc_vlm import detection

        return detection.load(name, device)
    if is_captioner(name):
        # Nor for everyone: peft does as well.
        from sparc_vlm import captioning

        return captioning.load(name, device)
    if not name.startswith(PREFIXES):
        return sparc_vlm.load(name, device)
    from sparc_vlm.adapters import HuggingFaceClip, OpenClipModel
    from sparc_vlm.adapters.open_clip_model import SELF_CONTAINED

    kind, _, rest = name.partition(':')
    if kind == 'hf':
        return HuggingFaceClip(rest, device=device)
    if rest.startswith(SELF_CONTAINED):
        return OpenClipModel(rest, device=device)
    architecture, _, weights = rest.partition(':')
    return OpenClipModel(architecture, weights or None, device=device)


def is_detector(name: str) -> bool:
    """Whether a model is a detector, by the config in its folder.

    Args:
        name: As `open_model` takes it.
    """
    return _has_part(name, 'detector')


def is_captioner(name: str) -> bool:
    """Whether a model is a captioner, by the config in its folder.

    Args:
        name: As `open_model` takes it.
    """
    return _has_part(name, 'captioner')


def _has_part(name: str, part: str) -> bool:
    """Whether the config in a model's folder describes such a part."""
    try:
        folder = hub.model_folder(Path(name).expanduser())
        content = json.loads((folder / hub.CONFIG_FILE).read_text('utf-8'))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and part in content


def check_model(name: str) -> None:
    """Makes sure that there is something of that name, before long work.

    Raises:
        MissingFileError: There is not.
    """
    path = _path(name)
    is_file = not name.startswith('open_clip:') or LOCAL in name
    if is_file and not path.exists():
        raise MissingFileError(
            f'there is no model at {path}: name a model folder, a checkpoint, '
            'open_clip:NAME[:WEIGHTS] or hf:FOLDER'
        )


def identity(name: str) -> str:
    """What tells one model from another, for a record of what was done."""
    path = _path(name)
    if path.is_dir():
        return f'{name} {fingerprint(path)}'
    if path.is_file():
        stat = path.stat()
        return f'{name} {stat.st_size} {stat.st_mtime_ns}'
    return name


def _path(name: str) -> Path:
    """The file or folder in a model's name, if there is one."""
    return Path(name.rpartition(':')[2])
