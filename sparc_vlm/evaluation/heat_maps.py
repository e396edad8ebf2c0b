"""What a heat map over patches points at, and the box that it draws.

Boxes here are x1, y1, x2, y2 as shares of the picture's width and height.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from sparc_vlm.evaluation.ranking import TIE

Box = Sequence[float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
_TOUCHING = np.ones((3, 3))


@torch.autocast('cpu', enabled=False)
def enlarge_maps(
    weights: Tensor, grid: tuple[int, int], size: int
) -> np.ndarray:
    """Heat maps as pictures, each from 0 to 1.

    Args:
        weights: (N, P) of the patches, of any range.
        grid: Rows and columns that they stand in.
        size: Side of the maps, in pixels; between the patches' centres they
            are bilinear.

    Returns:
        (N, size, size), each less its minimum, over its maximum; all zeros
        where the patches differ by no more than rounding.
    """
    maps = weights.float().reshape(-1, 1, *grid)
    lowest = maps.amin((2, 3), keepdim=True)
    span = maps.amax((2, 3), keepdim=True) - lowest
    is_flat = ~(span > TIE)
    maps = torch.where(is_flat, 0.0, (maps - lowest) / span)
    maps = F.interpolate(
        maps, (size, size), mode='bilinear', align_corners=False
    )
    return maps[:, 0].numpy()


def inside(boxes: Sequence[Box], size: int) -> np.ndarray:
    """(size, size) bool: whether each pixel's centre is in any of the boxes.

    Args:
        boxes: Some boxes.
        size: Side of the map.
    """
    centres = (np.arange(size) + 0.5) / size
    mask = np.zeros((size, size), bool)
    for left, top, right, bottom in boxes:
        rows = (centres >= top) & (centres < bottom)
        columns = (centres >= left) & (centres < right)
        mask |= rows[:, None] & columns
    return mask


def points_at(heat: np.ndarray, mask: np.ndarray) -> float:
    """Share of a map's maxima, several where they tie, that lie in a mask.

    Args:
        heat: (size, size), from 0 to 1.
        mask: (size, size) bool.
    """
    return float(mask[heat >= heat.max() - TIE].mean())


def box_around(heat: np.ndarray, share: float) -> Box:
    """Box around the largest region that is as hot as a share of the maximum.

    Pixels that touch by a side or a corner are one region. A map that is the
    same everywhere gives the whole picture.

    Args:
        heat: (size, size), from 0 to 1.
        share: Of the maximum, more than 0 and at most 1.
    """
    hot = heat >= share * heat.max() - TIE
    regions, _ = ndimage.label(hot, _TOUCHING)
    sizes = np.bincount(regions[hot])
    rows, columns = ndimage.find_objects(regions)[int(sizes.argmax()) - 1]
    height, width = heat.shape
    return (
        columns.start / width,
        rows.start / height,
        columns.stop / width,
        rows.stop / height,
    )


def overlaps(box: Box, boxes: Sequence[Box]) -> np.ndarray:
    """(N,) intersection over union of a box with each of N others."""
    ours, theirs = np.asarray(box, float), np.asarray(boxes, float)
    near = np.maximum(ours[:2], theirs[:, :2])
    far = np.minimum(ours[2:], theirs[:, 2:])
    common = (far - near).clip(0).prod(1)
    own = (ours[2:] - ours[:2]).prod()
    union = own + (theirs[:, 2:] - theirs[:, :2]).prod(1) - common
    return common / union


def enclosing(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of some boxes."""
    corners = np.asarray(boxes, float)
    return *corners[:, :2].min(0).tolist(), *corners[:, 2:].max(0).tolist()
