"""PACL: a caption against the patches it picks, in every image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparc_vlm.errors import UsageError
from sparc_vlm.models.cosine import unit
from sparc_vlm.models.gather import gather_rows, process_sizes
from sparc_vlm.models.pairwise import Joined, pairwise_info_nce
from sparc_vlm.models.pairwise_blocks import Tensors
from sparc_vlm.registry import MODELS
from sparc_vlm.structures import PairEmbeddings


@MODELS.register_module()
class PACL(nn.Module):
    """InfoNCE on patches weighted by their similarity to the caption.

    With unit patches v_ip and unit global texts t_j: weights w_ijp = softmax
    over p of <v_ip, t_j>, and the score of image i and caption j is
    <sum_p w_ijp v_ip, t_j>, for every pair of the batch (Mukhoti et al.,
    2212.04994). That original trains an adapter on frozen encoders; here, as
    SPARC's authors ran it, everything is trained from scratch, with
    `vision_adapter='residual'` in the pretrainer.

    Where the sources are silent: the softmax has no temperature of its own
    (cosines go in as they are), and the weighted sum is not normalised again.

    Patches are what is trained, by g_v alone, against the global text. So the
    pretrainer has no h_v for this objective: its global image embedding is
    the mean of the patch embeddings, and segmentation takes the patches.

    Args:
        global_weight: Weight of the loss.
        budget: Bytes of a block of pairs, see `pairwise_info_nce`.

    Attributes:
        is_local: Whether the objective looks at patches and tokens.
        takes_masks: Whether it looks at a `patch_mask`.
        is_global: Whether it trains the global image embedding.
    """

    is_local = True
    takes_masks = False
    is_global = False

    def __init__(
        self, global_weight: float = 1.0, budget: int | None = None
    ) -> None:
        super().__init__()
        self.global_weight = global_weight
        self.budget = budget
        self.scores = PatchPooling()

    def forward(self, pairs: PairEmbeddings) -> dict[str, Tensor]:
        """Returns `loss_global`, weighted.

        Args:
            pairs: Embeddings of the batch.

        Raises:
            ValueError: There is a `patch_mask`; PACL has no token that could
                look at some patches only.
        """
        if pairs.patch_mask is not None:
            raise UsageError(
                'PACL weighs patches by the whole caption: train it without '
                'patch_mask, which is for the tokens of a caption'
            )
        sizes = process_sizes(len(pairs.text), pairs.text.device)
        texts = gather_rows(pairs.text, sizes).rows
        loss = pairwise_info_nce(
            self.scores,
            (pairs.patches,),
            (texts,),
            (pairs.logit_scale,),
            Joined.here(sizes),
            budget=self.budget,
        )
        return dict(loss_global=self.global_weight * loss)

    def align(
        self,
        tokens: Tensor,
        patches: Tensor,
        patch_mask: Tensor | None = None,
    ) -> Tensor:
        """Weights that each token would give, were it the whole caption.

        Args:
            tokens: (B, L, D) token embeddings.
            patches: (B, P, D) patch embeddings.
            patch_mask: (B, L, P) bool, the patches a token may look at; a
                token that may look at none may look at all.

        Returns:
            (B, L, P) weights that add up to 1 over the patches.
        """
        cosines = unit(tokens) @ unit(patches).transpose(1, 2)
        if patch_mask is not None:
            allowed = patch_mask | ~patch_mask.any(-1, keepdim=True)
            cosines = cosines.masked_fill(~allowed, -torch.inf)
        return cosines.softmax(-1)


class PatchPooling:
    """Scores of `PACL`: rows (patches,), columns (text,), shared (scale,)."""

    def prepare(self, rows: Tensors) -> Tensors:
        """(r, P, D) unit patches."""
        return (unit(rows[0]),)

    def __call__(
        self, rows: Tensors, columns: Tensors, shared: Tensors
    ) -> Tensor:
        """(r, c) scores, see `pairwise_blocks.PairScores`."""
        patches, texts, scale = rows[0], unit(columns[0]), shared[0]
        products = texts @ patches.flatten(0, 1).T
        cosines = products.to(patches.dtype).unflatten(1, patches.shape[:2])
        # <sum_p w_p v_p, t> needs no sum over vectors.
        pooled = (cosines.softmax(-1) * cosines).sum(-1)
        return scale * pooled.T

    def pair_bytes(self, rows: Tensors, columns: Tensors) -> int:
        """Cosines, weights, their product and gradients."""
        return 6 * rows[0].shape[1] * max(4, rows[0].element_size())
