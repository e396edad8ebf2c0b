"""What SPARC can do beyond the paper, and its two diagnostics."""

import dataclasses
import math

import pytest
import torch
from torch import distributed as dist
from torch.nn import functional as F

from sparc_vlm.models import diagnostics
from sparc_vlm.models.alignment import sparse_alignment
from sparc_vlm.models.diagnostics import (
    effective_patches,
    first_pairs,
    rolled_loss,
)
from sparc_vlm.models.objectives import SPARC
from sparc_vlm.models.query import QueryProjection
from tests.processes import run_processes
from tests.test_models import twins
from tests.test_models.twins import (
    assert_close,
    leaves,
    local_loss,
    random_pairs,
)

SHAPES = [
    ([4, 2, 3], 6),
    ([1, 1], 5),
    ([2, 7, 1, 4], 1),
    ([3, 3, 3, 3, 3], 4),
]


def cross_image_twin(pairs, count, sigma=None):
    """Token by token, image by image."""
    batch = len(pairs.image)
    per_pair = []
    for i in range(batch):
        tokens = pairs.tokens[i][pairs.token_mask[i]]
        images = [(i + k) % batch for k in range(min(count, batch - 1) + 1)]
        losses = []
        for place in range(len(tokens)):
            token = tokens[place]
            matches = []
            for image in images:
                patches = pairs.patches[image]
                weights = twins.alignment(tokens, patches, sigma)[place]
                grouped = sum(
                    w * p for w, p in zip(weights, patches, strict=True)
                )
                cosine = F.cosine_similarity(grouped, token, dim=0)
                matches.append(pairs.logit_scale * cosine)
            matches = torch.stack(matches)
            losses.append(matches.exp().sum().log() - matches[0])
        per_pair.append(torch.stack(losses).mean())
    return torch.stack(per_pair).mean()


@pytest.mark.parametrize(('lengths', 'patches'), SHAPES)
@pytest.mark.parametrize('count', [1, 2, 8])
def test_cross_image_loss_equals_the_loop(lengths, patches, count):
    pairs = random_pairs(lengths, patches)
    got = SPARC(cross_image=count, cross_image_weight=0.7)(pairs)
    slow = 0.7 * cross_image_twin(pairs, count)
    assert_close(got['loss_cross_image'], slow)
    inputs = [pairs.patches, pairs.tokens, pairs.logit_scale]
    mine = torch.autograd.grad(got['loss_cross_image'], inputs)
    for a, b in zip(mine, torch.autograd.grad(slow, inputs), strict=True):
        assert_close(a, b)


def test_cross_image_loss_of_an_image_alone_is_nothing():
    pairs = random_pairs([3])
    losses = SPARC(cross_image=4)(pairs)
    assert losses['loss_cross_image'] == 0
    torch.autograd.grad(losses['loss_cross_image'], pairs.patches)


def test_the_rest_is_as_without_it():
    pairs = random_pairs([4, 2, 3])
    plain, more = SPARC()(pairs), SPARC(cross_image=2)(pairs)
    assert 'loss_cross_image' not in plain
    for key, value in plain.items():
        assert_close(more[key], value)


