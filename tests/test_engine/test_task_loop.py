import json

import pytest
import torch
from mmengine.config import Config

from tests.test_engine.tiny import Lines, build, history

TASKS = {
    'val_cfg': dict(type='TaskLoop'),
    'val_dataloader': dict(batch_size=5),
    'val_evaluator': [dict(type='TinyTask')],
    'train_cfg.val_interval': 3,
}


def test_validates_every_so_often_and_at_the_end(tmp_path):
    runner = build(tmp_path, **TASKS)
    lines = Lines(runner)
    runner.train()
    task = runner.val_loop.evaluator[0]
    assert len(task.seen) == 3  # after 3, 6 and 8
    assert task.seen[0] == {'training': False, 'grad': False, 'autocast': True}
    assert runner.model.training
    assert len(history(runner, 'val/tiny/weight')) == 3
    assert 'Iter(val) [1/1]' in lines
    assert 'tiny/weight: ' in lines
    assert task.batch_size == 5


def test_a_task_keeps_its_own_batch_size(tmp_path):
    tasks = [dict(type='TinyTask', batch_size=3)]
    runner = build(tmp_path, **{**TASKS, 'val_evaluator': tasks})
    assert runner.val_loop.evaluator[0].batch_size == 3


def test_results_are_written_with_what_they_were_made_with(tmp_path):
    runner = build(tmp_path, **TASKS)
    runner.train()
    sheet = json.loads((tmp_path / 'val' / '3' / 'tiny.json').read_text())
    assert sheet['samples'] == [{'key': 'a', 'rank': 1}]
    assert sheet['iteration'] == 3
    summary = json.loads((tmp_path / 'val/8/metrics.json').read_text())
    assert summary['seed'] == 7
    assert summary['versions']['torch'] == torch.__version__
    assert 'TinyModel' in summary['config']
    assert summary['metrics'] == {
        'tiny/weight': history(runner, 'val/tiny/weight')[-1]
    }


def test_a_task_that_fails_does_not_cost_the_run(tmp_path):
    tasks = [
        dict(type='TinyTask', name='bad', fails=True),
        dict(type='TinyTask', name='good'),
    ]
    runner = build(tmp_path, **{**TASKS, 'val_evaluator': tasks})
    lines = Lines(runner)
    runner.train()
    assert runner.iter == 8
    assert 'task bad failed: OSError: a picture is missing' in lines
    assert len(history(runner, 'val/good/weight')) == 3
    assert runner.model.training


def test_alone_a_task_that_fails_is_an_error(tmp_path):
    tasks = [dict(type='TinyTask', name='bad', fails=True)]
    runner = build(tmp_path, **{**TASKS, 'val_evaluator': tasks})
    with pytest.raises(RuntimeError, match='task bad failed'):
        runner.val()


def test_a_checkpoint_is_tested_without_training(tmp_path):
    trained = build(tmp_path)
    trained.train()
    changes = {
        'test_cfg': dict(type='TaskLoop', stage='test'),
        'test_dataloader': dict(batch_size=5),
        'test_evaluator': [dict(type='TinyTask')],
        'load_from': str(tmp_path / 'iter_8.pth'),
        'train_cfg': None,
        'train_dataloader': None,
        'optim_wrapper': None,
        'param_scheduler': None,
    }
    runner = build(tmp_path, **changes)
    metrics = runner.test()
    weight = trained.model.head.weight.detach().abs().sum()
    assert metrics == {'tiny/weight': pytest.approx(float(weight))}
    assert (tmp_path / 'test' / '8' / 'tiny.json').is_file()
    # Without an optimizer to ask, full precision.
    assert not runner.test_loop.evaluator[0].seen[0]['autocast']


def test_validation_does_not_change_the_losses(tmp_path):
    plain = build(tmp_path / 'a')
    plain.train()
    validated = build(tmp_path / 'b', **TASKS)
    validated.train()
    assert history(plain) == history(validated)


def test_a_full_disk_does_not_cost_the_run(tmp_path):
    (tmp_path / 'val').write_text('a file where a folder should be')
    runner = build(tmp_path, **TASKS)
    lines = Lines(runner)
    runner.train()
    assert 'metrics.json could not be written' in lines
    assert runner.iter == 8


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'val_dataloader': dict(batchsize=5)}, 'no task takes batchsize'),
        ({'val_evaluator': []}, 'names no task'),
        (
            {'val_evaluator': [dict(type='TinyTask'), dict(type='TinyTask')]},
            'same name',
        ),
        ({'val_cfg': dict(type='TaskLoop', stage='x')}, "'val' or 'test'"),
    ],
)
def test_what_cannot_work_is_said_before_training(tmp_path, changes, sentence):
    runner = build(tmp_path, **Config({**TASKS, **changes}).to_dict())
    with pytest.raises(ValueError, match=sentence):
        runner.train()
    assert runner.iter == 0
