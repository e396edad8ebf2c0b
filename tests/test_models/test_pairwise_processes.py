"""Losses over all pairs in several gloo processes, uneven shares."""

import dataclasses

import pytest
import torch
from mmengine import dist

from sparc_vlm.models import contrastive
from sparc_vlm.models.objectives import CLIP
from tests.processes import run_processes
from tests.test_models.pairwise_twins import OBJECTIVES
from tests.test_models.test_gather import share, total
from tests.test_models.twins import leaves, random_pairs

LENGTHS = [4, 2, 5, 1, 3]
SIZES = [[3, 2], [2, 1, 2]]


def build(name, budget):
    """In a process of its own, whose CLIP takes blocks at any size."""
    if name == 'clip':
        contrastive.PLAIN_UP_TO = 0
        return CLIP()
    return OBJECTIVES[name](budget=budget)


def own_pairs(sizes):
    """This process's share, padded to its own longest caption alone."""
    start = sum(sizes[: dist.get_rank()])
    pairs = share(random_pairs(LENGTHS), start, start + sizes[dist.get_rank()])
    longest = int(pairs.token_mask.sum(1).max())
    tokens = pairs.tokens.detach()[:, :longest].clone().requires_grad_()
    return dataclasses.replace(
        pairs, tokens=tokens, token_mask=pairs.token_mask[:, :longest]
    )


def own_share(sizes, names, budgets):
    """Loss and gradients, as DDP would average them, of each objective."""
    found = []
    for name in names:
        for budget in budgets:
            pairs = own_pairs(sizes)
            objective = build(name, budget)
            inputs = leaves(pairs) + list(objective.parameters())
            loss = total(objective(pairs))
            gradients = torch.autograd.grad(
                loss, inputs, materialize_grads=True
            )
            world = dist.get_world_size()
            found.append((loss.detach(), [g / world for g in gradients]))
    return found


@pytest.mark.parametrize('sizes', SIZES)
def test_processes_equal_the_joined_batch(sizes):
    names, budgets = ['clip', *OBJECTIVES], [None, 3000]
    found = run_processes(len(sizes), own_share, sizes, names, budgets)
    for case, name in enumerate(n for n in names for _ in budgets):
        joined = random_pairs(LENGTHS)
        objective = CLIP() if name == 'clip' else OBJECTIVES[name]()
        inputs = leaves(joined) + list(objective.parameters())
        loss = total(objective(joined))
        expected = torch.autograd.grad(loss, inputs, materialize_grads=True)
        losses = torch.stack([process[case][0] for process in found])
        torch.testing.assert_close(losses.mean(), loss.detach())
        gradients = [process[case][1] for process in found]
        for place, right in enumerate(expected):
            if place == 2:  # tokens: shares are cut at their longest caption
                rows = [
                    torch.nn.functional.pad(g[2], (0, 0, 0, 5 - g[2].shape[1]))
                    for g in gradients
                ]
                torch.testing.assert_close(torch.cat(rows), right)
            elif place < 4:
                rows = torch.cat([g[place] for g in gradients])
                torch.testing.assert_close(rows, right)
            else:  # the temperature, and what the objective learns
                torch.testing.assert_close(
                    sum(g[place] for g in gradients), right
                )
