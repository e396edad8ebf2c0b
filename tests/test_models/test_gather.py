"""Real gloo processes against one process with the joined batch."""

import dataclasses

import pytest
import torch
from mmengine import dist

from sparc_vlm.models.objectives import CLIP, SPARC
from sparc_vlm.structures import TokenBatch
from tests.processes import run_processes
from tests.test_models.tiny_models import build, model_cfg
from tests.test_models.twins import leaves, random_pairs

OBJECTIVES = {
    'clip': lambda: CLIP(),
    'sparc': lambda: SPARC(),
    'tokens': lambda: SPARC(token_average='token'),
}
LENGTHS = [4, 2, 5, 1, 3]


def share(pairs, start, stop):
    """Rows of one process, as leaves of their own, and the same scale."""

    def rows(values):
        return values.detach()[start:stop].clone().requires_grad_()

    return dataclasses.replace(
        pairs,
        patches=rows(pairs.patches),
        image=rows(pairs.image),
        tokens=rows(pairs.tokens),
        text=rows(pairs.text),
        token_mask=pairs.token_mask[start:stop],
        logit_scale=pairs.logit_scale.detach().clone().requires_grad_(),
    )


def total(losses):
    return sum(v for k, v in losses.items() if 'loss' in k)


def own_share(sizes, name):
    """What one process finds, its gradients as DDP would average them."""
    start = sum(sizes[: dist.get_rank()])
    stop = start + sizes[dist.get_rank()]
    pairs = share(random_pairs(LENGTHS), start, stop)
    loss = total(OBJECTIVES[name]()(pairs))
    gradients = torch.autograd.grad(
        loss, leaves(pairs), materialize_grads=True
    )
    return loss.detach(), [g / dist.get_world_size() for g in gradients]


@pytest.mark.parametrize('name', OBJECTIVES)
@pytest.mark.parametrize('sizes', [[3, 2], [2, 1, 2], [1, 4]])
def test_processes_equal_the_joined_batch(name, sizes):
    joined = random_pairs(LENGTHS)
    loss = total(OBJECTIVES[name]()(joined))
    expected = torch.autograd.grad(
        loss, leaves(joined), materialize_grads=True
    )
    found = run_processes(len(sizes), own_share, sizes, name)
    losses, gradients = zip(*found, strict=True)
    torch.testing.assert_close(torch.stack(losses).mean(), loss.detach())
    for place in range(4):
        rows = torch.cat([g[place] for g in gradients])
        torch.testing.assert_close(rows, expected[place])
    scale = sum(g[4] for g in gradients)
    torch.testing.assert_close(scale, expected[4])


def model_gradients(start, stop, objective):
    """Loss and parameter gradients of a real model on some of the pairs."""
    model = build(model_cfg(objective=dict(type=objective))).double()
    pixels = torch.randn(5, 3, 32, 32, dtype=torch.float64)
    captions = [[1, 2, 3], [4], [5, 6], [7, 8, 9, 1], [2, 3]]
    tokens = TokenBatch.from_lists(captions[start:stop])
    loss = total(model(pixels[start:stop], tokens, mode='loss'))
    loss.backward()
    return loss.detach(), {
        name: value.grad
        for name, value in model.named_parameters()
        if value.grad is not None
    }


def own_model_gradients(sizes, objective):
    """The same in one of several processes."""
    start = sum(sizes[: dist.get_rank()])
    return model_gradients(start, start + sizes[dist.get_rank()], objective)


@pytest.mark.parametrize('objective', ['CLIP', 'SPARC'])
def test_a_whole_model_has_the_gradients_of_the_joined_batch(objective):
    loss, expected = model_gradients(0, 5, objective)
    found = run_processes(2, own_model_gradients, [3, 2], objective)
    mean = sum(own for own, _ in found) / 2
    torch.testing.assert_close(mean, loss)
    assert expected
    for name, gradient in expected.items():
        averaged = sum(gradients[name] for _, gradients in found) / 2
        torch.testing.assert_close(averaged, gradient)
