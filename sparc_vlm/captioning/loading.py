"""A trained captioner's folder: loading it, and starting from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sparc_vlm import hub
from sparc_vlm.captioning.captioner import Captioner
from sparc_vlm.captioning.eyes import FOLDER as EYES
from sparc_vlm.captioning.fingerprints import check_same, sampled_fingerprint
from sparc_vlm.captioning.loaded import LoadedCaptioner
from sparc_vlm.captioning.lora import read_adapter
from sparc_vlm.captioning.saving import (
    ADAPTER,
    LANGUAGE,
    LANGUAGE_FILE,
    PART,
    PROJECTOR,
)
from sparc_vlm.devices import find_device
from sparc_vlm.errors import UsageError, UserError
from sparc_vlm.registry import MODELS
from sparc_vlm.weights import WeightsError, load_into, read_weights


def load(
    path: str | Path, device: str = 'cpu', language: str | None = None
) -> LoadedCaptioner:
    """Loads a captioner to write about pictures with.

    Args:
        path: The folder, a file in it, a run's work folder (its `model`
            folder is taken), or a checkpoint beside such a folder, whose
            weights are then taken instead.
        device: Where to put it.
        language: Where the language model is on this machine, if not where
            it was when the captioner was trained.

    Raises:
        ValueError: There is no such device.
        WeightsError: There is no such folder, it is damaged, of a newer
            format or not a captioner's, or eyes or language model are not
            those that it was trained with.
    """
    place = find_device(device)
    return LoadedCaptioner(build(path, language).to(place))


def build(path: str | Path, language: str | None = None) -> Captioner:
    """The captioner of a folder, on the CPU, in eval mode.

    Args:
        path: As `load` takes it.
        language: As `load` takes it.

    Raises:
        WeightsError: As `load`.
    """
    path = Path(path).expanduser()
    folder = hub.model_folder(path)
    cfg, trained_with = _read(folder, language)
    try:
        # Ours, whatever scope the caller's own runner has set.
        captioner = MODELS.build(dict(cfg, _scope_='sparc_vlm'))
    except UserError:
        raise
    except Exception as error:  # a config may be wrong in any way
        raise WeightsError(
            f'the captioner that {folder / hub.CONFIG_FILE} describes cannot '
            f'be built: {" ".join(str(error).split())}'
        ) from error
    _check(captioner, trained_with, folder)
    if path.is_file() and path.suffix == '.pth':
        load_into(captioner, read_weights(path))
    else:
        _take(captioner, folder)
    return captioner.eval()


def start_from(captioner: Captioner, path: str | Path) -> None:
    """Takes the trained weights of another captioner's folder.

    Random eyes become those of the folder; others must be the same.

    Args:
        captioner: With the same projector. Low-rank layers that the folder
            has none for begin as nothing.
        path: As `build` takes it, but for a checkpoint.

    Raises:
        WeightsError: There is no such folder, or it does not fit: it was
            tuned by low-rank layers, say, and the captioner has none.
        UsageError: It is a checkpoint.
    """
    path = Path(path).expanduser()
    if path.is_file() and path.suffix == '.pth':
        # The folder beside it may hold later weights.
        raise UsageError(
            f'{path} is a checkpoint, and a captioner starts from a model '
            f'folder: name {path.parent / "model"}, or resume the run'
        )
    folder = hub.model_folder(path)
    cfg, trained_with = _read(folder)
    if cfg['language'].get('lora') and not captioner.language.has_lora:
        raise WeightsError(
            f'the language model of {folder} was tuned by low-rank layers: '
            'give model.language.lora the same settings, or start from a '
            'folder of the first stage'
        )
    _check_eyes(captioner.eyes.describe(), cfg['eyes'], folder)
    if captioner.eyes.is_random:
        load_into(captioner.eyes.vision, read_weights(folder / EYES))
    _check(captioner, trained_with, folder)
    _take(captioner, folder)


def _read(
    folder: Path, language: str | None = None
) -> tuple[dict[str, Any], dict[str, str | None]]:
    """A config with paths of this machine, and fingerprints of what froze."""
    cfg = hub.read_config(folder / hub.CONFIG_FILE, PART)
    file = folder / LANGUAGE_FILE
    try:
        source = json.loads(file.read_text('utf-8'))
        eyes = cfg['eyes']
        trained_with = {
            'image encoder': cfg.pop('eyes_fingerprint'),
            'language model': source.pop('fingerprint'),
        }
        if source['path'] == LANGUAGE:
            source['path'] = str(folder / LANGUAGE)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f'{folder} is damaged: {type(error).__name__} ({error}) on '
            f'reading {hub.CONFIG_FILE} and {LANGUAGE_FILE}'
        ) from error
    if source.get('lora') and not (folder / ADAPTER).is_dir():
        raise WeightsError(
            f'{folder} has no {ADAPTER}/, though its language model was '
            'tuned: copy the folder anew, all of it'
        )
    if language is not None:
        source.update(path=str(language), gguf_file=None)
    locate_eyes(eyes, folder)
    cfg.update(type='Captioner', language=source)
    return cfg, trained_with


def locate_eyes(eyes: dict[str, Any], folder: Path) -> None:
    """Gives a described part its place on this machine.

    Args:
        eyes: What their `describe` gave; changed in place.
        folder: Where their `write` has written them.
    """
    for part in (eyes, (eyes.get('vision') or {}).get('init_cfg') or {}):
        for key in ('checkpoint', 'path'):
            if part.get(key) == EYES:
                part[key] = str(folder / EYES)


def _check_eyes(
    own: dict[str, Any], other: dict[str, Any], folder: Path
) -> None:
    """What of eyes no weight tells: which layer they see, and how large."""
    for key in ('layer', 'image_size', 'resize'):
        if key in own and key in other and own[key] != other[key]:
            raise WeightsError(
                f'{folder} was trained with eyes.{key}={other[key]!r}, and '
                f'this captioner has {own[key]!r}: take the same'
            )


def _check(
    captioner: Captioner, trained_with: dict[str, str | None], folder: Path
) -> None:
    found = {
        'image encoder': sampled_fingerprint(captioner.eyes),
        'language model': captioner.language.fingerprint,
    }
    own = folder / LANGUAGE
    for part, wanted in trained_with.items():
        # A language model that was trained whole lies in the folder.
        if wanted is not None:
            check_same(found[part], wanted, part, folder)
        elif captioner.language.source['path'] != str(own.resolve()):
            raise WeightsError(
                f'the language model of {folder} was trained, too: take the '
                f'one in {own}'
            )


def _take(captioner: Captioner, folder: Path) -> None:
    """Weights of the projector and, where both have one, the adapter."""
    load_into(captioner.projector, read_weights(folder / PROJECTOR))
    # Low-rank layers of a second stage begin as nothing.
    if captioner.language.has_lora and (folder / ADAPTER).is_dir():
        read_adapter(captioner.language.model, folder / ADAPTER)
