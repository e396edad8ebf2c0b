"""MGCA against loops in float64, on one process and on several."""

import dataclasses

import pytest
import torch
from mmengine import dist

from sparc_vlm.models.objectives.mgca import MGCA
from sparc_vlm.models.prototypes import Prototypes, sinkhorn
from tests.processes import run_processes
from tests.test_models.test_gather import LENGTHS, share
from tests.test_models.tiny_models import build, captions, model_cfg
from tests.test_models.twins import (
    assert_close,
    global_loss,
    leaves,
    local_losses,
    random_pairs,
)

PARTS = ('loss_global', 'loss_local', 'loss_prototype')


def objective(width=8, seed=0, **options):
    torch.manual_seed(seed)
    options = dict(attention_dims=5, prototypes=7) | options
    return MGCA(width, **options).double()


def attended(attention, asking, asked, allowed=None):
    """What each row of `asking` gathers, one dot product at a time."""
    rows = []
    for i, one in enumerate(asking):
        query = attention.query.weight @ one
        seen = [j for j in range(len(asked))
                if allowed is None or allowed[i][j]]  # fmt: skip
        scores = torch.stack(
            [query @ (attention.key.weight @ asked[j]) for j in seen]
        )
        weights = (scores / len(query) ** 0.5).exp()
        weights = weights / weights.sum()
        value = sum(
            w * (attention.value.weight @ asked[j])
            for w, j in zip(weights, seen, strict=True)
        )
        rows.append(attention.out.weight @ value)
    return torch.stack(rows)


def slow_local(mgca, pairs):
    total = 0
    for i in range(len(pairs.image)):
        tokens = pairs.tokens[i][pairs.token_mask[i]]
        patches = pairs.patches[i]
        looks = reads = None
        if pairs.patch_mask is not None:
            looks = pairs.patch_mask[i][pairs.token_mask[i]]
            reads = looks.T
            looks = looks | ~looks.any(1, keepdim=True)
            reads = reads | ~reads.any(1, keepdim=True)
        sides = (
            (mgca.tokens_to_patches, tokens, patches, looks),
            (mgca.patches_to_tokens, patches, tokens, reads),
        )
        for attention, asking, asked, allowed in sides:
            gathered = attended(attention, asking, asked, allowed)
            directions = local_losses(gathered, asking, pairs.logit_scale)
            total += sum(losses.mean() for losses in directions) / 4
    return total / len(pairs.image)


def slow_codes(near, epsilon=0.05, iterations=3):
    """Sinkhorn by dividing rows and columns of a matrix in turn."""
    plan = (near.detach() / epsilon).exp()
    for _ in range(iterations):
        for k in range(plan.shape[1]):
            plan[:, k] /= plan[:, k].sum() * plan.shape[1]
        for b in range(len(plan)):
            plan[b] /= plan[b].sum() * len(plan)
    return plan * len(plan)


def slow_prototypes(mgca, pairs, scale=None):
    scale = pairs.logit_scale if scale is None else scale
    weights = mgca.prototypes.directions
    near = []
    for embeddings in (pairs.image, pairs.text):
        near.append(
            torch.stack(
                [
                    torch.stack([e @ w / e.norm() / w.norm() for w in weights])
                    for e in embeddings
                ]
            )
        )
    total = 0
    for own, other in (near, near[::-1]):
        codes = slow_codes(own)
        for b in range(len(codes)):
            log_sum = (scale * other[b]).exp().sum().log()
            total -= (codes[b] * (scale * other[b] - log_sum)).sum()
    return total / 2 / len(pairs.image)


def slow_losses(mgca, pairs, scale=None):
    image, text = pairs.image, pairs.text
    return dict(
        loss_global=global_loss(image, text, pairs.logit_scale),
        loss_local=slow_local(mgca, pairs),
        loss_prototype=slow_prototypes(mgca, pairs, scale),
    )


def everything(mgca, pairs):
    return [*leaves(pairs), *mgca.parameters()]


def of_total(losses, inputs):
    total = sum(losses.values())
    return torch.autograd.grad(total, inputs, materialize_grads=True)


