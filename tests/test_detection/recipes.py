"""The recipes of detectors, and what makes one small enough for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).resolve().parents[2] / 'projects/detection/configs'
WORDS = 'words_'
"""Begins the names of detectors by words, whose tests are their own."""
NAMES = sorted(
    file.stem
    for file in CONFIGS.glob('*.py')
    if not file.stem.startswith(WORDS)
)


def small(name: str, steps: int = 1) -> dict[str, Any]:
    """Overrides with which a recipe takes a second or two.

    Args:
        name: Of the config.
        steps: Updates.
    """
    chosen = {
        'train_cfg.max_iters': steps,
        'train_cfg.val_interval': steps,
        'param_scheduler.0.end': min(steps, 2),
        'train_dataloader.batch_size': 2,
        'train_dataloader.num_workers': 0,
        'val_dataloader.batch_size': 2,
        'val_dataloader.num_workers': 0,
        'default_hooks.logger.interval': 1,
    }
    if 'vitb16' in name:
        side = (64, 64)
        chosen |= {
            'model.backbone.arch': 'mini',
            'model.backbone.img_size': 64,
            'model.backbone.window_size': 2,
            'model.neck.in_channels': 128,
            'train_dataloader.dataset.pipeline.3.scale': side,
            'train_dataloader.dataset.pipeline.4.crop_size': side,
            'train_dataloader.dataset.pipeline.6.size': side,
            'val_dataloader.dataset.pipeline.1.scale': side,
            'val_dataloader.dataset.pipeline.2.size': side,
        }
    else:
        chosen['param_scheduler.1.begin'] = 0
    return chosen | _few(name)


def _few(name: str) -> dict[str, Any]:
    """Few boxes to look at, but all of them, as nothing is sure yet."""
    if 'dino' in name:
        queries = {'model.num_queries': 20, 'model.test_cfg.max_per_img': 20}
        layers = ('model.encoder.num_layers', 'model.decoder.num_layers')
        return queries | dict.fromkeys(layers, 1)
    if 'rcnn' not in name:
        return {'model.test_cfg.score_thr': 0.0, 'model.test_cfg.nms_pre': 20}
    few = {'nms_pre': 50, 'max_per_img': 10}
    places = ('model.train_cfg.rpn_proposal', 'model.test_cfg.rpn')
    masks = {'model.roi_head.mask_head.num_convs': 1} if 'mask' in name else {}
    return masks | {
        'model.roi_head.bbox_head.fc_out_channels': 32,
        'model.test_cfg.rcnn.score_thr': 0.0,
        **{f'{p}.{key}': few[key] for p in places for key in few},
    }


def arguments(options: dict[str, Any]) -> list[str]:
    """Overrides as a command line gives them."""
    pairs = ['--cfg-options']
    for key, value in options.items():
        text = str(value).replace(' ', '')
        pairs.append(f'{key}={text}')
    return pairs