@pytest.mark.parametrize('options', [{}, {'query': True}])
def test_padding_may_hold_anything(options):
    if options:
        options = dict(query=dict(embed_dims=8, dims=4))
    pairs = random_pairs([4, 1, 2])
    objective = SPARC(cross_image=2, **options).double()
    spoiled = torch.where(pairs.token_mask[..., None], pairs.tokens, torch.nan)
    other = dataclasses.replace(pairs, tokens=spoiled)
    one, two = objective(pairs), objective(other)
    for key, value in one.items():
        assert_close(two[key], value)
    total = sum(v for k, v in two.items() if 'loss' in k)
    gradients = torch.autograd.grad(total, [pairs.patches, pairs.tokens])
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_finite_under_bf16():
    pairs = random_pairs([5, 1, 3], dtype=torch.bfloat16)
    objective = SPARC(cross_image=2, query=dict(embed_dims=8, dims=4))
    with torch.autocast('cpu', torch.bfloat16):
        losses = objective(pairs)
        total = sum(v for k, v in losses.items() if 'loss' in k)
    gradients = torch.autograd.grad(total, leaves(pairs))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_alignment_with_a_query_of_its_own():
    pairs = random_pairs([4, 2, 3])
    objective = SPARC(query=dict(embed_dims=8, dims=5)).double()
    queries = pairs.tokens @ objective.query.query.weight.T
    keys = pairs.patches @ objective.query.key.weight.T
    weights = sparse_alignment(queries, keys)
    got = objective.align(pairs.tokens, pairs.patches)
    assert_close(got, weights)
    losses = []
    for i, length in enumerate([4, 2, 3]):
        one = dataclasses.replace(
            pairs,
            **{
                key: getattr(pairs, key)[i : i + 1]
                for key in ('patches', 'image', 'text')
            },
            tokens=pairs.tokens[i : i + 1, :length],
            token_mask=pairs.token_mask[i : i + 1, :length],
        )
        own = weights[i, :length]
        losses.append(local_loss(one, weights=lambda *_, own=own: own))
    local = objective(pairs)['loss_local']
    assert_close(local, torch.stack(losses).mean())
    gradients = torch.autograd.grad(local, list(objective.parameters()))
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_a_new_query_projection_looks_where_the_embeddings_do():
    torch.manual_seed(0)
    tokens, patches = torch.randn(1, 300, 16), torch.randn(1, 300, 16)
    with torch.no_grad():
        query, key = QueryProjection(16, 512)(tokens, patches)
    before, after = tokens @ patches.mT, query @ key.mT
    both = torch.stack([before.flatten(), after.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.95
    assert after.std() / before.std() == pytest.approx(1, abs=0.1)


def test_rolled_loss_is_the_local_loss_beside_the_next_image():
    pairs = random_pairs([4, 2, 3])
    swapped = dataclasses.replace(pairs, patches=pairs.patches[[1, 2, 0]])
    got = rolled_loss(pairs, sparse_alignment)
    assert_close(got, local_loss(swapped).detach())
    assert not got.requires_grad
    logged = SPARC(local_weight=3.0)(pairs)['rolled_local']
    assert_close(logged, 3 * got)


def test_rolled_loss_takes_some_pairs_of_a_large_batch(monkeypatch):
    monkeypatch.setattr(diagnostics, 'ROLLED_PAIRS', 2)
    some = first_pairs(random_pairs([4, 2, 3, 1]))
    got = rolled_loss(some, sparse_alignment)
    pairs = random_pairs([4, 2, 3, 1])
    two = dataclasses.replace(
        pairs,
        **{
            key: getattr(pairs, key)[:2]
            for key in ('image', 'text', 'tokens', 'token_mask')
        },
        patches=pairs.patches[[1, 0]],
    )
    assert_close(got, local_loss(two).detach())


def test_effective_patches():
    weights = torch.tensor([[[1.0, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]]])
    everything = torch.ones(1, 3, dtype=torch.bool)
    got = effective_patches(weights, everything)
    assert got.item() == pytest.approx((1 + 4 + 2) / 3)
    real = torch.tensor([[True, False, True]])
    assert effective_patches(weights, real).item() == pytest.approx(1.5)
    nothing = torch.zeros(1, 3, dtype=torch.bool)
    assert effective_patches(weights, nothing) == 0
    uneven = torch.tensor([[[0.75, 0.25]]])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    got = effective_patches(uneven, torch.ones(1, 1, dtype=torch.bool))
    assert got.item() == pytest.approx(math.exp(entropy))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(cross_image=-1), 'at least 0, got -1'),
        (dict(query=dict(embed_dims=8, dims=0)), 'at least 1'),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        SPARC(**options)


def one_process():
    """Two pairs of rank 0, three of rank 1, each with its own neighbours."""
    rank = dist.get_rank()
    pairs = random_pairs([4, 2] if rank == 0 else [1, 3, 2], seed=rank)
    loss = SPARC(cross_image=1)(pairs)['loss_cross_image']
    gradient = torch.autograd.grad(loss, pairs.patches)[0]
    return loss.item(), gradient.tolist()


def test_processes_weigh_their_pairs_as_one_would():
    # Images of other processes are no negatives, so that the joined loss is
    # the mean over pairs of what each process finds alone.
    found = run_processes(2, one_process)
    alone = []
    for lengths, seed in [([4, 2], 0), ([1, 3, 2], 1)]:
        pairs = random_pairs(lengths, seed=seed)
        loss = cross_image_twin(pairs, 1)
        gradient = torch.autograd.grad(loss, pairs.patches)[0]
        alone.append((loss.item() * len(lengths), gradient * len(lengths)))
    for (loss, gradient), (sums, gradients) in zip(found, alone, strict=True):
        assert loss / 2 == pytest.approx(sums / 5)
        torch.testing.assert_close(
            torch.tensor(gradient).double() / 2, gradients / 5, rtol=1e-5,
            atol=1e-7,
        )  # fmt: skip
