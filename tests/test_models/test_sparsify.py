"""Other alignments against slow float64 references, and by their names."""

import pytest
import torch

from sparc_vlm.models.alignment import (
    dense_alignment,
    softmax_alignment,
    sparse_alignment,
)
from sparc_vlm.models.entmax import entmax15, sparsemax
from sparc_vlm.models.sparsify import (
    build_alignment,
    entmax_alignment,
    quantile_alignment,
    sparsemax_alignment,
    top_k_alignment,
)
from tests.test_models.twins import random_pairs

NAMED = {
    'sparse': dict(),
    'dense': dict(),
    'softmax': dict(),
    'sparsemax': dict(),
    'entmax': dict(),
    'topk': dict(k=3),
}
POWERS = {sparsemax: 1, entmax15: 2}


def draw(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(dtype)


def bisected(row, power):
    """max(z / power - tau, 0)^power, tau by bisection, one row in float64."""
    row = row.detach().double() / power

    def total(tau):
        return sum(max(z - tau, 0.0) ** power for z in row.tolist())

    low, high = float(row.max()) - 1, float(row.max())
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if total(middle) >= 1 else (low, middle)
    return (row - low).clamp(min=0) ** power


def jacobian(weights, power):
    """Of the projection, from its weights: (diag(s) - s s^T / sum s) / 1."""
    s = (weights > 0).double() if power == 1 else weights.double().sqrt()
    return s.diag() - s[:, None] * s[None] / s.sum()


@pytest.mark.parametrize('project', POWERS)
@pytest.mark.parametrize('seed', range(12))
def test_projection_and_gradient_equal_the_reference(project, seed):
    width = [1, 2, 3, 7, 49, 196][seed % 6]
    spread = [0.01, 1.0, 30.0][seed % 3]
    rows = (spread * draw(6, width, seed=seed)).requires_grad_()
    weights = project(rows)
    expected = torch.stack([bisected(r, POWERS[project]) for r in rows])
    torch.testing.assert_close(weights, expected, rtol=1e-9, atol=1e-9)
    pull = draw(6, width, seed=seed + 50)
    (got,) = torch.autograd.grad((weights * pull).sum(), rows)
    slow = torch.stack(
        [
            jacobian(w, POWERS[project]) @ p
            for w, p in zip(expected, pull, strict=True)
        ]
    )
    torch.testing.assert_close(got, slow, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('project', POWERS)
def test_projection_passes_gradcheck(project):
    assert torch.autograd.gradcheck(
        project, draw(4, 6, seed=3).requires_grad_()
    )


@pytest.mark.parametrize('project', POWERS)
def test_float32_and_wild_scores(project):
    rows = 1e4 * draw(20, 300, seed=5, dtype=torch.float32)
    rows[0] = 7.0
    rows[1, :150] = rows[1].max() + 3
    rows[2, 5:] = -torch.inf
    rows[3, 1:] = -torch.inf
    weights = project(rows.requires_grad_())
    expected = torch.stack([bisected(r, POWERS[project]) for r in rows])
    torch.testing.assert_close(
        weights.double(), expected, rtol=1e-3, atol=1e-6
    )
    assert (weights >= 0).all()
    assert (weights[rows == -torch.inf] == 0).all()
    weights.square().sum().backward()
    assert rows.grad.isfinite().all()


@pytest.mark.parametrize('project', POWERS)
def test_ties_share_evenly(project):
    rows = torch.tensor([[2.0, 2.0, -9.0, 2.0], [0.5, 0.5, 0.5, 0.5]])
    third = 1 / 3
    expected = torch.tensor([[third, third, 0, third], [0.25] * 4])
    torch.testing.assert_close(project(rows), expected)


def test_sparsemax_is_sparser_than_entmax():
    rows = draw(50, 196)
    kept = [(p(rows) > 0).double().sum(-1).mean() for p in POWERS]
    assert 1 < kept[0] < 6 < kept[1] < 40


def kept_best(tokens, patches, keep):
    """Equations 2 and 4 for one pair; `keep` says how many of n stay."""
    rows = []
    for token in tokens:
        scores = patches @ token
        relative = (scores - scores.min()) / (scores.max() - scores.min())
        order = sorted(range(len(patches)), key=lambda p: -relative[p])
        stays = torch.zeros(len(patches)).double()
        stays[order[: keep(len(patches))]] = 1
        rows.append(stays * relative / (stays * relative).sum())
    return torch.stack(rows)


@pytest.mark.parametrize('patches', [2, 5, 40])
@pytest.mark.parametrize('k', [1, 2, 7, 100])
def test_top_k_equals_the_loop(patches, k):
    tokens = draw(2, 4, 8, seed=k).requires_grad_()
    grid = draw(2, patches, 8, seed=patches).requires_grad_()
    weights = top_k_alignment(tokens, grid, k)
    slow = torch.stack(
        [
            kept_best(t, v, lambda n: min(k, n))
            for t, v in zip(tokens, grid, strict=True)
        ]
    )
    torch.testing.assert_close(weights, slow)
    assert ((weights > 0).sum(-1) == min(k, patches - 1)).all()
    pull = draw(*weights.shape, seed=9)
    got = torch.autograd.grad((weights * pull).sum(), (tokens, grid))
    wanted = torch.autograd.grad((slow * pull).sum(), (tokens, grid))
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize(
    ('quantile', 'patches', 'stay'),
    [(0.0, 9, 9), (0.5, 10, 5), (0.29, 100, 71), (0.99, 10, 1), (0.9, 3, 1)],
)
def test_quantile_equals_the_loop(quantile, patches, stay):
    tokens, grid = draw(2, 4, 8), draw(2, patches, 8, seed=1)
    weights = quantile_alignment(tokens, grid, quantile)
    slow = [
        kept_best(t, v, lambda n: stay)
        for t, v in zip(tokens, grid, strict=True)
    ]
    torch.testing.assert_close(weights, torch.stack(slow))


def test_patches_that_tie_are_kept_together():
    tokens = torch.tensor([[[1.0]]])
    grid = torch.tensor([[[4.0], [2.0], [2.0], [0.0]]])
    expected = torch.tensor([[[0.5, 0.25, 0.25, 0.0]]])
    for weights in (
        top_k_alignment(tokens, grid, 2),
        quantile_alignment(tokens, grid, 0.5),
    ):
        torch.testing.assert_close(weights, expected)


@pytest.mark.parametrize(('name', 'options'), NAMED.items())
def test_a_mask_leaves_the_rest_as_if_alone(name, options):
    align = build_alignment(name, **options)
    tokens, grid = draw(1, 5, 8), draw(1, 12, 8, seed=1)
    mask = draw(1, 5, 12, seed=2) > 0
    mask[0, 0] = False
    mask[0, 1] = torch.arange(12) == 4
    weights = align(tokens, grid, patch_mask=mask)
    for row in range(1, 5):
        seen = mask[0, row]
        alone = align(tokens[:, row : row + 1], grid[:, seen])
        torch.testing.assert_close(weights[0, row, seen], alone[0, 0])
        assert (weights[0, row, ~seen] == 0).all()
    free = align(tokens, grid)
    torch.testing.assert_close(weights[0, 0], free[0, 0])


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize(('name', 'options'), NAMED.items())
def test_one_patch_and_equal_patches(name, options, dtype):
    align = build_alignment(name, **options)
    for count in (1, 50):
        tokens = draw(2, 3, 64, dtype=dtype).requires_grad_()
        one = draw(2, 1, 64, seed=3, dtype=dtype).requires_grad_()
        weights = align(tokens, one.expand(-1, count, -1))
        assert weights.dtype == dtype
        even = torch.full_like(weights, 1 / count)
        torch.testing.assert_close(weights, even, rtol=1e-3, atol=1e-4)
        weights.square().sum().backward()
        assert tokens.grad.isfinite().all()
        assert one.grad.isfinite().all()


@pytest.mark.parametrize('name', ['sparsemax', 'entmax', 'topk'])
def test_bf16_is_aligned_in_float32(name):
    align = build_alignment(name, **NAMED[name])
    tokens = draw(2, 4, 32, dtype=torch.bfloat16)
    grid = draw(2, 9, 32, seed=1, dtype=torch.bfloat16)
    with torch.autocast('cpu', torch.bfloat16):
        weights = align(tokens, grid)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights, align(tokens.float(), grid.float()))


@pytest.mark.parametrize('name', ['sparsemax', 'entmax', 'topk'])
def test_gradients_of_alignments_pass_gradcheck(name):
    align = build_alignment(name, **NAMED[name])
    leaves = (draw(1, 2, 3), draw(1, 6, 3, seed=1))
    assert torch.autograd.gradcheck(
        align, tuple(leaf.requires_grad_() for leaf in leaves)
    )


def test_names_stand_for_their_functions():
    pairs = random_pairs([4, 2], patches=20)
    args = (pairs.tokens, pairs.patches)
    for named, expected in (
        (build_alignment('sparse'), sparse_alignment(*args)),
        (build_alignment('sparse', threshold=0.4),
         sparse_alignment(*args, 0.4)),
        (build_alignment('sparse', quantile=0.4),
         quantile_alignment(*args, 0.4)),
        (build_alignment('dense', threshold=None), dense_alignment(*args)),
        (build_alignment('softmax'), softmax_alignment(*args)),
        (build_alignment('sparsemax', temperature=2.0),
         sparsemax(args[0] @ args[1].transpose(1, 2) / 2)),
        (build_alignment('entmax'), entmax_alignment(*args)),
        (build_alignment('topk', k=2), top_k_alignment(*args, 2)),
    ):  # fmt: skip
        torch.testing.assert_close(named(*args), expected)


@pytest.mark.parametrize(
    ('name', 'options', 'says'),
    [
        ('hard', {}, 'must be one of'),
        ('softmax', dict(threshold=0.1), "'softmax' has no threshold"),
        ('sparse', dict(k=3), "'sparse' has no k"),
        ('sparse', dict(threshold=0.1, quantile=0.5), 'not both'),
        ('topk', {}, 'needs k'),
    ],
)
def test_wrong_names_and_options_are_said(name, options, says):
    with pytest.raises(ValueError, match=says):
        build_alignment(name, **options)


def test_wrong_values_are_said():
    args = (draw(1, 2, 3), draw(1, 4, 3))
    with pytest.raises(ValueError, match='at least 1'):
        top_k_alignment(*args, 0)
    with pytest.raises(ValueError, match='share of the patches'):
        quantile_alignment(*args, 1.0)
    with pytest.raises(ValueError, match='above 0'):
        sparsemax_alignment(*args, temperature=0.0)
