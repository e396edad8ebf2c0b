"""The learning rate of each layer, by hand; what else the groups must do."""

from __future__ import annotations

from collections import Counter

import mmdet.models  # noqa: F401 (registers the detectors)
import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.hub import get_config
from mmengine.optim import CosineAnnealingLR, LinearLR
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from mmpretrain.models.backbones import VisionTransformer
from torch import nn

import sparc_vlm.detection  # noqa: F401 (registers the neck)
from sparc_vlm.engine import LayerDecayConstructor
from sparc_vlm.models import SparcViT
from tests.test_models.tiny_models import ARCH

LR, DECAY = 0.1, 0.5
PARAMWISE = dict(
    layer_decay=dict(rate=0.5),
    norm_decay_mult=0.0,
    bias_decay_mult=0.0,
    custom_keys={'pos_embed': dict(decay_mult=0.0)},
)
# of a transformer of three layers, whose first is the fourth from the top
BY_HAND = {
    'pos_embed': 0.1 / 16,
    'patch_embed': 0.1 / 16,
    'pre_norm': 0.1 / 16,
    'layers.0': 0.1 / 8,
    'layers.1': 0.1 / 4,
    'layers.2': 0.1 / 2,
    'ln1': 0.1,
}


def vit(**changes):
    return SparcViT(**dict(arch=ARCH, img_size=32, patch_size=8) | changes)


class Inside(nn.Module):
    """A transformer two names deep, with a head."""

    def __init__(self, transformer):
        super().__init__()
        self.encoders = nn.ModuleDict(dict(vision=transformer))
        self.head = nn.Linear(16, 2)

    def forward(self, images):
        return self.head(self.encoders.vision(images)[0].mean((2, 3)))


def wrapper_of(model, paramwise=PARAMWISE, **optimizer):
    optimizer = dict(type='AdamW', lr=LR, weight_decay=DECAY) | optimizer
    cfg = dict(type='OptimWrapper', optimizer=optimizer)
    return LayerDecayConstructor(cfg, paramwise)(model)


def inside(**changes):
    """A paramwise_cfg for `Inside`."""
    decay = dict(rate=0.5, prefix='encoders.vision.')
    return PARAMWISE | dict(layer_decay=decay) | changes


