"""The packed text encoder against one caption at a time."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from sparc_vlm.models import attention
from sparc_vlm.models.packing import pack_by_length
from sparc_vlm.structures import TokenBatch
from tests.test_models.tiny_models import (
    TEXT,
    assert_same,
    build,
    captions,
    gradients,
)


def encoder(**changes):
    return build(TEXT | changes).double()


def one_caption(model, ids):
    """The same transformer on one caption, written out."""
    x = model.token_embed.weight[ids] + model.pos_embed.weight[: len(ids)]
    for layer in model.layers:
        normed = F.layer_norm(
            x, x.shape[-1:], layer.norm1.weight, layer.norm1.bias
        )
        qkv = normed @ layer.qkv.weight.T + layer.qkv.bias
        heads = [
            part.view(len(ids), layer.num_heads, -1).transpose(0, 1)
            for part in qkv.chunk(3, dim=-1)
        ]
        mixed = F.scaled_dot_product_attention(*heads)
        mixed = mixed.transpose(0, 1).reshape(len(ids), -1)
        x = x + mixed @ layer.proj.weight.T + layer.proj.bias
        normed = F.layer_norm(
            x, x.shape[-1:], layer.norm2.weight, layer.norm2.bias
        )
        x = x + layer.mlp(normed)
    return F.layer_norm(
        x, x.shape[-1:], model.final_norm.weight, model.final_norm.bias
    )


def twin(model, tokens):
    parts = tokens.ids.split(tokens.lengths.tolist())
    return torch.cat([one_caption(model, ids) for ids in parts])


@pytest.mark.parametrize(
    'lengths',
    [
        [5],
        [1],
        [1, 1, 1],
        [9, 1, 4, 4, 2, 9, 1],
        [3, 3, 3, 3],
        [2, 7, 5, 1, 8, 6, 3, 9, 4],
    ],
)
def test_agrees_with_one_caption_at_a_time(lengths):
    model, tokens = encoder(), captions(lengths)
    output, wanted = model(tokens), twin(model, tokens)
    assert output.shape == (sum(lengths), 12)
    torch.testing.assert_close(output, wanted)
    weights = torch.linspace(-1, 2, output.numel()).view_as(output)
    assert_same(
        gradients(model, (output * weights).sum()),
        gradients(model, (wanted * weights).sum()),
    )


def by_bounds(query, key, value, bounds, key_bounds, longest, _):
    """What the kernel for many lengths does, one caption at a time."""
    assert bounds is key_bounds
    sizes = bounds.diff().tolist()
    assert max(sizes) == longest
    parts = zip(*(x.split(sizes) for x in (query, key, value)), strict=True)
    mixed = [
        F.scaled_dot_product_attention(*(x.transpose(0, 1) for x in part))
        for part in parts
    ]
    return torch.cat([m.transpose(0, 1) for m in mixed])


@pytest.mark.parametrize('lengths', [[1], [9, 1, 4, 4, 2, 9, 1]])
def test_one_kernel_for_all_lengths_agrees(lengths, monkeypatch):
    model, tokens = encoder(), captions(lengths)
    wanted = model(tokens)
    monkeypatch.setattr(attention, '_in_one_kernel', lambda *_: True)
    monkeypatch.setattr(attention, 'varlen_attn', by_bounds)
    torch.testing.assert_close(model(tokens), wanted)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_flash_kernel_agrees_with_one_caption_at_a_time():
    torch.manual_seed(0)
    changes = dict(embed_dims=64, num_heads=4)
    model, tokens = encoder(**changes).cuda(), captions([9, 1, 4, 4, 2, 9])
    tokens = tokens._replace(ids=tokens.ids.cuda())
    wanted = twin(model, tokens)
    weights = torch.linspace(-1, 2, wanted.numel()).view_as(wanted).cuda()
    slow = gradients(model, (wanted * weights).sum())
    model.float()
    with torch.autocast('cuda', torch.bfloat16):
        output = model(tokens)
    fast = gradients(model, (output * weights).sum())
    assert (output - wanted).abs().max() < 0.05
    for name, gradient in slow.items():
        length = gradient.norm()
        assert (fast[name] - gradient).norm() < 0.05 * length + 1e-3, name


@pytest.mark.parametrize('seed', range(4))
def test_random_batches_agree(seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 10, (12,), generator=generator).tolist()
    model, tokens = encoder(), captions(lengths, seed)
    torch.testing.assert_close(model(tokens), twin(model, tokens))


def test_captions_do_not_see_each_other():
    model, tokens = encoder(), captions([4, 2, 4, 3])
    before = model(tokens)
    changed = tokens._replace(ids=tokens.ids.clone())
    changed.ids[4:6] -= 1
    after = model(changed)
    inside = torch.zeros(13, dtype=torch.bool)
    inside[4:6] = True
    assert torch.equal(after[~inside], before[~inside])
    assert not torch.isclose(after[inside], before[inside]).all(1).any()


def test_every_token_sees_the_whole_caption():
    model, tokens = encoder(), captions([5])
    changed = tokens._replace(ids=tokens.ids.clone())
    changed.ids[-1] -= 1
    moved = (model(changed) - model(tokens)).abs().amax(1)
    assert (moved > 1e-6).all()


def test_order_of_captions_and_of_words():
    model = encoder()
    tokens = TokenBatch.from_lists([[5, 6, 7], [8], [7, 6, 5]])
    swapped = TokenBatch.from_lists([[7, 6, 5], [8], [5, 6, 7]])
    left, right = model(tokens), model(swapped)
    torch.testing.assert_close(left[:3], right[4:])
    torch.testing.assert_close(left[3], right[3])
    assert not torch.allclose(left[0], left[6])


def test_token_zero_is_a_token_like_others():
    """Nothing is taken for padding by its id."""
    model = encoder()
    tokens = TokenBatch.from_lists([[0, 0], [3, 0, 4]])
    torch.testing.assert_close(model(tokens), twin(model, tokens))
    lone = TokenBatch.from_lists([[3, 4]])
    assert not torch.allclose(model(tokens)[2], model(lone)[0])


def test_a_caption_that_is_too_long():
    with pytest.raises(ValueError, match='10 tokens, but max_length is 9'):
        encoder()(captions([2, 10, 3]))


def test_heads_that_do_not_divide():
    with pytest.raises(ValueError, match='multiple of num_heads 5'):
        encoder(num_heads=5)


def test_checkpointing_gives_the_same_gradients():
    tokens = captions([5, 1, 5, 9])
    plain, recomputed = encoder().train(), encoder(with_cp=True).train()
    calls = []
    recomputed.layers[0].register_forward_pre_hook(lambda *_: calls.append(1))
    left, right = plain(tokens), recomputed(tokens)
    torch.testing.assert_close(left, right)
    assert_same(
        gradients(plain, left.pow(3).sum()),
        gradients(recomputed, right.pow(3).sum()),
    )
    assert len(calls) == 2


def test_bf16_autocast_is_close():
    model, tokens = encoder().float(), captions([5, 1, 5, 9])
    wanted = model(tokens)
    with torch.autocast('cpu', torch.bfloat16):
        output = model(tokens)
    assert (output.float() - wanted).norm() / wanted.norm() < 0.03


def test_starting_weights():
    torch.manual_seed(0)
    model = encoder()
    model.init_weights()
    assert model.token_embed.weight.std().item() == pytest.approx(0.02, 0.1)
    assert model.pos_embed.weight.std().item() == pytest.approx(0.01, 0.3)
    assert model.layers[0].qkv.weight.abs().max() < 0.2
    assert not model.layers[1].mlp[2].bias.any()


def test_layout():
    layout = pack_by_length(torch.tensor([2, 1, 2]), torch.device('cpu'))
    assert layout.bounds.tolist() == [0, 1, 3, 5]
    assert layout.bounds.dtype == torch.int32
    assert layout.longest == 2
    assert layout.order.tolist() == [2, 0, 1, 3, 4]
    assert layout.back.tolist() == [1, 2, 0, 3, 4]
    assert layout.places.tolist() == [0, 0, 1, 0, 1]
    assert [tuple(b) for b in layout.blocks] == [(1, 1, 1), (2, 2, 4)]
