"""CLIP: the global contrastive loss alone (equation 1)."""

from __future__ import annotations

from torch import Tensor, nn

from sparc_vlm.models.contrastive import batch_info_nce
from sparc_vlm.registry import MODELS
from sparc_vlm.structures import PairEmbeddings


@MODELS.register_module()
class CLIP(nn.Module):
    """Symmetric InfoNCE between global embeddings over the batch.

    Args:
        global_weight: Weight of the loss.

    Attributes:
        is_local: Whether the objective looks at patches and tokens; the
            pretrainer does not compute their embeddings where it does not.
        takes_masks: Whether it looks at a `patch_mask`.
    """

    is_local = False
    takes_masks = False

    def __init__(self, global_weight: float = 1.0) -> None:
        super().__init__()
        self.global_weight = global_weight

    def forward(self, pairs: PairEmbeddings) -> dict[str, Tensor]:
        """Returns `loss_global`, weighted.

        Args:
            pairs: Embeddings of the batch.
        """
        loss = batch_info_nce(pairs.image, pairs.text, pairs.logit_scale)
        return dict(loss_global=self.global_weight * loss)
