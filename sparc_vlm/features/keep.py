"""The step of a recipe that has a run read features in place of pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from sparc_vlm.engine import whole_checkpoints
from sparc_vlm.engine.checkpoint import OWN
from sparc_vlm.engine.config_error import ConfigError
from sparc_vlm.engine.processes import from_first
from sparc_vlm.engine.run_files import read_any
from sparc_vlm.evaluation.task import spread_evenly
from sparc_vlm.features.making import MapMaker, Say
from sparc_vlm.features.use import TRUNK, plain, trunk_fingerprint
from sparc_vlm.registry import DATASETS
from sparc_vlm.weights import load_into, select_prefix

CHANGING = {'crop_scale': None, 'flip': False, 'patch_masks': None}
"""What changes a picture, or needs more than its features; and off."""
SAME = {'image_size': 224, 'resize': 'stretch'}
"""What data and model must have alike, and what both take by default."""


def keep_features(cfg: Config, say: Say) -> None:
    """Has a run read the feature maps of its frozen trunk.

    Nothing is done without a folder in `cfg.keep_features`. What is there
    already, from any run, is taken as long as the trunk, the pictures and
    the way they are prepared are the same; what is missing is computed.

    Args:
        cfg: The config; changed in place.
        say: Called with each line that says what is done.

    Raises:
        ConfigError: The model has no such trunk, or the data are shards or
            change the pictures.
        MissingPackageError: The trunk's weights are not installed.
        RunError: There is no room for the maps.
    """
    folder = cfg.get('keep_features')
    if folder is None:
        return
    vision = cfg.model.vision
    if str(vision.get('type')).rpartition('.')[2] != 'TrunkWithLayers':
        raise ConfigError(
            'keep_features needs a model.vision of type TrunkWithLayers, '
            'whose trunk can be frozen: set it to None'
        )
    if not vision.get('frozen', True):
        say('features: none are kept, since the trunk is trained too')
        return
    loaders = cfg.train_dataloader
    loaders = loaders if isinstance(loaders, list) else [loaders]
    for loader in loaders:
        _check(loader, cfg.model)
    files, encoder = from_first(lambda: _files(cfg, loaders, say))
    for loader, file in zip(loaders, files, strict=True):
        loader['dataset']['features'] = file
    hook = dict(type='KeptFeaturesHook', folder=str(folder), encoder=encoder)
    hooks = cfg.get('custom_hooks') or []
    hooks = [other for other in hooks if other['type'] != hook['type']]
    cfg.custom_hooks = [*hooks, hook]


def _check(loader: dict[str, Any], model: dict[str, Any]) -> None:
    """Stops where maps would be of other pictures than the data's."""
    if 'dataset' not in loader:
        raise ConfigError(
            'keep_features takes pictures that can be asked for one by one, '
            'not shards: name the data that they were made from, or set '
            'keep_features=None'
        )
    data = loader['dataset']
    for name, off in CHANGING.items():
        if data.get(name, off) != off:
            raise ConfigError(
                f'train_dataloader.dataset.{name}={data[name]!r}: features '
                f'are kept of whole pictures as they are, so set it to {off}, '
                'or keep_features=None'
            )
    for name, usual in SAME.items():
        own, wanted = data.get(name, usual), model.get(name, usual)
        if own != wanted:
            raise ConfigError(
                f'train_dataloader.dataset.{name} is {own!r} and '
                f'model.{name} {wanted!r}: features are kept of pictures as '
                'the model sees them, so give both the same'
            )


def _files(
    cfg: Config, loaders: Sequence[dict[str, Any]], say: Say
) -> tuple[list[str], str]:
    """The files of the training data, and the trunk's fingerprint.

    Those of held-out data are made too: whoever validates finds them.
    """
    maker = MapMaker(cfg.model, Path(cfg.keep_features), say)
    _load_start(cfg, maker)
    maker.encoder = trunk_fingerprint(maker.vision)

    def file(source_cfg: dict[str, Any], most: int | None = None) -> str:
        source = DATASETS.build(source_cfg)
        chosen = spread_evenly(len(source), most)
        return str(maker.file(source, chosen, plain(source_cfg)))

    files = [file(loader['dataset']['source']) for loader in loaders]
    held_out = {}
    for task in cfg.get('val_evaluator') or []:
        if isinstance(task.get('dataset'), dict):
            parts = task['dataset'], task.get('max_images')
            held_out[json.dumps(parts, default=str)] = parts
    for parts in held_out.values():
        file(*parts)
    return files, maker.encoder


def _load_start(cfg: Config, maker: MapMaker) -> None:
    """Gives the trunk the weights of the checkpoint that a run begins with."""
    start = cfg.get('load_from')
    if cfg.get('resume') == OWN or (start is None and cfg.get('resume')):
        start = next(whole_checkpoints(cfg.work_dir), start)
    if start is None:
        return
    state = read_any(str(start), 'cpu', cfg.get('trust', False))['state_dict']
    if any(key.startswith(TRUNK) for key in state):
        load_into(maker.vision.trunk, select_prefix(state, TRUNK))
