"""A trained detector as a folder that anyone can load, and loading it.

As the folder of a pretrained model: weights in safetensors, all else as
JSON, no code in it. It knows the names of its classes and what a picture
goes through before the model sees it, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmdet.datasets.transforms
import mmdet.models  # noqa: F401 (registers them, as the line above)
from mmdet.registry import MODELS, TASK_UTILS, TRANSFORMS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from sparc_vlm import hub
from sparc_vlm.detection.detector import SCOPE, LoadedDetector
from sparc_vlm.devices import find_device
from sparc_vlm.files import write_json
from sparc_vlm.weights import WeightsError, load_into, read_weights

PART = 'detector'
ROOTS = (MODELS.parent, TASK_UTILS.parent, TRANSFORMS.parent)
TUPLE = 'tuple'
READERS = 'Load'
"""How names of transforms begin that read a picture or what is known of it."""


def save(
    model: nn.Module,
    folder: str | Path,
    model_cfg: dict[str, Any],
    pipeline: Sequence[dict[str, Any]],
    classes: Sequence[str],
    weights: dict[str, Tensor] | None = None,
) -> Path:
    """Writes a detector's folder; each file is replaced whole or not at all.

    Args:
        model: A detector of MMDetection.
        folder: Where to; made if it is not there.
        model_cfg: The config that the model was built from.
        pipeline: Configs of the transforms of its test data.
        classes: Names of what it finds, in the order of its labels.
        weights: In place of those that the model has.

    Returns:
        The folder.
    """
    folder = Path(folder)
    cfg = portable(model_cfg)
    if hasattr(model, 'encoders'):
        own = hub.describe(model.encoders, model_cfg['encoders'], folder)
        cfg['encoders'] = portable(own)
    described = dict(
        model=cfg,
        pipeline=[
            portable(step)
            for step in pipeline
            if not _base(step).startswith(READERS)
        ],
        classes=list(classes),
    )
    hub.write_weights(weights or model.state_dict(), folder)
    write_json(
        folder / hub.CONFIG_FILE, {'format': hub.FORMAT, PART: described}
    )
    return folder


def load(path: str | Path, device: str = 'cpu') -> LoadedDetector:
    """Loads a detector to find things with.

    Args:
        path: The folder of a detector, a file in it, a run's work folder
            (its `model` folder is taken), or a checkpoint beside such a
            folder, whose weights are then taken instead.
        device: Where to put it.

    Raises:
        ValueError: There is no such device.
        WeightsError: There is no such folder, it is damaged, of a newer
            format or not a detector's, or its weights do not fit its config.
    """
    place = find_device(device)
    path = Path(path).expanduser()
    folder = hub.model_folder(path)
    file = folder / hub.CONFIG_FILE
    found = restored(hub.read_config(file, PART, ROOTS))
    is_weights = path.is_file() and path.suffix != '.json'
    try:
        model = _build(found['model'], folder)
        detector = LoadedDetector(model, found['pipeline'], found['classes'])
    except Exception as error:  # a config may be wrong in any way
        raise WeightsError(
            f'the detector that {file} describes cannot be built: '
            f'{" ".join(str(error).split())}'
        ) from error
    load_into(model, read_weights(path if is_weights else folder))
    model.to(place).eval()
    return detector


def _build(cfg: dict[str, Any], folder: Path) -> nn.Module:
    """The model with random weights."""
    tokenizer = cfg.get('encoders', {}).get('tokenizer')
    if tokenizer:
        tokenizer['path'] = str(folder / tokenizer['path'])
    with DefaultScope.overwrite_default_scope(SCOPE):
        return MODELS.build(ConfigDict(cfg))


def portable(value: Any) -> Any:
    """A config as JSON holds it, without what weights begin with.

    MMDetection tells tuples from lists, and JSON does not: a tuple becomes a
    dict with `TUPLE` as its key. `init_cfg` is left out, since it names files.
    """
    if isinstance(value, dict):
        return {
            key: portable(part)
            for key, part in value.items()
            if key != 'init_cfg'
        }
    if isinstance(value, tuple):
        return {TUPLE: [portable(part) for part in value]}
    if isinstance(value, list):
        return [portable(part) for part in value]
    is_plain = value is None or isinstance(value, (bool, int, float, str))
    return value if is_plain else str(value)


def restored(value: Any) -> Any:
    """What `portable` has put down."""
    if isinstance(value, list):
        return [restored(part) for part in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {TUPLE}:
        return tuple(restored(value[TUPLE]))
    return {key: restored(part) for key, part in value.items()}


def _base(step: dict[str, Any]) -> str:
    """A transform's type without its scope."""
    kind = step['type']
    name = kind if isinstance(kind, str) else kind.__name__
    return name.rpartition('.')[2]
