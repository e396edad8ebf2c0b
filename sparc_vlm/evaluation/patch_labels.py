"""From patches and class names to a class for each pixel.

Kept apart from the task that scores them, so that figures can show the same
labels.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Upsample = Literal['nearest', 'bilinear']


@torch.autocast('cpu', enabled=False)
def label_patches(
    patches: Tensor,
    texts: Tensor,
    grid: tuple[int, int],
    size: tuple[int, int],
    upsample: Upsample = 'nearest',
) -> np.ndarray:
    """The class that each pixel gets.

    Args:
        patches: (P, D) patch embeddings.
        texts: (C, D) class embeddings.
        grid: Rows and columns of the patches.
        size: Height and width of the picture.
        upsample: 'nearest' labels the patches and enlarges the labels, as
            the paper words it; 'bilinear' enlarges the similarities and
            labels the pixels.

    Returns:
        (H, W) integers below C.
    """
    cosine = F.normalize(patches, dim=-1) @ F.normalize(texts, dim=-1).T
    maps = cosine.T.reshape(1, len(texts), *grid)
    if upsample == 'bilinear':
        maps = F.interpolate(maps, size, mode='bilinear', align_corners=False)
        return maps.argmax(1)[0].numpy()
    labels = maps.argmax(1, keepdim=True)
    return enlarge(labels[0, 0].numpy(), size)


def enlarge(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A (rows, columns) map at (height, width): the patch under each pixel."""
    at = [
        ((np.arange(pixels) + 0.5) * patches / pixels).astype(int)
        for patches, pixels in zip(labels.shape, size, strict=True)
    ]
    return labels[np.ix_(*at)]
