"""MGCA: global, token-wise and prototype alignment, as SPARC compares to it.

Wang et al., "Multi-Granularity Cross-modal Alignment for Generalized Medical
Visual Representation Learning", arXiv 2210.06044.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparc_vlm.errors import UsageError
from sparc_vlm.models.contrastive import batch_info_nce, caption_info_nce
from sparc_vlm.models.cross_attention import CrossAttention
from sparc_vlm.models.prototypes import Prototypes
from sparc_vlm.registry import MODELS
from sparc_vlm.structures import PairEmbeddings


@MODELS.register_module()
class MGCA(nn.Module):
    """Global InfoNCE, cross-attention inside a pair, swapped prototypes.

    * `loss_global`: InfoNCE over the batch (equation 1 of SPARC).
    * `loss_local`: tokens attend to the patches of their own image; what a
      token gathers is to be told from what the other tokens of the caption
      gather (InfoNCE both ways). Patches attend to tokens likewise. No other
      pair of the batch is a negative.
    * `loss_prototype`: see `prototypes`.

    The original, and what is done here as SPARC's authors ran it:

    * Three fixed temperatures (0.07 to 0.2): here one, learned, for all
      three losses, as in every objective; `prototype_temperature` sets the
      one of the prototypes apart.
    * Tokens and patches weighted by the encoders' attention to [CLS]: here
      they count alike, as the encoders have no [CLS].
    * The weights of the losses are 1, 1, 1, as here.

    Decided here, where neither is clear:

    * Attention is one head, 128 wide: queries, keys and values are projected
      from the shared width to 128 and the outcome back, without biases, and
      compared with the embedding that asked. (The original's shared width is
      128 itself.)
    * Embeddings enter the attention as they are. The original normalises
      them; unit vectors begin so close to even attention that it learns late.
    * The token loss is the mean over a caption's tokens (or an image's
      patches), then over the batch, and the mean of its four directions; the
      original's code adds those of tokens to those of patches.
    * Prototypes learn from the first step; the original holds them for its
      first epoch.
    * A `patch_mask` holds in both ways: a patch attends to the tokens that
      may look at it, or to all of them where none may.

    Args:
        embed_dims: D, the shared width.
        attention_dims: Width of queries, keys and values.
        prototypes: How many.
        epsilon: Of Sinkhorn's assignments.
        sinkhorn_iterations: Their number.
        prototype_temperature: Of the predicted assignments; None means the
            learned temperature.
        global_weight: Weight of the global loss.
        local_weight: Weight of the token-wise loss.
        prototype_weight: Weight of the prototype loss.

    Raises:
        ValueError: A number that is not above 0 where it must be.
    """

    is_local = True
    takes_masks = True

    def __init__(
        self,
        embed_dims: int = 512,
        attention_dims: int = 128,
        prototypes: int = 500,
        epsilon: float = 0.05,
        sinkhorn_iterations: int = 3,
        prototype_temperature: float | None = None,
        global_weight: float = 1.0,
        local_weight: float = 1.0,
        prototype_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if attention_dims < 1:
            raise UsageError(
                f'attention_dims must be 1 or more, got {attention_dims}'
            )
        if prototype_temperature is not None and prototype_temperature <= 0:
            raise UsageError(
                'prototype_temperature must be above 0, or None for the '
                f'learned one, got {prototype_temperature}'
            )
        self.embed_dims = embed_dims
        self.tokens_to_patches = CrossAttention(embed_dims, attention_dims)
        self.patches_to_tokens = CrossAttention(embed_dims, attention_dims)
        self.prototypes = Prototypes(
            embed_dims, prototypes, epsilon, sinkhorn_iterations
        )
        self.prototype_temperature = prototype_temperature
        self.global_weight = global_weight
        self.local_weight = local_weight
        self.prototype_weight = prototype_weight

    def align(
        self,
        tokens: Tensor,
        patches: Tensor,
        patch_mask: Tensor | None = None,
    ) -> Tensor:
        """Attention of the tokens, for figures and tasks.

        Args:
            tokens: (B, L, D) token embeddings.
            patches: (B, P, D) patch embeddings.
            patch_mask: (B, L, P) bool, the patches that a token may look at.

        Returns:
            (B, L, P) weights that add up to 1 over the patches.
        """
        return self.tokens_to_patches.weigh(tokens, patches, patch_mask)

    def forward(self, pairs: PairEmbeddings) -> dict[str, Tensor]:
        """Returns the three losses, weighted.

        Args:
            pairs: Embeddings of the batch.

        Raises:
            ValueError: The embeddings are not `embed_dims` wide.
        """
        width = pairs.image.shape[-1]
        if width != self.embed_dims:
            raise UsageError(
                f'MGCA was built for embeddings {self.embed_dims} wide and '
                f'got {width}: set objective.embed_dims={width}'
            )
        scale = pairs.logit_scale
        whole = batch_info_nce(pairs.image, pairs.text, scale)
        local = self._local_loss(pairs)
        if self.prototype_temperature is None:
            sharpness = scale
        else:
            sharpness = torch.full_like(scale, 1 / self.prototype_temperature)
        swapped = self.prototypes(pairs.image, pairs.text, sharpness)
        return dict(
            loss_global=self.global_weight * whole,
            loss_local=self.local_weight * local,
            loss_prototype=self.prototype_weight * swapped,
        )

    def _local_loss(self, pairs: PairEmbeddings) -> Tensor:
        mask, patches = pairs.token_mask, pairs.patches
        # Nothing that stands in the padding, not even NaN, may be seen.
        tokens = torch.where(mask[..., None], pairs.tokens, 0.0)
        seen = self.tokens_to_patches(tokens, patches, pairs.patch_mask)
        of_tokens = caption_info_nce(seen, tokens, mask, pairs.logit_scale)

        may_read = mask[:, None].expand(-1, patches.shape[1], -1)
        if pairs.patch_mask is not None:
            named = pairs.patch_mask.transpose(1, 2) & may_read
            may_read = torch.where(named.any(-1, True), named, may_read)
        read = self.patches_to_tokens(patches, tokens, may_read)
        # Patches without a caption have nothing to read.
        has_caption = may_read.any(-1)
        of_patches = caption_info_nce(
            read, patches, has_caption, pairs.logit_scale
        )
        return (of_tokens + of_patches) / 2
