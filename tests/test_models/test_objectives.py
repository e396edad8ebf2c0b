"""SPARC and CLIP against loops; every defect of public ports ruled out."""

import dataclasses

import pytest
import torch

from sparc_vlm.models.contrastive import batch_info_nce, token_losses
from sparc_vlm.models.objectives import CLIP, SPARC
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
    ([5], 7),
    ([1], 1),
    ([2, 7, 1, 4], 1),
    ([55, 3], 4),
]


def total(losses):
    return sum(v for k, v in losses.items() if 'loss' in k)


def softmax_twin(tokens, patches, _):
    return torch.stack([(patches @ token).softmax(0) for token in tokens])


@pytest.mark.parametrize(('lengths', 'patches'), SHAPES)
@pytest.mark.parametrize('average', ['sample', 'token'])
def test_sparc_equals_the_loop_in_values_and_gradients(
    lengths, patches, average
):
    pairs = random_pairs(lengths, patches)
    losses = SPARC(0.5, 2.0, token_average=average)(pairs)
    local = 2.0 * local_loss(pairs, average)
    whole = 0.5 * twins.global_loss(pairs.image, pairs.text, pairs.logit_scale)
    assert_close(losses['loss_local'], local)
    assert_close(losses['loss_global'], whole)
    got = torch.autograd.grad(total(losses), leaves(pairs))
    expected = torch.autograd.grad(
        local + whole, leaves(pairs), allow_unused=True
    )
    for mine, slow in zip(got, expected, strict=True):
        slow = torch.zeros_like(mine) if slow is None else slow
        assert_close(mine, slow)


@pytest.mark.parametrize('seed', range(20))
def test_sparc_equals_the_loop_on_fuzzed_shapes(seed):
    generator = torch.Generator().manual_seed(seed)

    def pick(low, high):
        return int(torch.randint(low, high, (1,), generator=generator))

    lengths = [pick(1, 9) for _ in range(pick(1, 5))]
    pairs = random_pairs(lengths, pick(1, 12), pick(2, 9), seed)
    losses = SPARC(1.0, 1.0)(pairs)
    assert_close(losses['loss_local'], local_loss(pairs))
    got = torch.autograd.grad(losses['loss_local'], leaves(pairs)[2])[0]
    slow = torch.autograd.grad(local_loss(pairs), leaves(pairs)[2])[0]
    assert_close(got, slow)


@pytest.mark.parametrize(
    ('options', 'twin'),
    [
        (dict(threshold=0.5), dict(sigma=0.5)),
        (dict(alignment='dense'), dict(sigma=0.0)),
        (dict(alignment='softmax'), dict(weights=softmax_twin)),
    ],
)
def test_ablations_equal_their_loops(options, twin):
    pairs = random_pairs([3, 5, 1])
    got = SPARC(0.5, 1.0, **options)(pairs)['loss_local']
    assert_close(got, local_loss(pairs, **twin))


def test_each_direction_alone():
    pairs = random_pairs([4], patches=3)
    grouped = torch.randn(1, 4, 8, dtype=torch.float64)
    got = token_losses(
        grouped, pairs.tokens, pairs.token_mask, pairs.logit_scale
    )
    forward, back = twins.local_losses(
        grouped[0], pairs.tokens[0], pairs.logit_scale
    )
    assert not torch.allclose(forward, back)
    assert_close(got[0], (forward + back) / 2)


def test_each_global_direction_alone():
    # Two texts alike: image to text cannot tell them apart, text to image
    # can, so that a loss with one direction lost or doubled would differ.
    image = torch.eye(3, dtype=torch.float64)
    text = image.clone()
    text[1] = text[0]
    scale = torch.tensor(3.0, dtype=torch.float64)
    rows = torch.nn.functional.cross_entropy(
        scale * image @ text.T, torch.arange(3)
    )
    columns = torch.nn.functional.cross_entropy(
        scale * text @ image.T, torch.arange(3)
    )
    assert abs(rows - columns) > 0.05
    torch.testing.assert_close(
        batch_info_nce(image, text, scale), (rows + columns) / 2
    )


def test_padded_batch_is_the_mean_of_captions_run_alone():
    pairs = random_pairs([5, 1, 3])
    losses = SPARC()(pairs)
    gradients = torch.autograd.grad(total(losses), leaves(pairs))
    assert all(g.isfinite().all() for g in gradients)
    alone = []
    for i, length in enumerate([5, 1, 3]):
        one = dataclasses.replace(
            pairs,
            patches=pairs.patches[i : i + 1],
            image=pairs.image[i : i + 1],
            tokens=pairs.tokens[i : i + 1, :length],
            text=pairs.text[i : i + 1],
            token_mask=pairs.token_mask[i : i + 1, :length],
        )
        alone.append(SPARC()(one)['loss_local'])
    assert_close(losses['loss_local'], torch.stack(alone).mean())


@pytest.mark.parametrize('filling', [0.0, 1e4, float('nan'), float('inf')])
def test_what_stands_in_the_padding_changes_nothing(filling):
    pairs = random_pairs([4, 2, 1])
    before = total(SPARC()(pairs))
    tokens = pairs.tokens.detach().clone()
    tokens[~pairs.token_mask] = filling
    tokens.requires_grad_()
    after = total(SPARC()(dataclasses.replace(pairs, tokens=tokens)))
    assert torch.equal(before, after)
    after.backward()
    assert (tokens.grad[~pairs.token_mask] == 0).all()
    assert tokens.grad.isfinite().all()
    assert pairs.patches.grad.isfinite().all()


