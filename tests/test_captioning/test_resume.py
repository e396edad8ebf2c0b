"""A captioner trains through the tool, and resumes bit for bit."""

from __future__ import annotations

import shutil
from collections import OrderedDict

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from sparc_vlm import captioning
from sparc_vlm.datasets.scenes import Scenes
from sparc_vlm.engine import read_checkpoint
from tests.test_captioning.tiny_captioner import LORA, captioner_cfg
from tests.test_captioning.tiny_language import save_language
from tests.test_study.made import save_model
from tools import train

CONFIG = """
custom_imports = dict(imports=['sparc_vlm.captioning'])
default_scope = 'sparc_vlm'
model = {model}
train_dataloader = dict(
    type='PairLoader',
    dataset=dict(
        type='ChatDataset', source=dict(type='Scenes', size=32, num_images=9)
    ),
    batch_size=2,
    num_workers=0,
)
train_cfg = dict(type='PretrainLoop', max_iters=4)
optim_wrapper = dict(
    type='AutocastOptimWrapper',
    constructor='GroupingConstructor',
    optimizer=dict(type='AdamW', lr=1e-2),
    accumulative_counts=2,
)
param_scheduler = [dict(type='LinearLR', by_epoch=False, begin=0, end=4)]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='SafeCheckpointHook', interval=2),
)
custom_hooks = [dict(type='CaptionerExportHook')]
randomness = dict(seed=3)
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """mmengine keeps loggers and the like by name for the whole process."""
    for kind in (MMLogger, MessageHub, Visualizer, DefaultScope):
        monkeypatch.setattr(kind, '_instance_dict', OrderedDict())


def equal(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(
            equal(value, second[key]) for key, value in first.items()
        )
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second


def test_four_steps_are_two_and_two(tmp_path):
    language = save_language(tmp_path / 'language')
    options = dict(lora=dict(LORA['lora'], lora_dropout=0.2))
    model = captioner_cfg(language, options)
    config = tmp_path / 'config.py'
    config.write_text(CONFIG.format(model=model))

    def run(name, *more):
        given = [str(config), '--work-dir', str(tmp_path / name), *more]
        assert train.main(given) == 0

    run('whole')
    run('halves', '--cfg-options', 'train_cfg.max_iters=2')
    first = read_checkpoint(tmp_path / 'halves/iter_2.pth')['state_dict']
    run('halves', '--resume')
    whole, halves = (
        read_checkpoint(tmp_path / f'{name}/iter_4.pth')
        for name in ('whole', 'halves')
    )
    for part in ('state_dict', 'optimizer'):
        assert equal(whole[part], halves[part]), part
    # It holds what trains and, since they are random, the eyes.
    state = whole['state_dict']
    parts = {key.split('.')[0] for key in state}
    assert parts == {'projector', 'language', 'eyes'}
    assert all('lora' in key for key in state if key.startswith('language'))
    for key in state:
        moved = not torch.equal(first[key], state[key])
        assert moved == (not key.startswith('eyes.')), key

    loaded = captioning.load(tmp_path / 'whole')
    found = loaded.captioner.state_dict()
    assert found.keys() < state.keys()
    assert all(torch.equal(found[key], state[key]) for key in found)
    picture = Scenes(size=32, num_images=1).image(0)
    assert len(loaded.caption([picture], max_new_tokens=3)[0]) == 1


@pytest.mark.parametrize('part', ['image encoder', 'language model'])
def test_a_run_goes_on_with_the_parts_that_it_began_with(
    part, tmp_path, capfd
):
    """Others at the same place are noticed: no checkpoint holds them."""
    language = save_language(tmp_path / 'language')
    eyes = save_model(tmp_path / 'eyes')
    config = tmp_path / 'config.py'
    model = captioner_cfg(
        language, LORA, eyes=dict(type='SparcEyes', checkpoint=str(eyes))
    )
    config.write_text(CONFIG.format(model=model))
    given = [str(config), '--work-dir', str(tmp_path / 'run')]
    once = ['--cfg-options', 'train_cfg.max_iters=2']
    assert train.main(given + once) == 0
    assert train.main([*given, '--resume']) == 0
    if part == 'image encoder':
        shutil.rmtree(eyes)
        save_model(tmp_path / 'eyes', seed=1)
    else:
        save_language(language, seed=1)
    capfd.readouterr()
    more = ['--resume', '--cfg-options', 'train_cfg.max_iters=6']
    assert train.main(given + more) != 0
    said = capfd.readouterr().err
    assert f'the checkpoint was trained with another {part}' in said
    assert 'Traceback' not in said
