"""What a checkpoint of a run holds."""

from __future__ import annotations

import time
from typing import Any

from mmengine import dist

from sparc_vlm.engine.resuming import batches
from sparc_vlm.engine.snapshot import learning, scheduler_states, to_cpu
from sparc_vlm.engine.versions import versions


def contents(
    runner: Any,
    meta: dict[str, Any],
    by_epoch: bool,
    save_optimizer: bool,
    save_schedule: bool,
) -> dict[str, Any]:
    """Gathers it in the first process; every process must call this.

    Args:
        runner: The runner.
        meta: More to hold under 'meta'.
        by_epoch: Whether an epoch ended, rather than an iteration.
        save_optimizer: Whether training can be resumed from it.
        save_schedule: As `save_optimizer`.
    """
    places, weights = _places(runner), runner.weights()
    optimizer = runner.optim_wrapper.state_dict() if save_optimizer else None
    if not dist.is_main_process():
        return {}
    checkpoint = {
        'meta': _meta(runner, meta, by_epoch),
        'state_dict': weights,
        'message_hub': runner.message_hub.state_dict(),
        'loop': places,
    }
    if save_optimizer:
        checkpoint['optimizer'] = to_cpu(optimizer)
    if save_schedule and runner.param_schedulers is not None:
        checkpoint['param_schedulers'] = scheduler_states(
            runner.param_schedulers
        )
    return checkpoint


def _places(runner: Any) -> list[Any] | None:
    """The place in the data of every process."""
    if not hasattr(runner.train_loop, 'state_dict'):
        return None
    return dist.all_gather_object(runner.train_loop.state_dict())


def _meta(
    runner: Any, given: dict[str, Any], by_epoch: bool
) -> dict[str, Any]:
    # Hooks save before the loop counts the epoch or iteration as done.
    meta = {
        'epoch': runner.epoch + (1 if by_epoch else 0),
        'iter': runner.iter + (0 if by_epoch else 1),
        **given,
        'cfg': runner.cfg.pretty_text,
        'learning': learning(runner.cfg),
        'batches': batches(runner),
        'seed': runner.seed,
        'experiment_name': runner.experiment_name,
        'time': time.strftime('%Y%m%d_%H%M%S'),
        'mmengine_version': versions()['mmengine'],
        'versions': versions(),
    }
    dataset = getattr(runner.train_loop.dataloader, 'dataset', None)
    if hasattr(dataset, 'metainfo'):
        meta['dataset_meta'] = dataset.metainfo
    return meta
