"""Which patch answers for which box: bipartite matching, as in DETR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.models.task_modules.assigners import HungarianAssigner
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.structures import InstanceData
from torch import Tensor

from sparc_vlm.detection.words.objects import Targets


class PatchPredictions(NamedTuple):
    """What the patches of B pictures predict.

    Attributes:
        boxes: (B, P, 4) centre x and y, width and height, as shares of the
            picture's own whole patches.
        logits: (B, P, Q) of each of the picture's words.
        mask: (B, P) bool, False on patches of the padding.
        extents: (B, 4) width, height, width, height in pixels that boxes
            are shares of.
    """

    boxes: Tensor
    logits: Tensor
    mask: Tensor
    extents: Tensor


class Matches(NamedTuple):
    """M pairs of a patch and a box, one picture after the other.

    Attributes:
        pictures: (M,) int64, whose they are.
        patches: (M,) int64, place of the patch in its picture.
        boxes: (M, 4) the boxes.
        words: (M, Q) bool, which of the picture's words they go by.
    """

    pictures: Tensor
    patches: Tensor
    boxes: Tensor
    words: Tensor


@torch.no_grad()
def match(
    assigner: HungarianAssigner,
    predictions: PatchPredictions,
    targets: Sequence[Targets],
) -> Matches:
    """Matches the boxes of each picture with different patches of it.

    The dearest are left out where there are more boxes than patches.

    Args:
        assigner: MMDetection's, with its costs.
        predictions: Of B pictures.
        targets: Of the same.
    """
    found = []
    # Values that are not finite: the step is left out later, not the run.
    shares = predictions.boxes.nan_to_num(0, posinf=1, neginf=0)
    all_boxes = bbox_cxcywh_to_xyxy(shares)
    all_logits = predictions.logits.nan_to_num()
    for picture, target in enumerate(targets):
        places = predictions.mask[picture].nonzero().squeeze(1)
        assigned = assigner.assign(
            InstanceData(
                bboxes=all_boxes[picture, places],
                scores=all_logits[picture, places],
            ),
            InstanceData(
                bboxes=bbox_cxcywh_to_xyxy(target.boxes),
                words=target.words,
                # The first word of each, for costs that know of one only.
                labels=(target.words.cumsum(1) == 0).sum(1),
            ),
            # Boxes are shares already, so that costs need divide by nothing.
            img_meta=dict(img_shape=(1, 1)),
        ).gt_inds
        patches = (assigned > 0).nonzero().squeeze(1)
        pictures = torch.full_like(patches, picture)
        rows = assigned[patches] - 1
        found.append(
            (
                pictures,
                places[patches],
                target.boxes[rows],
                target.words[rows],
            )
        )
    return Matches(*map(torch.cat, zip(*found, strict=True)))
