"""FILIP, PACL, GLoRIA and SigLIP against loops over pairs."""

import dataclasses

import pytest
import torch

from sparc_vlm.models.objectives import FILIP, PACL, GLoRIA
from tests.test_models import pairwise_twins, twins
from tests.test_models.pairwise_twins import OBJECTIVES
from tests.test_models.twins import leaves, random_pairs

NAMES = list(OBJECTIVES)
WITH_TOKENS = ['filip', 'gloria']
SHAPES = [
    ([4, 2, 3], 6),
    ([1, 1], 5),
    ([5], 7),
    ([1], 1),
    ([2, 7, 1, 4], 1),
    ([20, 3], 4),
]
# Bytes: everything in one block; blocks that do not divide 3 or 4 evenly.
BUDGETS = [None, 4000, 1]


def total(losses):
    return sum(v for k, v in losses.items() if 'loss' in k)


def gradients(loss, pairs):
    return torch.autograd.grad(loss, leaves(pairs), materialize_grads=True)


def assert_equals_the_loop(name, pairs, **options):
    got = total(OBJECTIVES[name](**options)(pairs))
    slow = pairwise_twins.loss(name, pairs)
    torch.testing.assert_close(got, slow)
    for mine, expected in zip(
        gradients(got, pairs), gradients(slow, pairs), strict=True
    ):
        torch.testing.assert_close(mine, expected)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('budget', BUDGETS)
@pytest.mark.parametrize(('lengths', 'patches'), SHAPES)
def test_equals_the_loop_in_values_and_gradients(
    name, budget, lengths, patches
):
    pairs = random_pairs(lengths, patches)
    assert_equals_the_loop(name, pairs, budget=budget)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('seed', range(6))
def test_equals_the_loop_on_fuzzed_shapes(name, seed):
    generator = torch.Generator().manual_seed(seed)

    def pick(low, high):
        return int(torch.randint(low, high, (1,), generator=generator))

    lengths = [pick(1, 9) for _ in range(pick(1, 6))]
    pairs = random_pairs(lengths, pick(1, 9), pick(2, 9), seed)
    assert_equals_the_loop(name, pairs, budget=pick(1, 20000))


@pytest.mark.parametrize('name', NAMES)
def test_tokens_anywhere_in_the_row_are_the_real_ones(name):
    # Begin and end marks stand around them, and a caption may have holes.
    pairs = random_pairs([5, 5, 5])
    mask = torch.tensor(
        [[0, 1, 1, 0, 0], [0, 1, 0, 1, 0], [1, 1, 1, 1, 1]], dtype=torch.bool
    )
    pairs = dataclasses.replace(pairs, token_mask=mask)
    assert_equals_the_loop(name, pairs)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('filling', [1e4, float('nan'), float('inf')])
@pytest.mark.parametrize('budget', [None, 4000])
def test_what_stands_in_the_padding_changes_nothing(name, filling, budget):
    objective = OBJECTIVES[name](budget=budget)
    pairs = random_pairs([4, 2, 1])
    before = total(objective(pairs))
    tokens = pairs.tokens.detach().clone()
    tokens[~pairs.token_mask] = filling
    tokens.requires_grad_()
    changed = dataclasses.replace(pairs, tokens=tokens)
    after = total(objective(changed))
    assert torch.equal(before, after)
    expected, found = gradients(before, pairs), gradients(after, changed)
    for mine, same in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, same)
    assert (found[2][~pairs.token_mask] == 0).all()


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('filling', [0.0, float('nan')])
def test_a_caption_without_real_tokens_stays_finite(name, filling):
    pairs = random_pairs([3, 2, 4])
    mask = pairs.token_mask.clone()
    mask[1] = False
    tokens = pairs.tokens.detach().clone()
    tokens[~mask] = filling
    pairs = dataclasses.replace(
        pairs, token_mask=mask, tokens=tokens.requires_grad_()
    )
    loss = total(OBJECTIVES[name](budget=4000)(pairs))
    assert loss.isfinite()
    found = gradients(loss, pairs)
    assert all(gradient.isfinite().all() for gradient in found)
    assert (found[2][~mask] == 0).all()


