"""When checkpoints are written, which are kept, and stopping in order.

Unlike mmengine's hook it deletes an old checkpoint only after the new one is
whole, can go by the clock, and answers a request to stop by saving first.
"""

from __future__ import annotations

import json
import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop

from sparc_vlm.engine.checkpoint import POINTER
from sparc_vlm.engine.processes import from_first
from sparc_vlm.engine.stop import StopRequest
from sparc_vlm.errors import UsageError
from sparc_vlm.files import (
    clear_unfinished,
    reason,
    write_json,
    write_text,
)
from sparc_vlm.registry import HOOKS

BEST = 'best_checkpoint.json'


@HOOKS.register_module()
class SafeCheckpointHook(Hook):
    """Saves every so often, at the end, and when asked to stop.

    On SIGTERM or SIGINT (Ctrl-C) the step under way is finished, a checkpoint
    is written and training stops; resuming goes on exactly there. A second
    Ctrl-C stops at once. `last_checkpoint` in the work folder names the
    latest one. Needs `SparcRunner`.

    Attributes:
        stopped: Whether the run was stopped by a signal, here or in another
            process.

    Args:
        interval: Iterations (epochs, if `by_epoch`) between checkpoints, or
            None to go by the clock only.
        minutes: Also saves when so many minutes have passed since the last.
        max_keep: How many of the regular checkpoints stay; -1 keeps all.
        save_best: A metric such as 'retrieval/i2t_R@1'; its best checkpoint
            is kept as well, without the optimizer's state. A value that is
            not finite is never the best.
        rule: Whether the 'greater' or the 'less' value is better.
        save_last: Saves at the end of training.
        by_epoch: Saves after epochs, for mmengine's epoch-based loop, where a
            run cannot be resumed within one.

    Raises:
        ValueError: A number that is not positive, or an unknown rule.
    """

    priority = 'VERY_LOW'

    def __init__(
        self,
        interval: int | None = 1000,
        minutes: float | None = None,
        max_keep: int = 3,
        save_best: str | None = None,
        rule: str = 'greater',
        save_last: bool = True,
        by_epoch: bool = False,
    ) -> None:
        for name, value in (('interval', interval), ('minutes', minutes)):
            if value is not None and value <= 0:
                raise UsageError(f'{name} must be above 0 or None: {value}')
        if max_keep == 0 or max_keep < -1:
            raise UsageError(
                f'max_keep must be at least 1, or -1 for all, got {max_keep}'
            )
        if rule not in ('greater', 'less'):
            raise UsageError(f"rule must be 'greater' or 'less', got {rule!r}")
        self.interval = interval
        self.minutes = minutes
        self.max_keep = max_keep
        self.save_best = save_best
        self.rule = rule
        self.save_last = save_last
        self.by_epoch = by_epoch
        self.stop = StopRequest()
        self.stopped = False
        self._saved_at: int | None = None
        self._clock = 0.0
        self._best: dict[str, Any] = {}

    def before_train(self, runner: Any) -> None:
        """Clears what a killed run left half written; listens for signals."""
        runner.logger.info(f'checkpoints go to {runner.work_dir}')
        if dist.is_main_process():
            for path in clear_unfinished(runner.work_dir):
                runner.logger.info(f'removed {path}, which was half written')
        self._clock = time.monotonic()
        if not self.by_epoch:
            self.stop.listen()

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Saves if it is time, if this was the last step, or to stop."""
        if self.by_epoch:
            return
        done = runner.iter + 1
        stop, late = self._agreed(runner)
        due = self.interval is not None and done % self.interval == 0
        last = self.save_last and done == runner.max_iters
        if due or late or last or stop:
            self._save(runner, done)
        if stop:
            self._stop(runner, done)

    def after_val(self, runner: Any) -> None:
        """Stops if that was asked for during the validation."""
        loop = runner._train_loop
        if self.by_epoch or not hasattr(loop, 'stop_training'):
            return
        if self._agreed(runner)[0]:
            if self._saved_at != runner.iter:
                self._save(runner, runner.iter)
            self._stop(runner, runner.iter)

    def after_train_epoch(self, runner: Any) -> None:
        """Saves if it is time, for epoch-based loops."""
        if not self.by_epoch:
            return
        done = runner.epoch + 1
        late = self._agreed(runner)[1]
        due = self.interval is not None and done % self.interval == 0
        last = self.save_last and done == runner.max_epochs
        if due or late or last:
            self._save(runner, done)

    def after_train(self, runner: Any) -> None:
        """Saves what another hook stopped early; gives the signals back."""
        early = getattr(runner.train_loop, 'stop_training', False)
        done = runner.epoch if self.by_epoch else runner.iter
        if early and self.save_last and self._saved_at != done:
            self._save(runner, done)
        self.stop.ignore()

    def after_val_epoch(
        self, runner: Any, metrics: dict[str, float] | None = None
    ) -> None:
        """Keeps the best checkpoint."""
        training = isinstance(runner._train_loop, BaseLoop)
        if self.save_best is None or not training:
            return
        if self.save_best not in (metrics or {}):
            runner.logger.warning(
                f'no best checkpoint: there is no metric {self.save_best}; '
                f'there are: {", ".join(metrics or {}) or "none"}'
            )
            return
        value = metrics[self.save_best]
        # The first process remembers what was best, from its disk.
        best, better = from_first(lambda: self._compared(runner, value))
        if better:
            self._keep_best(runner, value, best.get('file'))

    def _agreed(self, runner: Any) -> tuple[bool, bool]:
        """Whether to stop, and whether the clock says to save: for all."""
        late = (
            self.minutes is not None
            and time.monotonic() - self._clock > 60 * self.minutes
        )
        flags = torch.tensor([self.stop.requested, late], dtype=torch.int32)
        if dist.get_world_size() > 1:
            flags = flags.to(next(runner.model.parameters()).device)
            dist.all_reduce(flags, op='max')
        stop, late = flags.tolist()
        return bool(stop), bool(late)

    def _save(self, runner: Any, done: int) -> None:
        """Writes the checkpoint of `done` iterations or epochs."""
        name = f'{"epoch" if self.by_epoch else "iter"}_{done}.pth'
        epoch = done if self.by_epoch else runner.epoch
        finished = runner.iter if self.by_epoch else done
        hub = runner.message_hub
        # Within the checkpoint, so that a resumed run knows what to delete.
        kept = [n for n in hub.get_info('kept_ckpts', []) if n != name]
        hub.update_info('kept_ckpts', [*kept, name])
        written = runner.save_checkpoint(
            runner.work_dir,
            name,
            meta={'epoch': epoch, 'iter': finished},
            by_epoch=self.by_epoch,
        )
        self._clock = time.monotonic()
        if not written:
            hub.update_info('kept_ckpts', kept)
            return
        self._saved_at = done
        path = Path(runner.work_dir) / name
        hub.update_info('last_ckpt', str(path))
        runner.logger.info(f'saved {path}')
        if dist.is_main_process():
            self._after_saving(runner, path)

    def _after_saving(self, runner: Any, path: Path) -> None:
        """Names the new checkpoint, and only then deletes old ones."""
        folder = path.parent
        try:
            write_text(folder / POINTER, str(path))
        except OSError as error:
            runner.logger.error(
                f'{POINTER} could not be written ({reason(error)}); old '
                'checkpoints stay'
            )
            return
        kept = runner.message_hub.get_info('kept_ckpts')
        spare = max(len(kept) - self.max_keep, 0) if self.max_keep > 0 else 0
        for name in kept[:spare]:
            (folder / name).unlink(missing_ok=True)
        runner.message_hub.update_info('kept_ckpts', kept[spare:])

    def _stop(self, runner: Any, done: int) -> None:
        runner.logger.log(
            logging.WARNING,
            f'stopped by {self.stop.name} after iteration {done}; resume to '
            'go on from there',
        )
        self.stopped = True
        runner.train_loop.stop_training = True

    def _compared(
        self, runner: Any, value: float
    ) -> tuple[dict[str, Any], bool]:
        """What was best so far, and whether a value is better."""
        best = self._best or self._remembered(runner)
        if not math.isfinite(value):
            return best, False
        sign = 1 if self.rule == 'greater' else -1
        return best, not best or sign * value > sign * best['value']

    def _remembered(self, runner: Any) -> dict[str, Any]:
        """What was best before this run was resumed."""
        path = Path(runner.work_dir) / BEST
        if not runner.iter or not path.is_file():
            return {}
        best = json.loads(path.read_text())
        same = best.get('metric') == self.save_best
        return best if same and best.get('iter', 0) <= runner.iter else {}

    def _keep_best(self, runner: Any, value: float, old: str | None) -> None:
        label = self.save_best.replace('/', '_')
        name = f'best_{label}_iter_{runner.iter}.pth'
        written = runner.save_checkpoint(
            runner.work_dir,
            name,
            save_optimizer=False,
            save_param_scheduler=False,
            meta={'epoch': runner.epoch, 'iter': runner.iter},
        )
        if not written:
            return
        self._best = {
            'metric': self.save_best,
            'value': value,
            'iter': runner.iter,
            'file': name,
        }
        runner.logger.info(
            f'best so far: {self.save_best} {value:.4f}, {name}'
        )
        if not dist.is_main_process():
            return
        folder = Path(runner.work_dir)
        try:
            write_json(folder / BEST, self._best)
        except OSError as error:
            runner.logger.error(
                f'{BEST} could not be written ({reason(error)})'
            )
            return
        if old and old != name:
            (folder / old).unlink(missing_ok=True)