@pytest.mark.parametrize('seed', range(12))
def test_equals_the_loop_in_values_and_gradients(seed):
    generator = torch.Generator().manual_seed(seed)

    def pick(low, high):
        return int(torch.randint(low, high, (1,), generator=generator))

    lengths = [pick(1, 7) for _ in range(pick(1, 5))]
    width = pick(2, 9)
    pairs = random_pairs(lengths, pick(1, 8), width, seed)
    if seed % 3 == 0:
        shape = (*pairs.tokens.shape[:2], pairs.patches.shape[1])
        mask = torch.rand(*shape, generator=generator) < 0.4
        pairs = dataclasses.replace(pairs, patch_mask=mask)
    mgca = objective(width, seed)
    losses, slow = mgca(pairs), slow_losses(mgca, pairs)
    assert tuple(losses) == PARTS
    for part in PARTS:
        assert_close(losses[part], slow[part])
    inputs = everything(mgca, pairs)
    for got, wanted in zip(
        of_total(losses, inputs), of_total(slow, inputs), strict=True
    ):
        assert_close(got, wanted)


@pytest.mark.parametrize(('lengths', 'patches'), [([1], 1), ([1, 1], 3)])
def test_one_token_or_one_patch_has_nothing_to_tell_apart(lengths, patches):
    pairs = random_pairs(lengths, patches)
    mgca = objective()
    losses = mgca(pairs)
    slow = slow_losses(mgca, pairs)
    assert_close(losses['loss_local'], slow['loss_local'])
    gradients = of_total(losses, everything(mgca, pairs))
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize('filling', [0.0, 1e4, float('nan'), float('inf')])
def test_what_stands_in_the_padding_changes_nothing(filling):
    pairs, mgca = random_pairs([4, 2, 1]), objective()
    before = mgca(pairs)
    tokens = pairs.tokens.detach().clone()
    tokens[~pairs.token_mask] = filling
    after = mgca(dataclasses.replace(pairs, tokens=tokens.requires_grad_()))
    for part in PARTS:
        assert torch.equal(before[part], after[part])
    sum(after.values()).backward()
    assert (tokens.grad[~pairs.token_mask] == 0).all()
    assert tokens.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in mgca.parameters())


def test_a_caption_without_real_tokens_counts_as_zero():
    pairs, mgca = random_pairs([3, 2]), objective()
    mask = pairs.token_mask.clone()
    mask[1] = False
    losses = mgca(dataclasses.replace(pairs, token_mask=mask))
    alone = dataclasses.replace(
        pairs,
        **{
            name: getattr(pairs, name)[:1]
            for name in ('patches', 'image', 'tokens', 'text', 'token_mask')
        },
    )
    torch.testing.assert_close(
        losses['loss_local'], mgca(alone)['loss_local'] / 2
    )
    gradients = of_total(losses, everything(mgca, pairs))
    assert all(g.isfinite().all() for g in gradients)


def test_bf16_embeddings_under_autocast():
    pairs = random_pairs([6, 3, 1], 9, 64, dtype=torch.bfloat16)
    mgca = objective(64).float()
    with torch.autocast('cpu', torch.bfloat16):
        losses = mgca(pairs)
    wide = dataclasses.replace(
        pairs,
        **{
            name: getattr(pairs, name).detach().double()
            for name in ('patches', 'image', 'tokens', 'text', 'logit_scale')
        },
    )
    slow = slow_losses(objective(64), wide)
    for part in PARTS:
        assert losses[part].dtype == torch.float32
        torch.testing.assert_close(
            losses[part].double(), slow[part], rtol=2e-2, atol=1e-2
        )
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in mgca.parameters())


def test_weights_and_a_temperature_of_its_own():
    pairs = random_pairs([3, 2])
    mgca = objective(
        prototype_temperature=0.2,
        global_weight=2.0,
        local_weight=3.0,
        prototype_weight=4.0,
    )
    slow = slow_losses(mgca, pairs, torch.tensor(5.0).double())
    for part, weight in zip(PARTS, (2, 3, 4), strict=True):
        assert_close(mgca(pairs)[part], weight * slow[part])


