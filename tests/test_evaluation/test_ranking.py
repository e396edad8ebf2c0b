from itertools import permutations

import pytest
import torch
from torch.nn import functional as F

from sparc_vlm.evaluation.ranking import Ranks, hit_probability, rank_both_ways


def slow_ranks(images, texts, owners):
    """The full matrix, one query at a time."""
    scores = F.normalize(images, dim=1) @ F.normalize(texts, dim=1).T
    i2t, t2i = [], []
    for i in range(len(images)):
        own = scores[i][owners == i]
        if not len(own):
            continue
        wrong = scores[i][owners != i]
        best = own.max()
        i2t.append(
            (
                int((wrong > best + 1e-6).sum()),
                int(((wrong - best).abs() <= 1e-6).sum()),
                int((own >= best - 1e-6).sum()),
                int(scores[i].argmax()),
            )
        )
    for t, owner in enumerate(owners.tolist()):
        best = scores[owner, t]
        wrong = torch.cat([scores[:owner, t], scores[owner + 1 :, t]])
        t2i.append(
            (
                int((wrong > best + 1e-6).sum()),
                int(((wrong - best).abs() <= 1e-6).sum()),
                1,
                int(scores[:, t].argmax()),
            )
        )
    return i2t, t2i


def as_rows(ranks):
    columns = (ranks.above, ranks.tied, ranks.right, ranks.top)
    return list(zip(*(c.tolist() for c in columns), strict=True))


@pytest.mark.parametrize('block', [1, 3, 8, 1000])
@pytest.mark.parametrize('spread', [1.0, 0.0])
def test_blocks_agree_with_the_full_matrix(block, spread):
    random = torch.Generator().manual_seed(0)
    # Pictures 3 and 10 have no caption, the others one to five.
    owners = torch.tensor(
        [i for i in range(11) if i not in (3, 10) for _ in range(1 + i % 5)]
    )
    images = torch.randn(11, 6, generator=random)
    texts = images[owners] + 2 * torch.randn(len(owners), 6, generator=random)
    if not spread:
        # Few distinct values: many exact ties.
        images, texts = images.sign(), texts.sign()
        images[:, 2:] = 1
        texts[:, 2:] = 1
    i2t, t2i = rank_both_ways(images, texts, owners, block)
    slow_i2t, slow_t2i = slow_ranks(images, texts, owners)
    if spread:
        assert as_rows(i2t) == slow_i2t
        assert as_rows(t2i) == slow_t2i
    else:
        # Which of equals comes first is not said.
        assert [r[:3] for r in as_rows(i2t)] == [r[:3] for r in slow_i2t]
        assert [r[:3] for r in as_rows(t2i)] == [r[:3] for r in slow_t2i]
        assert i2t.tied.any()
        assert (i2t.right > 1).any()


def test_texts_in_any_order():
    images = torch.eye(3)
    owners = torch.tensor([2, 0, 1, 0])
    i2t, t2i = rank_both_ways(images, images[owners], owners)
    assert i2t.recall(1).tolist() == [1, 1, 1]
    assert i2t.top.tolist() == [1, 2, 0]
    assert t2i.top.tolist() == [2, 0, 1, 0]


@pytest.mark.parametrize(('right', 'wrong'), [(1, 3), (2, 3), (3, 1), (1, 0)])
def test_hit_probability_counts_random_orders(right, wrong):
    """Against every order of the candidates."""
    orders = list(permutations('r' * right + 'w' * wrong))
    for k in range(7):
        hits = sum('r' in order[:k] for order in orders)
        found = hit_probability(
            torch.tensor(k), torch.tensor(right), torch.tensor(wrong)
        )
        assert float(found) == pytest.approx(hits / len(orders), abs=1e-9)


def test_expected_rank_of_ties_is_the_mean_over_orders():
    ranks = Ranks(*(torch.tensor([v]) for v in (2, 3, 2, 0)))
    firsts = [order.index('r') for order in permutations('rrwww')]
    assert float(ranks.expected[0]) == pytest.approx(
        1 + 2 + sum(firsts) / len(firsts)
    )


def test_collapsed_model_scores_chance():
    owners = torch.arange(8).repeat_interleave(5)
    i2t, t2i = rank_both_ways(torch.ones(8, 4), torch.ones(40, 4), owners)
    assert t2i.recall(1).mean() == pytest.approx(1 / 8)
    assert i2t.recall(1).mean() == pytest.approx(5 / 40)
    assert i2t.recall(5).mean() > 0.4


def test_nan_is_not_rank_one():
    owners = torch.arange(8).repeat_interleave(5)
    nan = torch.full((8, 4), torch.nan)
    i2t, t2i = rank_both_ways(nan, torch.randn(40, 4), owners)
    assert i2t.recall(1).mean() == pytest.approx(5 / 40)
    assert t2i.recall(1).mean() == pytest.approx(1 / 8)


def test_autocast_changes_nothing():
    random = torch.Generator().manual_seed(0)
    images = torch.randn(40, 8, generator=random)
    texts = torch.randn(40, 8, generator=random)
    plain = rank_both_ways(images, texts, torch.arange(40))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        cast = rank_both_ways(images, texts, torch.arange(40))
    assert [as_rows(r) for r in cast] == [as_rows(r) for r in plain]
