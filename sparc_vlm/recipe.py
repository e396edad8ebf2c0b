"""Turns a config into a run that is ready to start.

A recipe says what to train; the data that the user names, the tokenizer that
must exist before the model can be built, and the batch that the machine can
hold are put in here. Every change is said in a line.
"""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from mmengine import dist
from mmengine.config import Config, ConfigDict

from sparc_vlm.datasets.shards import find_shards, shard_captions
from sparc_vlm.datasets.source import data_from_flag
from sparc_vlm.datasets.statistics import all_captions
from sparc_vlm.datasets.tokenizer import CaptionTokenizer, has_tokenizer
from sparc_vlm.engine import whole_checkpoints
from sparc_vlm.engine.batch_fit import fit_batch
from sparc_vlm.engine.config_error import ConfigError
from sparc_vlm.engine.signatures import arguments
from sparc_vlm.registry import DATASETS, LOADERS, TOKENIZERS

MOST_CAPTIONS = 500_000
"""Captions that a tokenizer is trained on, spread evenly over the data."""
SCENE_CAPTIONS = 50_000
"""As many show the closed vocabulary of the drawn scenes whole."""


def use_seed(cfg: Config) -> None:
    """Gives the order of the data the seed of the run.

    Args:
        cfg: The config; changed in place. A loader that has a seed keeps it;
            those of mmengine, which have no type, get the runner's.
    """
    seed = (cfg.get('randomness') or {}).get('seed')
    if seed is not None:
        for loader in _loaders(cfg):
            if 'type' in loader:
                loader.setdefault('seed', seed)


def use_data(
    cfg: Config, flags: list[str], held_out_flag: str | None = None
) -> list[str]:
    """Puts the data that `--data` names in place of the config's.

    Several flags make several loaders: one batch of each in turn, gradients
    added, then one update. Held-out pairs come from the first of them that
    has any.

    Args:
        cfg: The config; changed in place.
        flags: As `data_from_flag` takes them.
        held_out_flag: The same for held-out pairs, whose val split is taken,
            or all of them where there is none.

    Returns:
        Lines that say what is read from where.

    Raises:
        ValueError: A flag of an unknown kind.
        FileNotFoundError: What a flag names is not there.
        ConfigError: Shards, for a config whose words look where boxes or
            segments say, or for a captioner.
    """
    template = _loaders(cfg)[0]
    inner = template.get('dataset', {})
    while 'dataset' in inner:
        inner = inner['dataset']
    if 'pipeline' in inner or 'datasets' in inner:
        # Not for everyone: MMDetection takes seconds to import.
        from sparc_vlm.detection.data_flag import use_boxes

        return use_boxes(cfg, flags, held_out_flag)
    found = [data_from_flag(flag) for flag in flags]
    # A captioner's data are told the size by its model.
    size = template.get('dataset', template).get('image_size')
    for splits in found:
        for source in filter(None, splits.values()):
            if source['type'] == 'Scenes' and size:
                source['size'] = size
        if _is_drawn(splits['train']) and _is_drawn(_source(template)):
            splits['train'] = copy.deepcopy(_source(template))
    loaders = [_loader(template, splits['train']) for splits in found]
    if loaders:
        cfg.train_dataloader = loaders if len(loaders) > 1 else loaders[0]
    lines = [f'training data: {flag}' for flag in flags]
    held_out = next((s['val'] for s in found if s['val']), None)
    if held_out_flag is not None:
        splits = data_from_flag(held_out_flag)
        held_out = splits['val'] or splits['train']
        if held_out['type'] == 'ShardLoader':
            raise ConfigError(
                '--val-data takes pictures that can be asked for one by one, '
                'not shards: name the data that they were made from'
            )
        if _is_drawn(held_out) and size:
            held_out['size'] = size
    return lines + _hold_out(cfg, held_out)


