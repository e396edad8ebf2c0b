"""Attention written out is attention."""

from __future__ import annotations

import pytest
import torch
from mmpretrain.models.utils import MultiheadAttention
from torch.nn import functional as F

from sparc_vlm.models import attention
from sparc_vlm.models.attention import PatchAttention, attend


def inputs(queries=5, keys=5, dtype=torch.float64):
    torch.manual_seed(0)
    return [
        torch.randn(2, 3, n, 4, dtype=dtype, requires_grad=True)
        for n in (queries, keys, keys)
    ]


def with_gradients(function, tensors):
    output = function(*tensors)
    weights = torch.linspace(-1, 2, output.numel()).view_as(output)
    loss = (output * weights).sum()
    return output, torch.autograd.grad(loss, tensors)


@pytest.mark.parametrize('sizes', [(5, 5), (1, 1), (3, 7), (256, 256)])
def test_agrees_with_the_fused_kernel(sizes):
    tensors = inputs(*sizes)
    output, grads = with_gradients(attend, tensors)
    wanted, wanted_grads = with_gradients(
        F.scaled_dot_product_attention, tensors
    )
    torch.testing.assert_close(output, wanted)
    torch.testing.assert_close(grads, wanted_grads)


@pytest.fixture
def fused(monkeypatch):
    """How often the fused kernel is called."""
    calls, kernel = [], F.scaled_dot_product_attention

    def count(*args, **kwargs):
        calls.append(kwargs)
        return kernel(*args, **kwargs)

    monkeypatch.setattr(
        attention.F, 'scaled_dot_product_attention', count, raising=True
    )
    return calls


@pytest.mark.parametrize('keys', [256, 257])
def test_long_sequences_go_to_the_fused_kernel(fused, keys):
    tensors = inputs(2, keys)
    output = attend(*tensors)
    assert len(fused) == (keys > 256)
    scores = tensors[0] @ tensors[1].transpose(-1, -2) / 2
    torch.testing.assert_close(output, scores.softmax(-1) @ tensors[2])


def test_without_gradients_the_fused_kernel_runs(fused):
    tensors = inputs()
    wanted = attend(*tensors)
    assert not fused
    with torch.no_grad():
        torch.testing.assert_close(attend(*tensors), wanted)
    assert len(fused) == 1


def test_dropout_reaches_the_kernel(fused):
    tensors = inputs()
    dropped = attend(*tensors, dropout_p=0.5)
    assert fused == [dict(dropout_p=0.5)]
    assert not torch.allclose(dropped, attend(*tensors))


def test_bf16_autocast_is_close():
    tensors = inputs(dtype=torch.float32)
    wanted, wanted_grads = with_gradients(attend, tensors)
    with torch.autocast('cpu', torch.bfloat16):
        low = [t.detach().bfloat16().requires_grad_() for t in tensors]
        output = attend(*low)
        assert output.dtype == torch.bfloat16
        weights = torch.linspace(-1, 2, output.numel()).view_as(output)
        grads = torch.autograd.grad((output * weights).sum(), low)
    torch.testing.assert_close(output.float(), wanted, rtol=0.05, atol=0.05)
    for grad, other in zip(grads, wanted_grads, strict=True):
        error = (grad.float() - other).norm() / other.norm()
        assert error < 0.03


@pytest.mark.parametrize('scale', [0.0, 0.1])
def test_patch_attention_is_mmpretrains(scale):
    torch.manual_seed(0)
    theirs = MultiheadAttention(8, 2, layer_scale_init_value=scale).double()
    ours = PatchAttention(8, 2, layer_scale_init_value=scale).double()
    ours.load_state_dict(theirs.state_dict())
    tokens = torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True)
    output, grads = with_gradients(ours, [tokens])
    wanted, wanted_grads = with_gradients(theirs, [tokens])
    torch.testing.assert_close(output, wanted)
    torch.testing.assert_close(grads, wanted_grads)
