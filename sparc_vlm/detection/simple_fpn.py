"""The neck that gives a plain transformer the pyramid detectors expect.

ViTDet (arXiv 2203.16527, section 3): all maps are made from the last one of
the backbone, finer ones by transposed convolutions and coarser ones by
pooling, with nothing handed on from one to another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from sparc_vlm.errors import UsageError
from sparc_vlm.registry import MODELS

CHANNEL_NORM = dict(type='mmpretrain.LN2d', eps=1e-6)
"""ViTDet's: over the channels of each place."""


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """ViTDet's simple feature pyramid.

    Strides for MMDetection's detectors, over patches of 16 pixels:

    - Faster R-CNN, Mask R-CNN: (4, 8, 16, 32) and one extra level, pooled;
    - RetinaNet, FCOS: (8, 16, 32) and two extra levels, by convolution;
    - RTMDet: (8, 16, 32);
    - DINO: (8, 16, 32) and one extra level, by convolution.

    Args:
        in_channels: Width of the backbone.
        out_channels: Width of all maps.
        in_stride: Pixels from one cell of the backbone's map to the next,
            which is its patch size.
        strides: Those of the maps in pixels, ascending, each `in_stride`
            times or divided by a power of two: over patches of 14 pixels
            (3.5, 7, 14, 28).
        extra_levels: Further maps, each of twice the stride of the one
            before, the first made from the last of `strides`.
        extra: How: 'pool' keeps every second cell, 'conv' learns a
            convolution, with a ReLU ahead of all but the first.
        norm_cfg: What follows each convolution, as mmcv builds it.
        init_cfg: mmengine's.

    Raises:
        ValueError: A stride that is no power of two away from `in_stride`,
            strides that do not ascend, or an unknown kind of extra level.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        in_stride: int = 16,
        strides: Sequence[float] = (4, 8, 16, 32),
        extra_levels: int = 0,
        extra: Literal['pool', 'conv'] = 'pool',
        norm_cfg: dict[str, Any] = CHANNEL_NORM,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if extra not in ('pool', 'conv'):
            raise UsageError(f"extra must be 'pool' or 'conv', got {extra!r}")
        doublings = _doublings(in_stride, strides)
        self.levels = nn.ModuleList(
            _level(in_channels, out_channels, count, norm_cfg)
            for count in doublings
        )
        self.extra_levels = nn.ModuleList(
            _extra_level(out_channels, extra, is_first=not index)
            for index in range(extra_levels)
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """One map (B, out_channels, H, W) for each stride, finest first.

        Of H cells a coarser map has half, rounded up.

        Args:
            maps: What the backbone returns, (B, in_channels, rows, columns)
                each; of several the last is taken.
        """
        outputs = [level(maps[-1]) for level in self.levels]
        for level in self.extra_levels:
            outputs.append(level(outputs[-1]))
        return tuple(outputs)


def _doublings(in_stride: int, strides: Sequence[float]) -> list[int]:
    """How often each stride doubles the backbone's; -1 is half of it."""
    if not strides or list(strides) != sorted(set(strides)):
        raise UsageError(
            f'strides must ascend and be at least one, got {tuple(strides)}'
        )
    counts = []
    for stride in strides:
        count = round(math.log2(stride / in_stride)) if stride > 0 else 0
        if in_stride * 2.0**count != stride:
            raise UsageError(
                f'strides must be in_stride ({in_stride}) times or divided '
                f'by a power of two, got {stride}'
            )
        counts.append(count)
    return counts


def _level(
    channels: int, out_channels: int, doublings: int, norm_cfg: dict[str, Any]
) -> nn.Sequential:
    """The backbone's map, resized, then brought to the pyramid's width."""
    # Rounded up, so that no patch at the edge is lost.
    resize: list[nn.Module] = [
        nn.MaxPool2d(2, ceil_mode=True) for _ in range(doublings)
    ]
    for step in range(-doublings):
        if step:
            resize += [build_norm_layer(norm_cfg, channels)[1], nn.GELU()]
        resize.append(nn.ConvTranspose2d(channels, channels // 2, 2, 2))
        channels //= 2
    return nn.Sequential(
        *resize,
        nn.Conv2d(channels, out_channels, 1, bias=False),
        build_norm_layer(norm_cfg, out_channels)[1],
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        build_norm_layer(norm_cfg, out_channels)[1],
    )


class _Halving(nn.Conv2d):
    """A strided convolution, also of maps that are one cell wide.

    These in float32: in bfloat16 on a CPU the gradient of the weights is left
    unset where no cell reaches (torch 2.13), and may hold anything.
    """

    def forward(self, cells: Tensor) -> Tensor:
        """(B, C, H, W) to half of H and of W, rounded up."""
        if cells.shape[-1] > 1:
            return super().forward(cells)
        with torch.autocast(cells.device.type, enabled=False):
            return super().forward(cells.to(self.weight.dtype))


def _extra_level(channels: int, kind: str, is_first: bool) -> nn.Module:
    if kind == 'pool':
        return nn.MaxPool2d(1, stride=2)
    convolution = _Halving(channels, channels, 3, stride=2, padding=1)
    if is_first:
        return convolution
    return nn.Sequential(nn.ReLU(), convolution)