@pytest.mark.parametrize('name', WITH_TOKENS)
def test_no_caption_with_a_real_token_is_indifferent(name):
    pairs = random_pairs([3, 2])
    mask = torch.zeros_like(pairs.token_mask)
    pairs = dataclasses.replace(pairs, token_mask=mask)
    loss = total(OBJECTIVES[name]()(pairs))
    torch.testing.assert_close(loss, torch.tensor(2.0).log().double())
    assert all((g == 0).all() for g in gradients(loss, pairs))


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('kind', [torch.bfloat16, torch.float32])
def test_bf16_autocast_gives_about_the_loss_of_the_values(name, kind):
    pairs = random_pairs([6, 3, 1, 4], 9, 64, dtype=kind)
    for budget in (None, 30000):
        objective = OBJECTIVES[name](budget=budget).float()
        with torch.autocast('cpu', torch.bfloat16):
            loss = total(objective(pairs))
        assert loss.dtype == torch.float32
        exact = dataclasses.replace(
            pairs,
            **{
                field: getattr(pairs, field).detach().double().requires_grad_()
                for field in (
                    'patches', 'image', 'tokens', 'text', 'logit_scale',
                )
            },
        )  # fmt: skip
        slow = pairwise_twins.loss(name, exact)
        torch.testing.assert_close(loss.double(), slow, rtol=0, atol=0.02)
        found, expected = gradients(loss, pairs), gradients(slow, exact)
        for mine, right in zip(found, expected, strict=True):
            assert mine.dtype == kind
            error = (mine.double() - right).norm()
            assert error <= 0.1 * right.norm() + 1e-6


@pytest.mark.parametrize('name', NAMES)
def test_identical_or_zero_embeddings_stay_finite(name):
    pairs = random_pairs([4, 3], dtype=torch.float32)
    for make in (torch.ones_like, torch.zeros_like):
        same = dataclasses.replace(
            pairs,
            patches=make(pairs.patches).requires_grad_(),
            tokens=make(pairs.tokens).requires_grad_(),
        )
        loss = total(OBJECTIVES[name]().float()(same))
        assert loss.isfinite()
        assert all(g.isfinite().all() for g in gradients(loss, same))


@pytest.mark.parametrize('objective', [FILIP(), PACL(), GLoRIA()])
def test_a_patch_mask_is_refused(objective):
    pairs = random_pairs([3, 2])
    mask = torch.ones(2, 3, 6, dtype=torch.bool)
    with pytest.raises(ValueError, match='without patch_mask'):
        objective(dataclasses.replace(pairs, patch_mask=mask))


def test_global_losses_beside_the_local_ones():
    pairs = random_pairs([3, 2])
    whole = twins.global_loss(pairs.image, pairs.text, pairs.logit_scale)
    losses = GLoRIA(0.5, 2.0)(pairs)
    torch.testing.assert_close(losses['loss_global'], 0.5 * whole)
    torch.testing.assert_close(
        losses['loss_local'], 2 * pairwise_twins.loss('gloria', pairs)
    )
    losses = FILIP(2.0, 0.5, dropped=0.0)(pairs)
    torch.testing.assert_close(losses['loss_global'], 0.5 * whole)
    torch.testing.assert_close(
        losses['loss_local'], 2 * pairwise_twins.loss('filip', pairs)
    )
    assert FILIP(1.0, 0.5).is_global
    assert not FILIP().is_global
    assert list(FILIP()(pairs)) == ['loss_local']


def test_siglip_learns_its_bias():
    pairs = random_pairs([3, 2, 4])
    objective = OBJECTIVES['siglip']()
    losses = objective(pairs)
    (gradient,) = torch.autograd.grad(total(losses), [objective.bias])
    scores = pairwise_twins.matrices('siglip', pairs)[0].detach()
    signs = 1 - 2 * torch.eye(3, dtype=torch.float64)
    expected = ((scores * signs).sigmoid() * signs).sum() / 3
    torch.testing.assert_close(gradient, expected)
    assert losses['bias'] == objective.bias
