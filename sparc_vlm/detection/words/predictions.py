"""From what every patch predicts to the boxes that are handed out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmcv.ops import batched_nms
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.structures import InstanceData
from torch import Tensor

SPARE = 10
"""Boxes looked at for each one wanted where some may be dropped."""


def best_boxes(
    boxes: Tensor,
    scores: Tensor,
    mask: Tensor,
    words: Sequence[str],
    limit: int,
    nms: float | None,
    meta: Mapping[str, Any],
) -> InstanceData:
    """The best pairs of a patch's box and a word, best first.

    Args:
        boxes: (P, 4) centre x and y, width and height in pixels.
        scores: (P, Q) of each word.
        mask: (P,) bool, False on patches that may predict nothing.
        words: The Q words.
        limit: The most that are returned.
        nms: Overlap above which the lesser of two boxes of one word is
            dropped, None to keep all.
        meta: `ori_shape`, height and width before resizing and padding, to
            which boxes are cut, and `scale_factor` (width, height), by which
            the picture was resized, if it was.

    Returns:
        `bboxes` (N, 4) x1, y1, x2, y2 before resizing, `scores` and
        `labels` (N,), and the N words as `label_names`, which MMDetection
        writes beside the boxes that it draws.
    """
    boxes, scores = boxes[mask], scores[mask]
    wanted = limit if nms is None else SPARE * limit
    best = scores.flatten().topk(min(wanted, scores.numel()))
    labels = best.indices % max(scores.shape[1], 1)
    corners = bbox_cxcywh_to_xyxy(
        boxes[best.indices // max(scores.shape[1], 1)]
    )
    scale = meta.get('scale_factor', (1.0, 1.0))
    corners = corners / corners.new_tensor([*scale, *scale])
    height, width = meta['ori_shape'][:2]
    sides = corners.new_tensor([width, height, width, height])
    corners = corners.clamp(min=0).minimum(sides)
    values = best.values
    if nms is not None and len(values):
        kept = batched_nms(
            corners, values, labels, dict(type='nms', iou_threshold=nms)
        )[1][:limit]
        corners, values, labels = corners[kept], values[kept], labels[kept]
    return InstanceData(
        bboxes=corners,
        scores=values,
        labels=labels,
        label_names=[words[label] for label in labels.tolist()],
    )
