"""FILIP's token dropping and maxima; maps of FILIP, PACL and GLoRIA."""

import dataclasses

import pytest
import torch

from sparc_vlm.models.objectives import FILIP, PACL, GLoRIA
from sparc_vlm.models.objectives.filip import keep_some, lengthwise
from tests.test_models.twins import random_pairs


def mask_of(lengths):
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def test_a_fifth_of_the_tokens_is_dropped():
    lengths = [55, 10, 5, 3, 2, 1, 0]
    mask = mask_of(lengths)
    kept = keep_some(mask, 0.2)
    assert kept.sum(1).tolist() == [44, 8, 4, 2, 2, 1, 0]
    assert not (kept & ~mask).any()


def test_some_token_is_always_kept():
    assert keep_some(mask_of([3, 2, 1]), 0.99).sum(1).tolist() == [1, 1, 1]


def test_every_token_is_dropped_as_often_as_any_other():
    torch.manual_seed(0)
    # marks at both ends, so that real tokens do not begin at 0
    mask = mask_of([12]).repeat(2000, 1)
    mask[:, 0] = mask[:, -1] = False
    kept = keep_some(mask, 0.2)
    assert (kept.sum(1) == 8).all()
    share = kept.double().mean(0)[1:-1]
    assert (share - 0.8).abs().max() < 0.04


def test_tokens_are_dropped_in_training_alone():
    pairs = random_pairs([10, 10])
    objective = FILIP().eval()
    torch.testing.assert_close(
        objective(pairs)['loss_local'],
        FILIP(dropped=0.0)(pairs)['loss_local'],
    )
    objective.train()
    torch.manual_seed(0)
    first = objective(pairs)['loss_local']
    assert first != objective(pairs)['loss_local']
    torch.manual_seed(0)
    assert first == objective(pairs)['loss_local']


def test_training_equals_what_the_kept_tokens_give():
    pairs = random_pairs([10, 5, 1])
    torch.manual_seed(3)
    losses = FILIP()(pairs)
    torch.manual_seed(3)
    mask = keep_some(pairs.token_mask, 0.2)
    kept = dataclasses.replace(pairs, token_mask=mask)
    torch.testing.assert_close(
        losses['loss_local'], FILIP(dropped=0.0)(kept)['loss_local']
    )


@pytest.mark.parametrize('dropped', [-0.1, 1.0])
def test_a_share_that_leaves_nothing_is_refused(dropped):
    with pytest.raises(ValueError, match='at least 0 and below 1'):
        FILIP(dropped=dropped)


def test_lengthwise_repeats_the_first_token():
    tokens = torch.arange(12.0).view(3, 4, 1)
    counted = torch.tensor(
        [[0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]], dtype=torch.bool
    )
    taken, real = lengthwise(tokens, counted)
    assert taken[..., 0].tolist() == [[1, 0, 10], [3, 0, 10]]
    assert real.tolist() == [[True, False, True], [True, False, False]]


def test_tied_maxima_pass_the_gradient_once():
    pairs = random_pairs([3, 2], patches=4, dtype=torch.float32)
    same = pairs.tokens.detach()[:, :1].expand(-1, 3, -1).clone()
    pairs = dataclasses.replace(pairs, tokens=same.requires_grad_())
    one = dataclasses.replace(
        pairs,
        tokens=same.detach()[:, :1].clone().requires_grad_(),
        token_mask=pairs.token_mask[:, :1],
    )
    for chosen in (pairs, one):
        FILIP(dropped=0.0)(chosen)['loss_local'].backward()
    torch.testing.assert_close(
        pairs.tokens.grad.sum(1), one.tokens.grad.sum(1)
    )


@pytest.mark.parametrize('objective', [FILIP(), PACL(), GLoRIA()])
def test_maps_are_weights_over_the_allowed_patches(objective):
    pairs = random_pairs([3, 2])
    weights = objective.align(pairs.tokens, pairs.patches)
    assert weights.shape == (2, 3, 6)
    torch.testing.assert_close(
        weights.sum(-1), torch.ones(2, 3, dtype=torch.float64)
    )
    mask = torch.ones(2, 3, 6, dtype=torch.bool)
    mask[..., :4] = False
    mask[0, 0] = False  # nothing allowed: everything is
    masked = objective.align(pairs.tokens, pairs.patches, mask)
    torch.testing.assert_close(masked[0, 0], weights[0, 0])
    assert (masked[1, :, :4] == 0).all()
    torch.testing.assert_close(
        masked.sum(-1), torch.ones(2, 3, dtype=torch.float64)
    )


def test_maps_say_what_the_scores_use():
    pairs = random_pairs([3], patches=5)
    token, patches = pairs.tokens[0, 1], pairs.patches[0]
    cosines = torch.cosine_similarity(token[None], patches)
    filip = FILIP().align(pairs.tokens, pairs.patches)[0, 1]
    assert filip.argmax() == cosines.argmax()
    assert filip.max() == 1
    torch.testing.assert_close(
        PACL().align(pairs.tokens, pairs.patches)[0, 1], cosines.softmax(0)
    )
    torch.testing.assert_close(
        GLoRIA().align(pairs.tokens, pairs.patches)[0, 1],
        (patches @ token / 8**0.5).softmax(0),
    )
