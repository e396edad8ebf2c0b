"""The five lines of the README, run as a user would run them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mmengine.config import Config
from safetensors.torch import save_file

from sparc_vlm.detection.export import use_export
from sparc_vlm.models.encoders import SparcViT
from tests.test_detection.recipes import CONFIGS, arguments
from tools import detect, train

README = CONFIGS.parent / 'README.md'
CHECKPOINT = 'sparc/model'
TINY = {
    'train_cfg.max_epochs': 1,
    'param_scheduler.0.end': 2,
    'model.backbone.arch': 'mini',
    'model.neck.in_channels': 128,
    'model.roi_head.bbox_head.fc_out_channels': 32,
    'model.train_cfg.rpn_proposal.max_per_img': 10,
    'model.test_cfg.rpn.max_per_img': 10,
    'model.test_cfg.rcnn.score_thr': 0.0,
    'train_dataloader.dataset.pipeline.2.scale': (64, 64),
    'val_dataloader.dataset.pipeline.1.scale': (64, 64),
    **{
        f'{split}_dataloader.{key}': value
        for split in ('train', 'val')
        for key, value in {
            'num_workers': 0,
            'persistent_workers': False,
        }.items()
    },
}


def lines():
    """The first block of Python in the README."""
    text = README.read_text()
    return re.search(r'```python\n(.*?)```', text, re.DOTALL)[1]


def test_the_swap_is_five_lines():
    base, swap = lines().split('\n\n')
    assert base.startswith("_base_ = 'mmdet::")
    assert len(swap.splitlines()) == 5
    assert max(map(len, swap.splitlines())) < 80


@pytest.mark.usefixtures('fresh')
def test_the_swap_trains_from_a_checkpoint(tmp_path, drawn, capfd):
    vision = SparcViT('mini', img_size=32)
    vision.init_weights()
    start = tmp_path / 'start.safetensors'
    save_file(
        {f'vision.{k}': v for k, v in vision.state_dict().items()}, start
    )
    assert CHECKPOINT in lines()
    config = tmp_path / 'swapped.py'
    config.write_text(lines().replace(CHECKPOINT, str(start)))
    status = train.main(
        [
            str(config),
            *('--data', f'coco:{drawn}', '--work-dir', str(tmp_path / 'run')),
            *arguments(TINY),
        ]
    )
    assert status == 0
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    count = len(vision.state_dict())
    assert f'weights of SparcViT: {count} of {count} keys matched' in log
    assert 'coco/bbox_mAP: ' in log
    assert list(Path(tmp_path / 'run').glob('epoch_1.pth'))
    assert 'no DetectorExportHook, so one is added' in capfd.readouterr().err
    picture = str(drawn / 'images_val' / '00000000.png')
    given = [str(tmp_path / 'run'), picture, '--out', str(tmp_path / 'out')]
    assert detect.main([*given, '--threshold', '0']) == 0
    found = re.search(r': (\d+) found, \w+ \w+ ', capfd.readouterr().out)
    assert int(found[1]) > 0


@pytest.mark.parametrize(
    'changes',
    [
        {'custom_hooks': [dict(type='sparc_vlm.DetectorExportHook')]},
        {'default_hooks': dict(export=None)},
        {'model': dict(type='DetDataPreprocessor')},
    ],
)
def test_nothing_is_added_where_it_is_there_or_unwanted(changes):
    plain = dict(default_scope='mmdet', model=dict(type='FasterRCNN'))
    cfg = Config(plain | changes)
    before = cfg.to_dict()
    assert use_export(cfg) == []
    assert cfg.to_dict() == before
    assert use_export(Config(plain))


def test_the_readme_lists_every_recipe():
    listed = set(
        re.findall(r'^\| `(\w+)` \|', README.read_text(), re.MULTILINE)
    )
    there = {file.stem for file in CONFIGS.glob('*.py')}
    assert listed == {name for name in there if not name.startswith('words_')}
