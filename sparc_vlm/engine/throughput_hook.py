"""How fast training goes: time, time waiting for data, pairs per second.

Takes the place of mmengine's timer, which counts validation and the writing
of checkpoints as time waiting for data.
"""

from __future__ import annotations

import time
from collections import deque
from datetime import timedelta
from typing import Any

from mmengine.hooks import Hook

from sparc_vlm.errors import UsageError
from sparc_vlm.registry import HOOKS


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Logs `time`, `data_time`, `pairs_per_second` and the time left.

    For `PretrainLoop`, which measures its own wait for data; use it as
    `default_hooks.timer`. Times are seconds of one step. The time left goes
    by the whole run so far, validation included. At the end of the run one
    line sums it up.

    Args:
        window: Steps that pairs per second are averaged over.

    Raises:
        ValueError: `window` is not positive.
    """

    priority = 'NORMAL'

    def __init__(self, window: int = 20) -> None:
        if window < 1:
            raise UsageError(f'window must be at least 1, got {window}')
        self._recent: deque[float] = deque(maxlen=window)
        self._step_start = self._waited = 0.0
        self._start = 0.0
        self._start_iter = 0
        self._in_steps = 0.0
        self._waiting = 0.0

    def before_train(self, runner: Any) -> None:
        """Starts the clock."""
        self._start = time.perf_counter()
        self._start_iter = runner.iter
        self._in_steps = self._waiting = 0.0
        self._recent.clear()

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Notes when the data were there."""
        # Batches that the step draws later are waited for within it.
        self._waited = runner.train_loop.data_time
        self._step_start = time.perf_counter()

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Logs the step's times."""
        loop, hub = runner.train_loop, runner.message_hub
        now = time.perf_counter()
        seconds = now - self._step_start + self._waited
        self._recent.append(seconds)
        self._in_steps += seconds
        self._waiting += loop.data_time
        rate = loop.pairs_per_step * len(self._recent) / sum(self._recent)
        hub.update_scalar('train/data_time', loop.data_time)
        hub.update_scalar('train/time', seconds)
        hub.update_scalar('train/pairs_per_second', rate)
        done = runner.iter + 1 - self._start_iter
        left = runner.max_iters - runner.iter - 1
        hub.update_info('eta', (now - self._start) / done * left)

    def after_train(self, runner: Any) -> None:
        """Sums the run up in one line."""
        steps = runner.iter - self._start_iter
        if not steps or not self._in_steps:
            return
        pairs = steps * runner.train_loop.pairs_per_step
        wall = time.perf_counter() - self._start
        skipped = runner.message_hub.get_info('skipped_steps', 0)
        last = runner.message_hub.get_info('last_ckpt', 'none')
        runner.logger.info(
            f'trained {steps} iterations, {pairs} pairs, in '
            f'{timedelta(seconds=round(wall))}: '
            f'{pairs / self._in_steps:.1f} pairs/s while training, '
            f'{self._waiting / self._in_steps:.1%} of it waiting for data; '
            f'{skipped} steps left out as not finite; last checkpoint: {last}'
        )