def use_tokenizer(
    cfg: Config, work_dir: str | Path, say: Callable[[str], None]
) -> None:
    """Makes sure of the tokenizer and tells model and data about it.

    Without a path in the config, a tokenizer is trained on the captions of
    the training data and kept in the work folder, where a resumed run finds
    it. Over several processes the first one trains it.

    Args:
        cfg: The config; changed in place.
        work_dir: The run's folder.
        say: Called with each line that says what is done, before it is done:
            training one on millions of captions takes minutes.

    Raises:
        ConfigError: There is no tokenizer at the path that the config gives.
    """
    tokenizer = cfg.tokenizer
    if tokenizer.get('path') is None:
        folder = _tokenizer_beside(cfg.get('load_from'))
        if folder is None:
            folder = Path(work_dir) / 'tokenizer'
        is_kept = has_tokenizer(folder) and (
            cfg.get('resume') or cfg.get('load_from')
        )
        if not is_kept and cfg.get('resume') and _has_checkpoint(work_dir):
            raise ConfigError(
                f'{folder} is gone, and a new tokenizer would give the words '
                'other numbers than the checkpoint knows: put it back, or '
                'set tokenizer.path to a copy of it'
            )
        if not is_kept and dist.is_main_process():
            _train_tokenizer(cfg, folder, say)
        dist.barrier()
        tokenizer.path = str(folder)
    vocabulary = _vocab_size(tokenizer)
    cfg.model.tokenizer = tokenizer
    if 'vocab_size' in cfg.model.text:
        cfg.model.text.vocab_size = vocabulary
    for loader in _loaders(cfg):
        loader.get('dataset', loader)['tokenizer'] = tokenizer
    say(f'tokenizer: {tokenizer.path}, {vocabulary} tokens')


def fit_to_machine(cfg: Config, keep: bool = False) -> list[str]:
    """Fits the batch and the learning rate to this machine, in place.

    Args:
        cfg: The config.
        keep: Takes the batch that the config states.

    Returns:
        Lines that say what was changed and what that means.
    """
    free = None
    if torch.cuda.is_available():
        lowest = torch.tensor(torch.cuda.mem_get_info()[0], device='cuda')
        # All processes must come to the same batch.
        dist.all_reduce(lowest, 'min')
        free = int(lowest)
    fitted, lines = fit_batch(cfg, dist.get_world_size(), free, keep)
    cfg.merge_from_dict(fitted.to_dict())
    return lines


def _loaders(cfg: Config) -> list[ConfigDict]:
    loaders = cfg.train_dataloader
    return loaders if isinstance(loaders, list) else [loaders]


def _source(loader: dict[str, Any]) -> dict[str, Any] | None:
    return loader.get('dataset', {}).get('source')


def _is_drawn(source: dict[str, Any] | None) -> bool:
    return source is not None and source.get('type') == 'Scenes'


def _loader(template: ConfigDict, source: dict[str, Any]) -> dict[str, Any]:
    """A loader of that source, set as the config's own loader is."""
    pairs = template.get('dataset', template)
    kind = pairs.get('type', 'PairDataset')
    if kind not in ('PairDataset', 'ShardLoader'):
        if source['type'] == 'ShardLoader':
            raise ConfigError(
                f'--data: a {kind} takes pictures that can be asked '
                'for one by one, not shards: name the data that they were '
                'made from'
            )
        return {**template, 'dataset': {**pairs, 'source': source}}
    if source['type'] == 'ShardLoader':
        if masks := pairs.get('patch_masks'):
            raise ConfigError(
                f'patch_masks={masks!r} of the config needs data with them, '
                'and shards hold captions only: name the data that the '
                'shards were made from, or set '
                'train_dataloader.dataset.patch_masks=None'
            )
        taken = _taken_by(LOADERS.get('ShardLoader'), {**pairs, **template})
        return {**taken, **source}
    dataset = _taken_by(DATASETS.get('PairDataset'), pairs)
    dataset |= dict(type='PairDataset', source=source)
    taken = _taken_by(LOADERS.get('PairLoader'), template)
    return dict(taken, type='PairLoader', dataset=dataset)


