"""Deformable attention as GPUs ask for it: values and gradients."""

from __future__ import annotations

import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttention,
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)

SHAPES = torch.tensor([[4, 6], [2, 3]])
STARTS = torch.tensor([0, 24])
STEP = 64


def case(dtype=torch.float64):
    """Values, places (some outside) and weights: 2 pictures, 3 heads."""
    torch.manual_seed(0)
    value = torch.randn(2, 30, 3, 4, dtype=dtype)
    places = torch.rand(2, 5, 3, 2, 4, 2, dtype=dtype) * 1.4 - 0.2
    weights = torch.rand(2, 5, 3, 2, 4, dtype=dtype)
    return [part.requires_grad_() for part in (value, places, weights)]


def on_gpu(value, places, weights):
    """The way MMDetection takes on GPUs."""
    return MultiScaleDeformableAttnFunction.apply(
        value, SHAPES, STARTS, places, weights, STEP
    )


def test_it_is_what_a_cpu_computes():
    parts = case()
    value, places, weights = parts
    found = on_gpu(*parts)
    twin = multi_scale_deformable_attn_pytorch(value, SHAPES, places, weights)
    torch.testing.assert_close(found, twin)
    grad = torch.randn_like(found)
    for one, other in zip(
        torch.autograd.grad(found, parts, grad),
        torch.autograd.grad(twin, parts, grad),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_gradients_are_those_of_the_values():
    assert torch.autograd.gradcheck(on_gpu, case())


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_other_types_keep_their_own(dtype):
    parts = [part.detach().to(dtype).requires_grad_() for part in case()]
    found = on_gpu(*parts)
    assert found.dtype == dtype
    exact = on_gpu(*(part.detach().float() for part in parts))
    torch.testing.assert_close(found, exact.to(dtype))
    found.sum().backward()
    assert all(part.grad.dtype == dtype for part in parts)


def test_the_layer_trains_by_it(monkeypatch):
    """Its own way on a CPU, put aside."""
    torch.manual_seed(0)
    layer = MultiScaleDeformableAttention(
        embed_dims=8, num_heads=2, num_levels=2, dropout=0, batch_first=True
    )
    for own in layer.parameters():
        torch.nn.init.normal_(own, std=0.3)
    query, value = torch.randn(2, 5, 8), torch.randn(2, 30, 8)
    given = dict(
        reference_points=torch.rand(2, 5, 2, 2),
        spatial_shapes=SHAPES,
        level_start_index=STARTS,
    )
    outputs, grads = [], []
    for replaced in (False, True):
        if replaced:
            monkeypatch.setattr(
                'mmcv.ops.multi_scale_deform_attn.IS_CUDA_AVAILABLE', True
            )
            monkeypatch.setattr(torch.Tensor, 'is_cuda', True)
        layer.zero_grad()
        outputs.append(layer(query, value=value, **given))
        outputs[-1].square().sum().backward()
        grads.append([own.grad.clone() for own in layer.parameters()])
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*grads)
