"""Projectors agree with slow, obvious twins."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from sparc_vlm.errors import UsageError
from sparc_vlm.registry import MODELS
from tests.test_captioning.tiny_captioner import PROJECTORS


def build(kind, seed=0, **changes):
    torch.manual_seed(seed)
    cfg = PROJECTORS[kind] | changes
    return MODELS.build(dict(cfg, in_dims=8, out_dims=12)).double()


def patches(rows, columns, batch=2):
    torch.manual_seed(rows)
    return torch.randn(batch, rows * columns, 8, dtype=torch.float64)


@pytest.mark.parametrize('kind', PROJECTORS)
@pytest.mark.parametrize('grid', [(4, 4), (2, 6)])
def test_it_gives_as_many_tokens_as_it_says(kind, grid):
    projector = build(kind)
    tokens = projector(patches(*grid), grid)
    assert tokens.shape == (2, projector.num_tokens(grid), 12)
    tokens.sum().backward()
    for name, weights in projector.named_parameters():
        assert weights.grad is not None, name


def test_an_mlp_takes_each_patch_alone():
    projector = build('MLPProjector')
    given = patches(3, 3)
    tokens = projector(given, (3, 3))
    first, _, second = projector.layers
    for picture, row in zip(given, tokens, strict=True):
        for patch, token in zip(picture, row, strict=True):
            hidden = F.gelu(first.weight @ patch + first.bias)
            expected = second.weight @ hidden + second.bias
            torch.testing.assert_close(token, expected)


@pytest.mark.parametrize(('factor', 'grid'), [(2, (4, 6)), (3, (3, 6))])
def test_squares_of_patches_become_wide_ones(factor, grid):
    projector = build('PixelShuffleProjector', factor=factor)
    given = patches(*grid)
    tokens = projector(given, grid)
    rows, columns = grid
    for picture, row in zip(given, tokens, strict=True):
        square = picture.view(rows, columns, 8)
        expected = []
        for top in range(0, rows, factor):
            for left in range(0, columns, factor):
                wide = torch.cat(
                    [
                        square[top + down, left + right]
                        for down in range(factor)
                        for right in range(factor)
                    ]
                )
                normed = (wide - wide.mean()) / (
                    wide.var(unbiased=False) + 1e-5
                ).sqrt()
                expected.append(projector.mlp(normed, None))
        torch.testing.assert_close(row, torch.stack(expected))


def test_a_grid_that_squares_do_not_tile_is_refused():
    projector = build('PixelShuffleProjector')
    with pytest.raises(UsageError, match='4 x 5 patches .* squares of 2 x 2'):
        projector.num_tokens((4, 5))
    with pytest.raises(UsageError, match='choose another factor'):
        projector(patches(3, 4), (3, 4))
    with pytest.raises(UsageError, match='factor must be at least 1'):
        build('PixelShuffleProjector', factor=0)


def resampled(projector, patches):
    """A picture's (P, C) patches by Flamingo's appendix, head by head."""
    latents = projector.latents
    for layer in projector.layers:
        queries = layer.norm_latents(latents)
        seen = torch.cat([layer.norm_patches(patches), queries])
        query = layer.query(queries)
        key, value = layer.key_value(seen).tensor_split(2, -1)
        width = query.shape[1] // layer.num_heads
        heads = []
        for head in range(layer.num_heads):
            own = slice(head * width, (head + 1) * width)
            scores = query[:, own] @ key[:, own].T / math.sqrt(width)
            heads.append(scores.softmax(-1) @ value[:, own])
        latents = latents + layer.out(torch.cat(heads, -1))
        latents = latents + layer.feed_forward(latents)
    return projector.project(projector.norm(latents))


def test_a_resampler_reads_the_patches_into_its_latents():
    projector = build('PerceiverResampler', num_heads=2)
    given = patches(2, 3)
    tokens = projector(given, (2, 3))
    expected = torch.stack([resampled(projector, each) for each in given])
    torch.testing.assert_close(tokens, expected)
    # Positions are in the patches: it reads them as a set.
    turned = projector(given.flip(1), (2, 3))
    torch.testing.assert_close(turned, tokens)
    with pytest.raises(UsageError, match='at least 1'):
        build('PerceiverResampler', depth=0)
