"""Tells what was wrong with the pictures that a detector was trained on."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from sparc_vlm.engine.data_report import DataReport
from sparc_vlm.registry import HOOKS


@HOOKS.register_module()
class PictureReportHook(Hook):
    """Adds up the `report` of each sample, and logs the sum.

    Args:
        interval: Updates between lines; the last one comes in any case.
    """

    def __init__(self, interval: int = 1000) -> None:
        self.interval = interval
        self.total = DataReport()

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Counts a batch.

        Args:
            runner: The runner.
            batch_idx: Unused.
            data_batch: As MMDetection collates it.
        """
        for sample in data_batch['data_samples']:
            self.total.add(sample.get('report', {}))

    def after_train_iter(
        self, runner: Runner, *args: Any, **kwargs: Any
    ) -> None:
        """Logs a line now and then.

        Args:
            runner: The runner.
            *args: Unused.
            **kwargs: Unused.
        """
        if self.every_n_train_iters(runner, self.interval):
            runner.logger.info(self.total.text())

    def after_train(self, runner: Runner) -> None:
        """Logs the sum.

        Args:
            runner: The runner.
        """
        runner.logger.info(self.total.text())
