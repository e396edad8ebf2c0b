"""Attention inside windows, for pictures of many patches.

ViTDet (arXiv 2203.16527) lets most layers see only windows of a picture, and
a few all of it. Global attention does not care in which order the patches
stand: so they are put in the order of windows once, ahead of all layers, and
back into reading order only in what leaves the encoder. Where windows do not
fill the grid, those at its lower and right edge are smaller; ViTDet pads the
grid instead, and its patches attend to the padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmpretrain.models.backbones.vision_transformer import (
    TransformerEncoderLayer,
)
from torch import Tensor

from sparc_vlm.errors import UsageError
from sparc_vlm.models.attention import PatchAttention

DEFAULT_GLOBAL = 4
"""Layers that see the whole picture where none are named, as in ViTDet."""


class _Block(NamedTuple):
    """Windows of one size: so many down and across, of so many patches."""

    down: int
    across: int
    height: int
    width: int


class Windows:
    """How a grid of patches is cut into windows, and put together again.

    Up to four blocks of windows of one size: the whole ones, those at the
    right edge, those at the lower edge, and the corner. In the order of
    windows, the patches of a window follow each other, and so do the windows
    of a block.

    Args:
        grid: Rows and columns of patches.
        size: Patches a side of a window, 0 for one window over all.
    """

    def __init__(self, grid: tuple[int, int], size: int) -> None:
        self._grid = grid
        self._bands, self._strips = (_parts(side, size) for side in grid)
        self._blocks = [
            _Block(down, across, height, width)
            for down, height in self._bands
            for across, width in self._strips
        ]
        self._is_one = self._blocks == [(1, 1, *grid)]

    def cut(self, tokens: Tensor) -> Tensor:
        """(B, P, C) from reading order into the order of windows.

        Args:
            tokens: Patches in reading order.
        """
        if self._is_one:
            return tokens
        bands = tokens.unflatten(1, self._grid).split(_sides(self._bands), 1)
        pieces = [
            piece
            for band in bands
            for piece in band.split(_sides(self._strips), 2)
        ]
        return torch.cat(
            [
                piece.unflatten(2, (block.across, block.width))
                .unflatten(1, (block.down, block.height))
                .transpose(2, 3)
                .flatten(1, 4)
                for piece, block in zip(pieces, self._blocks, strict=True)
            ],
            1,
        )

    def join(self, tokens: Tensor) -> Tensor:
        """(B, P, C) from the order of windows back into reading order.

        Args:
            tokens: Patches in the order of windows.
        """
        if self._is_one:
            return tokens
        pieces = [
            part.unflatten(1, block)
            .transpose(2, 3)
            .flatten(3, 4)
            .flatten(1, 2)
            for part, block in self._by_block(tokens)
        ]
        count = len(self._strips)
        bands = [
            torch.cat(pieces[start : start + count], 2)
            for start in range(0, len(pieces), count)
        ]
        return torch.cat(bands, 1).flatten(1, 2)

    def split(self, tokens: Tensor) -> list[Tensor]:
        """One (B * windows, patches of a window, C) for each size of window.

        Args:
            tokens: (B, P, C) in the order of windows.
        """
        return [
            part.unflatten(1, (block.down * block.across, -1)).flatten(0, 1)
            for part, block in self._by_block(tokens)
        ]

    def _by_block(self, tokens: Tensor) -> list[tuple[Tensor, _Block]]:
        counts = [b.down * b.across * b.height * b.width for b in self._blocks]
        return list(zip(tokens.split(counts, 1), self._blocks, strict=True))


class WindowAttention(PatchAttention):
    """Attention inside each window, with the same parameters."""

    def forward(self, tokens: Tensor, windows: Windows) -> Tensor:
        """(B, P, C) in, (B, P, C) out, both in the order of windows.

        Args:
            tokens: Patches of B images.
            windows: How their grid was cut.
        """
        mixed = [
            self.mix(part).reshape(len(tokens), -1, self.embed_dims)
            for part in windows.split(self.qkv(tokens))
        ]
        return self.leave(torch.cat(mixed, 1))


class WindowedLayer(TransformerEncoderLayer):
    """mmpretrain's layer, with attention inside each window.

    All but the attention sees the picture as a whole, so that stochastic
    depth drops a layer for a picture, not for some of its windows.
    """

    def forward(self, tokens: Tensor, windows: Windows) -> Tensor:
        """(B, P, C) in, (B, P, C) out, both in the order of windows.

        Args:
            tokens: Patches of B images.
            windows: How their grid was cut.
        """
        tokens = tokens + self.attn(self.ln1(tokens), windows)
        return self.ffn(self.ln2(tokens), identity=tokens)


def use_windows(
    layers: Sequence[TransformerEncoderLayer],
    window_size: int,
    global_layers: Sequence[int] | None = None,
) -> frozenset[int]:
    """Makes layers attend inside windows; their parameters stay as they are.

    Args:
        layers: All layers of the transformer; changed in place.
        window_size: Patches a side, 0 for global attention in all of them.
        global_layers: Those that see the whole picture, negative ones
            counted from the last; None for the last layer of each quarter.

    Returns:
        Indices of those that now take `windows`.

    Raises:
        ValueError: A window of less than no patches, or a layer that is not
            there.
    """
    count = len(layers)
    if window_size < 0:
        raise UsageError(
            'window_size must be a number of patches a side, or 0 for none, '
            f'got {window_size}'
        )
    if global_layers is None:
        quarters = range(1, DEFAULT_GLOBAL + 1)
        global_layers = [-(-count * q // DEFAULT_GLOBAL) - 1 for q in quarters]
    for index in global_layers:
        if not -count <= index < count:
            raise UsageError(
                f'global_layers must be below the {count} layers, got {index}'
            )
    if not window_size:
        return frozenset()
    windowed = set(range(count)) - {index % count for index in global_layers}
    for index in windowed:
        layers[index].__class__ = WindowedLayer
        layers[index].attn.__class__ = WindowAttention
    return frozenset(windowed)


def _parts(side: int, size: int) -> list[tuple[int, int]]:
    """How many windows of how many patches stand along a side of the grid."""
    if not 0 < size < side:
        return [(1, side)]
    whole, rest = divmod(side, size)
    return [(whole, size), (1, rest)] if rest else [(whole, size)]


def _sides(parts: list[tuple[int, int]]) -> list[int]:
    return [count * size for count, size in parts]
