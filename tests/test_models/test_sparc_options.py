"""SPARC over words, with negatives left out, with any alignment."""

import dataclasses

import pytest
import torch

from sparc_vlm.models.alignment import group_patches, sparse_alignment
from sparc_vlm.models.contrastive import caption_info_nce
from sparc_vlm.models.objectives import SPARC
from sparc_vlm.models.sparsify import build_alignment
from sparc_vlm.models.words import same_meaning
from tests.test_models.twins import leaves, local_loss, random_pairs


def with_words():
    """Captions of four, two and three tokens, of three, two and one words."""
    pairs = random_pairs([4, 2, 3])
    words = torch.tensor([[0, 1, 1, 2], [0, 1, -1, -1], [0, 0, 0, -1]])
    ids = torch.tensor([[5, 6, 7, 5], [8, 8, 0, 0], [5, 6, 7, 0]])
    return dataclasses.replace(pairs, words=words, token_ids=ids)


def means_of_words(pairs):
    """The same pairs with each word as one token, written out."""
    tokens = pairs.tokens
    rows = [
        torch.stack([tokens[0, 0], tokens[0, 1:3].mean(0), tokens[0, 3]]),
        torch.stack([tokens[1, 0], tokens[1, 1], tokens[1, 0] * 0]),
        torch.stack([tokens[2, :3].mean(0), *(tokens[2, :2] * 0)]),
    ]
    mask = torch.tensor(
        [[True] * 3, [True, True, False], [True, False, False]]
    )
    return dataclasses.replace(
        pairs, tokens=torch.stack(rows), token_mask=mask, words=None
    )


def test_words_stand_for_their_pieces():
    pairs = with_words()
    got = SPARC(words=True)(pairs)['loss_local']
    slow = local_loss(means_of_words(pairs))
    torch.testing.assert_close(got, slow)
    inputs = [pairs.patches, pairs.tokens]
    for a, b in zip(
        torch.autograd.grad(got, inputs),
        torch.autograd.grad(slow, inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_a_word_may_look_where_its_pieces_may():
    pairs = with_words()
    mask = torch.zeros(3, 4, 6, dtype=torch.bool)
    mask[0, 1, 2] = mask[0, 2, 4] = True
    mask[0, 0] = mask[0, 3] = mask[1:] = True
    got = SPARC(words=True)(dataclasses.replace(pairs, patch_mask=mask))
    pooled = torch.ones(3, 3, 6, dtype=torch.bool)
    pooled[0, 1] = False
    pooled[0, 1, [2, 4]] = True
    pairs = dataclasses.replace(means_of_words(pairs), patch_mask=pooled)
    expected = SPARC()(pairs)
    torch.testing.assert_close(got['loss_local'], expected['loss_local'])


def test_words_must_be_known():
    with pytest.raises(ValueError, match='which word each token belongs to'):
        SPARC(words=True)(random_pairs([3, 2]))


def test_tokens_that_mean_the_same_are_no_negatives():
    pairs = with_words()
    plain = SPARC()(pairs)['loss_local']
    got = SPARC(same_meaning=dict(limit=None))(pairs)['loss_local']
    seen = torch.where(pairs.token_mask[..., None], pairs.tokens, 0)
    weights = sparse_alignment(seen, pairs.patches)
    ignored = torch.zeros(3, 4, 4, dtype=torch.bool)
    ignored[0, 0, 3] = ignored[0, 3, 0] = True  # the same id twice
    ignored[0, 1, 2] = ignored[0, 2, 1] = True  # two pieces of one word
    ignored[1, :2, :2] = ignored[2, :3, :3] = True
    expected = caption_info_nce(
        group_patches(weights, pairs.patches),
        seen,
        pairs.token_mask,
        pairs.logit_scale,
        ignored=ignored,
    )
    torch.testing.assert_close(got, expected)
    assert got < plain


def test_words_said_twice_are_told_by_their_pieces():
    pairs = with_words()
    ids = pairs.token_ids.clone()
    ids[0] = torch.tensor([5, 6, 7, 5])  # words 0 and 2 are the same
    pairs = dataclasses.replace(pairs, token_ids=ids)
    got = SPARC(words=True, same_meaning=dict(limit=None))(pairs)
    pooled = means_of_words(pairs)
    numbers = torch.tensor([[1, 2, 1], [3, 3, 0], [4, 0, 0]])
    ignored = same_meaning(
        pooled.tokens, pooled.token_mask, numbers, limit=None
    )
    weights = sparse_alignment(pooled.tokens, pooled.patches)
    expected = caption_info_nce(
        group_patches(weights, pooled.patches),
        pooled.tokens,
        pooled.token_mask,
        pooled.logit_scale,
        ignored=ignored,
    )
    torch.testing.assert_close(got['loss_local'], expected)


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('sparsemax', dict(temperature=0.5)),
        ('entmax', {}),
        ('topk', dict(k=2)),
        ('sparse', dict(quantile=0.5)),
    ],
)
def test_alignments_of_other_kinds(name, options):
    pairs = random_pairs([4, 1, 2])
    objective = SPARC(alignment=name, alignment_options=options)
    got = objective(pairs)['loss_local']
    align = build_alignment(name, **options)
    expected = local_loss(
        pairs, weights=lambda t, p, _: align(t[None], p[None])[0]
    )
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(
        objective.align(pairs.tokens, pairs.patches),
        align(pairs.tokens, pairs.patches),
    )


def test_all_at_once_under_bf16():
    pairs = with_words()
    pairs = dataclasses.replace(
        pairs,
        **{
            key: getattr(pairs, key).bfloat16().detach().requires_grad_()
            for key in ('patches', 'image', 'tokens', 'text', 'logit_scale')
        },
    )
    objective = SPARC(
        alignment='entmax',
        cross_image=2,
        query=dict(embed_dims=8, dims=4),
        words=True,
        same_meaning=dict(limit=0.9),
    )
    with torch.autocast('cpu', torch.bfloat16):
        losses = objective(pairs)
        total = sum(v for k, v in losses.items() if 'loss' in k)
    gradients = torch.autograd.grad(total, leaves(pairs))
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(token_average='token'),
        dict(same_meaning=dict(limit=0.0)),
        dict(words=True),
    ],
)
@pytest.mark.parametrize('masked', [False, True])
def test_beside_the_same_image_the_rolled_loss_is_the_local_one(
    options, masked
):
    pairs = with_words()
    pairs = dataclasses.replace(
        pairs, patches=pairs.patches[:1].expand(3, -1, -1)
    )
    if masked:
        mask = torch.rand(3, 4, 6) > 0.5
        pairs = dataclasses.replace(pairs, patch_mask=mask)
    losses = SPARC(local_weight=2.0, **options)(pairs)
    torch.testing.assert_close(
        losses['rolled_local'], losses['loss_local'].detach()
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(threshold=3.0), 'between 0 and 1'),
        (dict(alignment_options=dict(threshold=0.3)), 'threshold once'),
        (dict(alignment_options=dict(quantile=2.0)), '0 <= quantile < 1'),
        (
            dict(alignment='topk', alignment_options=dict(k=0)),
            'at least 1 patch',
        ),
        (dict(same_meaning=dict(limit=7.0)), '-1 < limit < 1'),
    ],
)
def test_values_out_of_range_are_said_when_it_is_built(options, message):
    with pytest.raises(ValueError, match=message):
        SPARC(**options)
