"""A study whose trainings are made up, so that a test takes no time."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from rich.console import Console
from rich.progress import Progress

from sparc_vlm import hub
from sparc_vlm.datasets.tokenizer import CaptionTokenizer
from sparc_vlm.study import (
    Runner,
    check_units,
    figures,
    read_study,
    tasks_by_arm,
)
from sparc_vlm.study import run as running
from sparc_vlm.study.plan import StudyArm
from sparc_vlm.study.progress import StudyProgress
from tests.test_evaluation.colour_world import ColourModel
from tests.test_models.tiny_models import WORDS, build, model_cfg

ROOT = Path(__file__).resolve().parents[2]
STUDY = """
title = 'Colours'
arms = [
    dict(name='CLIP', config='configs/clip_vittiny_scenes.py', seeds=2),
    dict(name='SPARC', config='configs/sparc_vittiny_scenes.py'),
]
data = dict(type='Scenes', split='test', size=64, num_images=6)
tasks = [
    dict(type='Retrieval', dataset=data),
    dict(type='Pointing', dataset=data),
]
del data
"""


def save_model(folder, seed=0):
    """Writes a tiny model of ours, which nobody has trained."""
    captions = [' '.join(WORDS[i:] + WORDS[:i]) for i in range(len(WORDS))]
    tokenizer = CaptionTokenizer.train(captions * 4, 50, max_length=9)
    tokenizer.save(folder / 'tokenizer')
    path = str(folder / 'tokenizer')
    cfg = model_cfg(tokenizer=dict(type='CaptionTokenizer', path=path))
    return hub.save(build(cfg, seed), folder / 'model', cfg)


def write_study(folder, text=STUDY):
    path = folder / 'colours.py'
    path.write_text(text)
    return path


@dataclass
class Trainer:
    """Stands in for a training: notes its command, leaves a model."""

    codes: dict[str, int] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    commands: list[list[str]] = field(default_factory=list)
    threads: list[int | None] = field(default_factory=list)

    def __call__(self, folder, tell, threads=None, stop=None):
        self.threads.append(threads)
        return Launch(self, folder, tell, stop or Event())


@dataclass
class Launch:
    trainer: Trainer
    folder: Path
    tell: object
    stop: Event
    peak_bytes: int | None = 3_000_000_000

    def __call__(self, command, cwd):
        name = '/'.join(self.folder.parts[-2:])
        self.trainer.started.append(name)
        self.trainer.commands.append(command)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tell(1)
        (self.folder / 'train.log').write_text('first\n\nlast words\n')
        code = self.trainer.codes.get(name, 0)
        if not code:
            model = self.folder / 'model'
            model.mkdir(exist_ok=True)
            (model / 'model.safetensors').write_text(name)
            log = self.folder / '20260101_000000/vis_data/scalars.json'
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text('{"loss": 2.0, "time": 0.5, "step": 20}\n')
        return code


def open_made(name, device='cpu'):
    """A model that knows the answer, unless it is a CLIP."""
    return ColourModel(dense_shift=int(f'{os.sep}clip' in name))


def stand_in(monkeypatch):
    """Puts made-up trainings and models in the place of real ones."""
    trainer = Trainer()
    monkeypatch.setattr(running, 'LoggedLaunch', trainer)
    monkeypatch.setattr(running, 'open_model', open_made)
    monkeypatch.setattr(figures, 'open_model', open_made)
    return trainer


def read_whole(path, work_dir):
    """A study of which everything that is left can be done."""
    study = read_study(path, ROOT)
    check_units(study, study.units, work_dir, ROOT)
    return study


def runner_of(path, work_dir, lines=None, **more):
    """A runner, and what it says in `lines`."""
    study = read_whole(path, work_dir)
    console = Console(file=io.StringIO())
    progress = StudyProgress(len(study.units), Progress(console=console))
    progress.say = (lines if lines is not None else []).append
    tasks = tasks_by_arm(study)
    return Runner(study, tasks, work_dir, ROOT, progress, **more)


def run(path, work_dir, lines=None, **more):
    runner = runner_of(path, work_dir, lines, **more)
    runner.run(runner.study.units)
    return runner


def leave_models(folder, study, arms, inside='tokenizer'):
    """What arms of another study leave behind, as empty folders, by name."""
    text = (ROOT / 'projects' / f'{study}.py').read_text()
    places = {}
    for arm in arms:
        assert f"'{arm}'" in text
        places[arm] = folder / StudyArm(arm, (0,)).folder
        for seed in range(3):
            made = places[arm] / f'seed{seed}' / 'model' / inside
            made.mkdir(parents=True, exist_ok=True)
    return places
