"""Parts of like lengths are the batch, row by row."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from sparc_vlm.models import length_parts
from sparc_vlm.models.length_parts import (
    join_parts,
    parts_by_length,
)
from sparc_vlm.models.objectives import SPARC
from sparc_vlm.structures import PairEmbeddings

LENGTHS = [3, 9, 1, 4, 4, 0, 2, 9, 5]
OPTIONS = [
    dict(),
    dict(alignment='softmax'),
    dict(token_average='token', threshold=0.5),
    dict(same_meaning=dict(limit=0.2)),
    dict(words=True),
]


def random_pairs(lengths=LENGTHS, patches=5, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        return values.requires_grad_()

    batch, longest = len(lengths), max(max(lengths), 1)
    places = torch.arange(longest).expand(batch, -1)
    mask = places < torch.tensor(lengths)[:, None]
    allowed = torch.rand(batch, longest, patches, generator=generator) < 0.7
    return PairEmbeddings(
        patches=draw(batch, patches, width),
        image=draw(batch, width),
        tokens=draw(batch, longest, width),
        text=draw(batch, width),
        token_mask=mask,
        logit_scale=torch.tensor(3.0, dtype=torch.float64).requires_grad_(),
        patch_mask=allowed,
        token_ids=torch.randint(0, 4, mask.shape, generator=generator),
        words=torch.where(mask, places // 2, -1),
    )


def losses_and_gradients(objective, pairs):
    found = objective(pairs)
    leaves = [
        getattr(pairs, name)
        for name in ('patches', 'image', 'tokens', 'text', 'logit_scale')
    ]
    total = sum(v for k, v in found.items() if 'loss' in k)
    return found, torch.autograd.grad(total, leaves)


@pytest.mark.parametrize('options', OPTIONS)
@pytest.mark.parametrize('count', [2, 4, 100])
def test_the_loss_is_that_of_the_whole_batch(options, count, monkeypatch):
    pairs, objective = random_pairs(), SPARC(**options)
    monkeypatch.setattr(length_parts, 'PARTS', 1)
    whole = losses_and_gradients(objective, pairs)
    monkeypatch.setattr(length_parts, 'PARTS', count)
    torch.testing.assert_close(losses_and_gradients(objective, pairs), whole)


def test_every_row_is_in_one_part_and_comes_back():
    pairs = random_pairs()
    parts, back = parts_by_length(pairs)
    assert [len(part.tokens) for part in parts] == [3, 2, 2, 2]
    assert not any(len(part.image) + len(part.text) for part in parts)
    assert [part.tokens.shape[1] for part in parts] == [2, 4, 5, 9]
    for field in fields(PairEmbeddings):
        others = *length_parts.TOKENWISE, *length_parts.GLOBAL
        if field.name in ('logit_scale', *others):
            continue
        joined = torch.cat([getattr(part, field.name) for part in parts])
        assert torch.equal(joined[back], getattr(pairs, field.name))
    summed = [part.tokens.sum(-1) * part.token_mask for part in parts]
    wanted = pairs.tokens.sum(-1) * pairs.token_mask
    torch.testing.assert_close(join_parts(summed, back), wanted)


def test_no_real_token_is_cut_off_behind_marks():
    """Real tokens need not come first."""
    pairs = random_pairs([4, 4])
    mask = torch.tensor([[False, True, False, False]] * 2)
    mask[1, 3] = True
    parts, _ = parts_by_length(replace(pairs, token_mask=mask))
    assert [part.token_mask.tolist() for part in parts] == [
        [[False, True]],
        [[False, True, False, True]],
    ]


def test_a_caption_without_a_token_alone():
    parts, back = parts_by_length(random_pairs([0]))
    assert len(parts) == 1
    assert back is None
