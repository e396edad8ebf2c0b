"""The loss of a detector by words: L1 and GIoU of boxes, focal of words.

OWL-ViT, https://arxiv.org/abs/2205.06230, appendix A.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.task_modules.assigners import HungarianAssigner
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmdet.utils import reduce_mean
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from sparc_vlm.detection.words.matching import (
    Matches,
    PatchPredictions,
    match,
)
from sparc_vlm.detection.words.objects import Targets
from sparc_vlm.registry import MODELS

COSTS = (
    dict(type='WordFocalCost', alpha=0.3, gamma=2.0, weight=1.0),
    dict(type='BBoxL1Cost', box_format='xywh', weight=1.0),
    dict(type='IoUCost', iou_mode='giou', weight=1.0),
)
"""What a pair of patch and box costs in matching."""
WORD = dict(type='FocalLoss', alpha=0.3, gamma=2.0, loss_weight=1.0)
BOX = dict(type='L1Loss', loss_weight=1.0)
OVERLAP = dict(type='GIoULoss', loss_weight=1.0)


@MODELS.register_module()
class WordLoss(nn.Module):
    """Losses of B pictures, each divided by the number of boxes.

    A patch is compared with the picture's own words alone: one that is not
    in its list is neither right nor wrong there. A patch that is matched with
    an object is right under all of the object's words. The number of boxes is
    the mean over all processes, so that the mean of their gradients is that
    of the joined batch.

    Args:
        match_costs: Configs of MMDetection's match costs; `WordFocalCost`
            is the one of words.
        word: Config of the loss of the logits.
        box: Config of the loss of centres and sizes, as shares.
        overlap: Config of the loss of corners, as shares.
    """

    def __init__(
        self,
        match_costs: Sequence[dict[str, Any]] = COSTS,
        word: dict[str, Any] = WORD,
        box: dict[str, Any] = BOX,
        overlap: dict[str, Any] = OVERLAP,
    ) -> None:
        super().__init__()
        # Their names are MMDetection's, whatever scope the runner has set.
        with DefaultScope.overwrite_default_scope('mmdet'):
            self.assigner = HungarianAssigner(list(match_costs))
            self.word = MODELS.build(word)
            self.box = MODELS.build(box)
            self.overlap = MODELS.build(overlap)

    def forward(
        self,
        predictions: PatchPredictions,
        targets: Sequence[Targets],
        asked: Tensor,
        incomplete: Tensor,
    ) -> dict[str, Tensor]:
        """The losses, and the number of boxes a picture.

        Args:
            predictions: Of B pictures.
            targets: Of the same; a picture may have none.
            asked: (B, Q) bool, True on words, False on padding.
            incomplete: (B, Q) bool, True on words of which only some boxes
                are known: patches without a box are not told that these are
                wrong.
        """
        matches = match(self.assigner, predictions, targets)
        count = predictions.boxes.new_tensor(
            float(sum(len(target.boxes) for target in targets))
        )
        per = reduce_mean(count).clamp(min=1)
        found = predictions.boxes[matches.pictures, matches.patches]
        corners = (
            bbox_cxcywh_to_xyxy(each) for each in (found, matches.boxes)
        )
        return dict(
            loss_word=self._of_words(
                predictions, matches, asked, incomplete, per
            ),
            loss_box=self.box(found, matches.boxes, avg_factor=per),
            loss_overlap=self.overlap(*corners, avg_factor=per),
            boxes=count / len(targets),
        )

    def _of_words(
        self,
        predictions: PatchPredictions,
        matches: Matches,
        asked: Tensor,
        incomplete: Tensor,
        per: Tensor,
    ) -> Tensor:
        logits = predictions.logits
        right = torch.zeros_like(logits)
        right[matches.pictures, matches.patches] = matches.words.to(right)
        counts = predictions.mask[:, :, None] & asked[:, None]
        counts = counts & (~incomplete[:, None] | (right > 0))
        return self.word(
            logits.flatten(0, 1),
            right.flatten(0, 1),
            counts.to(logits).flatten(0, 1),
            avg_factor=per,
        )
