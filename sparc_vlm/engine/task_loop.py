"""Validation and test: zero-shot tasks in mmengine's loops.

mmengine validates batch by batch with one loader and one evaluator. A
zero-shot task encodes all its images and captions first, so here each task
runs as a whole, on one process, while the others wait.
"""

from __future__ import annotations

import inspect
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine import dist
from mmengine.config import ConfigDict
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop

from sparc_vlm.engine.optim import autocast
from sparc_vlm.engine.versions import versions
from sparc_vlm.errors import RunError, UsageError
from sparc_vlm.files import reason, write_json
from sparc_vlm.registry import LOOPS, TASKS

SUMMARY = 'metrics.json'
SECONDS_BETWEEN_NEWS = 30.0


@LOOPS.register_module()
class TaskLoop(BaseLoop):
    """Runs tasks on the model, logs their numbers, keeps their samples.

    Writes `<work_dir>/<stage>/<iteration>/<task>.json` with what each task
    found sample by sample, and `metrics.json` beside them with all numbers,
    the config, the seed and the versions.

    Args:
        runner: mmengine's runner.
        dataloader: dict(batch_size=...): arguments given to every task that
            takes them and does not set them itself.
        evaluator: Tasks of the TASKS registry, or their configs.
        stage: 'val' or 'test', which hooks are called.
        dtype: Autocast to 'bfloat16', 'float16', None (full precision), or
            'same': as in training.

    Raises:
        ValueError: No task, two of one name, or an argument that no task
            takes.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: dict[str, Any],
        evaluator: Any,
        stage: str = 'val',
        dtype: str | None = 'same',
    ) -> None:
        if stage not in ('val', 'test'):
            raise UsageError(f"stage must be 'val' or 'test', got {stage!r}")
        tasks = evaluator if isinstance(evaluator, (list, tuple)) else None
        if tasks is None:
            tasks = [evaluator]
        self.evaluator = build_tasks(tasks, dict(dataloader or {}))
        # Hooks ask for its length; the runner would take a dict for the
        # config of a torch loader.
        super().__init__(runner, self.evaluator)
        self.stage = stage
        if dtype == 'same':
            dtype = _training_dtype(runner)
        elif dtype is not None:
            dtype = getattr(torch, dtype)
        self.dtype = dtype

    def run(self) -> dict[str, float]:
        """Runs every task.

        Returns:
            '<task>/<metric>' to value, the same in every process. A task
            that fails is left out, if a training run hangs on it.

        Raises:
            RuntimeError: A task failed, outside of a training run.
        """
        runner, stage = self.runner, self.stage
        runner.call_hook(f'before_{stage}')
        runner.call_hook(f'before_{stage}_epoch')
        # Hooks may want to encode as well.
        with getattr(runner, 'gathered', nullcontext)():
            metrics, failed = self._run_tasks()
            runner.call_hook(f'after_{stage}_epoch', metrics=metrics)
        runner.call_hook(f'after_{stage}')
        if failed and not self._training:
            raise RunError('; '.join(failed))
        return metrics

    def _run_tasks(self) -> tuple[dict[str, float], list[str]]:
        """Numbers and failures, the same in every process."""
        metrics: dict[str, float] = {}
        failed: list[str] = []
        if dist.is_main_process():
            with self._evaluating() as model:
                for task in self.evaluator:
                    metrics.update(self._run_task(task, model, failed))
            self._write(SUMMARY, self._summary(metrics, failed))
        parcel = [metrics, failed]
        dist.broadcast_object_list(parcel)
        return tuple(parcel)

    def has_results(self, iteration: int) -> bool:
        """Whether the tasks have already run at an iteration.

        Args:
            iteration: Updates that the model had seen.
        """
        found = [(self._folder(iteration) / SUMMARY).is_file()]
        dist.broadcast_object_list(found)
        return found[0]

    @property
    def _training(self) -> bool:
        """Whether this validates in the middle of a training run."""
        return isinstance(self.runner._train_loop, BaseLoop)

    def _folder(self, iteration: int) -> Path:
        return Path(self.runner.work_dir) / self.stage / str(iteration)

    @property
    def _iteration(self) -> int:
        if self._training:
            return self.runner.iter
        # Without a train loop, `runner.iter` would build one.
        return getattr(self.runner, 'loaded_iter', None) or 0

    @contextmanager
    def _evaluating(self) -> Iterator[torch.nn.Module]:
        """The bare model in eval mode, without gradients, autocast."""
        model = getattr(self.runner, 'bare_model', self.runner.model)
        model = model.module if is_model_wrapper(model) else model
        device = next(model.parameters()).device
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), autocast(device, self.dtype):
                yield model
        finally:
            model.train(was_training)

    def _run_task(
        self, task: Any, model: Any, failed: list[str]
    ) -> dict[str, float]:
        """The numbers of one task, none if it failed."""
        logger = self.runner.logger
        start = time.perf_counter()
        try:
            result = task.run(model, progress=self._progress(task.name))
        except Exception as error:
            kind = type(error).__name__
            failed.append(f'task {task.name} failed: {kind}: {error}')
            logger.error(failed[-1] + ('; training goes on' * self._training))
            logger.debug(traceback.format_exc())
            return {}
        seconds = time.perf_counter() - start
        logger.info(f'{self.stage}: {task.name} took {seconds:.1f} s')
        sheet = {
            'task': result.name,
            'iteration': self._iteration,
            'metrics': result.metrics,
            'chance': getattr(result, 'chance', {}),
            'skipped': getattr(result, 'skipped', {}),
            'samples': result.samples,
        }
        self._write(f'{result.name}.json', sheet)
        return {f'{task.name}/{k}': v for k, v in result.metrics.items()}

    def _progress(self, name: str) -> Callable[[str, int, int], None]:
        """Tells the log now and then how far a task has come."""
        last = time.monotonic()

        def tell(what: str, done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last > SECONDS_BETWEEN_NEWS:
                last = time.monotonic()
                self.runner.logger.info(f'{name}: {what} {done} of {total}')

        return tell

    def _summary(
        self, metrics: dict[str, float], failed: list[str]
    ) -> dict[str, Any]:
        runner = self.runner
        return {
            'iteration': self._iteration,
            'metrics': metrics,
            'failed': failed,
            'seed': runner.seed,
            'versions': versions(),
            'config': runner.cfg.pretty_text if runner.cfg else '',
        }

    def _write(self, name: str, value: dict[str, Any]) -> None:
        path = self._folder(self._iteration) / name
        try:
            write_json(path, value)
        except OSError as error:
            self.runner.logger.error(
                f'{path} could not be written: {reason(error)}'
            )


def build_tasks(tasks: list[Any], shared: dict[str, Any]) -> list[Any]:
    """The tasks of a loop.

    Args:
        tasks: Tasks, or their configs.
        shared: Arguments for every task that takes them and does not set
            them itself.

    Raises:
        ValueError: No task, two of one name, or an argument that no task
            takes.
    """
    unused, built = set(shared), []
    for task in tasks:
        if isinstance(task, dict):
            kind = task.get('type')
            kind = TASKS.get(kind) if isinstance(kind, str) else kind
            taken = inspect.signature(kind).parameters if kind else {}
            fitting = {k: v for k, v in shared.items() if k in taken}
            unused -= set(fitting)
            task = TASKS.build(ConfigDict({**fitting, **task}))
        else:
            unused.clear()
        built.append(task)
    names = [task.name for task in built]
    if not names:
        raise UsageError('the evaluator names no task: list at least one')
    if len(set(names)) < len(names):
        raise UsageError(
            f'two tasks have the same name ({", ".join(names)}): give each '
            'a `name` of its own'
        )
    if unused:
        raise UsageError(
            f'no task takes {", ".join(sorted(unused))}: remove it from the '
            'dataloader of the evaluation'
        )
    return built


def _training_dtype(runner: Any) -> torch.dtype | None:
    """What the optimizer wrapper autocasts to, built or not."""
    wrapper = runner.optim_wrapper
    if wrapper is None:
        wrapper = runner.cfg.get('optim_wrapper') or {}
    if isinstance(wrapper, dict):
        name = wrapper.get('dtype')
        return getattr(torch, name) if name else None
    return getattr(wrapper, 'dtype', None)
