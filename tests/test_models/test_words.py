"""Words of a caption: handed on by the model, pooled, and told apart."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from sparc_vlm.models.contrastive import caption_info_nce, token_losses
from sparc_vlm.models.words import (
    pool_patch_mask,
    pool_words,
    same_meaning,
    word_ids,
)
from sparc_vlm.structures import TokenBatch
from tests.test_models.tiny_models import build, model_cfg
from tests.test_models.twins import random_pairs

AWARE = dict(type='SPARC', same_meaning=dict(limit=None))


def test_the_model_hands_on_ids_and_words():
    tokens = TokenBatch.from_lists(
        [[4, 9, 7], [5]],
        real=[[False, True, True], [True]],
        words=[[None, 0, 0], [2]],
    )
    images = torch.randn(2, 3, 32, 32)
    pairs = build(model_cfg(objective=AWARE))(images, tokens)
    assert pairs.token_ids.tolist() == [[4, 9, 7], [5, 0, 0]]
    assert pairs.words.tolist() == [[-1, 0, 0], [2, -1, -1]]
    assert pairs.token_mask.tolist() == [
        [False, True, True],
        [True, False, False],
    ]


def test_a_batch_without_words_has_none():
    tokens = TokenBatch.from_lists([[4, 9], [5]])
    images = torch.randn(2, 3, 32, 32)
    pairs = build(model_cfg(objective=AWARE))(images, tokens)
    assert pairs.words is None
    assert pairs.token_ids.tolist() == [[4, 9], [5, 0]]
    # Nothing is laid out for an objective that does not ask.
    assert build(model_cfg())(images, tokens).token_ids is None


def random_words(seed):
    """Padded captions of words of one to three pieces, some in no word."""
    generator = torch.Generator().manual_seed(seed)

    def pick(low, high):
        return int(torch.randint(low, high, (1,), generator=generator))

    captions = []
    for _ in range(pick(1, 5)):
        row, number = [], -1
        for _ in range(pick(1, 6)):
            number += pick(1, 3)
            row += [number] * pick(1, 4)
            row += [-1] * (pick(0, 4) == 0)
        captions.append(row)
    lengths = [len(row) for row in captions]
    pairs = random_pairs(lengths, pick(1, 8), pick(2, 9), seed)
    longest = max(lengths)
    words = torch.tensor([row + [-1] * (longest - len(row))
                          for row in captions])  # fmt: skip
    ids = torch.randint(0, 5, words.shape, generator=generator)
    marks = torch.rand(words.shape, generator=generator) < 0.1
    return replace(
        pairs,
        token_mask=pairs.token_mask & ~marks,
        words=words,
        token_ids=ids,
    )


def pieces_of(pairs, row):
    """{word: places of its real tokens} of one caption."""
    found = {}
    for place, word in enumerate(pairs.words[row].tolist()):
        if word >= 0 and pairs.token_mask[row, place]:
            found.setdefault(word, []).append(place)
    return found


@pytest.mark.parametrize('seed', range(20))
def test_pooling_equals_the_loop(seed):
    pairs = random_words(seed)
    filled = torch.where(pairs.token_mask[..., None], pairs.tokens, torch.nan)
    pooled, mask = pool_words(filled, pairs.token_mask, pairs.words)
    assert mask.shape[1] == max(int(pairs.words.max()) + 1, 1)
    looks = torch.rand(*pairs.words.shape, 6) < 0.3
    pooled_looks = pool_patch_mask(looks, pairs.token_mask, pairs.words)
    slow = torch.zeros_like(pooled)
    for row in range(len(mask)):
        pieces = pieces_of(pairs, row)
        assert mask[row].nonzero().flatten().tolist() == sorted(pieces)
        for word, places in pieces.items():
            total = sum(pairs.tokens[row, place] for place in places)
            slow[row, word] = total / len(places)
            seen = [any(looks[row, p, c] for p in places) for c in range(6)]
            assert pooled_looks[row, word].tolist() == seen
    torch.testing.assert_close(pooled, slow)
    pull = torch.randn_like(pooled)
    (got,) = torch.autograd.grad(
        (pooled * pull).sum(), pairs.tokens, retain_graph=True
    )
    (wanted,) = torch.autograd.grad(
        (slow * pull).sum(), pairs.tokens, allow_unused=True
    ) if slow.requires_grad else (torch.zeros_like(got),)  # fmt: skip
    torch.testing.assert_close(got, wanted)


def test_pooling_is_done_in_float32():
    tokens = torch.randn(1, 3, 8).bfloat16()
    words = torch.tensor([[0, 0, 1]])
    with torch.autocast('cpu', torch.bfloat16):
        pooled, _ = pool_words(tokens, words >= 0, words)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled[0, 0], tokens[0, :2].float().mean(0))


@pytest.mark.parametrize('seed', range(20))
def test_words_of_the_same_pieces_have_the_same_number(seed):
    pairs = random_words(seed)
    numbers = word_ids(pairs.token_ids, pairs.token_mask, pairs.words)
    spelled = {}
    for row in range(len(numbers)):
        for word, places in pieces_of(pairs, row).items():
            # A marked piece in between leaves a gap, which counts.
            spelling = tuple(
                (place - places[0], int(pairs.token_ids[row, place]))
                for place in places
            )
            spelled.setdefault(spelling, set()).add(int(numbers[row, word]))
    assert all(len(found) == 1 for found in spelled.values())
    assert len(set.union(*spelled.values())) == len(spelled)


@pytest.mark.parametrize('seed', range(20))
@pytest.mark.parametrize('limit', [None, 0.5])
def test_same_meaning_equals_the_loop(seed, limit):
    pairs = random_words(seed)
    filled = torch.where(pairs.token_mask[..., None], pairs.tokens, torch.nan)
    ids, words = pairs.token_ids, pairs.words
    if seed % 3 == 1:
        ids = None
    if seed % 3 == 2:
        words = None
    found = same_meaning(filled, pairs.token_mask, ids, words, limit)
    cosine = torch.nn.functional.cosine_similarity
    for b, left, right in product(*(range(n) for n in found.shape)):
        real = pairs.token_mask[b, left] and pairs.token_mask[b, right]
        same = ids is not None and ids[b, left] == ids[b, right]
        if words is not None and words[b, left] == words[b, right] >= 0:
            same = True
        vectors = pairs.tokens[b, left], pairs.tokens[b, right]
        if limit is not None and cosine(*vectors, dim=0) > limit:
            same = True
        expected = bool(real and same and left != right)
        assert bool(found[b, left, right]) == expected


def loss_with_ignored(grouped, tokens, scale, ignored):
    """Equation 6 for one pair with some negatives left out."""
    c = [g / g.norm() for g in grouped]
    t = [token / token.norm() for token in tokens]
    count = range(len(t))
    losses = []
    for i in count:
        left = [k for k in count if k == i or not ignored[i, k]]
        to_token = sum((scale * (c[i] @ t[k])).exp() for k in left)
        to_group = sum((scale * (t[i] @ c[k])).exp() for k in left)
        matched = scale * (c[i] @ t[i])
        losses.append((to_token.log() + to_group.log()) / 2 - matched)
    return torch.stack(losses)


@pytest.mark.parametrize('seed', range(20))
def test_loss_without_some_negatives_equals_the_loop(seed):
    generator = torch.Generator().manual_seed(seed)
    pairs = random_pairs([5, 1, 3], width=6, seed=seed)
    grouped = torch.randn_like(pairs.tokens).requires_grad_()
    # Neither symmetric, nor free of the diagonal and of the padding.
    ignored = torch.rand(3, 5, 5, generator=generator) < seed / 19
    losses = token_losses(
        grouped, pairs.tokens, pairs.token_mask, pairs.logit_scale, ignored
    )
    slow = []
    for row, length in enumerate([5, 1, 3]):
        slow.append(
            loss_with_ignored(
                grouped[row, :length],
                pairs.tokens[row, :length],
                pairs.logit_scale,
                ignored[row],
            )
        )
        torch.testing.assert_close(losses[row, :length], slow[-1])
    mean = torch.stack([part.mean() for part in slow]).mean()
    loss = caption_info_nce(
        grouped,
        pairs.tokens,
        pairs.token_mask,
        pairs.logit_scale,
        ignored=ignored,
    )
    torch.testing.assert_close(loss, mean)
    of = (grouped, pairs.tokens, pairs.logit_scale)
    got, wanted = (torch.autograd.grad(x, of) for x in (loss, mean))
    torch.testing.assert_close(got, wanted)


def test_nothing_ignored_is_the_plain_loss():
    pairs = random_pairs([4, 2])
    args = (pairs.patches[:, :4], pairs.tokens, pairs.token_mask)
    none = torch.eye(4, dtype=torch.bool).expand(2, -1, -1)
    plain = token_losses(*args, pairs.logit_scale)
    assert torch.equal(token_losses(*args, pairs.logit_scale, none), plain)


def test_a_limit_that_decides_nothing_is_said():
    tokens = torch.randn(1, 2, 3)
    with pytest.raises(ValueError, match='compared with cosines'):
        same_meaning(tokens, torch.ones(1, 2).bool(), limit=1.0)


def test_nothing_to_compare_is_said():
    pairs = random_pairs([3, 2])
    with pytest.raises(ValueError, match='nothing to compare'):
        same_meaning(pairs.tokens, pairs.token_mask, limit=None)