def settings(model, wrapper):
    """(lr, weight_decay) of each parameter, by name."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(parameter)]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }


def by_hand(name, prefix):
    for start, lr in BY_HAND.items():
        if f'{name}.'.startswith(f'{prefix}{start}.'):
            return lr
    return LR


@pytest.fixture(scope='module')
def detector():
    cfg = get_config('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py').model
    cfg.backbone = dict(
        type='sparc_vlm.SparcViT', arch=ARCH, img_size=32, patch_size=8
    )
    cfg.neck = dict(
        type='sparc_vlm.SimpleFeaturePyramid',
        in_channels=16,
        out_channels=8,
        in_stride=8,
        extra_levels=1,
    )
    cfg.rpn_head.update(in_channels=8, feat_channels=8)
    cfg.roi_head.bbox_roi_extractor.out_channels = 8
    cfg.roi_head.bbox_head.update(in_channels=8, fc_out_channels=8)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MMDET_MODELS.build(cfg)


def test_rates_by_hand_under_a_detector(detector):
    wrapper = wrapper_of(detector)
    found = settings(detector, wrapper)
    assert found.keys() == dict(detector.named_parameters()).keys()
    norms = tuple(
        f'{name}.'
        for name, module in detector.named_modules()
        if isinstance(module, nn.LayerNorm)
    )
    assert Counter(n.split('.')[0] for n in found).keys() == {
        'backbone',
        'neck',
        'rpn_head',
        'roi_head',
    }
    for name, (lr, decay) in found.items():
        assert lr == pytest.approx(by_hand(name, 'backbone.')), name
        is_free = name.endswith(('bias', 'pos_embed')) or name.startswith(
            norms
        )
        assert decay == (0 if is_free else DECAY), name
    # five depths, with and without weight decay
    assert len(wrapper.optimizer.param_groups) == 10


@pytest.mark.parametrize('kind', ['ours', 'mmpretrain'])
@pytest.mark.parametrize('prefix', ['encoders.vision.', 'encoders.vision'])
def test_anywhere_in_a_model(kind, prefix):
    if kind == 'ours':
        transformer = vit(pre_norm=True)
    else:
        transformer = VisionTransformer(ARCH, img_size=32, patch_size=8)
    model = Inside(transformer)
    paramwise = inside(layer_decay=dict(rate=0.5, prefix=prefix))
    for name, (lr, _) in settings(model, wrapper_of(model, paramwise)).items():
        wanted = by_hand(name, 'encoders.vision.')
        if name.endswith('cls_token'):
            wanted = LR / 16
        assert lr == pytest.approx(wanted), name


def test_a_transformer_alone():
    model = vit()
    paramwise = PARAMWISE | dict(layer_decay=dict(rate=0.5, prefix=''))
    for name, (lr, _) in settings(model, wrapper_of(model, paramwise)).items():
        assert lr == pytest.approx(by_hand(name, '')), name


def test_custom_keys_are_multiplied():
    model = Inside(vit())
    keys = {
        'vision.layers.1': dict(lr_mult=0.1, decay_mult=0.5),
        'head': dict(lr_mult=3.0),
    }
    wrapper = wrapper_of(model, inside(custom_keys=keys))
    found = settings(model, wrapper)
    lr, decay = found['encoders.vision.layers.1.attn.qkv.weight']
    assert (lr, decay) == pytest.approx((0.1 / 4 * 0.1, 0.25))
    assert found['head.weight'] == pytest.approx((0.3, 0.5))
    assert found['encoders.vision.layers.2.ln1.weight'] == (0.05, 0)


def test_a_rate_of_one_changes_nothing():
    model = Inside(vit())
    decay = dict(rate=1.0, prefix='encoders.vision')
    wrapper = wrapper_of(model, inside(layer_decay=decay))
    assert {lr for lr, _ in settings(model, wrapper).values()} == {LR}
    assert len(wrapper.optimizer.param_groups) == 2


def test_without_weight_decay():
    model = Inside(vit())
    paramwise = dict(layer_decay=inside()['layer_decay'])
    wrapper = wrapper_of(model, paramwise, type='SGD', weight_decay=0)
    assert len(wrapper.optimizer.param_groups) == 5


def test_frozen_parameters_are_left_out_and_counted(log):
    model = Inside(vit(frozen_stages=1))
    found = settings(model, wrapper_of(model, inside()))
    assert found.keys() == {
        name for name, p in model.named_parameters() if p.requires_grad
    }
    assert {lr for lr, _ in found.values()} == {0.1 / 4, 0.1 / 2, 0.1}
    frozen = [p for p in model.parameters() if not p.requires_grad]
    values = sum(p.numel() for p in frozen)
    counted = f'{len(frozen)} parameters, {values:,} values, frozen'
    assert any(counted in line for line in log)
    groups = [line for line in log if line.startswith('optimizer: ')]
    assert len(groups) == 1 + 6
    assert any('lr 0.025, weight_decay 0.5' in line for line in groups)


def step(model, wrapper):
    torch.manual_seed(3)
    wrapper.update_params(model(torch.randn(2, 3, 32, 32)).square().mean())


def test_goes_on_from_a_checkpoint(tmp_path):
    torch.manual_seed(0)
    model = Inside(vit())
    wrapper = wrapper_of(model, inside())
    step(model, wrapper)
    kept = dict(
        state_dict=model.state_dict(), optimizer=wrapper.state_dict(), meta={}
    )
    torch.save(kept, tmp_path / 'x.pth')
    step(model, wrapper)

    again = Inside(vit())
    load_checkpoint(again, str(tmp_path / 'x.pth'))
    resumed = wrapper_of(again, inside())
    read = torch.load(tmp_path / 'x.pth', weights_only=True)
    resumed.load_state_dict(read['optimizer'])
    step(again, resumed)
    torch.testing.assert_close(
        again.state_dict(), model.state_dict(), rtol=0, atol=0
    )


def test_schedules_keep_the_shares():
    model = Inside(vit())
    wrapper = wrapper_of(model, inside())
    first = [group['lr'] for group in wrapper.optimizer.param_groups]
    schedules = [
        LinearLR(wrapper, 0.1, begin=0, end=3, by_epoch=False),
        CosineAnnealingLR(
            wrapper, eta_min_ratio=0.2, begin=3, end=9, by_epoch=False
        ),
    ]
    factors = []
    for _ in range(9):
        rates = [group['lr'] for group in wrapper.optimizer.param_groups]
        shares = [rate / own for rate, own in zip(rates, first, strict=True)]
        assert max(shares) == pytest.approx(min(shares))
        factors.append(shares[0])
        wrapper.step()
        for schedule in schedules:
            schedule.step()
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == pytest.approx(1.0)
    assert 0.2 < factors[-1] < 0.4


@pytest.mark.parametrize(
    'decay',
    [
        None,
        0.7,
        dict(prefix='backbone.'),
        dict(rate=0),
        dict(rate=1.1),
        dict(rate=0.7, layers=12),
    ],
)
def test_wrong_decays_are_refused(decay):
    with pytest.raises(ValueError, match='needs paramwise_cfg=') as error:
        wrapper_of(vit(), dict(layer_decay=decay))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        (Inside(vit()), "at 'backbone' in Inside: set prefix to 'encoders.vi"),
        (nn.Linear(2, 2), "at 'backbone' in Linear: no part of it knows"),
    ],
)
def test_a_prefix_that_leads_nowhere(model, message):
    with pytest.raises(ValueError, match=message) as error:
        wrapper_of(model)
    assert '\n' not in str(error.value)


def test_a_learning_rate_is_needed():
    cfg = dict(optimizer=dict(type='AdamW'))
    with pytest.raises(ValueError, match='set lr in optimizer'):
        LayerDecayConstructor(cfg, dict(layer_decay=dict(rate=0.7)))
