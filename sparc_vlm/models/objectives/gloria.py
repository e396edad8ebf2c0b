"""GLoRIA: attention-weighted patches for each token, in every pair."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sparc_vlm.errors import UsageError
from sparc_vlm.models.alignment import softmax_alignment
from sparc_vlm.models.contrastive import batch_info_nce
from sparc_vlm.models.gather import gather_captions, process_sizes
from sparc_vlm.models.grouped_cosines import grouped_cosines
from sparc_vlm.models.pairwise import Joined, pairwise_info_nce
from sparc_vlm.models.pairwise_blocks import Tensors, wide
from sparc_vlm.registry import MODELS
from sparc_vlm.structures import PairEmbeddings


@MODELS.register_module()
class GLoRIA(nn.Module):
    """Global loss plus a local one over all pairs (Huang et al., ICCV 2021).

    For image i and caption j: attention of each token over the patches,
    a_lp = softmax over p of <t_jl, v_ip> / sqrt(d); c_l = sum_p a_lp v_ip;
    and the pair's logit is the log-sum-exp over the caption's tokens of
    scale cos(c_l, t_jl). InfoNCE over the batch, both directions.

    As SPARC's authors ran it, similarities are divided by sqrt(d), tokens
    are not merged into words, and there is one temperature, learned: it
    stands for both the original's fixed ones after the attention (inside
    the log-sum-exp, and over the batch), and the attention has none. Where
    they are silent: both losses weigh 1, as in the original; the softmax
    over the tokens of each patch, which only the original's code has, is
    left out; begin/end marks are no tokens. A caption without real tokens
    has the logit 0 with every image.

    Args:
        global_weight: Weight of CLIP's loss.
        local_weight: Weight of the local loss.
        budget: Bytes of a block of pairs, see `pairwise_info_nce`.

    Attributes:
        is_local: Whether the objective looks at patches and tokens.
        takes_masks: Whether it looks at a `patch_mask`.
    """

    is_local = True
    takes_masks = False

    def __init__(
        self,
        global_weight: float = 1.0,
        local_weight: float = 1.0,
        budget: int | None = None,
    ) -> None:
        super().__init__()
        self.global_weight = global_weight
        self.local_weight = local_weight
        self.budget = budget
        self.scores = WordAttention()

    def forward(self, pairs: PairEmbeddings) -> dict[str, Tensor]:
        """Returns `loss_global` and `loss_local`, weighted.

        Args:
            pairs: Embeddings of the batch.

        Raises:
            ValueError: There is a `patch_mask`; it says nothing about the
                other images of the batch.
        """
        if pairs.patch_mask is not None:
            raise UsageError(
                'GLoRIA lets tokens attend to the patches of every image: '
                "train it without patch_mask, which is for a caption's own "
                'image'
            )
        sizes = process_sizes(len(pairs.tokens), pairs.tokens.device)
        tokens, mask = gather_captions(pairs.tokens, pairs.token_mask, sizes)
        local = pairwise_info_nce(
            self.scores,
            (pairs.patches,),
            (tokens, mask),
            (pairs.logit_scale,),
            Joined.here(sizes),
            budget=self.budget,
        )
        whole = batch_info_nce(pairs.image, pairs.text, pairs.logit_scale)
        return dict(
            loss_global=self.global_weight * whole,
            loss_local=self.local_weight * local,
        )

    def align(
        self,
        tokens: Tensor,
        patches: Tensor,
        patch_mask: Tensor | None = None,
    ) -> Tensor:
        """Attention of each token over the patches of its own image.

        Args:
            tokens: (B, L, D) token embeddings.
            patches: (B, P, D) patch embeddings.
            patch_mask: (B, L, P) bool, the patches a token may look at.

        Returns:
            (B, L, P) weights that add up to 1 over the patches.
        """
        scaled = wide(tokens) / math.sqrt(tokens.shape[-1])
        return softmax_alignment(scaled, patches, patch_mask)


class WordAttention:
    """Scores of `GLoRIA`.

    Rows are (patches,), columns (tokens, mask), shared tensors (scale,).
    """

    def prepare(self, rows: Tensors) -> Tensors:
        """(r, P, D) patches and (r, P, P) the products among them."""
        patches = wide(rows[0])
        with torch.autocast(patches.device.type, enabled=False):
            return patches, patches @ patches.transpose(1, 2)

    def __call__(
        self, rows: Tensors, columns: Tensors, shared: Tensors
    ) -> Tensor:
        """(r, c) scores, see `pairwise_blocks.PairScores`."""
        (patches, products), (tokens, mask) = rows, columns
        flat = mask.flatten().nonzero().squeeze(1)
        packed = wide(tokens.flatten(0, 1).index_select(0, flat))
        logits = shared[0] * grouped_cosines(packed, patches, products)
        # Back to captions; one that is empty has a single logit of 0.
        first = torch.zeros_like(mask)
        first[:, 0] = ~mask.any(1)
        empty = torch.where(first, 0.0, -torch.inf).to(logits.dtype)
        empty = empty.view(-1, 1).expand(-1, len(patches))
        by_token = empty.index_copy(0, flat, logits)
        return by_token.view(*mask.shape, -1).logsumexp(1).T

    def pair_bytes(self, rows: Tensors, columns: Tensors) -> int:
        """Scores, weights, what they weigh, and gradients."""
        scores = rows[0].shape[1] * columns[0].shape[1]
        return 5 * scores * max(4, rows[0].element_size())
