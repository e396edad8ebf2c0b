from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sparc_vlm.registry import DATASETS, HOOKS
from tests.test_evaluation.colour_world import ColourModel, some_boards


class Visualizer:
    def __init__(self):
        self.images = []

    def add_image(self, name, image, step=0):
        self.images.append((name, image, step))


class Logger:
    def __init__(self):
        self.lines = []

    def log(self, level, line):
        self.lines.append(line)


@pytest.fixture
def runner(tmp_path):
    return SimpleNamespace(
        model=ColourModel(),
        work_dir=str(tmp_path),
        iter=40,
        visualizer=Visualizer(),
        logger=Logger(),
    )


def build(**arguments):
    return HOOKS.build(dict(type='AlignmentMapHook', **arguments))


def test_figures_are_written_and_logged(runner, tmp_path):
    @DATASETS.register_module(name='BoardsForHookTest', force=True)
    def boards():
        return some_boards(3)

    hook = build(dataset=dict(type='BoardsForHookTest'), indices=[0, 2])
    hook.after_val_epoch(runner, metrics={})
    names = sorted(p.name for p in (tmp_path / 'maps' / '40').iterdir())
    assert names == ['0.png', '2.png']
    assert [image[0] for image in runner.visualizer.images] == [
        'maps/0',
        'maps/2',
    ]
    _, image, step = runner.visualizer.images[0]
    assert step == 40
    assert image.dtype == np.uint8
    saved = Image.open(tmp_path / 'maps' / '40' / '0.png')
    assert image.shape == (saved.height, saved.width, 3)
    assert not runner.logger.lines


def test_a_failure_warns_once_and_the_others_are_drawn(runner, tmp_path):
    source = some_boards(4)
    source.boards[1].broken = True
    hook = build(dataset=source, indices=[0, 1, 2, 99])
    hook.after_val_epoch(runner)
    runner.iter = 80
    hook.after_val_epoch(runner)
    for step in (40, 80):
        names = sorted(p.name for p in (tmp_path / f'maps/{step}').iterdir())
        assert names == ['0.png', '2.png']
    assert len(runner.logger.lines) == 2
    assert 'cut off in the middle' in runner.logger.lines[0]
    assert 'IndexError' in runner.logger.lines[1]


def test_a_model_that_cannot_draw_never_stops_the_run(runner):
    runner.model.tokenizer = None
    hook = build(dataset=some_boards(4))
    hook.after_val_epoch(runner)
    assert len(runner.logger.lines) == 1
    assert 'has no tokenizer' in runner.logger.lines[0]


def test_wrapped_model_is_unwrapped(runner, monkeypatch):
    model = runner.model
    runner.model = SimpleNamespace(module=model)
    monkeypatch.setattr(
        'sparc_vlm.visualization.hooks.is_model_wrapper', lambda _: True
    )
    build(dataset=some_boards(2), indices=[0]).after_val_epoch(runner)
    assert len(runner.visualizer.images) == 1
