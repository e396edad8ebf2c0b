"""Equations 2 to 5 against loops, and where the paper is silent."""

import pytest
import torch

from sparc_vlm.models.alignment import (
    dense_alignment,
    group_patches,
    softmax_alignment,
    sparse_alignment,
)
from tests.test_models import twins


def draw(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(dtype)


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize(
    ('length', 'patches'), [(1, 1), (1, 9), (4, 1), (5, 4), (3, 49)]
)
@pytest.mark.parametrize('sigma', [None, 0.0, 0.5, 1.0])
def test_weights_and_gradients_equal_the_loop(seed, length, patches, sigma):
    tokens = draw(2, length, 8, seed=seed).requires_grad_()
    grid = draw(2, patches, 8, seed=seed + 100).requires_grad_()
    weights = sparse_alignment(tokens, grid, sigma)
    expected = torch.stack(
        [
            twins.alignment(t, v, sigma)
            for t, v in zip(tokens, grid, strict=True)
        ]
    )
    torch.testing.assert_close(weights, expected)
    pull = draw(*weights.shape, seed=7)
    if patches > 1:
        got = torch.autograd.grad((weights * pull).sum(), (tokens, grid))
        wanted = torch.autograd.grad((expected * pull).sum(), (tokens, grid))
        torch.testing.assert_close(got, wanted)


def test_weights_add_up_to_one_and_the_best_patch_leads():
    tokens, patches = draw(3, 5, 8), draw(3, 16, 8, seed=1)
    weights = sparse_alignment(tokens, patches)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 5).double())
    scores = tokens @ patches.transpose(1, 2)
    assert torch.equal(weights.argmax(-1), scores.argmax(-1))


@pytest.mark.parametrize('patches', [4, 49, 196])
def test_sigma_follows_the_number_of_patches(patches):
    tokens, grid = draw(1, 3, 8), draw(1, patches, 8, seed=2)
    scores = (tokens @ grid.transpose(1, 2))[0]
    relative = scores - scores.min(-1, keepdim=True).values
    relative = relative / relative.max(-1, keepdim=True).values
    kept = sparse_alignment(tokens, grid)[0] > 0
    assert torch.equal(kept, relative >= 1 / patches)


def test_a_patch_on_the_threshold_is_kept():
    # Scores 0, 1, 4 with sigma 1/4: the second is exactly on it.
    tokens = torch.tensor([[[1.0]]])
    patches = torch.tensor([[[0.0], [1.0], [4.0]]])
    weights = sparse_alignment(tokens, patches, 0.25)
    torch.testing.assert_close(weights, torch.tensor([[[0, 0.2, 0.8]]]))


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize('patches', [1, 2, 196])
def test_identical_patches_get_equal_weights_and_finite_gradients(
    dtype, patches
):
    tokens = draw(2, 3, 64, dtype=dtype).requires_grad_()
    one = draw(2, 1, 64, seed=3, dtype=dtype).requires_grad_()
    weights = sparse_alignment(tokens, one.expand(-1, patches, -1))
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / patches))
    weights.square().sum().backward()
    assert tokens.grad.isfinite().all()
    assert one.grad.isfinite().all()


def test_identical_patches_in_another_order_of_summation():
    # Equal up to rounding only: no rounding error may become a weight.
    tokens = draw(1, 4, 512, dtype=torch.float32)
    patch = draw(1, 1, 512, seed=4, dtype=torch.float32)
    noise = 1 + torch.finfo(torch.float32).eps * draw(1, 50, 1, seed=5).sign()
    weights = sparse_alignment(tokens, (patch * noise).float())
    torch.testing.assert_close(weights, torch.full((1, 4, 50), 1 / 50))


def test_bf16_inputs_are_aligned_in_float32():
    tokens = draw(2, 4, 32, dtype=torch.bfloat16)
    patches = draw(2, 9, 32, seed=1, dtype=torch.bfloat16)
    with torch.autocast('cpu', torch.bfloat16):
        weights = sparse_alignment(tokens, patches)
        grouped = group_patches(weights, patches)
    assert weights.dtype == grouped.dtype == torch.float32
    torch.testing.assert_close(
        weights, sparse_alignment(tokens.float(), patches.float())
    )


def test_patch_mask_restricts_minimum_maximum_and_threshold():
    tokens, patches = draw(1, 2, 8), draw(1, 6, 8, seed=1)
    mask = torch.tensor([[[1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1]]]).bool()
    weights = sparse_alignment(tokens, patches, patch_mask=mask)
    for row in range(2):
        alone = twins.alignment(
            tokens[0, row : row + 1], patches[0][mask[0, row]], None
        )
        torch.testing.assert_close(weights[0, row][mask[0, row]], alone[0])
        assert (weights[0, row][~mask[0, row]] == 0).all()


def test_a_token_that_may_look_nowhere_looks_everywhere():
    tokens, patches = draw(1, 2, 8), draw(1, 6, 8, seed=1)
    mask = torch.zeros(1, 2, 6, dtype=torch.bool)
    for align in (sparse_alignment, dense_alignment, softmax_alignment):
        torch.testing.assert_close(
            align(tokens, patches, patch_mask=mask), align(tokens, patches)
        )


def test_patch_mask_of_softmax():
    tokens, patches = draw(1, 1, 8), draw(1, 4, 8, seed=1)
    mask = torch.tensor([[[True, False, True, False]]])
    weights = softmax_alignment(tokens, patches, mask)
    scores = (tokens @ patches.transpose(1, 2))[0, 0, [0, 2]]
    torch.testing.assert_close(weights[0, 0, [0, 2]], scores.softmax(0))
    assert (weights[0, 0, [1, 3]] == 0).all()


def test_dense_keeps_all_but_the_lowest_patch():
    tokens, patches = draw(2, 3, 8), draw(2, 9, 8, seed=1)
    weights = dense_alignment(tokens, patches)
    assert ((weights > 0).sum(-1) == 8).all()
    torch.testing.assert_close(weights[0], twins.alignment(
        tokens[0], patches[0], 0.0))  # fmt: skip


def test_grouping_is_the_weighted_sum():
    weights = torch.tensor([[[0.25, 0.75], [1.0, 0.0]]])
    patches = torch.tensor([[[4.0, 0.0], [0.0, 8.0]]])
    expected = torch.tensor([[[1.0, 6.0], [4.0, 0.0]]])
    torch.testing.assert_close(group_patches(weights, patches), expected)


def test_gradients_pass_gradcheck():
    tokens = draw(1, 2, 3).requires_grad_()
    patches = draw(1, 5, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda t, v: group_patches(sparse_alignment(t, v), v),
        (tokens, patches),
    )


@pytest.mark.parametrize(
    ('tokens', 'patches', 'options', 'says'),
    [
        ((2, 3, 4), (3, 5, 4), {}, 'same pairs and width'),
        ((2, 3, 4), (2, 5, 6), {}, 'same pairs and width'),
        ((3, 4), (5, 4), {}, 'same pairs and width'),
        ((2, 3, 4), (2, 5, 4), dict(threshold=2.0), 'between 0 and 1'),
        (
            (2, 3, 4),
            (2, 5, 4),
            dict(patch_mask=torch.ones(2, 5, 3).bool()),
            'patch_mask must be',
        ),
    ],
)
def test_wrong_arguments_are_said(tokens, patches, options, says):
    with pytest.raises(ValueError, match=says):
        sparse_alignment(draw(*tokens), draw(*patches), **options)
