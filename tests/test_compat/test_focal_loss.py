"""Focal loss of class indices, as GPUs ask for it: values and gradients."""

from __future__ import annotations

import pytest
import torch
from mmcv.ops import sigmoid_focal_loss as op
from mmdet.models.losses.focal_loss import FocalLoss, sigmoid_focal_loss

CLASSES = 5


def case(seed=0, rows=12):
    """Logits, and classes of which the last stands for none."""
    torch.manual_seed(seed)
    logits = 6 * torch.randn(rows, CLASSES, dtype=torch.float64)
    return logits.requires_grad_(), torch.arange(rows) % (CLASSES + 1)


@pytest.mark.parametrize('gamma', [0.0, 2.0, 1.5])
@pytest.mark.parametrize('weighted', [False, True])
def test_it_is_what_a_cpu_computes(gamma, weighted):
    """MMDetection's way on GPUs beside its way on a CPU."""
    logits, target = case()
    weight = torch.rand(len(target)).double() if weighted else None
    shared = dict(gamma=gamma, alpha=0.3, avg_factor=7)
    on_gpu = sigmoid_focal_loss(logits, target, weight, **shared)
    del shared['avg_factor']
    on_cpu = FocalLoss(**shared)(logits, target, weight, avg_factor=7)
    torch.testing.assert_close(on_gpu, on_cpu)
    grads = [torch.autograd.grad(x, logits)[0] for x in (on_gpu, on_cpu)]
    torch.testing.assert_close(*grads)


def test_gradients_are_those_of_the_values():
    logits, target = case(seed=1)
    assert torch.autograd.gradcheck(
        lambda x: op(x, target, 2.0, 0.25, None, 'none'), logits
    )


def test_weights_of_classes():
    logits, target = case()
    weight = torch.arange(1.0, CLASSES + 1).double()
    plain = op(logits, target, 2.0, 0.25, None, 'none')
    rows = torch.tensor([*weight.tolist(), 1.0]).double()[target]
    found = op(logits, target, 2.0, 0.25, weight, 'none')
    torch.testing.assert_close(found, plain * rows[:, None])
    grads = [
        torch.autograd.grad(x.sum(), logits)[0]
        for x in (found, plain * rows[:, None])
    ]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_reductions(reduction):
    logits, target = case()
    plain = op(logits, target, 2.0, 0.25, None, 'none').sum()
    expected = plain / (len(target) if reduction == 'mean' else 1)
    found = op(logits, target, 2.0, 0.25, None, reduction)
    torch.testing.assert_close(found, expected)


def test_far_logits_and_no_rows():
    logits = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    loss = op(logits, torch.tensor([0]), 2.0, 0.25, None, 'none')
    assert loss.tolist() == [[50.0, 150.0]]
    loss.sum().backward()
    assert logits.grad.tolist() == [[-0.25, 0.75]]
    empty = torch.zeros(0, 3, requires_grad=True)
    none = op(empty, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, 'sum')
    none.backward()
    assert none == 0


def test_half_precision_is_computed_in_float32():
    logits, target = case()
    half = logits.detach().bfloat16()
    found = op(half, target, 2.0, 0.25, None, 'none')
    exact = op(half.float(), target, 2.0, 0.25, None, 'none')
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact.bfloat16())
