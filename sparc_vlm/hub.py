"""A trained model as a folder that anyone can load, and loading it.

The folder holds weights (safetensors), the model's config, preprocessing
included, as JSON, and its tokenizer. Nothing in it is code, and reading it
runs none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import Registry
from mmengine.runner import Runner
from safetensors.torch import save as serialise
from torch import Tensor

from sparc_vlm.devices import find_device
from sparc_vlm.files import atomic_file, write_json
from sparc_vlm.models import ImageTextPretrainer
from sparc_vlm.registry import HOOKS, MODELS, TOKENIZERS
from sparc_vlm.weights import (
    WEIGHTS_FILE,
    WeightsError,
    load_into,
    read_weights,
)

CONFIG_FILE = 'config.json'
TOKENIZER_FOLDER = 'tokenizer'
FORMAT = 1
ENCODERS = ('vision', 'text')
LOADED_BY = {
    'model': 'sparc_vlm.load',
    'detector': 'sparc_vlm.detection.load',
    'captioner': 'sparc_vlm.captioning.load',
    'vision': 'sparc_vlm.captioning.load_vision',
}
"""Who loads a folder, by what its config describes."""


def save(
    model: ImageTextPretrainer,
    folder: str | Path,
    model_cfg: dict[str, Any],
    weights: dict[str, Tensor] | None = None,
) -> Path:
    """Writes a model folder; each file is replaced whole or not at all.

    Args:
        model: The model.
        folder: Where to; made if it is not there.
        model_cfg: The config that the model was built from.
        weights: In place of those that the model has.

    Returns:
        The folder.
    """
    folder = Path(folder)
    cfg = describe(model, model_cfg, folder)
    write_weights(weights or model.state_dict(), folder)
    write_json(folder / CONFIG_FILE, dict(format=FORMAT, model=cfg))
    return folder


def describe(
    model: ImageTextPretrainer, model_cfg: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """Writes the tokenizer, and says how to build the model beside it.

    Args:
        model: The model.
        model_cfg: The config that it was built from.
        folder: Where the tokenizer goes, if there is one.

    Returns:
        The config without what only training or this machine needs.
    """
    cfg = _portable(model, model_cfg)
    if model.tokenizer is not None:
        model.tokenizer.save(folder / TOKENIZER_FOLDER)
        cfg['tokenizer'] = dict(
            type=type(model.tokenizer).__name__,
            path=TOKENIZER_FOLDER,
            max_length=model.tokenizer.max_length,
        )
    return cfg


def write_weights(weights: dict[str, Tensor], folder: Path) -> None:
    """Writes the weights of a model folder, whole or not at all."""
    # Copies, as heads of a detector may share weights under several keys.
    state = {
        key: value.detach().cpu().contiguous().clone()
        for key, value in weights.items()
    }
    with atomic_file(folder / WEIGHTS_FILE) as file:
        file.write(serialise(state))


def load(path: str | Path, device: str = 'cpu') -> ImageTextPretrainer:
    """Loads a model to encode images and sentences with.

    Args:
        path: A model folder, a file in it, a run's work folder (its `model`
            folder is taken), or a checkpoint beside such a folder, whose
            weights are then taken instead.
        device: Where to put it.

    Returns:
        The model in eval mode, with its preprocessing and tokenizer.

    Raises:
        ValueError: There is no such device.
        WeightsError: There is no model folder, it is damaged, of a newer
            format or not ours, or its weights do not fit its config.
    """
    place = find_device(device)
    path = Path(path).expanduser()
    folder = model_folder(path)
    model = _build(read_config(folder / CONFIG_FILE), folder)
    is_weights = path.is_file() and path.suffix != '.json'
    load_into(model, read_weights(path if is_weights else folder))
    return model.to(place).eval()


@HOOKS.register_module()
class ExportHook(Hook):
    """Keeps `<work_dir>/model`, which `sparc_vlm.load` takes, up to date.

    Written with each checkpoint and at the end of training. A disk that is
    full is said and costs the export alone.

    Args:
        folder: Name of the folder in the work folder.
    """

    # After hooks that change what is saved, such as averages of weights.
    priority = 'VERY_LOW'

    def __init__(self, folder: str = 'model') -> None:
        self.folder = folder
        self._exported_at: int | None = None

    def before_save_checkpoint(
        self, runner: Runner, checkpoint: dict[str, Any]
    ) -> None:
        """Exports the weights of the checkpoint that is about to be written.

        Args:
            runner: The runner.
            checkpoint: What it holds.
        """
        done = checkpoint.get('meta', {}).get('iter', runner.iter)
        self._export(runner, checkpoint.get('state_dict'), done)

    def after_train(self, runner: Runner) -> None:
        """Exports the final weights, as a checkpoint would hold them.

        Args:
            runner: The runner.
        """
        if not hasattr(runner, 'weights'):
            self._export(runner, None, runner.iter)
            return
        # All processes: each may hold a part of them. A hook that comes
        # before this one may put averages in their place.
        whole = {'meta': {'iter': runner.iter}, 'state_dict': runner.weights()}
        runner.call_hook('before_save_checkpoint', checkpoint=whole)

    def _export(
        self, runner: Runner, weights: dict[str, Tensor] | None, done: int
    ) -> None:
        if runner.rank != 0 or self._exported_at == done:
            return
        model = runner.model
        model = model.module if is_model_wrapper(model) else model
        folder = Path(runner.work_dir) / self.folder
        try:
            self._write(runner, model, folder, weights)
            self._exported_at = done
        except OSError as error:
            runner.logger.warning(
                f'the model folder {folder} could not be written ({error}); '
                'training goes on, checkpoints are not affected'
            )

    def _write(
        self,
        runner: Runner,
        model: Any,
        folder: Path,
        weights: dict[str, Tensor] | None,
    ) -> None:
        """Writes the folder; another kind of model writes another."""
        save(model, folder, runner.cfg.model.to_dict(), weights)


def model_folder(path: Path) -> Path:
    """The folder with the config that belongs to what the user named.

    Raises:
        WeightsError: There is none.
    """
    if not path.exists():
        raise WeightsError(f'there is no {path}; train a model first')
    folder = path if path.is_dir() else path.parent
    for candidate in (folder, folder / 'model'):
        if (candidate / CONFIG_FILE).is_file():
            return candidate
    raise WeightsError(
        f'{path} has no {CONFIG_FILE} of ours, nor has a folder model beside '
        'it; name the model folder that training wrote'
    )


def _build(cfg: dict[str, Any], folder: Path) -> ImageTextPretrainer:
    """The model with random weights."""
    try:
        if cfg.get('tokenizer'):
            cfg['tokenizer']['path'] = str(folder / cfg['tokenizer']['path'])
        # Ours, whatever scope the caller's own runner has set.
        return MODELS.build(dict(cfg, _scope_='sparc_vlm'))
    except Exception as error:  # a config may be wrong in any way
        raise WeightsError(
            f'the model that {folder / CONFIG_FILE} describes cannot be '
            f'built: {" ".join(str(error).split())}'
        ) from error


def read_config(
    file: Path,
    part: str = 'model',
    roots: Sequence[Registry] = (MODELS.parent,),
) -> dict[str, Any]:
    """What a model folder describes, once it is known to be harmless.

    Args:
        file: The config of the folder.
        part: What it must describe, one of `LOADED_BY`.
        roots: Registries, the parents of all, whose types it may name.

    Raises:
        WeightsError: It is damaged, describes something else, or names a
            type that is not registered.
    """
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:
        raise WeightsError(f'{file} is damaged: {error}') from error
    if not isinstance(content, dict) or 'format' not in content:
        raise WeightsError(
            f'{file} is not the config of a model folder of ours; name the '
            'model folder that training wrote'
        )
    if content['format'] != FORMAT:
        raise WeightsError(
            f'{file.parent} has format {content["format"]}, this version '
            f'reads format {FORMAT}: update sparc_vlm'
        )
    for other, loader in LOADED_BY.items():
        if other != part and other in content:
            raise WeightsError(
                f'{file.parent} is the folder of a {other}: load it with '
                f'{loader}'
            )
    cfg = content.get(part)
    if not isinstance(cfg, dict):
        raise WeightsError(f'{file} is damaged: it describes no {part}')
    _refuse_code(cfg, file, roots)
    return cfg


def _refuse_code(value: Any, file: Path, roots: Sequence[Registry]) -> None:
    """Stops at a type that is not registered.

    mmengine would import whatever a type with dots names and call it, were
    it `os.system`.
    """
    if isinstance(value, list):
        for part in value:
            _refuse_code(part, file, roots)
    if not isinstance(value, dict):
        return
    for part in value.values():
        _refuse_code(part, file, roots)
    name = value.get('type')
    if not isinstance(name, str) or '.' not in name:
        return
    scope, _, base = name.partition('.')
    # `in` on a registry would import as well.
    registered = dict(TOKENIZERS.module_dict)
    for root in roots:
        registries = {root.scope: root, **root.children}
        if scope in registries:
            registered |= registries[scope].module_dict
    if base not in registered:
        raise WeightsError(
            f'{file} names {name}, which is no registered model: a model '
            'folder holds no code and runs none'
        )


def _portable(
    model: ImageTextPretrainer, model_cfg: dict[str, Any]
) -> dict[str, Any]:
    """The config without what only training or this machine needs."""
    cfg = json.loads(json.dumps(model_cfg, default=str))
    cfg.pop('init_cfg', None)
    cfg.pop('micro_batch', None)
    for name in ENCODERS:
        encoder = getattr(model, name)
        if hasattr(encoder, 'portable_cfg'):
            cfg[name] = encoder.portable_cfg()
        cfg[name].pop('init_cfg', None)
    return cfg
