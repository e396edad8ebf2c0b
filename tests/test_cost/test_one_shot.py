"""All pairs at once: the same losses as in blocks, at the paper's price."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sparc_vlm.cost import Setting, update_costs
from sparc_vlm.cost.abstract import AbstractRun
from sparc_vlm.cost.count import flop_counter
from sparc_vlm.cost.one_shot import all_pairs_at_once
from sparc_vlm.registry import MODELS
from sparc_vlm.structures import PairEmbeddings
from tests.test_cost.test_update import config

B, P, L, D = 6, 5, 4, 8
OBJECTIVES = ('FILIP', 'GLoRIA', 'PACL')


def pairs(make=torch.randn):
    lengths = torch.tensor([4, 2, 1, 3, 4, 2])[:B]
    return PairEmbeddings(
        patches=make(B, P, D),
        image=make(B, D),
        tokens=make(B, L, D),
        text=make(B, D),
        token_mask=torch.arange(L) < lengths[:, None],
        logit_scale=torch.tensor(5.0),
    )


@pytest.mark.parametrize('kind', OBJECTIVES)
def test_same_losses_and_gradients_as_in_blocks(kind):
    torch.manual_seed(0)
    options = dict(dropped=0.0) if kind == 'FILIP' else {}
    objective = MODELS.build(dict(type=kind, **options))
    given = pairs()
    found = []
    for at_once in (False, True):
        leaves = [
            getattr(given, name).clone().requires_grad_(True)
            for name in ('patches', 'tokens', 'text')
        ]
        patches, tokens, text = leaves
        own = replace(given, patches=patches, tokens=tokens, text=text)
        if at_once:
            with all_pairs_at_once() as asked:
                losses = objective(own)
            assert asked.yes
        else:
            losses = objective(own)
        loss = sum(v for k, v in losses.items() if 'loss' in k)
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        found.append([loss, *(g for g in gradients if g is not None)])
    assert len(found[0]) == len(found[1])
    for blocks, whole in zip(*found, strict=True):
        torch.testing.assert_close(whole, blocks, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ('kind', 'products'),
    [
        # of one pair, in products of two vectors 8 wide
        ('FILIP', P * 3),  # a quarter of 4 tokens is dropped
        ('GLoRIA', P * L + P * L),
        ('PACL', P + P),
    ],
)
def test_by_hand_on_several_processes(kind, products):
    """Both directions, three times the way forward, of every pair."""
    devices = 4
    options = dict(dropped=0.25) if kind == 'FILIP' else {}
    objective = MODELS.build(dict(type=kind, **options)).train()
    run = AbstractRun(devices)

    def make(*shape):
        return run.empty(*shape, dtype=torch.float32).requires_grad_(True)

    given = replace(pairs(make), token_mask=torch.ones(B, L, dtype=bool))
    counter = flop_counter()
    with run.running(), counter, all_pairs_at_once():
        losses = objective(given)
        sum(losses.values()).backward()
    matrix = 2 * 3 * 2 * B * (devices * B)
    expected = matrix * products * D
    if kind == 'GLoRIA':
        expected += matrix * D  # its global loss
    assert counter.get_total_flops() == expected


@pytest.mark.parametrize('kind', OBJECTIVES)
def test_ours_takes_less_memory(kind):
    cfg = config(kind, embed_dims=16)
    ours, one_shot = update_costs(cfg, Setting(256, 4))
    assert ours.peak_bytes < one_shot.peak_bytes


@pytest.mark.parametrize('kind', ['CLIP', 'SPARC', 'MGCA', 'SigLIP'])
def test_nothing_else_has_another_way(kind):
    options = dict(embed_dims=8) if kind == 'MGCA' else {}
    cfg = config(kind)
    cfg.model.objective.update(options)
    ours, one_shot = update_costs(cfg, Setting(8, 4))
    assert ours == one_shot