def test_permuting_the_batch_permutes_the_losses():
    pairs = random_pairs([5, 2, 3, 4])
    order = torch.tensor([2, 0, 3, 1])
    args = (pairs.patches[:, :5], pairs.tokens, pairs.token_mask)
    losses = token_losses(*args, pairs.logit_scale)
    moved = token_losses(*(a[order] for a in args), pairs.logit_scale)
    assert_close(moved, losses[order])


def test_other_pairs_are_no_negatives_of_the_local_loss():
    pairs = random_pairs([3, 3])
    loss = SPARC()(pairs)['loss_local']
    other = pairs.patches.detach().clone()
    other[1] += 1.0
    tokens = pairs.tokens.detach().clone()
    changed = dataclasses.replace(pairs, patches=other, tokens=tokens)
    first = SPARC()(_only(pairs, 0))['loss_local']
    torch.testing.assert_close(first, SPARC()(_only(changed, 0))['loss_local'])
    halves = [SPARC()(_only(pairs, i))['loss_local'] for i in range(2)]
    assert_close(loss, sum(halves) / 2)


def test_one_token_captions_have_no_local_loss():
    pairs = random_pairs([1, 1, 1])
    losses = SPARC()(pairs)
    assert losses['loss_local'] == 0
    losses['loss_local'].backward()
    assert pairs.patches.grad.abs().max() == 0


def test_a_caption_without_real_tokens_counts_as_zero():
    pairs = random_pairs([3, 2])
    mask = pairs.token_mask.clone()
    mask[1] = False
    pairs = dataclasses.replace(pairs, token_mask=mask)
    losses = SPARC()(pairs)
    alone = SPARC()(_only(pairs, 0))['loss_local']
    assert_close(losses['loss_local'], alone / 2)
    total(losses).backward()
    assert pairs.tokens.grad.isfinite().all()


def test_identical_patches_give_a_finite_loss_and_gradient():
    pairs = random_pairs([4, 3], dtype=torch.float32)
    same = pairs.patches.detach()[:, :1].expand(-1, 6, -1).clone()
    same.requires_grad_()
    losses = SPARC()(dataclasses.replace(pairs, patches=same))
    total(losses).backward()
    assert total(losses).isfinite()
    assert same.grad.isfinite().all()
    assert pairs.tokens.grad.isfinite().all()


def test_bf16_embeddings_give_the_loss_of_their_values():
    pairs = random_pairs([6, 3, 1], 9, 64, dtype=torch.bfloat16)
    with torch.autocast('cpu', torch.bfloat16):
        losses = SPARC()(pairs)
    wide = as_type(pairs, torch.float64)
    assert losses['loss_local'].dtype == torch.float32
    torch.testing.assert_close(
        losses['loss_local'].double(), local_loss(wide), rtol=1e-4, atol=1e-5
    )
    total(losses).backward()
    assert pairs.tokens.grad.isfinite().all()


def test_memory_of_the_local_loss_grows_linearly_with_the_batch():
    def peak(batch):
        pairs = random_pairs([8] * batch, 16, 16, dtype=torch.float32)
        sizes = []
        one = torch.ones(1, 16)
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.append(t.numel()) or t, lambda t: t
        )
        with hooks:
            SPARC()(dataclasses.replace(pairs, image=one, text=one))
        return sum(sizes), max(sizes)

    (small, small_max), (large, large_max) = peak(4), peak(32)
    assert large <= 8.1 * small
    assert large_max <= 8 * small_max


def test_clip_is_the_global_loss():
    pairs = random_pairs([3, 2])
    losses = CLIP()(pairs)
    assert list(losses) == ['loss_global']
    torch.testing.assert_close(
        losses['loss_global'],
        twins.global_loss(pairs.image, pairs.text, pairs.logit_scale),
    )


def test_share_of_patches_kept():
    pairs = random_pairs([2, 4], patches=20)
    kept = []
    for i in range(2):
        for token in pairs.tokens[i][pairs.token_mask[i]]:
            weights = twins.alignment(token[None], pairs.patches[i], None)
            kept.append((weights > 0).double().mean())
    torch.testing.assert_close(
        SPARC()(pairs)['patches_kept'].double(),
        torch.stack(kept).mean(),
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    'options',
    [
        dict(alignment='hard'),
        dict(token_average='batch'),
        dict(alignment='softmax', threshold=0.1),
    ],
)
def test_wrong_options_are_said(options):
    with pytest.raises(ValueError, match='must be|has no threshold'):
        SPARC(**options)


def _only(pairs, i):
    return dataclasses.replace(
        pairs,
        patches=pairs.patches[i : i + 1],
        image=pairs.image[i : i + 1],
        tokens=pairs.tokens[i : i + 1],
        text=pairs.text[i : i + 1],
        token_mask=pairs.token_mask[i : i + 1],
    )


def as_type(pairs, dtype):
    values = {
        name: getattr(pairs, name).detach().to(dtype)
        for name in ('patches', 'image', 'tokens', 'text', 'logit_scale')
    }
    return dataclasses.replace(pairs, **values)
