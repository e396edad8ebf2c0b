"""SPARC: the global loss plus a local one inside each pair (equation 7)."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from sparc_vlm.models.alignment import (
    AlignmentFunction,
    dense_alignment,
    group_patches,
    softmax_alignment,
    sparse_alignment,
)
from sparc_vlm.models.contrastive import (
    TokenAverage,
    batch_info_nce,
    caption_info_nce,
)
from sparc_vlm.registry import MODELS
from sparc_vlm.structures import PairEmbeddings

Alignment = Literal['sparse', 'dense', 'softmax']


@MODELS.register_module()
class SPARC(nn.Module):
    """L = lambda_g L_g + lambda_f L_f (eq. 7).

    Where the paper is silent: begin/end marks are not tokens of the caption
    (they name nothing in the picture), so they are left out of L.

    Args:
        global_weight: lambda_g.
        local_weight: lambda_f; the paper sweeps {0.5, 1, 5, 10}.
        threshold: sigma of equation 3; None means 1 / P.
        alignment: 'sparse' is the method; 'dense' (no threshold) and
            'softmax' are the ablations of table 8.
        token_average: 'sample' (equation 6) or 'token' (the appendix's
            pseudo-code); they differ where captions differ in length.

    Raises:
        ValueError: A name that is not one of those above, or a threshold for
            an alignment that has none.
    """

    is_local = True

    def __init__(
        self,
        global_weight: float = 0.5,
        local_weight: float = 1.0,
        threshold: float | None = None,
        alignment: Alignment = 'sparse',
        token_average: TokenAverage = 'sample',
    ) -> None:
        super().__init__()
        alignments: dict[str, AlignmentFunction] = dict(
            sparse=partial(sparse_alignment, threshold=threshold),
            dense=dense_alignment,
            softmax=softmax_alignment,
        )
        if alignment not in alignments:
            raise ValueError(
                f'alignment must be one of {sorted(alignments)}, got '
                f'{alignment!r}'
            )
        if threshold is not None and alignment != 'sparse':
            raise ValueError(
                f'alignment {alignment!r} has no threshold: leave it out'
            )
        if token_average not in ('sample', 'token'):
            raise ValueError(
                f"token_average must be 'sample' or 'token', got "
                f'{token_average!r}'
            )
        self.align = alignments[alignment]
        self.global_weight = global_weight
        self.local_weight = local_weight
        self.token_average = token_average

    def forward(self, pairs: PairEmbeddings) -> dict[str, Tensor]:
        """Returns both losses, weighted, and what the threshold kept.

        Args:
            pairs: Embeddings of the batch.

        Returns:
            `loss_global`, `loss_local`, and, for the log only,
            `patches_kept`: the share of patches with a weight above 0,
            averaged over the real tokens.
        """
        # Nothing that stands in the padding, not even NaN, may be seen.
        seen = pairs.token_mask[..., None]
        tokens = torch.where(seen, pairs.tokens, 0.0)
        weights = self.align(
            tokens, pairs.patches, patch_mask=pairs.patch_mask
        )
        local = caption_info_nce(
            group_patches(weights, pairs.patches),
            tokens,
            pairs.token_mask,
            pairs.logit_scale,
            self.token_average,
        )
        whole = batch_info_nce(pairs.image, pairs.text, pairs.logit_scale)
        return dict(
            loss_global=self.global_weight * whole,
            loss_local=self.local_weight * local,
            patches_kept=_share_kept(weights.detach(), pairs.token_mask),
        )


def _share_kept(weights: Tensor, token_mask: Tensor) -> Tensor:
    """Mean over real tokens of the share of patches with weight."""
    share = (weights > 0).float().mean(-1)
    return (share * token_mask).sum() / token_mask.sum().clamp(min=1)
