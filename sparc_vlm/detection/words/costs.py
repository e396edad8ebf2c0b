"""What it costs to call a patch by all words of an object."""

from __future__ import annotations

from typing import Any

from mmdet.models.task_modules.assigners import FocalLossCost
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor


@TASK_UTILS.register_module()
class WordFocalCost(FocalLossCost):
    """MMDetection's `FocalLossCost`, summed over the words of an object.

    That is by how much the focal loss grows where a patch is told that the
    object's words are right rather than wrong. So matching goes by what the
    loss will be, for an object of many words as for one of a single word; a
    mean would make the former's words count for less than they do in the
    loss.

    Args:
        **kwargs: As `FocalLossCost`.
    """

    def __call__(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        img_meta: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """(P, N) costs.

        Args:
            pred_instances: With `scores`, (P, Q) logits.
            gt_instances: With `words`, (N, Q) bool.
            img_meta: Unused.
            **kwargs: Unused.
        """
        each = self._focal_loss_cost(pred_instances.scores, slice(None))
        # float64: autocast and TF32 leave it alone.
        total = each.double() @ gt_instances.words.double().T
        return total.to(each.dtype)
