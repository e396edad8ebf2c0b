"""Attention in windows against global attention and a loop over windows."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch.utils.checkpoint import checkpoint

from sparc_vlm.engine.sharding import wrap_layers
from sparc_vlm.models import SparcViT
from sparc_vlm.models.encoders import vision
from sparc_vlm.models.encoders.windows import Windows
from tests.test_models.tiny_models import ARCH, assert_same, build, gradients

FIVE = ARCH | dict(num_layers=5)
NONE_GLOBAL = dict(global_layers=())


def vit(**changes):
    cfg = dict(type='SparcViT', arch=ARCH, img_size=32, patch_size=8)
    return build(cfg | changes).double()


def images(rows=4, columns=4, count=2):
    torch.manual_seed(7)
    return torch.randn(count, 3, 8 * rows, 8 * columns, dtype=torch.float64)


def by_loops(model, pixels):
    """The last layer's patches; each window is cut out by itself."""
    tokens, (rows, columns) = model._embed(pixels)
    grid = tokens.view(len(pixels), rows, columns, -1)
    for index, layer in enumerate(model.layers):
        side = max(rows, columns)
        if index in model.windowed_layers:
            side = model.window_size
        normed, attended = layer.ln1(grid), torch.zeros_like(grid)
        for top in range(0, rows, side):
            for left in range(0, columns, side):
                here = slice(top, top + side), slice(left, left + side)
                window = normed[:, here[0], here[1]]
                attended[:, here[0], here[1]] = (
                    attention(layer.attn, window.flatten(1, 2))
                ).view_as(window)
        grid = layer.ffn(layer.ln2(grid + attended), identity=grid + attended)
    return model.ln1(grid).flatten(1, 2)


def attention(module, tokens):
    """Softmax attention, one head at a time."""
    heads = []
    query, key, value = module.qkv(tokens).chunk(3, -1)
    width = module.head_dims
    for start in range(0, module.embed_dims, width):
        q, k, v = (x[..., start : start + width] for x in (query, key, value))
        weights = (q @ k.transpose(1, 2) / width**0.5).softmax(-1)
        heads.append(weights @ v)
    return module.proj(torch.cat(heads, -1))


def agree(model, other, pixels):
    """Values and gradients of the last layer's patches are the same."""
    values = model.forward_patches(pixels).values
    wanted = other.forward_patches(pixels).values
    torch.testing.assert_close(values, wanted)
    assert_same(
        gradients(model, values.pow(2).sum()),
        gradients(other, wanted.pow(2).sum()),
    )


# the cut


@pytest.mark.parametrize('size', [1, 2, 3, 5, 0])
@pytest.mark.parametrize('grid', [(4, 4), (5, 7), (2, 9), (3, 1)])
def test_windows_are_cut_and_joined(grid, size):
    tokens = torch.arange(2 * grid[0] * grid[1]).view(2, -1, 1)
    windows = Windows(grid, size)
    cut = windows.cut(tokens)
    assert torch.equal(windows.join(cut), tokens)
    found = {
        tuple(window.flatten().tolist())
        for block in windows.split(cut)
        for window in block
    }
    pictures, side = tokens.view(2, *grid), size or max(grid)
    assert found == {
        tuple(picture[top : top + side, left : left + side].flatten().tolist())
        for picture in pictures
        for top in range(0, grid[0], side)
        for left in range(0, grid[1], side)
    }


# what must be the same


@pytest.mark.parametrize('size', [4, 5, 14])
def test_a_window_over_the_grid_is_global_attention(size):
    windowed = vit(window_size=size, **NONE_GLOBAL)
    assert windowed.windowed_layers == {0, 1, 2}
    agree(windowed, vit(), images())


def test_a_small_picture_in_a_window_is_global_attention():
    agree(vit(window_size=5, **NONE_GLOBAL), vit(), images(3, 5))


@pytest.mark.parametrize('layers', [(0, 1, 2), (-1, -2, 0), None])
def test_all_layers_global_is_no_window(layers):
    windowed = vit(window_size=3, global_layers=layers)
    assert windowed.windowed_layers == set()
    agree(windowed, vit(), images())


