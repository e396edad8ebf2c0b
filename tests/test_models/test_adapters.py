"""g_v as PACL has it, and models whose objective trains patches alone."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sparc_vlm.models.adapters import ResidualAdapter
from tests.test_models.tiny_models import build, captions, model_cfg

PATCHES_ALONE = [dict(type='PACL'), dict(type='FILIP')]
WITH_IMAGE = [
    dict(type='FILIP', global_weight=0.5),
    dict(type='GLoRIA'),
    dict(type='SigLIP'),
]


def pixels(count=3):
    return torch.randn(count, 3, 32, 32)


def test_residual_adapter_is_a_linear_map_plus_a_two_layer_mlp():
    torch.manual_seed(0)
    adapter = ResidualAdapter(6, 4)
    values = torch.randn(2, 5, 6)
    first, _, second = adapter.mlp
    hidden = F.gelu(values @ first.weight.T + first.bias)
    expected = hidden @ second.weight.T + second.bias
    expected = expected + values @ adapter.linear.weight.T
    torch.testing.assert_close(adapter(values), expected)
    assert adapter.linear.bias is None


def test_a_pretrainer_takes_the_residual_adapter():
    model = build(model_cfg(vision_adapter='residual'))
    found = model.encode_image(pixels())
    values = model.vision.eval().forward_patches(pixels()).values
    assert isinstance(model.vision_adapter, ResidualAdapter)
    assert found.patches.shape == (3, values.shape[1], 8)


def test_another_adapter_is_refused():
    with pytest.raises(ValueError, match="'linear' or 'residual'"):
        build(model_cfg(vision_adapter='mlp'))


@pytest.mark.parametrize('objective', PATCHES_ALONE)
@pytest.mark.parametrize('adapter', ['linear', 'residual'])
def test_without_h_v_the_image_is_the_mean_of_what_is_trained(
    objective, adapter
):
    model = build(model_cfg(objective=objective, vision_adapter=adapter))
    assert not list(model.vision_head.parameters())
    found = model.encode_image(pixels())
    torch.testing.assert_close(found.dense, found.patches)
    torch.testing.assert_close(found.image, found.patches.mean(1))
    images, tokens = pixels(2), captions([3, 2])
    model.eval()
    pairs = model(images, tokens)
    torch.testing.assert_close(pairs.image, pairs.patches.mean(1))
    first = model(images, tokens, mode='predict')[0]['image']
    torch.testing.assert_close(first, F.normalize(pairs.image[0], dim=0))


@pytest.mark.parametrize('objective', WITH_IMAGE)
def test_h_v_is_there_where_it_is_trained(objective):
    model = build(model_cfg(objective=objective))
    assert isinstance(model.vision_head, nn.Sequential)


@pytest.mark.parametrize('objective', PATCHES_ALONE + WITH_IMAGE)
def test_every_parameter_is_trained(objective):
    model = build(model_cfg(objective=objective)).train()
    losses = model(pixels(4), captions([3, 1, 5, 2]), mode='loss')
    total, log = model.parse_losses(losses)
    total.backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None]
    assert idle == []
    assert 'temperature' in log
