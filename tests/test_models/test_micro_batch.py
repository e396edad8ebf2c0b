"""Micro-batches of the encoders against the whole batch at once."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from sparc_vlm.models import micro_batch, objectives
from sparc_vlm.models.micro_batch import (
    in_micro_batches,
    micro_batches,
    split_tokens,
)
from sparc_vlm.registry import MODELS
from sparc_vlm.structures import TokenBatch
from tests.test_models.tiny_models import (
    TEXT,
    VIT,
    assert_same,
    build,
    captions,
    gradients,
    model_cfg,
    objective_cfg,
)

LENGTHS = [4, 2, 5, 1, 3, 2, 9]


def pretrainer(name='SPARC', dtype=torch.float64, **changes):
    cfg = model_cfg(objective=objective_cfg(name), **changes)
    return build(cfg).to(dtype).train()


def pixels(count=7, dtype=torch.float64):
    torch.manual_seed(5)
    return torch.randn(count, 3, 32, 32).to(dtype)


def marked(lengths):
    """Begin and end marks around captions of three tokens and more."""
    real = [[0 < i < n - 1 or n < 3 for i in range(n)] for n in lengths]
    return captions(lengths, real=real)


def losses_and_gradients(model, images, tokens, seed=3, half=False):
    torch.manual_seed(seed)
    with torch.autocast('cpu', torch.bfloat16, enabled=half):
        losses = model(images, tokens, mode='loss')
    total, _ = model.parse_losses(losses)
    found = {key: value.detach() for key, value in losses.items()}
    return found, gradients(model, total)


@pytest.mark.parametrize('recompute', [False, True])
@pytest.mark.parametrize('size', [1, 3, 7, 100])
@pytest.mark.parametrize('name', objectives.__all__)
def test_losses_and_gradients_are_those_of_the_whole_batch(
    name, size, recompute
):
    """7 pairs, so that a last micro-batch of 3 holds one."""
    layers = dict(
        vision=VIT | dict(with_cp=recompute),
        text=TEXT | dict(with_cp=recompute),
    )
    whole = losses_and_gradients(
        pretrainer(name, **layers), pixels(), marked(LENGTHS)
    )
    parts = losses_and_gradients(
        pretrainer(name, micro_batch=size, **layers),
        pixels(),
        marked(LENGTHS),
    )
    assert whole[1]
    for mine, slow in zip(parts, whole, strict=True):
        assert_same(mine, slow)


@pytest.mark.parametrize('name', objectives.__all__)
def test_float32_too(name):
    data = pixels(dtype=torch.float32), marked(LENGTHS)
    whole = losses_and_gradients(pretrainer(name, torch.float32), *data)
    parts = losses_and_gradients(
        pretrainer(name, torch.float32, micro_batch=3), *data
    )
    assert_same(parts[0], whole[0])
    assert_same(parts[1], whole[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('name', objectives.__all__)
def test_bf16_autocast_is_as_close_as_at_once(name):
    exact = losses_and_gradients(pretrainer(name), pixels(), marked(LENGTHS))

    def errors(size):
        model = pretrainer(name, torch.float32, micro_batch=size)
        data = pixels(dtype=torch.float32), marked(LENGTHS)
        found = losses_and_gradients(model, *data, half=True)[1]
        assert all(g.dtype == torch.float32 for g in found.values())
        return torch.stack(
            [(found[k] - g).norm() / g.norm() for k, g in exact[1].items()]
        )

    assert errors(2).mean() < 1.5 * errors(None).mean()


def test_gradients_of_many_micro_batches_meet_in_float32():
    """In 16 bits a sum of ones stops at 256."""
    layer = nn.Linear(4, 1, bias=False)
    with torch.autocast('cpu', torch.bfloat16):
        (values,) = in_micro_batches(
            lambda rows: (layer(rows),), torch.ones(600, 4), [1] * 600
        )
    assert values.dtype == torch.bfloat16
    values.float().sum().backward()
    assert layer.weight.grad.tolist() == [[600.0] * 4]


DROPPED = VIT | dict(patch_drop_rate=0.5)


@pytest.mark.parametrize('sizes', [[2, 2, 2, 1], [3, 2, 2]])
def test_each_micro_batch_drops_its_own_patches_and_the_same_again(sizes):
    """The twin encodes them one by one, keeps everything, and joins them."""
    tokens, images = marked(LENGTHS), pixels()
    model = pretrainer(vision=DROPPED, micro_batch=sizes[0])
    losses, found = losses_and_gradients(model, images, tokens)

    twin = pretrainer(vision=DROPPED)
    torch.manual_seed(3)
    seen = [twin.vision.forward_patches(part) for part in images.split(sizes)]
    pieces = iter(seen)

    def once(_):
        joined = [part.values for part in seen]
        return next(pieces)._replace(values=torch.cat(joined))

    twin.vision.forward_patches = once
    slow = twin(images, tokens, mode='loss')
    assert_same(losses, {k: v.detach() for k, v in slow.items()})
    assert_same(found, gradients(twin, twin.parse_losses(slow)[0]))


def test_patch_masks_follow_the_patches_of_each_micro_batch():
    model = pretrainer(vision=DROPPED, micro_batch=3)
    mask = torch.rand(7, 9, 16) > 0.5
    torch.manual_seed(3)
    parts = pixels().split([3, 2, 2])
    kept = torch.cat([model.vision.forward_patches(p).kept for p in parts])
    torch.manual_seed(3)
    pairs = model(pixels(), marked(LENGTHS), mask)
    for i, places in enumerate(kept):
        assert torch.equal(pairs.patch_mask[i], mask[i][:, places])


def test_bytes_are_normalised_in_the_model():
    raw = torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8)
    tokens = marked(LENGTHS)
    found = []
    for size in (None, 2):
        model = pretrainer(dtype=torch.float32, micro_batch=size)
        data = model.data_preprocessor(dict(images=raw, tokens=tokens), True)
        assert (data['images'].dtype == torch.uint8) == (size is not None)
        found.append(losses_and_gradients(model, data['images'], tokens)[0])
    assert_same(*found)


def test_tokens_are_cut_whole_captions_at_a_time():
    tokens = marked(LENGTHS)
    parts = split_tokens(tokens, [3, 3, 1])
    assert [part.lengths.tolist() for part in parts] == [
        [4, 2, 5],
        [1, 3, 2],
        [9],
    ]
    assert torch.equal(torch.cat([p.ids for p in parts]), tokens.ids)
    assert torch.equal(torch.cat([p.real for p in parts]), tokens.real)
    plain = split_tokens(tokens._replace(real=None), [3, 3, 1])
    assert all(part.real is None for part in plain)
    assert all(isinstance(part, TokenBatch) for part in plain)


@pytest.mark.parametrize(
    ('everywhere', 'size', 'wanted'),
    [
        ([7], 3, [3, 2, 2]),
        ([7], 7, [7]),
        ([7], 100, [7]),
        ([7], 1, [1] * 7),
        ([4, 7], 3, [2, 1, 1]),
        ([7, 4], 3, [3, 2, 2]),
        ([7, 2], 1, [4, 3]),
    ],
)
def test_processes_have_as_many_micro_batches_as_each_other(
    everywhere, size, wanted, monkeypatch
):
    monkeypatch.setattr(micro_batch, 'process_sizes', lambda *_: everywhere)
    assert micro_batches(everywhere[0], size, None) == wanted


class Peak(TorchDispatchMode):
    """The most bytes that tensors made under it take up at a time."""

    def __init__(self):
        super().__init__()
        self.sizes = {}
        self.now = self.most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        outputs = function(*args, **(kwargs or {}))
        torch.utils._pytree.tree_map_only(torch.Tensor, self.note, outputs)
        return outputs

    def note(self, tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in self.sizes:
            self.sizes[storage._cdata] = storage.nbytes()
            weakref.finalize(storage, self.forget, storage._cdata)
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)

    def forget(self, key):
        self.now -= self.sizes.pop(key)


def peak(size, batch, name):
    """Bytes of one forward and backward, gradients included."""
    model = pretrainer(name, torch.float32, micro_batch=size)
    images = pixels(batch, torch.float32)
    tokens = captions([6] * batch)
    with Peak() as mode:
        model.parse_losses(model(images, tokens, mode='loss'))[0].backward()
    return mode.most


@pytest.mark.parametrize('name', ['CLIP', 'SPARC'])
def test_memory_goes_by_the_micro_batch(name):
    """What a pair more costs: its activations, or its embeddings alone."""
    few, many = peak(4, 16, name), peak(4, 32, name)
    whole = (peak(None, 16, name) - peak(None, 8, name)) / 8
    assert (many - few) / 16 < 0.2 * whole
    bigger = (peak(8, 16, name) - few) / 4
    assert 0.5 * whole < bigger < 1.2 * whole


def test_outside_of_training_the_batch_is_encoded_at_once():
    model = pretrainer(micro_batch=2).eval()
    calls = []
    model.text.register_forward_hook(lambda *_: calls.append(1))
    model(pixels(), marked(LENGTHS))
    assert len(calls) == 1


def test_batch_statistics_are_refused():
    backbone = dict(
        type='ResNet', depth=18, out_indices=(3,), norm_cfg=dict(type='BN')
    )
    vision = dict(type='MMPretrainVision', backbone=backbone)
    with pytest.raises(ValueError, match=r'micro_batch: vision\.backbone\.bn'):
        MODELS.build(model_cfg(vision=vision, micro_batch=2))
    frozen = MODELS.build(
        model_cfg(vision=vision | dict(frozen=True), micro_batch=2)
    )
    assert isinstance(frozen.vision.backbone.bn1, nn.BatchNorm2d)


def test_a_micro_batch_of_nothing_is_refused():
    with pytest.raises(ValueError, match='micro_batch must be at least 1'):
        pretrainer(micro_batch=0)