@pytest.mark.parametrize('layers', [(), (0,), (1,), (-1,), (0, 2)])
@pytest.mark.parametrize('grid', [(4, 4), (5, 7), (6, 3), (1, 8)])
def test_agrees_with_a_loop_over_windows(grid, layers):
    model = vit(window_size=3, global_layers=layers)
    pixels = images(*grid).requires_grad_()
    values = model.forward_patches(pixels).values
    wanted = by_loops(model, pixels)
    torch.testing.assert_close(values, wanted)
    for mine, theirs in zip(
        torch.autograd.grad(values.square().sum(), pixels),
        torch.autograd.grad(wanted.square().sum(), pixels),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)
    assert_same(
        gradients(model, model.forward_patches(pixels).values.pow(2).sum()),
        gradients(model, by_loops(model, pixels).pow(2).sum()),
    )


def test_maps_of_all_layers_are_in_reading_order():
    model = vit(window_size=3, global_layers=(1,), out_indices=(0, 1, 2))
    pixels = images(5, 7)
    maps = model(pixels)
    assert [tuple(m.shape) for m in maps] == [(2, 16, 5, 7)] * 3
    for layers, output in enumerate(maps, 1):
        short = vit(window_size=3, global_layers=(1,))
        short.load_state_dict(model.state_dict())
        short.layers = short.layers[:layers]
        if layers < 3:
            short.ln1 = torch.nn.Identity()
        wanted = by_loops(short, pixels)
        torch.testing.assert_close(output.flatten(2).mT, wanted)


# what sees what


def reach(model, grid, place):
    """(rows, columns) whether a patch changes when one pixel does."""
    pixels = images(*grid, count=1)
    with torch.no_grad():
        before = model(pixels)[0]
        pixels[0, 0, 8 * place[0], 8 * place[1]] += 1
        return (model(pixels)[0] != before).any(1)[0]


@pytest.mark.parametrize(
    ('place', 'window'),
    [
        ((0, 0), (slice(0, 3), slice(0, 3))),
        ((4, 5), (slice(3, 6), slice(3, 6))),
        ((1, 6), (slice(0, 3), slice(6, 8))),  # at the right edge
        ((6, 2), (slice(6, 7), slice(0, 3))),  # at the lower edge
        ((6, 7), (slice(6, 7), slice(6, 8))),  # the corner
    ],
)
def test_nothing_crosses_windows_but_in_a_global_layer(place, window):
    inside = torch.zeros(7, 8, dtype=torch.bool)
    inside[window] = True
    closed = vit(window_size=3, **NONE_GLOBAL)
    assert torch.equal(reach(closed, (7, 8), place), inside)
    for layer in range(3):
        one_open = vit(window_size=3, global_layers=(layer,))
        assert reach(one_open, (7, 8), place).all()


def test_what_is_padded_to_whole_patches_stays_inside_its_window():
    """Only pixels are padded, never the grid: the rest is as if alone."""
    model = vit(window_size=2, **NONE_GLOBAL)
    with torch.no_grad():
        model.pos_embed.zero_()
    pixels = images(5, 5)[..., :37, :38]
    alone = model(pixels[..., :32, :32])[0]
    torch.testing.assert_close(model(pixels)[0][..., :4, :4], alone)
    corner = model(pixels[..., 32:, 32:])[0]
    torch.testing.assert_close(model(pixels)[0][..., 4:, 4:], corner)


# beside the other options


def test_weights_have_the_same_keys_and_a_checkpoint_loads(tmp_path):
    source = vit().float()
    state = {f'vision.{k}': v for k, v in source.state_dict().items()}
    save_file(state, tmp_path / 'model.safetensors')
    init_cfg = dict(
        type='Pretrained', checkpoint=str(tmp_path), prefix='vision.'
    )
    target = SparcViT(ARCH, 32, 8, window_size=3, init_cfg=init_cfg)
    target.init_weights()
    assert_same(target.state_dict(), source.state_dict(), rtol=0, atol=0)


