"""Greedy non-maximum suppression, as mmcv's compiled op does it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0
) -> Tensor:
    """Keeps the best box, drops what overlaps it too much, and so on.

    Works on the CPU whatever the device: each choice waits for the one
    before, so that a device would spend its time waiting too.

    Args:
        boxes: (N, 4) corners x1, y1, x2, y2.
        scores: (N,) the higher the better; of equals the first goes first.
        iou_threshold: Overlap, intersection over union, above which the
            lesser box is dropped.
        offset: 1 where x2 and y2 lie inside the box (widths are
            x2 - x1 + 1), else 0.

    Returns:
        (K,) int64 indices of the kept boxes, best first.
    """
    order = scores.detach().cpu().argsort(descending=True, stable=True)
    corners = boxes.detach().cpu()[order]
    if corners.dtype != torch.float64:
        corners = corners.float()
    x1, y1, x2, y2 = corners.numpy().T
    area = (x2 - x1 + offset) * (y2 - y1 + offset)
    left = np.arange(len(order))
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        width = np.minimum(x2[best], x2[left]) - np.maximum(x1[best], x1[left])
        height = np.minimum(y2[best], y2[left]) - np.maximum(
            y1[best], y1[left]
        )
        shared = np.maximum(width + offset, 0) * np.maximum(height + offset, 0)
        # two empty boxes divide 0 by 0: not a number, so not above
        with np.errstate(invalid='ignore', divide='ignore'):
            overlap = shared / (area[best] + area[left] - shared)
        left = left[~(overlap > iou_threshold)]
    kept = torch.from_numpy(np.asarray(kept, dtype=np.int64))
    return order[kept].to(boxes.device)
