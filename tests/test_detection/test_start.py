"""What a detector starts from: pretraining's weights, or a word why not."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope
from safetensors.torch import save_file

from sparc_vlm.engine import load_config
from sparc_vlm.models.encoders import SparcViT
from sparc_vlm.weights import WeightsError
from tests.test_detection.recipes import CONFIGS, arguments, small
from tools import train

RECIPE = 'faster_rcnn_vitmini_scenes'
START = 'model.backbone.init_cfg.checkpoint'


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
    """Weights of a pretrainer of other pictures: 32 pixels, 16 patches."""
    vision = SparcViT('mini', img_size=32, patch_size=8)
    vision.init_weights()
    state = {f'vision.{k}': v for k, v in vision.state_dict().items()}
    path = tmp_path_factory.mktemp('pretrained') / 'model.safetensors'
    save_file({**state, 'text.head': torch.zeros(3)}, path)
    return path


def detector(checkpoint, **backbone):
    """A detector of the recipe with its weights as a run begins with."""
    cfg = load_config(CONFIGS / f'{RECIPE}.py', {START: checkpoint})
    cfg.model.backbone.update(backbone)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
        model.init_weights()
    return model


def test_weights_of_pretraining_are_taken_and_counted(pretrained, log):
    model = detector(str(pretrained.parent))
    own = model.backbone.state_dict()
    assert f'weights of SparcViT: {len(own)} of {len(own)} keys matched' in log
    again = SparcViT('mini', img_size=64, patch_size=8)
    again.init_cfg = dict(
        type='Pretrained', checkpoint=str(pretrained), prefix='vision.'
    )
    again.init_weights()
    assert own['pos_embed'].shape == (1, 64, 128)
    for key, value in again.state_dict().items():
        assert torch.equal(value, own[key]), key


@pytest.mark.parametrize(
    ('backbone', 'sentence'),
    [
        (
            dict(init_cfg=dict(prefix='visual.')),
            "no key begins with 'visual.': the keys begin with text., vision.",
        ),
        (dict(arch='tiny'), r'do not fit SparcViT: .*\d+ mismatched \('),
        (dict(patch_size=16), 'mismatched .patch_embed.projection.weight'),
    ],
)
def test_weights_that_do_not_fit_stop_the_run(pretrained, backbone, sentence):
    if 'init_cfg' in backbone:
        backbone['init_cfg'].update(
            type='Pretrained', checkpoint=str(pretrained)
        )
    with pytest.raises(WeightsError, match=sentence) as caught:
        detector(str(pretrained), **backbone)
    assert '\n' not in str(caught.value)


@pytest.mark.usefixtures('fresh')
def test_weights_that_are_not_there_are_one_sentence(tmp_path, drawn, capsys):
    status = train.main(
        [
            str(CONFIGS / f'{RECIPE}.py'),
            *('--data', f'coco:{drawn}', '--work-dir', str(tmp_path)),
            *arguments({**small(RECIPE), START: 'nowhere/model'}),
        ]
    )
    assert status == train.USAGE
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith('error: ')
    assert 'nowhere/model' in said


def test_without_a_checkpoint_weights_are_random(log):
    model = detector(None)
    assert model.backbone.pos_embed.std() > 0
    assert not any('keys matched' in line for line in log)
