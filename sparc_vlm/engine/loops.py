"""The training loop: one batch of each dataset in turn, then one update.

mmengine's iteration-based loop with three differences: it takes several
loaders and adds their gradients, it resumes their positions instead of
reading everything again, and it seeds each step by its number.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

from mmengine import dist
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel

from sparc_vlm.engine.data_report import DataReport, joined
from sparc_vlm.engine.loaders import TrainLoaders
from sparc_vlm.engine.randomness import seed_step
from sparc_vlm.engine.rounds import take_rounds, with_divisors
from sparc_vlm.engine.step_log import mean_of, named, numbers
from sparc_vlm.errors import UsageError
from sparc_vlm.registry import LOOPS


@LOOPS.register_module()
class PretrainLoop(BaseLoop):
    """Iteration-based training on one or several datasets.

    Each step takes one batch of each loader, runs forward and backward on
    each, adds the gradients up without dividing (the paper's schedule over
    several datasets), updates once, and steps the schedule once. Batches are
    dicts of the model's arguments; a `report` in them is counted and logged.

    With `optim_wrapper.accumulative_counts=n` a step does so n times before
    it updates, with the mean of the n gradients, or that of the joined batch
    where the model counts what its loss is a mean of (see `with_divisors`).
    It stays one step: of the schedule, of the log, which has means over the
    n, and between checkpoints. mmengine's loops count each of the n as an
    iteration.

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
        ValueError: A count is not positive.
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
            raise UsageError(
                'max_iters, val_interval and report_interval must be at '
                f'least 1, got {max_iters}, {val_interval}, {report_interval}'
            )
        self.rounds = take_rounds(runner)
        if self.rounds < 1:
            raise UsageError(
                'optim_wrapper.accumulative_counts must be at least 1, got '
                f'{self.rounds}'
            )
        loaders = TrainLoaders(dataloader, max_iters, self.rounds)
        super().__init__(runner, loaders)
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
        pairs = self.dataloader.batch_size * self.rounds
        return pairs * dist.get_world_size()

    @property
    def model(self) -> nn.Module:
        """The model itself, without its DDP wrapper."""
        model = self.runner.model
        return model.module if is_model_wrapper(model) else model

    def run(self) -> nn.Module:
        """Trains to the end; returns the model."""
        runner = self.runner
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
        self.dataloader.wait = 0.0
        batches = self._draw()
        # After the data: a loader that starts draws a seed for its workers.
        seed_step(self.runner.seed, self._iter, dist.get_rank())
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

    def _draw(self) -> list[Any]:
        """A batch of each loader; what they report is counted."""
        batches = self.dataloader.draw()
        for batch, report in zip(batches, self.reports, strict=True):
            if isinstance(batch, dict) and 'report' in batch:
                news = batch.pop('report')
                report.add(news)
                self.total.add(news)
        return batches

    def _update(self, batches: list[Any]) -> dict[str, float]:
        """Gradients of all batches, one update; what to log.

        Args:
            batches: Of the first round; the others are drawn here.
        """
        wrapper = self.runner.optim_wrapper
        others = (self._draw() for _ in range(self.rounds - 1))
        drawn = with_divisors(
            self.model, chain([batches], others), self.rounds
        )
        rounds = []
        for number, (batches, divisors) in enumerate(drawn, 1):
            logs = []
            for place, batch in enumerate(batches):
                last = number == self.rounds and place + 1 == len(batches)
                with self._exchange(last):
                    loss, log = self._forward(batch)
                    wrapper.backward(loss / divisors[place])
                logs.append(log)
            rounds.append(named(logs, self.dataloader.names))
        # Read before the update is queued, or the device is waited for twice.
        outputs = numbers(mean_of(rounds))
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
        # The bare model: when to exchange gradients is decided here.
        with runner.optim_wrapper.optim_context(model):
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
        """Processes exchange gradients only with the last batch.

        Not so where they share out the parameters: gradients that wait for
        an exchange are whole, and would take the memory that is saved.
        """
        model = self.runner.model
        shared = isinstance(model, FullyShardedDataParallel)
        if now or shared or not hasattr(model, 'no_sync'):
            yield
        else:
            with model.no_sync():
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