def _taken_by(kind: type, settings: dict[str, Any]) -> dict[str, Any]:
    """Those of a config's settings that a class has too."""
    return {key: settings[key] for key in settings if key in arguments(kind)}


def _hold_out(cfg: Config, source: dict[str, Any] | None) -> list[str]:
    """Validates and draws maps on that source, as far as it allows."""
    hooks = cfg.get('custom_hooks') or []
    if source is None:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.custom_hooks = [h for h in hooks if 'dataset' not in h]
        return [
            'no held-out pairs beside them: nothing is validated; name some '
            'with --val-data'
        ]
    lines = [f'held-out data: {source["type"]}']
    tasks = []
    for task in cfg.get('val_evaluator') or []:
        if task['type'] == 'Segmentation' and source['type'] != 'Scenes':
            lines.append(
                'zero-shot segmentation is left out, since it needs masks '
                '(set val_evaluator if your data has them)'
            )
            continue
        tasks.append(_on(task, source))
    if cfg.get('val_evaluator') is not None:
        cfg.val_evaluator = tasks
    cfg.custom_hooks = [_on(h, source) if 'dataset' in h else h for h in hooks]
    return lines


def _on(part: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    """A task or hook on other data; drawn scenes stay as they were set."""
    if _is_drawn(source) and _is_drawn(part.get('dataset')):
        return part
    return {**part, 'dataset': source}


def _has_checkpoint(work_dir: str | Path) -> bool:
    return next(whole_checkpoints(work_dir), None) is not None


def _tokenizer_beside(checkpoint: str | None) -> Path | None:
    """The tokenizer that the loaded weights were trained with, if there.

    Word numbers mean nothing under another one, and no shape would tell.
    """
    if checkpoint is None:
        return None
    path = Path(checkpoint)
    folder = path if path.is_dir() else path.parent
    beside = folder / 'tokenizer'
    return beside if has_tokenizer(beside) else None


def _vocab_size(tokenizer: ConfigDict) -> int:
    try:
        return TOKENIZERS.build(tokenizer).vocab_size
    except OSError as error:
        # transformers looks on its hub, and explains that at length.
        hub = '' if tokenizer.type == 'CaptionTokenizer' else ' or on the hub'
        raise ConfigError(
            f'tokenizer.path: there is no tokenizer at {tokenizer.path}{hub}'
            ': leave the path out to have one trained on the captions, or '
            'make one with tools/prepare_data.py tokenizer'
        ) from error


def _train_tokenizer(
    cfg: Config, folder: Path, say: Callable[[str], None]
) -> None:
    """Trains a tokenizer; its folder appears once it is whole."""
    training = cfg.get('tokenizer_training') or {}
    wanted = training.get('vocab_size', 32000)
    loaders = _loaders(cfg)
    limit = training.get('max_captions', MOST_CAPTIONS) // len(loaders)
    captions: list[str] = []
    say('reading captions to train a tokenizer on')
    for loader in loaders:
        captions += islice(_captions(loader, limit), limit)
    say(
        f'training a tokenizer of at most {wanted} tokens on {len(captions)} '
        'captions'
    )
    tokenizer = CaptionTokenizer.train(
        captions, wanted, cfg.tokenizer.get('max_length') or 55
    )
    unfinished = folder.with_name(f'{folder.name}.unfinished')
    for old in (unfinished, folder):
        shutil.rmtree(old, ignore_errors=True)
    tokenizer.save(unfinished)
    os.replace(unfinished, folder)


def _captions(loader: dict[str, Any], limit: int) -> Iterator[str]:
    if 'dataset' in loader:
        source = copy.deepcopy(loader['dataset']['source'])
        if source['type'] == 'Scenes':
            limit = min(limit, SCENE_CAPTIONS)
        yield from all_captions(DATASETS.build(source), limit)
    else:
        yield from shard_captions(find_shards(loader['shards']), limit)
