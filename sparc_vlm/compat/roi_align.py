"""RoIAlign (average pooling) in plain torch, as mmcv's compiled op does it.

A pooled value is a weighted sum of pixels, so the whole op is one sparse
matrix with a row for each bin of each region and a column for each pixel.
Forward multiplies by it, backward by its transpose.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# entries of the matrix that are made at a time; bounds memory at ~200 MB
_MAX_ENTRIES = 1 << 22


class Pooling(NamedTuple):
    """What is pooled and how.

    Regions are (K, 5): the image of the batch and x1, y1, x2, y2.

    Attributes:
        image: (batch, height, width) sizes of the feature map.
        bins: Rows and columns of bins of a region.
        spatial_scale: Feature map pixels per pixel of the regions.
        sampling_ratio: Samples along each side of a bin; 0 takes as many as
            the bin has pixels, rounded up.
        aligned: Whether pixel i has its centre at i + 0.5 (True) or at i.
    """

    image: tuple[int, int, int]
    bins: tuple[int, int]
    spatial_scale: float
    sampling_ratio: int
    aligned: bool


def _ragged(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Row of each entry, and its place in the row, for rows of any length."""
    rows = torch.repeat_interleave(counts)
    starts = counts.cumsum(0) - counts
    places = torch.arange(len(rows), device=rows.device) - starts[rows]
    return rows, places


def _taps(
    start: Tensor, length: Tensor, samples: Tensor, bins: int, size: int
) -> tuple[Tensor, Tensor]:
    """Pixels and weights of linear interpolation along one axis.

    Each of the K regions has `bins * samples` samples, evenly spread, and
    each sample has two taps, the pixel before it and the one after.

    Args:
        start: (K,) where each region begins, in pixels.
        length: (K,) how long it is.
        samples: (K,) samples in a bin.
        bins: Bins in a region.
        size: Pixels along the axis.

    Returns:
        Pixel and weight of each tap, ordered by region, bin, sample, tap.
    """
    region, place = _ragged(samples * bins)
    step = (length / bins / samples.clamp(min=1))[region]
    at = start[region] + (place + 0.5) * step
    inside = (at >= -1) & (at <= size)
    at = at.clamp(0, size - 1)
    before = at.floor()
    after = (before + 1).clamp(max=size - 1)
    fraction = at - before
    weight = torch.stack([1 - fraction, fraction], 1) * inside[:, None]
    weight = weight / samples[region, None]
    return torch.stack([before, after], 1).long().flatten(), weight.flatten()


class _Sides(NamedTuple):
    """One axis of all regions: start, length and samples in a bin, (K,)."""

    start: Tensor
    length: Tensor
    samples: Tensor

    def taps(self, part: slice, bins: int, size: int) -> tuple[Tensor, Tensor]:
        """`_taps` of some of the regions."""
        return _taps(*(side[part] for side in self), bins, size)


def _sides(rois: Tensor, pooling: Pooling) -> tuple[_Sides, _Sides]:
    """Where the regions lie on the feature map, down and across."""
    corners = rois[:, 1:] * pooling.spatial_scale
    corners = corners - (0.5 if pooling.aligned else 0.0)
    # a step that diverged must not ask for endless samples
    finite = corners.isfinite().all(1, keepdim=True)
    x1, y1, x2, y2 = torch.where(finite, corners, 0.0).unbind(1)
    sides = []
    for start, end, bins in zip((y1, x1), (y2, x2), pooling.bins, strict=True):
        length = end - start
        if not pooling.aligned:
            length = length.clamp(min=1)
        samples = (length / bins).ceil().long().clamp(min=0)
        if pooling.sampling_ratio > 0:
            samples = torch.full_like(samples, pooling.sampling_ratio)
        sides.append(_Sides(start, length, samples))
    return sides[0], sides[1]


def _entries(
    rois: Tensor, pooling: Pooling
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Yields the sparse matrix in groups of whole regions.

    Args:
        rois: (K, 5) image of the batch and x1, y1, x2, y2 of each region.
        pooling: What is pooled and how.

    Yields:
        The regions of the group; the number of entries of each of their
        bins; pixel (in the flattened batch) and weight of each entry.
    """
    (_, height, width), (rows, columns) = pooling.image, pooling.bins
    down, across = _sides(rois, pooling)
    per_bin = 4 * down.samples * across.samples
    group = (per_bin * rows * columns).cumsum(0) // _MAX_ENTRIES
    first = 0
    for count in group.unique_consecutive(return_counts=True)[1].tolist():
        part = slice(first, first + count)
        first += count
        y, y_weight = down.taps(part, rows, height)
        x, x_weight = across.taps(part, columns, width)
        # each bin pairs each of its taps down with each of those across
        y_taps, x_taps = 2 * down.samples[part], 2 * across.samples[part]
        counts = per_bin[part].repeat_interleave(rows * columns)
        bins, place = _ragged(counts)
        region, bins = bins // (rows * columns), bins % (rows * columns)
        y_first = (y_taps * rows).cumsum(0) - y_taps * rows
        x_first = (x_taps * columns).cumsum(0) - x_taps * columns
        i = y_first[region] + bins // columns * y_taps[region]
        j = x_first[region] + bins % columns * x_taps[region]
        i = i + place // x_taps[region]
        j = j + place % x_taps[region]
        image = rois[part, 0].long()[region]
        pixel = (image * height + y[i]) * width + x[j]
        yield part, counts, pixel, y_weight[i] * x_weight[j]


def _sums(table: Tensor, rows: Tensor, counts: Tensor, w: Tensor) -> Tensor:
    """Weighted sums of rows of a table.

    Args:
        table: (T, C) what is summed.
        rows: (E,) row of the table of each summand.
        counts: (N,) how many summands, in a row, each sum has.
        w: (E,) weight of each summand.

    Returns:
        (N, C); a sum without summands is 0.
    """
    offsets = counts.cumsum(0) - counts
    return F.embedding_bag(
        rows, table, offsets, mode='sum', per_sample_weights=w
    )


def pool(features: Tensor, rois: Tensor, pooling: Pooling) -> Tensor:
    """Pools each region into a grid of bins.

    Args:
        features: (B, C, H, W) float32 or float64.
        rois: (K, 5) regions of the same type.
        pooling: What is pooled and how.

    Returns:
        (K, C, rows, columns).
    """
    table = features.permute(0, 2, 3, 1).flatten(0, 2).contiguous()
    channels = features.shape[1]
    output = table.new_zeros(len(rois), *pooling.bins, channels)
    for part, counts, pixel, weight in _entries(rois, pooling):
        sums = _sums(table, pixel, counts, weight)
        output[part] = sums.view(-1, *pooling.bins, channels)
    return output.permute(0, 3, 1, 2)


def spread(grad: Tensor, rois: Tensor, pooling: Pooling) -> Tensor:
    """Gradient of `pool` with respect to the features.

    Args:
        grad: (K, C, rows, columns) gradient of what `pool` returned.
        rois: (K, 5) regions of the same type.
        pooling: What is pooled and how.

    Returns:
        (B, C, H, W).
    """
    batch, height, width = pooling.image
    channels = grad.shape[1]
    output = grad.new_zeros(batch * height * width, channels)
    for part, counts, pixel, weight in _entries(rois, pooling):
        table = grad[part].permute(0, 2, 3, 1).reshape(-1, channels)
        bins = torch.repeat_interleave(counts)
        pixel, order = pixel.sort()
        counts = torch.bincount(pixel, minlength=len(output))
        output += _sums(table.contiguous(), bins[order], counts, weight[order])
    return output.view(batch, height, width, channels).permute(0, 3, 1, 2)
