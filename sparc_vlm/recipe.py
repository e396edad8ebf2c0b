"""Turns a config into a run that is ready to start.

A recipe says what to train; the data that the user names, the tokenizer that
must exist before the model can be built, and the batch that the machine can
hold are put in here. Every change is said in a line.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from mmengine import dist
from mmengine.config import Config, ConfigDict

from sparc_vlm.datasets.report import new_report
from sparc_vlm.datasets.shards import find_shards, read_shard
from sparc_vlm.datasets.source import data_from_flag
from sparc_vlm.datasets.statistics import all_captions
from sparc_vlm.datasets.tokenizer import CaptionTokenizer
from sparc_vlm.engine.batch_fit import fit_batch
from sparc_vlm.registry import DATASETS, TOKENIZERS

MOST_CAPTIONS = 500_000
"""Captions that a tokenizer is trained on, spread evenly over the data."""
SCENE_CAPTIONS = 50_000
"""As many show the closed vocabulary of the drawn scenes whole."""
TRANSFORM = ('image_size', 'resize', 'crop_scale', 'flip')
LOADING = ('batch_size', 'num_workers', 'seed', 'prefetch')


def use_data(cfg: Config, flags: list[str]) -> list[str]:
    """Puts the data that `--data` names in place of the config's.

    Several flags make several loaders: one batch of each in turn, gradients
    added, then one update. Held-out pairs come from the first of them that
    has any.

    Args:
        cfg: The config; changed in place.
        flags: As `data_from_flag` takes them.

    Returns:
        Lines that say what is read from where.

    Raises:
        ValueError: A flag of an unknown kind.
        FileNotFoundError: What a flag names is not there.
    """
    found = [data_from_flag(flag) for flag in flags]
    template = _loaders(cfg)[0]
    size = template.get('dataset', template)['image_size']
    for splits in found:
        for source in filter(None, splits.values()):
            if source['type'] == 'Scenes':
                source['size'] = size
    loaders = [_loader(template, splits['train']) for splits in found]
    cfg.train_dataloader = loaders if len(loaders) > 1 else loaders[0]
    lines = [f'training data: {flag}' for flag in flags]
    held_out = next((s['val'] for s in found if s['val']), None)
    return lines + _hold_out(cfg, held_out)


def use_tokenizer(cfg: Config, work_dir: str | Path) -> list[str]:
    """Makes sure of the tokenizer and tells model and data about it.

    Without a path in the config, a tokenizer is trained on the captions of
    the training data and kept in the work folder, where a resumed run finds
    it. Over several processes the first one trains it.

    Args:
        cfg: The config; changed in place.
        work_dir: The run's folder.

    Returns:
        Lines that say what was done.
    """
    tokenizer = cfg.tokenizer
    lines = []
    if tokenizer.get('path') is None:
        folder = Path(work_dir) / 'tokenizer'
        if not folder.is_dir() and dist.is_main_process():
            lines.append(_train_tokenizer(cfg, folder))
        dist.barrier()
        tokenizer.path = str(folder)
    vocabulary = TOKENIZERS.build(tokenizer).vocab_size
    cfg.model.tokenizer = tokenizer
    if 'vocab_size' in cfg.model.text:
        cfg.model.text.vocab_size = vocabulary
    for loader in _loaders(cfg):
        loader.get('dataset', loader)['tokenizer'] = tokenizer
    lines.append(f'tokenizer: {tokenizer.path}, {vocabulary} tokens')
    return lines


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
        free = torch.cuda.mem_get_info()[0]
    fitted, lines = fit_batch(cfg, dist.get_world_size(), free, keep)
    cfg.merge_from_dict(fitted.to_dict())
    return lines


def _loaders(cfg: Config) -> list[ConfigDict]:
    loaders = cfg.train_dataloader
    return loaders if isinstance(loaders, list) else [loaders]


def _loader(template: ConfigDict, source: dict[str, Any]) -> dict[str, Any]:
    """A loader of that source, set as the config's own loader is."""
    loading = {k: template[k] for k in LOADING if k in template}
    pairs = template.get('dataset', template)
    transform = {k: pairs[k] for k in TRANSFORM if k in pairs}
    if source['type'] == 'ShardLoader':
        return {**source, **loading, **transform}
    dataset = dict(type='PairDataset', source=source, **transform)
    return dict(type='PairLoader', dataset=dataset, **loading)


def _hold_out(cfg: Config, source: dict[str, Any] | None) -> list[str]:
    """Validates and draws maps on that source, as far as it allows."""
    hooks = cfg.get('custom_hooks') or []
    if source is None:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.custom_hooks = [h for h in hooks if 'dataset' not in h]
        return ['no held-out pairs beside them: nothing is validated']
    lines = [f'held-out data: {source["type"]}, split val']
    tasks = []
    for task in cfg.get('val_evaluator') or []:
        if task['type'] == 'Segmentation' and source['type'] != 'Scenes':
            lines.append(
                'zero-shot segmentation is left out, since it needs masks '
                '(set val_evaluator if your data has them)'
            )
            continue
        tasks.append({**task, 'dataset': source})
    cfg.val_evaluator = tasks
    cfg.custom_hooks = [
        {**h, 'dataset': source} if 'dataset' in h else h for h in hooks
    ]
    return lines


def _train_tokenizer(cfg: Config, folder: Path) -> str:
    captions: list[str] = []
    loaders = _loaders(cfg)
    share = MOST_CAPTIONS // len(loaders)
    limit = cfg.get('tokenizer_training', {}).get('max_captions', share)
    for loader in loaders:
        captions += islice(_captions(loader, limit), limit)
    wanted = cfg.get('tokenizer_training', {}).get('vocab_size', 32000)
    tokenizer = CaptionTokenizer.train(
        captions, wanted, cfg.tokenizer.get('max_length') or 55
    )
    tokenizer.save(folder)
    return (
        f'trained a tokenizer of {tokenizer.vocab_size} tokens (at most '
        f'{wanted}) on {len(captions)} captions of the training data'
    )


def _captions(loader: dict[str, Any], limit: int) -> Iterator[str]:
    if 'dataset' in loader:
        source = copy.deepcopy(loader['dataset']['source'])
        if source['type'] == 'Scenes':
            limit = min(limit, SCENE_CAPTIONS)
        yield from all_captions(DATASETS.build(source), limit)
        return
    for shard in find_shards(loader['shards']):
        for sample in read_shard(shard, new_report()):
            yield from sample.captions
