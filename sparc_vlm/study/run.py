"""Trains and measures every arm of a study; what fails costs itself alone."""

from __future__ import annotations

import json
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparc_vlm.errors import UserError, sentence
from sparc_vlm.files import write_json, write_text
from sparc_vlm.study.arm import Arm
from sparc_vlm.study.launch import LoggedLaunch, last_lines
from sparc_vlm.study.measure import (
    Sheet,
    evaluation_settings,
    fingerprint,
    measure,
    read_sheet,
    write_sheet,
)
from sparc_vlm.study.models import identity, open_model
from sparc_vlm.study.plan import Study, StudyArm
from sparc_vlm.study.progress import StudyProgress


@dataclass(frozen=True)
class Failure:
    """What went wrong with an arm.

    Attributes:
        arm: Its name.
        seed: At which seed.
        what: 'training', or the name of a task.
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
        tasks: Built, in the order of the study's.
        work_dir: Where everything is kept: `<arm>/seed<n>`.
        root: Holds `tools/train.py`.
        progress: Told how far it has come.
        failures: What went wrong so far.
    """

    study: Study
    tasks: list[Any]
    work_dir: Path
    root: Path
    progress: StudyProgress
    failures: list[Failure] = field(default_factory=list)

    def run(self, arms: list[StudyArm]) -> None:
        """Trains and measures these arms.

        Args:
            arms: Some of the study's.
        """
        for arm, seed in self.study.units:
            if arm not in arms:
                continue
            start = time.monotonic()
            name = f'{arm.name}, seed {seed}'
            failed = len(self.failures)
            worked = self._unit(arm, seed)
            for failure in self.failures[failed:]:
                self.progress.say(f'FAILED {failure}')
                for line in failure.lines:
                    self.progress.say(f'    {line}')
            said = self.progress.finish(worked)
            took = f'{time.monotonic() - start:.0f} s' if worked else 'done'
            self.progress.say(f'{name}: {took}; {said}')

    def _unit(self, arm: StudyArm, seed: int) -> bool:
        """One arm at one seed; returns whether there was anything to do."""
        run = arm_folder(arm, seed, self.work_dir)
        worked = False
        if arm.checkpoint is None:
            training = arm.run(seed, self.work_dir, self.root)
            if training.seconds() is None:
                worked = True
                if not self._train(training, arm, seed):
                    return True
        return self._measure(arm, seed, run) or worked

    def _train(self, training: Arm, arm: StudyArm, seed: int) -> bool:
        """Trains one; returns whether it worked."""
        steps = training.options.get('train_cfg.max_iters')
        self.progress.begin(f'{training.name}: training')

        def tell(done: int) -> None:
            if steps:
                self.progress.part(done, steps)

        launch = LoggedLaunch(training.folder, tell)
        training.launch, training.say = launch, self.progress.say
        try:
            training.train()
        except RuntimeError as error:
            lines = tuple(last_lines(training.folder))
            self._failed(arm, seed, 'training', str(error), lines)
            return False
        finally:
            note_peak(training.folder, launch.peak_bytes)
        return True

    def _measure(self, arm: StudyArm, seed: int, run: Path) -> bool:
        """Runs the tasks whose sheets are not there yet."""
        weights = weights_of(arm, run)
        wanted = [
            (task, settings)
            for task, config in zip(self.tasks, self.study.tasks, strict=True)
            if read_sheet(
                sheet_path(run, task.name),
                settings := evaluation_settings(config, weights),
            )
            is None
        ]
        if not wanted:
            return False
        try:
            model = open_model(arm.checkpoint or str(run / 'model'))
        except Exception as error:
            self._error(arm, seed, 'model', error, run)
            return True
        for task, settings in wanted:
            self.progress.begin(f'{arm.name}, seed {seed}: {task.name}')
            bars = self.progress.task(f'{arm.name}, seed {seed}')
            # Whatever a task stumbles over must not cost the others.
            try:
                sheet = measure(task, model, bars)
            except Exception as error:
                self._error(arm, seed, task.name, error, run)
                continue
            sheet['settings'] = settings
            write_sheet(sheet_path(run, task.name), sheet)
        return True

    def _error(
        self, arm: StudyArm, seed: int, what: str, error: Exception, run: Path
    ) -> None:
        """Notes an exception; its traceback goes into a file."""
        text = traceback.format_exc()
        write_text(run / 'results' / f'{what}.log', text)
        if isinstance(error, UserError):
            self._failed(arm, seed, what, sentence(error))
            return
        why = f'{type(error).__name__}: {error}'
        lines = tuple(text.splitlines()[-6:])
        self._failed(arm, seed, what, why, lines)

    def _failed(
        self,
        arm: StudyArm,
        seed: int,
        what: str,
        why: str,
        lines: tuple[str, ...] = (),
    ) -> None:
        self.failures.append(Failure(arm.name, seed, what, why, lines))


def arm_folder(arm: StudyArm, seed: int, work_dir: Path) -> Path:
    """Where an arm is trained and its results are kept."""
    return work_dir.resolve() / arm.folder / f'seed{seed}'


def sheet_path(run: Path, task: str) -> Path:
    """Where what a task found is kept."""
    return run / 'results' / f'{task}.json.gz'


def weights_of(arm: StudyArm, run: Path) -> str:
    """What tells this model from any other."""
    if arm.checkpoint is not None:
        return identity(arm.checkpoint)
    return fingerprint(run / 'model')


def finished(
    study: Study, arm: StudyArm, seed: int, work_dir: Path, root: Path
) -> dict[str, Sheet]:
    """The sheets that are there for an arm as the study wants it.

    Args:
        study: Whose tasks.
        arm: One of its arms.
        seed: At which seed.
        work_dir: Of the study.
        root: Holds `tools/train.py`.

    Returns:
        By the task's name; empty where the arm is not trained so.
    """
    run = arm_folder(arm, seed, work_dir)
    is_trained = arm.checkpoint is None
    if is_trained and arm.run(seed, work_dir, root).seconds() is None:
        return {}
    weights = weights_of(arm, run)
    sheets = {}
    for config in study.tasks:
        settings = evaluation_settings(config, weights)
        for path in sorted((run / 'results').glob('*.json.gz')):
            sheet = read_sheet(path)
            if sheet and sheet['settings'] == settings:
                sheets[sheet['name']] = sheet
    return sheets


def note_peak(folder: Path, peak: int | None) -> None:
    """Keeps the most memory that a training took, over all its runs."""
    if peak is not None and folder.is_dir():
        most = max(peak, peak_of(folder) or 0)
        write_json(folder / 'memory.json', {'peak_bytes': most})


def peak_of(folder: Path) -> int | None:
    """The most memory that a training took, None if nobody noted it."""
    try:
        text = (folder / 'memory.json').read_text()
    except OSError:
        return None
    return json.loads(text)['peak_bytes']
