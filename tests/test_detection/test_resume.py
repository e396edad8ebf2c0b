"""A detector that was stopped goes on as if it had not been."""

from __future__ import annotations

import shutil

import pytest
import torch

from sparc_vlm.engine import read_checkpoint
from tests.test_detection.recipes import CONFIGS, arguments, small
from tools import train

RECIPE = 'faster_rcnn_vitmini_scenes'
STEPS = {
    'train_dataloader.num_workers': 1,
    # How a picture is flipped is not what this is about.
    'train_dataloader.dataset.pipeline.3.prob': 0.0,
    'default_hooks.checkpoint.interval': 2,
}


def run(folder, data, *more):
    options = {**small(RECIPE, 4), **STEPS}
    status = train.main(
        [
            str(CONFIGS / f'{RECIPE}.py'),
            *('--data', f'coco:{data}', '--work-dir', str(folder)),
            *more,
            *arguments(options),
        ]
    )
    assert status == 0
    return read_checkpoint(folder / 'iter_4.pth')['state_dict']


@pytest.mark.usefixtures('fresh')
def test_a_resumed_run_ends_where_the_whole_one_does(tmp_path, drawn):
    whole = run(tmp_path / 'whole', drawn)
    resumed = tmp_path / 'resumed'
    resumed.mkdir()
    shutil.copy(tmp_path / 'whole' / 'iter_2.pth', resumed)
    again = run(resumed, drawn, '--resume')
    for key, value in whole.items():
        assert torch.equal(value, again[key]), key
