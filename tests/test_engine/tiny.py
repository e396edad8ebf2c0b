"""A model, a loader and a task as small as they come, and a run of them."""

from __future__ import annotations

import logging
import uuid
from types import SimpleNamespace

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from torch.utils.data import DataLoader

from sparc_vlm.engine import SparcRunner
from sparc_vlm.registry import LOADERS, MODELS, RUNNERS, TASKS


@MODELS.register_module(force=True)
class TinyModel(BaseModel):
    """Dropout, so that a step depends on the random state."""

    def __init__(self, width=8, poison_at=(), dropout=0.2):
        super().__init__()
        self.layer = torch.nn.Linear(4, width)
        self.head = torch.nn.Linear(width, 1)
        self.poison_at = tuple(poison_at)
        self.dropout = dropout
        self.calls = 0

    def forward(self, images, target, mode='tensor'):
        hidden = self.layer(images).relu()
        hidden = torch.dropout(hidden, self.dropout, self.training)
        out = self.head(hidden).squeeze(-1)
        if mode != 'loss':
            return out
        loss = (out - target).square().mean()
        if self.calls in self.poison_at:
            loss = loss * float('nan')
        self.calls += 1
        return {'loss_fit': loss, 'temperature': out.detach().mean()}


@LOADERS.register_module(force=True)
class TinyLoader:
    """Batch number n is a function of (seed, n); knows what it was asked."""

    def __init__(self, batch_size=4, pairs_per_epoch=12, seed=0, broken=()):
        self.batch_size = batch_size
        self.pairs_per_epoch = pairs_per_epoch
        self.seed = seed
        self.broken = tuple(broken)
        self.position = 0
        self.read: list[int] = []
        self.started = 0

    def __iter__(self):
        self.started += 1
        while True:
            number = self.position
            self.read.append(number)
            self.position += 1
            yield self.batch(number)

    def batch(self, number):
        draw = torch.Generator().manual_seed(1000 * self.seed + number)
        images = torch.randn(self.batch_size, 4, generator=draw)
        report = {'pairs': self.batch_size, 'broken_images': 0}
        if number in self.broken:
            report['broken_images'] = 1
            report['examples'] = [f'{number}.jpg: cannot be read']
        return {
            'images': images,
            'target': images.sum(1),
            'report': report,
            'keys': list(range(self.batch_size)),
        }

    def state_dict(self):
        return {'position': self.position}

    def load_state_dict(self, state):
        self.position = state['position']


@LOADERS.register_module(force=True)
class TorchLoader(TinyLoader):
    """Starts torch's loader first, as those of real data do."""

    def __iter__(self):
        iter(DataLoader([0]))  # draws from torch's global generator
        yield from super().__iter__()


@TASKS.register_module(force=True)
class TinyTask:
    """Answers a constant, or fails."""

    def __init__(self, name='tiny', batch_size=1, fails=False):
        self.name = name
        self.batch_size = batch_size
        self.fails = fails
        self.seen: list[dict] = []

    def run(self, model, progress=None):
        self.seen.append(
            {
                'training': model.training,
                'grad': torch.is_grad_enabled(),
                'autocast': torch.is_autocast_enabled('cpu'),
            }
        )
        if self.fails:
            raise OSError('a picture is missing')
        progress('images', 1, 1)
        weight = float(model.head.weight.detach().abs().sum())
        return SimpleNamespace(
            name=self.name,
            metrics={'weight': weight},
            samples=[{'key': 'a', 'rank': 1}],
        )


def config(folder, **changes):
    """A config of a whole run; dotted changes go in as --cfg-options do."""
    cfg = Config(
        dict(
            default_scope='sparc_vlm',
            runner_type='SparcRunner',
            work_dir=str(folder),
            model=dict(type='TinyModel'),
            train_dataloader=dict(type='TinyLoader'),
            train_cfg=dict(type='PretrainLoop', max_iters=8, val_interval=100),
            optim_wrapper=dict(
                type='AutocastOptimWrapper',
                dtype='bfloat16',
                optimizer=dict(type='AdamW', lr=1e-2, fused=True),
                clip_grad=dict(max_norm=1.0),
            ),
            param_scheduler=[
                dict(type='LinearLR', start_factor=0.1, end=3, by_epoch=False),
                dict(type='CosineAnnealingLR', begin=3, by_epoch=False),
            ],
            default_hooks=dict(
                timer=dict(type='ThroughputHook'),
                logger=dict(type='LoggerHook', interval=1),
                checkpoint=dict(type='SafeCheckpointHook', interval=3),
            ),
            log_processor=dict(by_epoch=False, window_size=1),
            randomness=dict(seed=7),
            # mmengine keeps one log per name and second.
            experiment_name=uuid.uuid4().hex,
        )
    )
    cfg.merge_from_dict(changes)
    return cfg


def build(folder, **changes) -> SparcRunner:
    return RUNNERS.build(config(folder, **changes))


def history(runner, key='train/loss') -> list[float]:
    """Every value that was logged under a key."""
    return runner.message_hub.get_scalar(key).data[0].tolist()


class Lines(logging.Handler):
    """Collects what a runner logs."""

    def __init__(self, runner):
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        assert isinstance(runner.logger, MMLogger)
        runner.logger.addHandler(self)

    def emit(self, record):
        self.lines.append(record.getMessage())

    def __contains__(self, text):
        return any(text in line for line in self.lines)