def test_the_map_is_the_attention():
    pairs, mgca = random_pairs([3]), objective()
    weights = mgca.align(pairs.tokens, pairs.patches)
    assert_close(weights.sum(-1), torch.ones(1, 3).double())
    attention = mgca.tokens_to_patches
    value = pairs.patches[0] @ attention.value.weight.T
    gathered = weights[0] @ value @ attention.out.weight.T
    torch.testing.assert_close(
        gathered, attended(attention, pairs.tokens[0], pairs.patches[0])
    )


def test_assignments_are_even_and_add_up():
    near = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    codes = sinkhorn(near.double() / 4, 0.05, 30)
    assert_close(codes.sum(1), torch.ones(60).double())
    torch.testing.assert_close(
        codes.sum(0), torch.full((6,), 10.0).double(), rtol=0.01, atol=0
    )
    few = sinkhorn(near.double() / 4, 0.05, 3)
    torch.testing.assert_close(few, slow_codes(near.double() / 4))
    sharp = sinkhorn(near, 1e-4, 3)
    assert sharp.isfinite().all()


def test_lengths_of_prototypes_mean_nothing():
    torch.manual_seed(0)
    prototypes = Prototypes(4, 5).double()
    image, text = torch.randn(2, 6, 4, dtype=torch.float64)
    scale = torch.tensor(5.0)
    before = prototypes(image, text, scale)
    with torch.no_grad():
        prototypes.directions.mul_(torch.rand(5, 1) + 0.5)
    assert_close(prototypes(image, text, scale), before)


def test_memory_grows_linearly_with_the_batch():
    def kept(batch):
        pairs = random_pairs([8] * batch, 16, 16, dtype=torch.float32)
        mgca, one = objective(16).float(), torch.ones(1, 16)
        sizes = []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.append(t.numel()) or t, lambda t: t
        )
        with hooks:
            mgca._local_loss(dataclasses.replace(pairs, image=one, text=one))
            mgca.prototypes(pairs.image, pairs.text, pairs.logit_scale)
        return sum(sizes), max(sizes)

    (small, small_max), (large, large_max) = kept(4), kept(32)
    assert large <= 8.1 * small
    assert large_max <= 8 * small_max


def test_every_parameter_of_a_model_is_trained():
    cfg = dict(type='MGCA', embed_dims=8, attention_dims=4, prototypes=5)
    model = build(model_cfg(objective=cfg))
    losses = model(torch.randn(3, 3, 32, 32), captions([4, 2, 5]), mode='loss')
    total, log = model.parse_losses(losses)
    assert set(PARTS) <= set(log)
    total.backward()
    missing = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert missing == []


@pytest.mark.parametrize(
    ('options', 'says'),
    [
        (dict(attention_dims=0), 'attention_dims'),
        (dict(prototype_temperature=0.0), 'above 0'),
        (dict(prototypes=0), 'at least 1'),
        (dict(epsilon=0.0), 'epsilon above 0'),
    ],
)
def test_wrong_options_are_said(options, says):
    with pytest.raises(ValueError, match=says):
        objective(**options)


def test_another_width_is_said():
    with pytest.raises(ValueError, match='objective.embed_dims=8'):
        objective(16)(random_pairs([2]))


def own_share(sizes):
    """What one process finds, its gradients as DDP would average them."""
    start = sum(sizes[: dist.get_rank()])
    stop = start + sizes[dist.get_rank()]
    pairs, mgca = share(random_pairs(LENGTHS), start, stop), objective()
    losses = mgca(pairs)
    gradients = of_total(losses, everything(mgca, pairs))
    world = dist.get_world_size()
    return (
        torch.stack([loss.detach() for loss in losses.values()]),
        [gradient / world for gradient in gradients],
    )


@pytest.mark.parametrize('sizes', [[4, 1], [2, 1, 2]])
def test_processes_equal_the_joined_batch(sizes):
    joined, mgca = random_pairs(LENGTHS), objective()
    losses = mgca(joined)
    expected = of_total(losses, everything(mgca, joined))
    found = run_processes(len(sizes), own_share, sizes)
    values, gradients = zip(*found, strict=True)
    torch.testing.assert_close(
        torch.stack(values).mean(0), torch.stack(list(losses.values()))
    )
    for place, wanted in enumerate(expected):
        parts = [own[place] for own in gradients]
        got = torch.cat(parts) if place < 4 else sum(parts)
        assert_close(got, wanted)
