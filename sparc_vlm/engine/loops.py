"""The training loop: one batch of each dataset in turn, then one update.

mmengine's iteration-based loop with three differences: it takes several
loaders and adds their gradients, it resumes their positions instead of
reading everything again, and it seeds each step by its number.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine import dist
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop
from torch import Tensor, nn

from sparc_vlm.engine.data_report import DataReport, joined
from sparc_vlm.engine.loaders import TrainLoaders
from sparc_vlm.engine.randomness import seed_step
from sparc_vlm.registry import LOOPS


@LOOPS.register_module()
class PretrainLoop(BaseLoop):
    """Iteration-based training on one or several datasets.

    Each step takes one batch of each loader, runs forward and backward on
    each, adds the gradients up without dividing (the paper's schedule over
    several datasets), updates once, and steps the schedule once. Batches are
    dicts of the model's arguments; a `report` in them is counted and logged.

    Args:
        runner: mmengine's runner.
        dataloader: A loader of the LOADERS registry, its config, or a list.
        max_iters: Updates of the whole run.
        val_interval: Updates between validations; there is one at the end.
        val_begin: First update after which to validate.
        report_interval: Updates between lines on the data, for loaders that
            do not know how many pairs they have; the others report each time
            they have been gone through.

    Raises:
        ValueError: A count is not positive, or the optimizer wrapper
            accumulates over steps.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        max_iters: int,
        val_interval: int = 1000,
        val_begin: int = 1,
        report_interval: int = 1000,
    ) -> None:
        if min(max_iters, val_interval, report_interval) < 1:
            raise ValueError(
                'max_iters, val_interval and report_interval must be at '
                f'least 1, got {max_iters}, {val_interval}, {report_interval}'
            )
        super().__init__(runner, TrainLoaders(dataloader, max_iters))
        self._max_iters = max_iters
        self._iter = 0
        self._epoch = 0
        self.val_interval = val_interval
        self.val_begin = val_begin
        self.report_interval = report_interval
        self.stop_training = False
        self.reports = [DataReport() for _ in self.dataloader.loaders]
        self.total = DataReport()

    @property
    def max_epochs(self) -> int:
        """1: hooks see the whole run as one epoch."""
        return 1

    @property
    def max_iters(self) -> int:
        """Updates of the whole run."""
        return self._max_iters

    @property
    def epoch(self) -> int:
        """0: hooks see the whole run as one epoch."""
        return self._epoch

    @property
    def iter(self) -> int:
        """Updates done."""
        return self._iter

    @property
    def data_time(self) -> float:
        """Seconds that the latest step waited for its data."""
        return self.dataloader.wait

    @property
    def pairs_per_step(self) -> int:
        """Pairs of one update, over all datasets and processes."""
        return self.dataloader.batch_size * dist.get_world_size()

    @property
    def model(self) -> nn.Module:
        """The model itself, without its DDP wrapper."""
        model = self.runner.model
        return model.module if is_model_wrapper(model) else model

    def run(self) -> nn.Module:
        """Trains to the end; returns the model."""
        runner = self.runner
        if getattr(runner.optim_wrapper, '_accumulative_counts', 1) != 1:
            raise ValueError(
                'PretrainLoop updates in every iteration: leave '
                'optim_wrapper.accumulative_counts at 1'
            )
        if self._iter >= self._max_iters:
            runner.logger.info(
                f'the checkpoint is at iteration {self._iter} of '
                f'{self._max_iters}: nothing is left to train'
            )
            self._validate_if_missed()
            # The run may have been killed before its hooks came to this.
            runner.call_hook('after_train')
            return runner.model
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
        self._validate_if_missed()
        runner.model.train()
        while self._iter < self._max_iters and not self.stop_training:
            self.run_iter()
            if self._validation_due() and not self.stop_training:
                runner.val_loop.run()
        runner.logger.info(f'in the whole run, {self._gathered(self.total)}')
        runner.call_hook('after_train_epoch')
        runner.call_hook('after_train')
        self.dataloader.close()
        return runner.model

    def run_iter(self) -> None:
        """Does one update."""
        batches = self.dataloader.draw()
        # After the data: a loader that starts draws a seed for its workers.
        seed_step(self.runner.seed, self._iter, dist.get_rank())
        for batch, report in zip(batches, self.reports, strict=True):
            if isinstance(batch, dict) and 'report' in batch:
                news = batch.pop('report')
                report.add(news)
                self.total.add(news)
        shown = batches[0] if len(batches) == 1 else batches
        names = dict(batch_idx=self._iter, data_batch=shown)
        self.runner.call_hook('before_train_iter', **names)
        outputs = self._update(batches)
        self._report()
        self.runner.call_hook('after_train_iter', **names, outputs=outputs)
        self._iter += 1

    def state_dict(self) -> dict[str, Any]:
        """This process's place in the data, and what was counted so far."""
        return {
            'loaders': self.dataloader.state_dict(),
            'reports': [report.state_dict() for report in self.reports],
            'total': self.total.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken.

        Raises:
            ValueError: The checkpoint knows another number of loaders.
        """
        self.dataloader.load_state_dict(state['loaders'])
        self.reports = [joined([report]) for report in state['reports']]
        self.total = joined([state['total']])

    def _update(self, batches: list[Any]) -> dict[str, float]:
        """Gradients of all batches, one update; what to log."""
        wrapper = self.runner.optim_wrapper
        logs = []
        for place, batch in enumerate(batches):
            with self._exchange(place == len(batches) - 1):
                loss, log = self._forward(batch)
                wrapper.backward(loss)
            logs.append(log)
        # Read before the update is queued, or the device is waited for twice.
        outputs = _numbers(_named(logs, self.dataloader.names))
        wrapper.step()
        wrapper.zero_grad()
        if getattr(wrapper, 'last_step_skipped', False):
            # The wrapper has said so; a NaN would hide the running means.
            return {
                key: value
                for key, value in outputs.items()
                if value - value == 0
            }
        return outputs

    def _forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        runner, model = self.runner, self.model
        with runner.optim_wrapper.optim_context(runner.model):
            data = model.data_preprocessor(self._arguments(batch), True)
            losses = runner.model._run_forward(data, mode='loss')
        return model.parse_losses(losses)

    def _arguments(self, batch: Any) -> Any:
        """What of a batch the model's `forward` takes."""
        if not isinstance(batch, dict):
            return batch
        taken = inspect.signature(self.model.forward).parameters.values()
        if any(p.kind is p.VAR_KEYWORD for p in taken):
            return batch
        names = {p.name for p in taken}
        return {key: value for key, value in batch.items() if key in names}

    @contextmanager
    def _exchange(self, now: bool) -> Iterator[None]:
        """Processes exchange gradients only with the last batch."""
        if now or not hasattr(self.runner.model, 'no_sync'):
            yield
        else:
            with self.runner.model.no_sync():
                yield

    def _validation_due(self) -> bool:
        return (
            self.runner.val_loop is not None
            and self._iter >= self.val_begin
            and (
                self._iter % self.val_interval == 0
                or self._iter == self._max_iters
            )
        )

    def _validate_if_missed(self) -> None:
        """Validates after a resume if the run was killed before it could."""
        if self._iter and self._validation_due():
            has_results = getattr(self.runner.val_loop, 'has_results', None)
            if has_results and not has_results(self._iter):
                self.runner.val_loop.run()

    def _report(self) -> None:
        """Says what the data were like, each time they were gone through."""
        before = self.dataloader.epochs_done(self._iter)
        after = self.dataloader.epochs_done(self._iter + 1)
        for place, name in enumerate(self.dataloader.names):
            if after[place] is None:
                due = (self._iter + 1) % self.report_interval == 0
                when = f'iteration {self._iter + 1}'
            else:
                due = after[place] > before[place]
                when = f'epoch {after[place]}'
            if due:
                line = self._gathered(self.reports[place])
                self.runner.logger.info(f'{name}, {when}: {line}')
                self.reports[place] = DataReport()

    def _gathered(self, report: DataReport) -> str:
        """The line on the data of all processes."""
        states = dist.all_gather_object(report.state_dict())
        return joined(states).text()


def _named(logs: list[dict[str, Tensor]], names: list[str]) -> dict:
    """The logged values of all datasets: their own, and the sum of losses."""
    if len(logs) == 1:
        return logs[0]
    merged = {'loss': sum(log['loss'] for log in logs)}
    for name, log in zip(names, logs, strict=True):
        merged.update({f'{name}/{key}': log[key] for key in log})
    return merged


def _numbers(values: dict[str, Tensor]) -> dict[str, float]:
    """Tensors of one element as numbers, fetched from the device at once."""
    tensors = [
        value.detach().double().reshape(()) for value in values.values()
    ]
    return dict(zip(values, torch.stack(tensors).tolist(), strict=True))