def test_with_frozen_layers_and_checkpoints(monkeypatch):
    options = dict(arch=FIVE, window_size=3, global_layers=(1, 3))
    plain = vit(**options).train()
    model = vit(**options, frozen_stages=2, with_cp=True).train()
    calls = []

    def counting(*args, **kwargs):
        calls.append(args[0])
        return checkpoint(*args, **kwargs)

    monkeypatch.setattr(vision, 'checkpoint', counting)
    pixels = images(5, 4)
    values = model.forward_patches(pixels).values
    assert calls == list(model.layers)
    # another size in between: what is recomputed is of the first
    model.forward_patches(images(4, 7))
    found = gradients(model, values.pow(2).sum())
    wanted = gradients(
        plain, plain.forward_patches(pixels).values.pow(2).sum()
    )
    assert {n for n in wanted if n not in found} == {
        name
        for name in wanted
        if name.startswith(
            ('patch_embed', 'pos_embed', 'layers.0', 'layers.1')
        )
    }
    assert_same(found, {name: wanted[name] for name in found})


def test_stochastic_depth_drops_a_layer_for_a_whole_picture():
    model = vit(window_size=2, drop_path_rate=0.5, **NONE_GLOBAL).train()
    pixels = images(1, 1, count=1).expand(16, 3, 8, 8).repeat(1, 1, 4, 4)
    with torch.no_grad():
        model.pos_embed.zero_()
        # equal pictures of equal patches: what differs is what was dropped
        values = model.forward_patches(pixels).values
    assert (values - values[:, :1]).abs().max() < 1e-9
    assert len({round(picture[0, 0].item(), 6) for picture in values}) > 1


def test_bf16_autocast_is_close():
    model = vit(window_size=3, global_layers=(1,)).float()
    pixels = images(5, 4).float()
    wanted = model.forward_patches(pixels).values
    with torch.autocast('cpu', torch.bfloat16):
        values = model.forward_patches(pixels).values
    assert (values.float() - wanted).norm() / wanted.norm() < 0.03


def test_layers_are_shared_out_by_fsdp():
    model = vit(window_size=3, global_layers=(1,))
    assert all(wrap_layers(layer, False, 0) for layer in model.layers)


@pytest.mark.parametrize(
    ('count', 'layers'),
    [
        (12, {2, 5, 8, 11}),
        (24, {5, 11, 17, 23}),
        (6, {1, 2, 4, 5}),
        (5, {1, 2, 3, 4}),
        (3, {0, 1, 2}),
    ],
)
def test_global_layers_are_spread_evenly(count, layers):
    with torch.device('meta'):
        model = SparcViT(ARCH | dict(num_layers=count), window_size=14)
    assert set(range(count)) - model.windowed_layers == layers


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(window_size=-1), 'window_size must be a number of patches'),
        (dict(window_size=2, global_layers=(3,)), 'below the 3 layers, got 3'),
        (dict(global_layers=(-4,)), 'below the 3 layers, got -4'),
        (dict(window_size=2, patch_drop_rate=0.5), 'windows need every patch'),
    ],
)
def test_wrong_arguments_are_named(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        vit(**changes)
    assert '\n' not in str(error.value)


# what it is for


def test_scores_of_a_large_picture_are_few(monkeypatch):
    """40 x 28 patches in windows of 14: weights fall to less than a fifth."""
    counts = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def counting(query, key, value, **options):
        counts.append(query[..., 0].numel() * key.shape[-2])
        return attend(query, key, value, **options)

    monkeypatch.setattr(
        torch.nn.functional, 'scaled_dot_product_attention', counting
    )
    weights = {}
    for size in (0, 14):
        counts.clear()
        model = vit(window_size=size, **NONE_GLOBAL).float()
        with torch.no_grad():
            (output,) = model(images(40, 28, count=1).float())
        assert output.shape == (1, 16, 40, 28)
        weights[size] = sum(counts)
    heads, layers = 2, 3
    assert weights[0] == layers * heads * 1120**2
    whole, lower = 4 * 196**2, 2 * (12 * 14) ** 2
    assert weights[14] == layers * heads * (whole + lower)
    assert weights[14] < weights[0] / 5
