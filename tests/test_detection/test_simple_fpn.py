"""The pyramid's maps: their sizes, their places, what they learn from."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.registry import DefaultScope
from torch import nn

from sparc_vlm.detection import SimpleFeaturePyramid
from sparc_vlm.models import SparcViT
from tests.test_models.tiny_models import ARCH

DETECTORS = {
    'Faster R-CNN': (dict(extra_levels=1), (4, 8, 16, 32, 64)),
    'RetinaNet': (
        dict(strides=(8, 16, 32), extra_levels=2, extra='conv'),
        (8, 16, 32, 64, 128),
    ),
    'RTMDet': (dict(strides=[8, 16, 32]), (8, 16, 32)),
    'DINO': (
        dict(
            strides=(8, 16, 32),
            extra_levels=1,
            extra='conv',
            norm_cfg=dict(type='GN', num_groups=2),
        ),
        (8, 16, 32, 64),
    ),
}


def pyramid(**changes):
    torch.manual_seed(0)
    return SimpleFeaturePyramid(8, 6, **changes)


def patches(rows, columns, channels=8):
    torch.manual_seed(1)
    return torch.randn(2, channels, rows, columns)


@pytest.mark.parametrize('grid', [(8, 16), (9, 5), (1, 3)])
@pytest.mark.parametrize('detector', DETECTORS)
def test_sizes_for_each_detector(detector, grid):
    """A cell for each stride of the picture, also where the last is cut."""
    options, strides = DETECTORS[detector]
    maps = pyramid(**options)((patches(*grid),))
    assert [tuple(m.shape) for m in maps] == [
        (2, 6, *(-(-16 * side // stride) for side in grid))
        for stride in strides
    ]


@pytest.mark.parametrize(
    ('in_stride', 'strides'),
    [
        (8, (4, 8, 16, 32)),
        (32, (4, 8, 16, 32)),
        (14, (3.5, 7, 14, 28)),
        (16, (16,)),
        (16, (4, 64)),
    ],
)
def test_other_patches_and_strides(in_stride, strides):
    maps = pyramid(in_stride=in_stride, strides=strides)((patches(8, 8),))
    assert [m.shape[-1] for m in maps] == [
        8 * in_stride / stride for stride in strides
    ]


@pytest.mark.parametrize('detector', DETECTORS)
def test_gradients_reach_every_parameter(detector):
    model = pyramid(**DETECTORS[detector][0])
    maps = model((patches(8, 8),))
    # squares weighted unevenly: a norm's output has a fixed mean square
    torch.stack(
        [(m.square() * torch.rand_like(m)).sum() for m in maps]
    ).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 1e-6, name


def test_of_several_maps_the_last_is_taken():
    model, last = pyramid(), patches(4, 4)
    for several in ((patches(7, 7), last), [last]):
        for left, right in zip(model(several), model((last,)), strict=True):
            assert torch.equal(left, right)


def test_one_patch_lights_up_its_own_place():
    """And, through the last 3 x 3 convolution, the cells next to it."""
    model = pyramid(strides=(4, 8, 16, 32))
    dark = torch.zeros(1, 8, 6, 8)
    light = dark.clone()
    light[0, :, 3, 5] = torch.randn(8)
    for stride, before, after in zip(
        (4, 8, 16, 32), model((dark,)), model((light,)), strict=True
    ):
        changed = (before != after).any(1)[0]
        wanted = torch.zeros_like(changed)
        # pixels 48 to 64 down and 80 to 96 across
        top, left = 48 // stride, 80 // stride
        bottom, right = -(-64 // stride), -(-96 // stride)
        wanted[top - 1 : bottom + 1, left - 1 : right + 1] = True
        assert torch.equal(changed, wanted), stride


def test_upsampled_cells_come_from_their_own_patch():
    """Each patch fills its 4 x 4 cells as if it were the only one."""
    level = pyramid().levels[0]
    resize = level[:4]
    assert [type(part) for part in resize[::3]] == [nn.ConvTranspose2d] * 2
    grid = patches(3, 2)
    whole = resize(grid)
    for row in range(3):
        for column in range(2):
            alone = resize(grid[..., row : row + 1, column : column + 1])
            here = whole[..., 4 * row :, 4 * column :][..., :4, :4]
            torch.testing.assert_close(here, alone)


def test_extra_levels():
    pooled = pyramid(extra_levels=2)((patches(8, 7),))
    assert torch.equal(pooled[4], pooled[3][..., ::2, ::2])
    assert torch.equal(pooled[5], pooled[3][..., ::4, ::4])
    model = pyramid(extra_levels=2, extra='conv')
    maps = model((patches(8, 8),))
    first, second = model.extra_levels[0], model.extra_levels[1][1]
    assert torch.equal(maps[4], first(maps[3]))
    assert torch.equal(maps[5], second(maps[4].relu()))


def test_maps_of_one_column_in_bfloat16():
    """What the gradient of a strided convolution leaves unset is not used."""
    torch.manual_seed(0)
    level = SimpleFeaturePyramid(
        8, 256, strides=(16,), extra_levels=1, extra='conv'
    ).extra_levels[0]
    for shape in ((1, 1), (3, 1)):
        cells = torch.randn(2, 256, *shape)
        gradients = []
        for dtype in (None, torch.bfloat16):
            level.zero_grad()
            # Freed memory that is handed out again holds what is no number.
            for count in (level.weight.numel(), 2 * level.weight.numel()):
                torch.full((count,), torch.nan)
            with torch.autocast('cpu', dtype, enabled=dtype is not None):
                found = level(cells)
            found.float().square().mean().backward()
            gradients.append(level.weight.grad.clone())
        torch.testing.assert_close(gradients[1], gradients[0])


def test_the_usual_norm_is_over_the_channels_of_each_place():
    norm = pyramid().levels[2][1]
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    values = patches(4, 5, channels=6)
    centred = values - values.mean(1, keepdim=True)
    scale = (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
    wanted = centred / scale * norm.weight.view(-1, 1, 1)
    torch.testing.assert_close(norm(values), wanted + norm.bias.view(-1, 1, 1))


def test_another_norm():
    model = pyramid(norm_cfg=dict(type='BN', requires_grad=False))
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 2 * 4 + 1
    assert not any(p.requires_grad for m in norms for p in m.parameters())


def test_on_a_backbone_from_mmdets_registry():
    with DefaultScope.overwrite_default_scope('mmdet'):
        backbone = MMDET_MODELS.build(
            dict(type='sparc_vlm.SparcViT', arch=ARCH, patch_size=8)
        )
        neck = MMDET_MODELS.build(
            dict(
                type='sparc_vlm.SimpleFeaturePyramid',
                in_channels=16,
                in_stride=8,
                out_channels=6,
            )
        )
    assert isinstance(backbone, SparcViT)
    maps = neck(backbone(torch.rand(1, 3, 60, 36)))
    assert [m.shape[2:] for m in maps] == [(16, 10), (8, 5), (4, 3), (2, 2)]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(strides=(4, 12)), r'in_stride \(16\) times or divided.* got 12'),
        (dict(in_stride=14), r'in_stride \(14\).* power of two, got 4'),
        (dict(strides=(0, 4)), 'power of two, got 0'),
        (dict(strides=(-8,)), 'power of two, got -8'),
        (dict(strides=(8, 4)), 'strides must ascend'),
        (dict(strides=(4, 4)), 'strides must ascend'),
        (dict(strides=()), 'strides must ascend and be at least one'),
        (dict(extra='max'), "'pool' or 'conv', got 'max'"),
    ],
)
def test_wrong_arguments_are_named(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        pyramid(**changes)
    assert '\n' not in str(error.value)
