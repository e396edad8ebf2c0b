"""Trains and measures every arm of a study; what fails costs itself alone."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import Any

import torch

from sparc_vlm.errors import RunError, UserError, sentence
from sparc_vlm.features import use_recipes_features
from sparc_vlm.files import write_text
from sparc_vlm.study.arm import Arm
from sparc_vlm.study.kept import (
    finished,
    note_peak,
    note_weights,
    sheet_path,
    weights_of,
)
from sparc_vlm.study.launch import LoggedLaunch, last_lines
from sparc_vlm.study.measure import (
    evaluation_settings,
    measure,
    read_sheet,
    write_sheet,
)
from sparc_vlm.study.models import open_model
from sparc_vlm.study.plan import Study, StudyArm, Unit
from sparc_vlm.study.progress import Bar, StudyProgress


@dataclass(frozen=True)
class Failure:
    """What went wrong with an arm.

    Attributes:
        arm: Its name.
        seed: At which seed.
        what: 'training', 'model', or the name of a task.
        why: In a sentence.
        lines: The end of the log, or of the traceback.
    """

    arm: str
    seed: int
    what: str
    why: str
    lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f'{self.arm}, seed {self.seed}: {self.what}: {self.why}'


@dataclass
class Runner:
    """Does what is left to do of a study.

    Attributes:
        study: What to do.
        tasks: Of each arm by its name, built, as `tasks_by_arm` returns.
        work_dir: Where everything is kept: `<arm>/seed<n>`.
        root: Holds `tools/train.py`.
        progress: Told how far it has come.
        jobs: Arms in work at once. The cores are shared out; tasks run one
            after the other even so, as their memory is measured.
        device: Where tasks run.
        failures: What went wrong so far.
    """

    study: Study
    tasks: dict[str, list[Any]]
    work_dir: Path
    root: Path
    progress: StudyProgress
    jobs: int = 1
    device: str = 'cpu'
    failures: list[Failure] = field(default_factory=list)
    _stop: Event = field(default_factory=Event)
    _threads: int | None = None
    _measuring: Lock = field(default_factory=Lock)

    def run(self, units: Iterable[Unit]) -> None:
        """Trains and measures arms at seeds, in this order.

        Args:
            units: Some of the study's.

        Raises:
            KeyboardInterrupt: It was stopped; what was in work has ended.
        """
        if self.jobs > 1:
            self._threads = max(torch.get_num_threads() // self.jobs, 1)
        with (
            computing_with(self._threads),
            ThreadPoolExecutor(self.jobs) as workers,
        ):
            work = [workers.submit(self._unit, *unit) for unit in units]
            try:
                for unit in as_completed(work):
                    unit.result()
            except BaseException:
                self._stop.set()
                workers.shutdown(cancel_futures=True)
                raise

    def _unit(self, arm: StudyArm, seed: int) -> None:
        """One arm at one seed, and what is said about it."""
        if self._stop.is_set():  # before what was queued could be cancelled
            return
        start = time.monotonic()
        name = f'{arm.name}, seed {seed}'
        bar = self.progress.bar(name, self._stop)
        failures: list[Failure] = []
        try:
            worked = self._work(arm, seed, bar, failures)
        except Exception as error:  # a full disk, or a mistake of ours
            worked = True
            run = arm.place(seed, self.work_dir)
            failures.append(_failure(arm, seed, 'study', error, run))
        finally:
            bar.close()
        self.failures += failures
        said = self.progress.finish(worked)
        took = f'{time.monotonic() - start:.0f} s' if worked else 'done'
        lines = [f'{name}: {took}; {said}']
        for failure in failures:
            lines.append(f'FAILED {failure}')
            lines += [f'    {line}' for line in failure.lines]
        self.progress.say('\n'.join(lines))

    def _work(
        self, arm: StudyArm, seed: int, bar: Bar, failures: list[Failure]
    ) -> bool:
        """Trains and measures; returns whether there was anything to do."""
        worked = False
        there = finished(self.study, arm, seed, self.work_dir, self.root)
        if len(there) == len(self.tasks[arm.name]):
            return False
        if arm.checkpoint is None:
            training = arm.run(seed, self.work_dir, self.root)
            if training.seconds() is None:
                worked = True
                try:
                    self._train(training, bar)
                except RunError as error:
                    lines = tuple(last_lines(training.folder))
                    failures.append(
                        Failure(arm.name, seed, 'training', str(error), lines)
                    )
                    return True
        bar('waits to be measured', 0, None)
        with self._measuring:
            bar('measuring', 0, None)
            return self._measure(arm, seed, bar, failures) or worked

    def _train(self, training: Arm, bar: Bar) -> None:
        """Trains one.

        Raises:
            RunError: It did not work.
        """
        steps = training.options.get('train_cfg.max_iters')

        def tell(done: int) -> None:
            bar('training', done, steps)

        launch = LoggedLaunch(training.folder, tell, self._threads, self._stop)
        training.launch, training.say = launch, self.progress.say
        try:
            training.train()
        finally:
            note_peak(training.folder, launch.peak_bytes)

    def _measure(
        self, arm: StudyArm, seed: int, bar: Bar, failures: list[Failure]
    ) -> bool:
        """Runs the tasks whose sheets are not there yet."""
        run = arm.place(seed, self.work_dir)
        weights = weights_of(arm, run)
        wanted = [
            (task, settings)
            for task, config in zip(
                self.tasks[arm.name], self.study.tasks_of(arm), strict=True
            )
            if read_sheet(
                sheet_path(run, task.name),
                settings := evaluation_settings(config, weights),
            )
            is None
        ]
        if not wanted:
            return False
        try:
            note_weights(run, weights)
            own = arm.checkpoint or str(run / 'model')
            model = open_model(own, self.device)
            use_recipes_features(
                model,
                arm.recipe or {},
                lambda line: self.progress.say(
                    f'{arm.name}, seed {seed}: {line}'
                ),
            )
        except Exception as error:
            failures.append(_failure(arm, seed, 'model', error, run))
            return True
        for task, settings in wanted:
            # Whatever a task stumbles over must not cost the others.
            try:
                sheet = measure(task, model, bar)
            except Exception as error:
                failures.append(_failure(arm, seed, task.name, error, run))
                continue
            sheet['settings'] = settings
            write_sheet(sheet_path(run, task.name), sheet)
        return True


def _failure(
    arm: StudyArm, seed: int, what: str, error: Exception, run: Path
) -> Failure:
    """An exception as it is reported; its traceback goes into a file."""
    text = traceback.format_exc()
    with suppress(OSError):
        write_text(run / 'results' / f'{what}.log', text)
    if isinstance(error, UserError):
        return Failure(arm.name, seed, what, sentence(error))
    why = f'{type(error).__name__}: {error}'
    return Failure(arm.name, seed, what, why, tuple(text.splitlines()[-6:]))


@contextmanager
def computing_with(threads: int | None) -> Iterator[None]:
    """Lets torch compute with so many threads; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
