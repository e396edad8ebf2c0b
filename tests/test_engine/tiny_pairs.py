"""A tiny pretrainer, and pairs of which each process gets its share."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from mmengine.registry import FUNCTIONS

from sparc_vlm.registry import LOADERS, TASKS
from sparc_vlm.structures import TokenBatch
from tests.test_engine.ranks import rank, world
from tests.test_engine.tiny import TinyLoader
from tests.test_models.tiny_models import ARCH, TEXT, VIT, captions, model_cfg

LENGTHS = [4, 2, 5, 1, 3, 6]
SHARES = {1: [6], 2: [4, 2], 3: [3, 1, 2]}
RECOMPUTED = {
    'model.vision.with_cp': True,
    'model.text.with_cp': True,
}


def pairs(number):
    """The whole batch of that number: images, and ids of each caption."""
    draw = torch.Generator().manual_seed(number)
    images = torch.randn(6, 3, 32, 32, generator=draw)
    ids = captions(LENGTHS, seed=number).ids.split(LENGTHS)
    return images, [part.tolist() for part in ids]


@LOADERS.register_module(force=True)
class TinyPairs(TinyLoader):
    """Six pairs over all processes, not the same number in each."""

    def __init__(self, seed=0):
        super().__init__(6 // world(), 24, seed)

    def batch(self, number):
        images, ids = pairs(number)
        sizes = SHARES[world()]
        start = sum(sizes[: rank()])
        own = slice(start, start + sizes[rank()])
        tokens = TokenBatch.from_lists(ids[own])
        report = {'pairs': sizes[rank()]}
        return dict(images=images[own], tokens=tokens, report=report)


@TASKS.register_module(force=True)
class TinyEncoding:
    """Encodes something, as every task does."""

    name = 'encoding'

    def run(self, model, progress=None):
        length = float(encoded(model).norm())
        return SimpleNamespace(
            name=self.name, metrics={'length': length}, samples=[]
        )


def encoded(model):
    """An image embedding, which takes all of the image encoder."""
    with torch.no_grad():
        return model.encode_image(pairs(99)[0]).image


def options(**changes):
    """Overrides that train the tiny pretrainer."""
    return {
        'model': model_cfg(
            vision=VIT | dict(arch=ARCH | dict(num_layers=2)),
            text=dict(TEXT),
        ),
        'train_dataloader': dict(type='TinyPairs'),
        'train_cfg.max_iters': 4,
        'optim_wrapper': dict(
            type='AutocastOptimWrapper',
            dtype=None,
            optimizer=dict(
                type='SGD',
                lr=0.5,
                momentum=0.9,
                weight_decay=0.02,
                fused=False,
            ),
            clip_grad=dict(max_norm=0.5),
            paramwise_cfg=dict(
                norm_decay_mult=0.0,
                bias_decay_mult=0.0,
                flat_decay_mult=0.0,
                custom_keys={'text.layers.0.qkv': dict(lr_mult=0.5)},
            ),
        ),
        **changes,
    }


@FUNCTIONS.register_module(force=True)
def is_text_layer(module):
    """Which layers to compute again, in mmengine's own way of doing so."""
    return type(module).__name__ == 'TextLayer'
