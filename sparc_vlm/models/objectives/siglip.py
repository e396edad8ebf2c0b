"""SigLIP: every pair of the batch judged on its own, by a sigmoid."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparc_vlm.models.cosine import CosineScores
from sparc_vlm.models.gather import gather_rows, process_sizes
from sparc_vlm.models.pairwise import Joined, pairwise_sigmoid
from sparc_vlm.registry import MODELS
from sparc_vlm.structures import PairEmbeddings


@MODELS.register_module()
class SigLIP(nn.Module):
    """Sigmoid loss between global embeddings (Zhai et al., 2303.15343).

    -1/B sum_ij log sigmoid(z_ij (scale cos(v_i, t_j) + b)), z = 1 for pairs
    that belong together and -1 for all others. The temperature is the
    model's, learned as for every other objective; it starts where the model
    says, not at the 10 of the original. Nothing here looks at patches, so
    masks over them make no difference.

    Args:
        global_weight: Weight of the loss.
        bias: Where the learned bias b starts; -10 makes up for the many
            pairs that do not belong together.
        budget: Bytes of a block of pairs, see `pairwise_info_nce`.

    Attributes:
        is_local: Whether the objective looks at patches and tokens.
        takes_masks: Whether it looks at a `patch_mask`.
    """

    is_local = False
    takes_masks = False

    def __init__(
        self,
        global_weight: float = 1.0,
        bias: float = -10.0,
        budget: int | None = None,
    ) -> None:
        super().__init__()
        self.global_weight = global_weight
        self.bias = nn.Parameter(torch.tensor(float(bias)))
        self.budget = budget

    def forward(self, pairs: PairEmbeddings) -> dict[str, Tensor]:
        """Returns `loss_global`, weighted, and the `bias` for the log.

        Args:
            pairs: Embeddings of the batch.
        """
        sizes = process_sizes(len(pairs.image), pairs.image.device)
        texts = gather_rows(pairs.text, sizes).rows
        loss = pairwise_sigmoid(
            CosineScores(),
            (pairs.image,),
            (texts,),
            (pairs.logit_scale, self.bias),
            Joined.here(sizes),
            self.budget,
        )
        return dict(
            loss_global=self.global_weight * loss, bias=self.bias.detach()
        )
